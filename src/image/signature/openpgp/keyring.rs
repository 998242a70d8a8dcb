//! The keys of a file, with what their owners say about them.

use super::Problem;
use super::packet::{
    self, PADDING, PUBLIC_KEY, PUBLIC_SUBKEY, Packet, Reader, SIGNATURE, TRUST, USER_ATTRIBUTE, USER_ID,
};
use super::signature::{
    CERTIFICATIONS, DIRECT_KEY, KEY_REVOCATION, Material, PRIMARY_BINDING, SUBKEY_BINDING, SUBKEY_REVOCATION,
    Signature,
};

/// In key flags: may sign.
const MAY_SIGN: u8 = 0x02;

/// One key that may have signed something.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Key {
    pub(super) id: [u8; 8],
    pub(super) material: Material,
    /// Why nothing that it signed counts.
    pub(super) problem: Option<&'static str>,
}

/// A key packet.
struct Body {
    bytes: Vec<u8>,
    created: u64,
    id: [u8; 8],
    material: Option<Material>,
}

/// Reads all keys of a file at a time.
pub(super) fn read(file: &[u8], now: u64) -> Result<Vec<Key>, Problem> {
    let packets = packet::split(&packet::dearmor(file)?)?;
    let mut keys = Vec::new();
    let is_start = |packet: &Packet| packet.tag == PUBLIC_KEY;
    let mut rest = packets.as_slice();
    while let Some(start) = rest.iter().position(is_start) {
        let after = &rest[start + 1..];
        let end = after.iter().position(is_start).unwrap_or(after.len());
        // A key of a kind that is not known is no reason to refuse the others.
        if let Some(primary) = body(&rest[start].body) {
            keys.extend(certificate(&primary, &after[..end], now));
        }
        rest = &after[end..];
    }
    Ok(keys)
}

/// The primary key and the subkeys of one owner.
fn certificate(primary: &Body, packets: &[Packet], now: u64) -> Vec<Key> {
    let Some(material) = &primary.material else { return Vec::new() };
    let own = prefixed(&primary.bytes);
    let mut newest: Option<Signature> = None;
    let mut is_revoked = false;
    let mut subkeys: Vec<(Body, Option<Signature>, bool)> = Vec::new();
    // What the following signatures are about.
    let mut subject = own.clone();
    for packet in packets {
        match packet.tag {
            USER_ID | USER_ATTRIBUTE => {
                let mark = if packet.tag == USER_ID { 0xb4 } else { 0xd1 };
                subject = own.clone();
                subject.push(mark);
                subject.extend(u32::try_from(packet.body.len()).unwrap_or(u32::MAX).to_be_bytes());
                subject.extend(&packet.body);
            }
            PUBLIC_SUBKEY => {
                let Some(subkey) = body(&packet.body) else {
                    // Signatures about it must not be taken for others.
                    subject = Vec::new();
                    continue;
                };
                subject = [own.clone(), prefixed(&subkey.bytes)].concat();
                subkeys.push((subkey, None, false));
            }
            SIGNATURE => {
                let Ok(signature) = Signature::parse(&packet.body) else { continue };
                let about = match signature.kind {
                    DIRECT_KEY | KEY_REVOCATION => &own,
                    _ => &subject,
                };
                if about.is_empty() || !signature.verifies(material, about) {
                    continue;
                }
                let kept = match (signature.kind, subkeys.last_mut()) {
                    (KEY_REVOCATION, _) => {
                        is_revoked = true;
                        continue;
                    }
                    (SUBKEY_REVOCATION, Some((_, _, revoked))) => {
                        *revoked = true;
                        continue;
                    }
                    (SUBKEY_BINDING, Some((_, binding, _))) => binding,
                    (DIRECT_KEY, _) => &mut newest,
                    (kind, None) if CERTIFICATIONS.contains(&kind) => &mut newest,
                    _ => continue,
                };
                if kept.as_ref().is_none_or(|kept| kept.created <= signature.created) {
                    *kept = Some(signature);
                }
            }
            TRUST | PADDING => {}
            _ => subject = Vec::new(),
        }
    }
    let general = match &newest {
        None => Some("it has no valid signature of its owner"),
        Some(_) if is_revoked => Some("it has been revoked"),
        Some(newest) => newest.key_expires.and_then(|seconds| expired(primary.created, seconds, now)),
    };
    let may_sign = newest.as_ref().and_then(|newest| newest.flags).is_none_or(|flags| flags & MAY_SIGN != 0);
    let problem = general.or((!may_sign).then_some("it is not made for signatures"));
    let mut keys = vec![Key { id: primary.id, material: material.clone(), problem }];
    for (subkey, binding, is_revoked) in subkeys {
        let Some(material) = subkey.material.clone() else { continue };
        let own_problem = match &binding {
            None => Some("it does not belong to its primary key"),
            Some(_) if is_revoked => Some("it has been revoked"),
            Some(binding) => subkey_problem(binding, &subkey, &material, &own, now),
        };
        keys.push(Key { id: subkey.id, material, problem: general.or(own_problem) });
    }
    keys
}

