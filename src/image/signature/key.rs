//! Public keys as sigstore uses them, with SHA-256 over what is signed.

use ring::signature::{self as ring_signature, UnparsedPublicKey, VerificationAlgorithm};

use crate::image::der::{BIT_STRING, Der, OID, SEQUENCE};
use crate::image::pem;

const RSA_ENCRYPTION: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x01];
const EC_PUBLIC_KEY: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01];
const P256: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07];
const P384: &[u8] = &[0x2b, 0x81, 0x04, 0x00, 0x22];
const ED25519: &[u8] = &[0x2b, 0x65, 0x70];

/// What kind of key it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Rsa,
    P256,
    P384,
    Ed25519,
}

/// A public key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct PublicKey {
    kind: Kind,
    /// As ring takes it: the point, or the two numbers of RSA.
    bits: Vec<u8>,
    /// The whole SubjectPublicKeyInfo.
    info: Vec<u8>,
}

impl PublicKey {
    /// Reads a PEM file with one key.
    pub(super) fn from_pem(text: &[u8]) -> Result<Self, &'static str> {
        let block = pem::one(text).ok_or("it is no PEM file with one key")?;
        if block.label != "PUBLIC KEY" {
            return Err("the PEM file has something else than a PUBLIC KEY");
        }
        Self::from_info(&block.bytes)
    }

    /// Reads a SubjectPublicKeyInfo.
    pub(super) fn from_info(info: &[u8]) -> Result<Self, &'static str> {
        let (algorithm, curve, bits) = parse(info).ok_or("it is no public key")?;
        let kind = match (algorithm, curve) {
            (RSA_ENCRYPTION, _) => Kind::Rsa,
            (EC_PUBLIC_KEY, Some(P256)) => Kind::P256,
            (EC_PUBLIC_KEY, Some(P384)) => Kind::P384,
            (ED25519, _) => Kind::Ed25519,
            _ => return Err("keys of this kind are not supported; P-256, P-384, Ed25519 and RSA are"),
        };
        Ok(Self { kind, bits: bits.to_vec(), info: info.to_vec() })
    }

    /// Its bytes, as PEM files have them.
    pub(super) fn info(&self) -> &[u8] {
        &self.info
    }

    /// Whether it is one of elliptic curves, as transparency logs have.
    pub(super) fn is_ecdsa(&self) -> bool {
        matches!(self.kind, Kind::P256 | Kind::P384)
    }

    /// Whether the key made the signature of the message.
    pub(super) fn verifies(&self, message: &[u8], signature: &[u8]) -> bool {
        let algorithm: &dyn VerificationAlgorithm = match self.kind {
            Kind::Rsa => &ring_signature::RSA_PKCS1_2048_8192_SHA256,
            Kind::P256 => &ring_signature::ECDSA_P256_SHA256_ASN1,
            Kind::P384 => &ring_signature::ECDSA_P384_SHA256_ASN1,
            Kind::Ed25519 => &ring_signature::ED25519,
        };
        UnparsedPublicKey::new(algorithm, &self.bits).verify(message, signature).is_ok()
    }
}

/// Algorithm, curve and key.
type Parts<'a> = (&'a [u8], Option<&'a [u8]>, &'a [u8]);

/// The parts of a SubjectPublicKeyInfo.
fn parse(info: &[u8]) -> Option<Parts<'_>> {
    let mut outer = Der(info);
    let mut info = Der(outer.expect(SEQUENCE)?);
    let mut algorithm = Der(info.expect(SEQUENCE)?);
    let (name, curve) = (algorithm.expect(OID)?, algorithm.optional(OID));
    let (unused, bits) = info.expect(BIT_STRING)?.split_first()?;
    (*unused == 0 && outer.0.is_empty()).then_some((name, curve, bits))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_key_is_refused() {
        for text in ["", "-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n", "x"] {
            assert!(PublicKey::from_pem(text.as_bytes()).is_err(), "{text}");
        }
        // secp256k1
        let other = [0x30, 0x10, 0x06, 7, 0x2a, 0x86, 0x48, 0xce, 0x3d, 2, 1, 6, 5, 0x2b, 0x81, 4, 0, 0x0a];
        let mut info = vec![0x30, 0x16];
        info.extend(other);
        info.extend([3, 2, 0, 4]);
        assert!(PublicKey::from_info(&info).unwrap_err().contains("not supported"));
    }
}
