//! Signature packets of version 4, and the key material that verifies them.
//!
//! SHA-1 counts in signatures that an owner makes about her own key, which come from a file that the policy trusts, and
//! nowhere else.

use ring::signature::{self as ring_signature, RsaPublicKeyComponents, UnparsedPublicKey};

use super::Problem;
use super::packet::Reader;

pub(super) const BINARY: u8 = 0x00;
pub(super) const CERTIFICATIONS: std::ops::RangeInclusive<u8> = 0x10..=0x13;
pub(super) const SUBKEY_BINDING: u8 = 0x18;
pub(super) const PRIMARY_BINDING: u8 = 0x19;
pub(super) const DIRECT_KEY: u8 = 0x1f;
pub(super) const KEY_REVOCATION: u8 = 0x20;
pub(super) const SUBKEY_REVOCATION: u8 = 0x28;

const SHA1: u8 = 2;
const SHA256: u8 = 8;
const SHA384: u8 = 9;
const SHA512: u8 = 10;

/// The numbers of a public key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Material {
    Rsa { n: Vec<u8>, e: Vec<u8> },
    P256(Vec<u8>),
    P384(Vec<u8>),
    Ed25519(Vec<u8>),
}

/// A signature packet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Signature {
    pub(super) kind: u8,
    hash: u8,
    /// Everything that is signed with the document.
    trailer: Vec<u8>,
    /// Whose it is.
    pub(super) issuer: Option<[u8; 8]>,
    pub(super) created: u64,
    /// Seconds after the making.
    pub(super) expires: Option<u64>,
    /// Of a self-signature: seconds after the key's making.
    pub(super) key_expires: Option<u64>,
    pub(super) flags: Option<u8>,
    /// The signature of a subkey about its primary key.
    pub(super) embedded: Option<Vec<u8>>,
    algorithm: u8,
    numbers: Vec<u8>,
}

impl Signature {
    /// Reads the body of a packet.
    pub(super) fn parse(body: &[u8]) -> Result<Self, Problem> {
        if body.first() != Some(&4) {
            return Err(Problem::Unsupported("its version"));
        }
        Self::parse_v4(body).ok_or(Problem::Malformed)?
    }

    fn parse_v4(body: &[u8]) -> Option<Result<Self, Problem>> {
        let mut reader = Reader(body);
        let [_, kind, algorithm, hash] = *reader.take(4)? else { return None };
        let hashed = reader.run(2)?;
        let end = body.len() - reader.0.len();
        let unhashed = reader.run(2)?;
        // The first bits of the hash only save time.
        reader.take(2)?;
        let mut trailer = body[..end].to_vec();
        trailer.extend([4, 0xff]);
        trailer.extend(u32::try_from(end).ok()?.to_be_bytes());
        let mut signature = Self {
            kind,
            hash,
            trailer,
            issuer: None,
            created: 0,
            expires: None,
            key_expires: None,
            flags: None,
            embedded: None,
            algorithm,
            numbers: reader.0.to_vec(),
        };
        // What is not signed can only say who to ask.
        Some(
            signature
                .hashed(hashed)?
                .and_then(|()| signature.unhashed(unhashed).ok_or(Problem::Malformed))
                .map(|()| signature),
        )
    }

    fn hashed(&mut self, area: &[u8]) -> Option<Result<(), Problem>> {
        let mut reader = Reader(area);
        let mut has_time = false;
        while let Some((kind, is_critical, body)) = subpacket(&mut reader)? {
            match (kind, body.len()) {
                (2, 4) => {
                    self.created = number(body);
                    has_time = true;
                }
                (3, 4) => self.expires = Some(number(body)).filter(|seconds| *seconds != 0),
                (9, 4) => self.key_expires = Some(number(body)).filter(|seconds| *seconds != 0),
                (16, 8) => self.issuer = body.try_into().ok(),
                (27, 1..) => self.flags = Some(body[0]),
                (32, _) => self.embedded = Some(body.to_vec()),
                (33, 21) if body[0] == 4 => self.issuer = body[13..].try_into().ok(),
                // Preferences and names of the signer, which change nothing here.
                (4..=7 | 11 | 12 | 21..=26 | 28..=31 | 33..=35 | 38 | 39, _) => {}
                _ if is_critical => return Some(Err(Problem::Unsupported("a critical part of it"))),
                _ => {}
            }
        }
        has_time.then_some(Ok(()))
    }

