//! JSON web encryption (RFC 7516): the options of a layer for one or more recipients.
//!
//! Read are all forms, with RSA-OAEP, RSA-OAEP-256 and ECDH-ES, alone or with AES key wrap, and AES-GCM. Written is what
//! everybody reads: RSA-OAEP or ECDH-ES+A256KW, with A256GCM.

use aes_kw::{KeyInit as _, KwAes128, KwAes192, KwAes256};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64;
use ring::aead::{AES_128_GCM, AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use ring::digest::{SHA1_FOR_LEGACY_USE_ONLY, SHA256};
use ring::rand::{SecureRandom as _, SystemRandom};
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::curve::{self, Curve};
use super::key::{PrivateKey, PublicKey};

const RSA_OAEP: &str = "RSA-OAEP";
const RSA_OAEP_256: &str = "RSA-OAEP-256";
const ECDH_ES: &str = "ECDH-ES";
const ECDH_ES_A256KW: &str = "ECDH-ES+A256KW";
const A256GCM: &str = "A256GCM";
/// More recipients than this nobody has.
const RECIPIENTS_MAX: usize = 1000;

/// An encrypted text.
#[derive(Deserialize)]
struct Wire {
    protected: Option<String>,
    unprotected: Option<Header>,
    header: Option<Header>,
    encrypted_key: Option<String>,
    #[serde(default)]
    recipients: Vec<Recipient>,
    iv: String,
    ciphertext: String,
    tag: String,
    aad: Option<String>,
}

#[derive(Deserialize)]
struct Recipient {
    header: Option<Header>,
    encrypted_key: Option<String>,
}

/// What is said about the encryption, in any of three places.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
struct Header {
    alg: Option<String>,
    enc: Option<String>,
    zip: Option<String>,
    crit: Option<serde_json::Value>,
    epk: Option<Point>,
    apu: Option<String>,
    apv: Option<String>,
}

/// A point of a curve.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Point {
    crv: String,
    x: String,
    y: String,
}

impl Header {
    /// With what other places say besides.
    fn with(self, other: Option<&Self>) -> Self {
        let other = other.cloned().unwrap_or_default();
        Self {
            alg: self.alg.or(other.alg),
            enc: self.enc.or(other.enc),
            zip: self.zip.or(other.zip),
            crit: self.crit.or(other.crit),
            epk: self.epk.or(other.epk),
            apu: self.apu.or(other.apu),
            apv: self.apv.or(other.apv),
        }
    }
}

/// Decrypts a text with the first of the keys that fits; nothing where none does, or where it is malformed.
pub(super) fn decrypt(text: &[u8], keys: &[PrivateKey]) -> Option<Vec<u8>> {
    let wire = parse(text)?;
    let protected = wire.protected.clone().unwrap_or_default();
    let header: Header = match protected.as_str() {
        "" => Header::default(),
        text => serde_json::from_slice(&decode(text)?).ok()?,
    };
    let header = header.with(wire.unprotected.as_ref());
    let single = Recipient { header: wire.header, encrypted_key: wire.encrypted_key };
    let recipients = if wire.recipients.is_empty() { vec![single] } else { wire.recipients };
    let aad = wire.aad.map_or_else(|| protected.clone(), |aad| format!("{protected}.{aad}"));
    let sealed = Sealed {
        iv: decode(&wire.iv)?.try_into().ok()?,
        text: [decode(&wire.ciphertext)?, decode(&wire.tag)?].concat(),
        aad: aad.into_bytes(),
    };
    for recipient in recipients.iter().take(RECIPIENTS_MAX) {
        let header = header.clone().with(recipient.header.as_ref());
        let encrypted = recipient.encrypted_key.as_deref().unwrap_or_default();
        for key in keys {
            let content = content_key(&header, &decode(encrypted)?, key);
            if let Some(plain) = content.and_then(|content| sealed.open(header.enc.as_deref()?, &content)) {
                return Some(plain);
            }
        }
    }
    None
}

fn decode(text: &str) -> Option<Vec<u8>> {
    BASE64.decode(text).ok()
}

/// Any of the forms: objects, or five parts with dots between them.
fn parse(text: &[u8]) -> Option<Wire> {
    if let Ok(wire) = serde_json::from_slice(text) {
        return Some(wire);
    }
    let text = std::str::from_utf8(text).ok()?.trim();
    let parts: Vec<&str> = text.split('.').collect();
    let [protected, encrypted_key, iv, ciphertext, tag] = parts.as_slice() else { return None };
    Some(Wire {
        protected: Some((*protected).to_owned()),
        unprotected: None,
        header: None,
        encrypted_key: Some((*encrypted_key).to_owned()),
        recipients: Vec::new(),
        iv: (*iv).to_owned(),
        ciphertext: (*ciphertext).to_owned(),
        tag: (*tag).to_owned(),
        aad: None,
    })
}

/// What is encrypted by AES-GCM.
struct Sealed {
    iv: [u8; 12],
    text: Vec<u8>,
    aad: Vec<u8>,
}

impl Sealed {
    fn open(&self, encryption: &str, key: &[u8]) -> Option<Vec<u8>> {
        let algorithm = match encryption {
            A256GCM => &AES_256_GCM,
            "A128GCM" => &AES_128_GCM,
            _ => return None,
        };
        let key = LessSafeKey::new(UnboundKey::new(algorithm, key).ok()?);
        let mut text = self.text.clone();
        let nonce = Nonce::assume_unique_for_key(self.iv);
        let plain = key.open_in_place(nonce, Aad::from(&self.aad), &mut text).ok()?;
        Some(plain.to_vec())
    }
}