/// A subkey that signs must say itself whose it is, or anybody could claim the signatures of others.
fn subkey_problem(
    binding: &Signature,
    subkey: &Body,
    material: &Material,
    primary: &[u8],
    now: u64,
) -> Option<&'static str> {
    if binding.flags.is_none_or(|flags| flags & MAY_SIGN == 0) {
        return Some("it is not made for signatures");
    }
    let back = binding.embedded.as_deref().and_then(|body| Signature::parse(body).ok());
    let both = [primary, &prefixed(&subkey.bytes)].concat();
    if !back.is_some_and(|back| back.kind == PRIMARY_BINDING && back.verifies(material, &both)) {
        return Some("it does not say which primary key it belongs to");
    }
    binding.key_expires.and_then(|seconds| expired(subkey.created, seconds, now))
}

fn expired(created: u64, seconds: u64, now: u64) -> Option<&'static str> {
    (created.saturating_add(seconds) <= now).then_some("it has expired")
}

/// A key as it stands in what is signed about it.
fn prefixed(bytes: &[u8]) -> Vec<u8> {
    let mut all = vec![0x99];
    all.extend(u16::try_from(bytes.len()).unwrap_or(u16::MAX).to_be_bytes());
    all.extend(bytes);
    all
}

fn body(bytes: &[u8]) -> Option<Body> {
    let mut reader = Reader(bytes);
    if reader.byte()? != 4 {
        return None;
    }
    let created = reader.number(4)?;
    let algorithm = reader.byte()?;
    let digest = ring::digest::digest(&ring::digest::SHA1_FOR_LEGACY_USE_ONLY, &prefixed(bytes));
    let id = digest.as_ref()[12..].try_into().ok()?;
    Some(Body { bytes: bytes.to_vec(), created, id, material: material(algorithm, &mut reader) })
}

fn material(algorithm: u8, reader: &mut Reader<'_>) -> Option<Material> {
    const P256: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07];
    const P384: &[u8] = &[0x2b, 0x81, 0x04, 0x00, 0x22];
    const ED25519: &[u8] = &[0x2b, 0x06, 0x01, 0x04, 0x01, 0xda, 0x47, 0x0f, 0x01];
    match algorithm {
        1 | 3 => Some(Material::Rsa { n: reader.integer()?.to_vec(), e: reader.integer()?.to_vec() }),
        19 | 22 => {
            let curve = reader.run(1)?;
            let point = reader.integer()?;
            match curve {
                P256 => Some(Material::P256(point.to_vec())),
                P384 => Some(Material::P384(point.to_vec())),
                ED25519 => point.strip_prefix(&[0x40]).map(|point| Material::Ed25519(point.to_vec())),
                _ => None,
            }
        }
        27 => reader.take(32).map(|point| Material::Ed25519(point.to_vec())),
        _ => None,
    }
}
