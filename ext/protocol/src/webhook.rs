//! The signatures of webhooks (PROTOCOL.md 6.5 and 7.1). [`check`] decides whether a request is from the server.

use std::fmt;
use std::time::{Duration, SystemTime};

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use serde_json::Value;

/// A header with more signatures is not read further.
const MOST_SIGNATURES: usize = 8;

/// The server's public Ed25519 keys.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SigningKeys(Vec<SigningKey>);

#[derive(Clone, Debug, PartialEq, Eq)]
struct SigningKey {
    id: String,
    bytes: [u8; 32],
}

impl SigningKeys {
    /// The Ed25519 keys of a JWK set. Other keys are ignored.
    pub fn parse(json: &[u8]) -> Self {
        let set: Value = serde_json::from_slice(json).unwrap_or_default();
        let keys = set["keys"].as_array().into_iter().flatten();
        Self(keys.filter_map(SigningKey::of).collect())
    }

    fn get(&self, id: &str) -> Option<&SigningKey> {
        self.0.iter().find(|key| key.id == id)
    }
}

impl SigningKey {
    fn of(key: &Value) -> Option<Self> {
        if key["kty"] != "OKP" || key["crv"] != "Ed25519" {
            return None;
        }
        Some(Self {
            id: key["kid"].as_str()?.to_owned(),
            bytes: decoded(key["x"].as_str()?)?,
        })
    }
}

/// Why a request is not accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// The header has no signature of the expected form.
    NoSignature,
    /// The signature is too old, or from the future.
    Age,
    /// No key has the signature's `kid`. The server may have new keys.
    UnknownKey,
    /// The signature is not that of the body.
    Mismatch,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NoSignature => "it has no signature",
            Self::Age => "its signature is too old, or the clocks differ",
            Self::UnknownKey => "the server has no key with the signature's kid",
            Self::Mismatch => "the signature is not that of the body",
        })
    }
}

/// One signature of a header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Signature<'a> {
    /// Decimal seconds since 1970.
    timestamp: &'a str,
    key_id: &'a str,
    bytes: [u8; 64],
}

/// The signatures of a header: `t=<seconds>,kid=<key>,ed25519=<base64url>`. There may be several: each `ed25519` counts
/// with the `t` and the `kid` before it.
fn signatures(header: &str) -> Vec<Signature<'_>> {
    let (mut timestamp, mut key_id) = (None, None);
    let mut signatures = Vec::new();
    for field in header.split(',') {
        match field.trim().split_once('=') {
            Some(("t", value)) => timestamp = Some(value),
            Some(("kid", value)) => key_id = Some(value),
            Some(("ed25519", value)) => {
                if let (Some(timestamp), Some(key_id), Some(bytes)) = (timestamp, key_id, decoded(value)) {
                    signatures.push(Signature {
                        timestamp,
                        key_id,
                        bytes,
                    });
                }
            }
            _ => {}
        }
    }
    signatures.truncate(MOST_SIGNATURES);
    signatures
}

fn decoded<const SIZE: usize>(text: &str) -> Option<[u8; SIZE]> {
    BASE64_URL_SAFE_NO_PAD.decode(text).ok()?.try_into().ok()
}

/// Whether the server has sent a request with this `Webhook-Signature` and this body, at most `tolerance` ago. One
/// valid signature is enough. `verify` checks an Ed25519 signature: key, message, signature.
///
/// # Errors
/// Why not.
pub fn check(
    header: &str,
    body: &[u8],
    keys: &SigningKeys,
    now: SystemTime,
    tolerance: Duration,
    verify: impl Fn(&[u8], &[u8], &[u8]) -> bool,
) -> Result<(), Refusal> {
    let mut refusal = Refusal::NoSignature;
    for signature in signatures(header) {
        let found = match age(&signature, now).map(|age| (age <= tolerance, keys.get(signature.key_id))) {
            None => Refusal::NoSignature,
            Some((false, _)) => Refusal::Age,
            Some((true, None)) => Refusal::UnknownKey,
            Some((true, Some(key))) => {
                let message = [signature.timestamp.as_bytes(), b".", body].concat();
                if verify(&key.bytes, &message, &signature.bytes) {
                    return Ok(());
                }
                Refusal::Mismatch
            }
        };
        // With new keys, a signature by an unknown one may be valid.
        if refusal != Refusal::UnknownKey {
            refusal = found;
        }
    }
    Err(refusal)
}