/// The key of the content, as one recipient has it.
fn content_key(header: &Header, encrypted: &[u8], key: &PrivateKey) -> Option<Vec<u8>> {
    // What this reader does not know may change the meaning of everything.
    if header.zip.is_some() || header.crit.is_some() {
        return None;
    }
    let algorithm = header.alg.as_deref()?;
    match key {
        PrivateKey::Rsa(key) => match algorithm {
            RSA_OAEP => key.decrypt(&SHA1_FOR_LEGACY_USE_ONLY, encrypted),
            RSA_OAEP_256 => key.decrypt(&SHA256, encrypted),
            _ => None,
        },
        PrivateKey::Curve { curve, secret } => {
            let point = header.epk.as_ref()?;
            if point.crv != curve.name() {
                return None;
            }
            let shared = curve.agree(secret, &[vec![4], decode(&point.x)?, decode(&point.y)?].concat())?;
            let info = |text: &Option<String>| decode(text.as_deref().unwrap_or_default());
            let parties = (&*info(&header.apu)?, &*info(&header.apv)?);
            match algorithm {
                ECDH_ES => {
                    let encryption = header.enc.as_deref()?;
                    let length = if encryption == A256GCM { 32 } else { 16 };
                    Some(curve::derive(&shared, encryption, parties, length))
                }
                "ECDH-ES+A128KW" | "ECDH-ES+A192KW" | ECDH_ES_A256KW => {
                    let length = key_length(algorithm);
                    unwrap(&curve::derive(&shared, algorithm, parties, length), encrypted)
                }
                _ => None,
            }
        }
    }
}

/// Bytes of the key that wraps another one.
fn key_length(algorithm: &str) -> usize {
    match algorithm {
        "ECDH-ES+A128KW" => 16,
        "ECDH-ES+A192KW" => 24,
        _ => 32,
    }
}

/// RFC 3394.
fn unwrap(key: &[u8], wrapped: &[u8]) -> Option<Vec<u8>> {
    let mut plain = vec![0; wrapped.len().checked_sub(aes_kw::IV_LEN)?];
    match key.len() {
        16 => KwAes128::new_from_slice(key).ok()?.unwrap_key(wrapped, &mut plain).is_ok(),
        24 => KwAes192::new_from_slice(key).ok()?.unwrap_key(wrapped, &mut plain).is_ok(),
        _ => KwAes256::new_from_slice(key).ok()?.unwrap_key(wrapped, &mut plain).is_ok(),
    }
    .then_some(plain)
}

/// Encrypts a text for everybody in `keys`; nothing where one of them is too short for it.
pub(super) fn encrypt(text: &[u8], keys: &[PublicKey]) -> Option<String> {
    let random = SystemRandom::new();
    let (mut content, mut iv) = ([0; 32], [0; 12]);
    random.fill(&mut content).ok()?;
    random.fill(&mut iv).ok()?;
    let mut recipients = Vec::new();
    for key in keys {
        recipients.push(recipient(key, &content)?);
    }
    // One recipient's header is protected with everything else.
    let (mut protected, single) = match recipients.as_slice() {
        [(header, encrypted)] => (header.clone(), Some(encrypted.clone())),
        _ => (json!({}), None),
    };
    protected["enc"] = json!(A256GCM);
    let protected = BASE64.encode(protected.to_string());
    let key = LessSafeKey::new(UnboundKey::new(&AES_256_GCM, &content).ok()?);
    let mut sealed = text.to_vec();
    let nonce = Nonce::assume_unique_for_key(iv);
    let tag = key.seal_in_place_separate_tag(nonce, Aad::from(protected.as_bytes()), &mut sealed).ok()?;
    let mut wire = json!({
        "protected": protected,
        "iv": BASE64.encode(iv),
        "ciphertext": BASE64.encode(sealed),
        "tag": BASE64.encode(tag.as_ref()),
    });
    match single {
        Some(encrypted) => wire["encrypted_key"] = json!(encrypted),
        None => {
            let each = |(header, encrypted)| json!({ "header": header, "encrypted_key": encrypted });
            wire["recipients"] = recipients.into_iter().map(each).collect();
        }
    }
    Some(wire.to_string())
}

/// The header of a recipient, with the key of the content encrypted for her.
fn recipient(key: &PublicKey, content: &[u8; 32]) -> Option<(serde_json::Value, String)> {
    match key {
        PublicKey::Rsa { key, sha256 } => {
            let (name, hash) =
                if *sha256 { (RSA_OAEP_256, &SHA256) } else { (RSA_OAEP, &SHA1_FOR_LEGACY_USE_ONLY) };
            Some((json!({ "alg": name }), BASE64.encode(key.encrypt(hash, content)?)))
        }
        PublicKey::Curve { curve, point } => {
            let secret = curve.generate()?;
            let shared = curve.agree(&secret, point)?;
            let kek = curve::derive(&shared, ECDH_ES_A256KW, (&[], &[]), 32);
            let mut wrapped = vec![0; content.len() + aes_kw::IV_LEN];
            KwAes256::new_from_slice(&kek).ok()?.wrap_key(content, &mut wrapped).ok()?;
            Some((
                json!({ "alg": ECDH_ES_A256KW, "epk": ephemeral(*curve, &secret)? }),
                BASE64.encode(wrapped),
            ))
        }
    }
}

fn ephemeral(curve: Curve, secret: &[u8]) -> Option<serde_json::Value> {
    let point = curve.point_of(secret)?;
    let (x, y) = point.get(1..)?.split_at(curve.size());
    Some(json!({ "kty": "EC", "crv": curve.name(), "x": BASE64.encode(x), "y": BASE64.encode(y) }))
}
