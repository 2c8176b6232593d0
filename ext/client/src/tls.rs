//! TLS settings: the trusted certificates, and a client's own. Which connections use which settings is decided in
//! `connections`. Read [`TlsSettings`] first.

use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use rustls::client::Resumption;
use rustls::pki_types::pem::{Error as PemError, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::{ClientConfig, RootCertStore};

/// A client's certificate: two PEM files, which may be the same one.
#[derive(Clone, Debug)]
pub struct Identity {
    /// The certificate, and those of its issuers after it.
    pub certificate: PathBuf,
    /// Its private key, not encrypted.
    pub key: PathBuf,
}

/// One client's TLS settings in one process. Certificates are read once, and any connection can resume a TLS session.
#[derive(Debug, Default)]
pub(crate) struct TlsSettings {
    /// Trusts no certificate, for plain HTTP.
    without_roots: OnceLock<ClientConfig>,
    /// Trusts the system's certificates and those of `ca_file`.
    with_roots: OnceLock<ClientConfig>,
    /// As `with_roots`, with the client's certificate.
    with_identity: OnceLock<ClientConfig>,
}

/// The certificates that a connection trusts.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Roots<'a> {
    /// None, for plain HTTP.
    None,
    /// The system's, and those of this file.
    Trusted(Option<&'a Path>),
}

impl TlsSettings {
    /// The settings without a client certificate.
    pub(crate) fn anonymous(&self, roots: Roots<'_>) -> Result<ClientConfig, String> {
        let slot = match roots {
            Roots::Trusted(_) => &self.with_roots,
            Roots::None => &self.without_roots,
        };
        if let Some(config) = slot.get() {
            return Ok(config.clone());
        }
        let roots = match roots {
            Roots::Trusted(ca_file) => trusted(ca_file)?,
            Roots::None => RootCertStore::empty(),
        };
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut tls = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|e| e.to_string())?
            .with_root_certificates(roots)
            .with_no_client_auth();
        tls.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        Ok(slot.get_or_init(|| tls).clone())
    }

    /// `anonymous` with the client's certificate.
    pub(crate) fn identified(&self, identity: &Identity, anonymous: &ClientConfig) -> Result<ClientConfig, String> {
        if let Some(config) = self.with_identity.get() {
            return Ok(config.clone());
        }
        let (chain, key) = identity.read()?;
        let key = CertifiedKey::from_der(chain, key, anonymous.crypto_provider());
        let key = key.map_err(|error| identity.refusal(&error))?;
        let mut tls = anonymous.clone();
        tls.client_auth_cert_resolver = Arc::new(SingleCertAndKey::from(key));
        // TLS sessions with the certificate must not be resumed without it.
        tls.resumption = Resumption::default();
        Ok(self.with_identity.get_or_init(|| tls).clone())
    }
}

impl Identity {
    fn named(&self) -> String {
        format!("client_cert {}", self.certificate.display())
    }

    fn read(&self) -> Result<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>), String> {
        let chain = certificates(&self.certificate).map_err(|reason| format!("{}: {reason}", self.named()))?;
        if chain.is_empty() {
            return Err(format!("{} contains no certificate", self.named()));
        }
        let key = PrivateKeyDer::from_pem_file(&self.key).map_err(|error| match error {
            PemError::NoItemsFound if self.key == self.certificate => {
                format!("{} contains no private key: set client_key", self.named())
            }
            PemError::NoItemsFound => {
                let file = self.key.display();
                format!("client_key {file} contains no private key that can be read without a password")
            }
            error => format!("client_key {}: {error}", self.key.display()),
        })?;
        Ok((chain, key))
    }

    fn refusal(&self, error: &rustls::Error) -> String {
        match error {
            rustls::Error::InconsistentKeys(_) => {
                format!("client_key {} does not belong to {}", self.key.display(), self.named())
            }
            error => format!("{}, client_key {}: {error}", self.named(), self.key.display()),
        }
    }
}

/// The certificates of a PEM file.
fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, String> {
    CertificateDer::pem_file_iter(path)
        .and_then(Iterator::collect)
        .map_err(|e| e.to_string())
}

/// The certificates of the system (or of `SSL_CERT_FILE` and `SSL_CERT_DIR`, if set) and of `ca_file`.
fn trusted(ca_file: Option<&Path>) -> Result<RootCertStore, String> {
    let mut roots = RootCertStore::empty();
    let system = rustls_native_certs::load_native_certs();
    roots.add_parsable_certificates(system.certs);
    if let Some(path) = ca_file {
        let certificates = certificates(path).map_err(|reason| format!("ca_file {}: {reason}", path.display()))?;
        let (added, _) = roots.add_parsable_certificates(certificates);
        if added == 0 {
            return Err(format!("ca_file {} contains no certificate", path.display()));
        }
    }
    if roots.is_empty() {
        let why = system.errors.first().map_or_else(String::new, |e| format!(": {e}"));
        return Err(format!("no trusted certificates found{why}"));
    }
    Ok(roots)
}
