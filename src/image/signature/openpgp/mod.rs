//! Verifies signed messages of OpenPGP, as simple signing uses them: version 4 keys and signatures, RSA, ECDSA on P-256
//! and P-384, and Ed25519. That is all that is read of the standard; the mathematics are ring's.
//!
//! A message has exactly one signature. The key must belong to the file that the policy names, be bound to its primary key
//! by signatures both ways, and be neither expired, revoked, nor made for something else.

mod keyring;
mod packet;
mod signature;

use keyring::Key;
use packet::{COMPRESSED, LITERAL, MARKER, ONE_PASS_SIGNATURE, PADDING, Packet, Reader, SIGNATURE};
use signature::{BINARY, Signature};

/// Why a message or key file is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum Problem {
    /// Not OpenPGP, or broken.
    #[error("it is malformed")]
    Malformed,
    /// A part of the standard that is not used for images.
    #[error("{0} is not supported")]
    Unsupported(&'static str),
    /// Not one signature over one document.
    #[error("it is no document with one signature")]
    Form,
    /// Signed by somebody else.
    #[error("signature by key {0} is not accepted")]
    UnknownKey(String),
    /// Signed by a key that does not count.
    #[error("signature by key {0} is not accepted: {1}")]
    UnusableKey(String, &'static str),
    /// Too late.
    #[error("it has expired")]
    Expired,
    /// Something was changed.
    #[error("cryptographic signature verification failed")]
    Invalid,
}

/// The keys that a policy trusts.
#[derive(Debug, Clone, Default)]
pub(super) struct Keyring {
    keys: Vec<Key>,
    now: u64,
}

impl Keyring {
    /// Reads key files, binary or armoured, as of `now`.
    pub(super) fn read<'f>(files: impl IntoIterator<Item = &'f [u8]>, now: u64) -> Result<Self, Problem> {
        let mut keys = Vec::new();
        for file in files {
            keys.extend(keyring::read(file, now)?);
        }
        Ok(Self { keys, now })
    }

    /// The owners of the keys in a file: their addresses, or what else they call themselves.
    pub(super) fn owners(file: &[u8]) -> Result<Vec<String>, Problem> {
        let packets = packet::split(&packet::dearmor(file)?)?;
        let name = |packet: Packet| {
            let name = String::from_utf8_lossy(&packet.body).into_owned();
            let address = name.split_once('<').and_then(|(_, rest)| rest.split_once('>'));
            address.map_or(name.clone(), |(address, _)| address.to_owned())
        };
        Ok(packets.into_iter().filter(|packet| packet.tag == packet::USER_ID).map(name).collect())
    }

    /// Whether nothing can be verified.
    pub(super) fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    /// The document in a signed message.
    pub(super) fn verify(&self, message: &[u8]) -> Result<Vec<u8>, Problem> {
        let (document, signature) = parts(packet::split(message)?)?;
        let signature = Signature::parse(&signature)?;
        if signature.kind != BINARY {
            return Err(Problem::Unsupported("its type"));
        }
        let Some(issuer) = signature.issuer else { return Err(Problem::Form) };
        let name: String = issuer.iter().map(|byte| format!("{byte:02X}")).collect();
        let mut last = Problem::UnknownKey(name.clone());
        for key in self.keys.iter().filter(|key| key.id == issuer) {
            if !signature.verifies(&key.material, &document) {
                last = Problem::Invalid;
            } else if let Some(problem) = key.problem {
                return Err(Problem::UnusableKey(name, problem));
            } else if signature.has_expired(self.now) {
                return Err(Problem::Expired);
            } else {
                return Ok(document);
            }
        }
        Err(last)
    }
}

/// The document and the one signature of a message.
fn parts(mut packets: Vec<Packet>) -> Result<(Vec<u8>, Vec<u8>), Problem> {
    let is_noise = |packet: &Packet| matches!(packet.tag, MARKER | PADDING);
    packets.retain(|packet| !is_noise(packet));
    if let [Packet { tag: COMPRESSED, body }] = packets.as_slice() {
        packets = packet::decompress(body)?;
        packets.retain(|packet| !is_noise(packet));
    }
    let (literal, signature) = match packets.as_slice() {
        [one_pass, literal, signature] if one_pass.tag == ONE_PASS_SIGNATURE => (literal, signature),
        [signature, literal] => (literal, signature),
        _ => return Err(Problem::Form),
    };
    if literal.tag != LITERAL || signature.tag != SIGNATURE {
        return Err(Problem::Form);
    }
    let mut reader = Reader(&literal.body);
    let document = (|| {
        reader.byte()?;
        reader.run(1)?;
        reader.take(4)?;
        Some(reader.0.to_vec())
    })();
    Ok((document.ok_or(Problem::Malformed)?, signature.body.clone()))
}

#[cfg(test)]
mod tests;
