//! Ed25519 signatures.

use rustls::SignatureScheme;
use rustls::crypto::ring::default_provider;

/// Whether `signature` is that of `message` by the private key of `public_key`.
pub fn is_valid(public_key: &[u8], message: &[u8], signature: &[u8]) -> bool {
    let schemes = default_provider().signature_verification_algorithms.mapping;
    let ed25519 = schemes.iter().find(|(scheme, _)| *scheme == SignatureScheme::ED25519);
    let algorithms = ed25519.map_or(&[][..], |(_, algorithms)| algorithms);
    algorithms
        .iter()
        .any(|algorithm| algorithm.verify_signature(public_key, message, signature).is_ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 8032, 7.1, test 2.
    #[test]
    fn accepts_only_the_signature_of_the_message() {
        let bytes = |hex: &str| -> Vec<u8> {
            (0..hex.len())
                .step_by(2)
                .map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap())
                .collect()
        };
        let key = bytes("3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c");
        let signature = bytes(
            "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da\
             085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00",
        );
        assert!(is_valid(&key, &[0x72], &signature));
        assert!(!is_valid(&key, &[0x73], &signature));
        assert!(!is_valid(&key, &[0x72], &signature[..63]));
        assert!(!is_valid(&key[..31], &[0x72], &signature));
        let mut changed = signature;
        changed[0] ^= 1;
        assert!(!is_valid(&key, &[0x72], &changed));
    }
}