    fn unhashed(&mut self, area: &[u8]) -> Option<()> {
        let mut reader = Reader(area);
        while let Some((kind, _, body)) = subpacket(&mut reader)? {
            match (kind, body.len()) {
                (16, 8) => self.issuer = self.issuer.or(body.try_into().ok()),
                // Its own signature says whether it is good.
                (32, _) => self.embedded = self.embedded.take().or_else(|| Some(body.to_vec())),
                _ => {}
            }
        }
        Some(())
    }

    /// Whether it has come to its own end.
    pub(super) fn has_expired(&self, now: u64) -> bool {
        self.expires.is_some_and(|seconds| self.created.saturating_add(seconds) <= now)
    }

    /// Whether `key` made it over `document`.
    pub(super) fn verifies(&self, key: &Material, document: &[u8]) -> bool {
        let message = [document, &self.trailer].concat();
        self.check(key, &message).unwrap_or(false)
    }

    fn check(&self, key: &Material, message: &[u8]) -> Option<bool> {
        let mut reader = Reader(&self.numbers);
        match (key, self.algorithm) {
            (Material::Rsa { n, e }, 1 | 3) => {
                let parameters = match self.hash {
                    SHA256 => &ring_signature::RSA_PKCS1_2048_8192_SHA256,
                    SHA384 => &ring_signature::RSA_PKCS1_2048_8192_SHA384,
                    SHA512 => &ring_signature::RSA_PKCS1_2048_8192_SHA512,
                    SHA1 if self.kind != BINARY => {
                        &ring_signature::RSA_PKCS1_2048_8192_SHA1_FOR_LEGACY_USE_ONLY
                    }
                    _ => return None,
                };
                let number = padded(reader.integer()?, n.len())?;
                Some(RsaPublicKeyComponents { n, e }.verify(parameters, message, &number).is_ok())
            }
            (Material::P256(point), 19) if self.hash == SHA256 => {
                let pair = pair(&mut reader, 32)?;
                let key = UnparsedPublicKey::new(&ring_signature::ECDSA_P256_SHA256_FIXED, point);
                Some(key.verify(message, &pair).is_ok())
            }
            (Material::P384(point), 19) if self.hash == SHA384 => {
                let pair = pair(&mut reader, 48)?;
                let key = UnparsedPublicKey::new(&ring_signature::ECDSA_P384_SHA384_FIXED, point);
                Some(key.verify(message, &pair).is_ok())
            }
            (Material::Ed25519(point), 22 | 27) => {
                let algorithm = match self.hash {
                    SHA256 => &ring::digest::SHA256,
                    SHA384 => &ring::digest::SHA384,
                    SHA512 => &ring::digest::SHA512,
                    _ => return None,
                };
                let digest = ring::digest::digest(algorithm, message);
                let pair = match self.algorithm {
                    22 => pair(&mut reader, 32)?,
                    _ => reader.take(64)?.to_vec(),
                };
                let key = UnparsedPublicKey::new(&ring_signature::ED25519, point);
                Some(key.verify(digest.as_ref(), &pair).is_ok())
            }
            _ => None,
        }
    }
}

/// Two numbers of a fixed width, one after the other.
fn pair(reader: &mut Reader<'_>, width: usize) -> Option<Vec<u8>> {
    let mut both = padded(reader.integer()?, width)?;
    both.extend(padded(reader.integer()?, width)?);
    Some(both)
}

fn padded(number: &[u8], width: usize) -> Option<Vec<u8>> {
    let missing = width.checked_sub(number.len())?;
    let mut bytes = vec![0; missing];
    bytes.extend_from_slice(number);
    Some(bytes)
}

fn number(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0, |sum, byte| sum << 8 | u64::from(*byte))
}

/// Kind, whether it must be understood, and body of the next subpacket.
fn subpacket<'a>(reader: &mut Reader<'a>) -> Option<Option<(u8, bool, &'a [u8])>> {
    if reader.0.is_empty() {
        return Some(None);
    }
    let length = match reader.byte()? {
        length @ 0..=191 => usize::from(length),
        first @ 192..=254 => ((usize::from(first) - 192) << 8) + usize::from(reader.byte()?) + 192,
        255 => usize::try_from(reader.number(4)?).ok()?,
    };
    let (kind, body) = reader.take(length)?.split_first()?;
    Some(Some((kind & 0x7f, kind & 0x80 != 0, body)))
}