/// How far a signature's time is from now, in either direction. `None` if it is no time.
fn age(signature: &Signature<'_>, now: SystemTime) -> Option<Duration> {
    let is_decimal = signature.timestamp.bytes().all(|byte| byte.is_ascii_digit());
    let seconds = signature.timestamp.parse().ok().filter(|_| is_decimal)?;
    let time = SystemTime::UNIX_EPOCH.checked_add(Duration::from_secs(seconds))?;
    let age = now.duration_since(time);
    Some(age.unwrap_or_else(|future| future.duration()))
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: u64 = 1_800_000_000;
    const TOLERANCE: u64 = 300;

    fn keys() -> SigningKeys {
        let x = BASE64_URL_SAFE_NO_PAD.encode([7; 32]);
        let set = format!(
            r#"{{"keys": [
                {{"kty": "OKP", "crv": "Ed25519", "kid": "a", "x": "{x}"}},
                {{"kty": "OKP", "crv": "Ed25519", "kid": "short", "x": "AAAA"}},
                {{"kty": "EC", "crv": "P-256", "kid": "ec", "x": "{x}"}}, 7
            ]}}"#
        );
        SigningKeys::parse(set.as_bytes())
    }

    /// A "signature": 64 times a byte.
    fn signed(time: u64, key: &str, byte: u8) -> String {
        format!(
            "t={time},kid={key},ed25519={}",
            BASE64_URL_SAFE_NO_PAD.encode([byte; 64])
        )
    }

    /// Accepts signatures of ones by key "a", of the message "<time>.body".
    fn outcome(header: &str) -> Result<(), Refusal> {
        let verify = |key: &[u8], message: &[u8], signature: &[u8]| {
            assert_eq!(key, [7; 32]);
            assert!(message.ends_with(b".body") && message[0].is_ascii_digit());
            signature == [1; 64]
        };
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(NOW);
        check(header, b"body", &keys(), now, Duration::from_secs(TOLERANCE), verify)
    }

    #[test]
    fn accepts_a_signature_of_a_known_key_within_the_tolerance() {
        for time in [NOW - TOLERANCE, NOW, NOW + TOLERANCE] {
            assert_eq!(outcome(&signed(time, "a", 1)), Ok(()));
        }
        for time in [0, NOW - TOLERANCE - 1, NOW + TOLERANCE + 1, u64::MAX >> 2] {
            assert_eq!(outcome(&signed(time, "a", 1)), Err(Refusal::Age), "{time}");
        }
        assert_eq!(outcome(&signed(NOW, "a", 2)), Err(Refusal::Mismatch));
        for key in ["b", "short", "ec", ""] {
            assert_eq!(outcome(&signed(NOW, key, 1)), Err(Refusal::UnknownKey), "{key}");
        }
    }

    #[test]
    fn a_malformed_header_has_no_signature() {
        let valid = signed(NOW, "a", 1);
        let malformed = [
            "",
            "t",
            "=,=",
            "ed25519=AAAA",
            &valid.replace("t=", "x="),
            &valid.replace("kid=", "key="),
            &valid.replace("ed25519=", "v1="),
            &format!("{valid}="),
            &valid.replace(&NOW.to_string(), ""),
            &valid.replace(&NOW.to_string(), "+1800000000"),
            &valid.replace(&NOW.to_string(), "99999999999999999999999"),
        ];
        for header in malformed {
            assert_eq!(outcome(header), Err(Refusal::NoSignature), "{header}");
        }
        assert_eq!(outcome(&valid.replace(',', " , ")), Ok(()));
    }

    #[test]
    fn one_valid_signature_of_several_is_enough() {
        let (valid, wrong) = (signed(NOW, "a", 1), signed(NOW, "a", 2));
        let (old, unknown) = (signed(0, "a", 1), signed(NOW, "b", 1));
        for others in [&wrong, &old, &unknown] {
            assert_eq!(outcome(&format!("{others},{valid}")), Ok(()));
            assert_eq!(outcome(&format!("{valid},{others}")), Ok(()));
        }
        // The same time and key count for two signatures.
        let second = BASE64_URL_SAFE_NO_PAD.encode([1; 64]);
        assert_eq!(outcome(&format!("{wrong},ed25519={second}")), Ok(()));
        assert_eq!(outcome(&format!("{unknown},{wrong}")), Err(Refusal::UnknownKey));
        assert_eq!(outcome(&format!("{wrong},{unknown}")), Err(Refusal::UnknownKey));
        let many = vec![wrong; MOST_SIGNATURES].join(",");
        assert_eq!(outcome(&format!("{many},{valid}")), Err(Refusal::Mismatch));
    }

    #[test]
    fn a_set_that_is_none_has_no_keys() {
        for json in ["", "[]", "{}", r#"{"keys": 1}"#, r#"{"keys": [{}]}"#] {
            assert_eq!(SigningKeys::parse(json.as_bytes()), SigningKeys::default());
        }
    }
}
