//! A client for tests of what reqwest makes of responses.

use std::sync::Arc;

/// A client that speaks HTTP/2 from the beginning, without TLS.
pub(crate) fn http2_client() -> reqwest::Client {
    let tls = rustls::ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(rustls::RootCertStore::empty())
        .with_no_client_auth();
    reqwest::Client::builder()
        .tls_backend_preconfigured(tls)
        .http2_prior_knowledge()
        .build()
        .unwrap()
}
