//! Private keys that a passphrase encrypts: PKCS #8 with PBES2 (RFC 8018), as openssl writes them, and the older form with
//! `DEK-Info`, whose key is an MD5 sum.

use std::num::NonZeroU32;

use aes::cipher::{BlockCipherDecrypt as _, KeyInit as _};
use aes::{Aes128, Aes192, Aes256};
use md5::{Digest as _, Md5};
use ring::pbkdf2;

use crate::image::der::{Der, OCTET_STRING, OID, SEQUENCE};
use crate::image::pem::Block;

/// What a wrong passphrase looks like.
pub(super) const WRONG: &str = "the passphrase is wrong, or the key is malformed";
const MISSING: &str =
    "it is encrypted: give its passphrase as KEY:PASSPHRASE, or a file that has it as KEY:file=PATH";
const METHOD: &str = "it is encrypted in a way that is not supported; AES with PBKDF2 or scrypt is";
const MALFORMED: &str = "it is malformed";

const PBES2: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x05, 0x0d];
const PBKDF2: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x05, 0x0c];
const SCRYPT: &[u8] = &[0x2b, 0x06, 0x01, 0x04, 0x01, 0xda, 0x47, 0x04, 0x0b];
/// HMAC with SHA-1, SHA-256, SHA-384 and SHA-512: the last number of it.
const HMAC_OF: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x02];
/// AES in CBC mode: the last number is 2, 22 or 42.
const AES: &[u8] = &[0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x01];
/// Nobody has the patience for more.
const ITERATIONS_MAX: u64 = 10_000_000;
/// 128 * N * r bytes are needed: 256 MiB.
const SCRYPT_MAX: u64 = 1 << 21;

/// Decrypts an `ENCRYPTED PRIVATE KEY`.
pub(super) fn pkcs8(der: &[u8], passphrase: Option<&[u8]>) -> Result<Vec<u8>, &'static str> {
    let passphrase = passphrase.ok_or(MISSING)?;
    let mut outer = Der(Der(der).expect(SEQUENCE).ok_or(MALFORMED)?);
    let mut algorithm = Der(outer.expect(SEQUENCE).ok_or(MALFORMED)?);
    let encrypted = outer.expect(OCTET_STRING).ok_or(MALFORMED)?;
    if algorithm.expect(OID) != Some(PBES2) {
        return Err(METHOD);
    }
    let mut parameters = Der(algorithm.expect(SEQUENCE).ok_or(MALFORMED)?);
    let mut derivation = Der(parameters.expect(SEQUENCE).ok_or(MALFORMED)?);
    let mut scheme = Der(parameters.expect(SEQUENCE).ok_or(MALFORMED)?);
    let length = match scheme.expect(OID).and_then(|oid| oid.strip_prefix(AES)) {
        Some([2]) => 16,
        Some([22]) => 24,
        Some([42]) => 32,
        _ => return Err(METHOD),
    };
    let iv = scheme.expect(OCTET_STRING).and_then(|iv| iv.try_into().ok()).ok_or(MALFORMED)?;
    let key = match derivation.expect(OID) {
        Some(PBKDF2) => by_pbkdf2(derivation, passphrase, length),
        Some(SCRYPT) => by_scrypt(derivation, passphrase, length),
        _ => Err(METHOD),
    }?;
    decrypt(&key, iv, encrypted).ok_or(WRONG)
}

fn by_pbkdf2(mut derivation: Der<'_>, passphrase: &[u8], length: usize) -> Result<Vec<u8>, &'static str> {
    let mut parameters = Der(derivation.expect(SEQUENCE).ok_or(MALFORMED)?);
    let salt = parameters.expect(OCTET_STRING).ok_or(MALFORMED)?;
    let rounds = parameters.number().and_then(small).filter(|rounds| *rounds <= ITERATIONS_MAX);
    let rounds = rounds.and_then(|rounds| NonZeroU32::new(u32::try_from(rounds).ok()?)).ok_or(MALFORMED)?;
    // The length of the key may follow, and the function; without one it is SHA-1.
    let mut next = parameters.next();
    if next.is_some_and(|(tag, _)| tag != SEQUENCE) {
        next = parameters.next();
    }
    let function = match next {
        None => Some(&[7][..]),
        Some((_, function)) => Der(function).expect(OID).and_then(|oid| oid.strip_prefix(HMAC_OF)),
    };
    let algorithm = match function {
        Some([7]) => pbkdf2::PBKDF2_HMAC_SHA1,
        Some([9]) => pbkdf2::PBKDF2_HMAC_SHA256,
        Some([10]) => pbkdf2::PBKDF2_HMAC_SHA384,
        Some([11]) => pbkdf2::PBKDF2_HMAC_SHA512,
        _ => return Err(METHOD),
    };
    let mut key = vec![0; length];
    pbkdf2::derive(algorithm, rounds, salt, passphrase, &mut key);
    Ok(key)
}

fn by_scrypt(mut derivation: Der<'_>, passphrase: &[u8], length: usize) -> Result<Vec<u8>, &'static str> {
    let mut parameters = Der(derivation.expect(SEQUENCE).ok_or(MALFORMED)?);
    let salt = parameters.expect(OCTET_STRING).ok_or(MALFORMED)?;
    let mut number = || parameters.number().and_then(small).ok_or(MALFORMED);
    let (n, r, p) = (number()?, number()?, number()?);
    // What a file asks for must not take all memory.
    if !n.is_power_of_two() || n < 2 || n.saturating_mul(r) > SCRYPT_MAX || p > 16 {
        return Err("it is encrypted with settings that take too much memory");
    }
    let log_n = u8::try_from(n.trailing_zeros()).map_err(|_| MALFORMED)?;
    let narrow = |value: u64| u32::try_from(value).map_err(|_| MALFORMED);
    let settings = scrypt::Params::new(log_n, narrow(r)?, narrow(p)?, length).map_err(|_| MALFORMED)?;
    let mut key = vec![0; length];
    scrypt::scrypt(passphrase, salt, &settings, &mut key).map_err(|_| MALFORMED)?;
    Ok(key)
}

fn small(bytes: &[u8]) -> Option<u64> {
    (bytes.len() <= 8).then(|| bytes.iter().fold(0, |sum, byte| sum << 8 | u64::from(*byte)))
}

/// Decrypts a block that says in its headers how it is encrypted; nothing for one that is not.
pub(super) fn traditional(block: &Block, passphrase: Option<&[u8]>) -> Result<Option<Vec<u8>>, &'static str> {
    let Some((_, info)) = block.headers.iter().find(|(name, _)| name == "DEK-Info") else { return Ok(None) };
    let passphrase = passphrase.ok_or(MISSING)?;
    let (algorithm, iv) = info.split_once(',').ok_or(MALFORMED)?;
    let length = match algorithm {
        "AES-128-CBC" => 16,
        "AES-192-CBC" => 24,
        "AES-256-CBC" => 32,
        _ => return Err(METHOD),
    };
    let iv: [u8; 16] = from_hex(iv.trim()).and_then(|iv| iv.try_into().ok()).ok_or(MALFORMED)?;
    // As openssl does it: sums of the last sum, the passphrase and the first half of the first block.
    let (mut key, mut last) = (Vec::new(), Vec::new());
    while key.len() < length {
        let mut hasher = Md5::new();
        hasher.update(&last);
        hasher.update(passphrase);
        hasher.update(&iv[..8]);
        last = hasher.finalize().to_vec();
        key.extend_from_slice(&last);
    }
    decrypt(&key[..length], iv, &block.bytes).map(Some).ok_or(WRONG)
}

fn from_hex(text: &str) -> Option<Vec<u8>> {
    let pairs = text.as_bytes().chunks(2);
    pairs.map(|pair| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()).collect()
}

/// AES in CBC mode, with the padding of PKCS #7, which must be right.
fn decrypt(key: &[u8], mut iv: [u8; 16], encrypted: &[u8]) -> Option<Vec<u8>> {
    if encrypted.is_empty() || !encrypted.len().is_multiple_of(16) {
        return None;
    }
    let mut plain = Vec::with_capacity(encrypted.len());
    for block in encrypted.chunks_exact(16) {
        let mut out: [u8; 16] = block.try_into().ok()?;
        let text = (&mut out).into();
        match key.len() {
            16 => Aes128::new_from_slice(key).ok()?.decrypt_block(text),
            24 => Aes192::new_from_slice(key).ok()?.decrypt_block(text),
            _ => Aes256::new_from_slice(key).ok()?.decrypt_block(text),
        }
        plain.extend(out.iter().zip(iv).map(|(byte, mask)| byte ^ mask));
        iv = block.try_into().ok()?;
    }
    let padding = usize::from(*plain.last()?);
    let end = plain.len().checked_sub(padding)?;
    let is_right =
        (1..=16).contains(&padding) && plain[end..].iter().all(|byte| usize::from(*byte) == padding);
    plain.truncate(end);
    is_right.then_some(plain)
}
