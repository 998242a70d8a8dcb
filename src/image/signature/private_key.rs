//! Private keys as cosign keeps them: PKCS #8, encrypted by a passphrase with scrypt and NaCl's secretbox.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use crypto_secretbox::aead::{Aead as _, KeyInit as _};
use crypto_secretbox::{Nonce, XSalsa20Poly1305};
use ring::rand::SystemRandom;
use ring::signature::{
    ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair, Ed25519KeyPair, RSA_PKCS1_SHA256, RsaKeyPair,
};
use serde::Deserialize;

use crate::image::pem;

const LABELS: [&str; 2] = ["ENCRYPTED SIGSTORE PRIVATE KEY", "ENCRYPTED COSIGN PRIVATE KEY"];
/// 128 * N * r bytes are needed: 256 MiB.
const SCRYPT_MAX: u64 = 1 << 21;

/// A key that signs.
pub(crate) enum PrivateKey {
    Ecdsa(EcdsaKeyPair),
    Ed25519(Ed25519KeyPair),
    Rsa(Box<RsaKeyPair>),
}

#[derive(Deserialize)]
struct Encrypted {
    kdf: Kdf,
    cipher: Cipher,
    ciphertext: String,
}

#[derive(Deserialize)]
struct Kdf {
    name: String,
    params: Parameters,
    salt: String,
}

#[derive(Deserialize)]
struct Parameters {
    #[serde(rename = "N")]
    n: u64,
    r: u32,
    p: u32,
}

#[derive(Deserialize)]
struct Cipher {
    name: String,
    nonce: String,
}

impl PrivateKey {
    /// Reads and decrypts a key file.
    pub(super) fn read(file: &[u8], passphrase: &[u8]) -> Result<Self, &'static str> {
        let block = pem::one(file).ok_or("it is no PEM file with one key")?;
        if !LABELS.contains(&block.label.as_str()) {
            return Err("it is no encrypted private key of cosign or sigstore");
        }
        let plain = decrypt(&block.bytes, passphrase)?;
        if let Ok(key) =
            EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, &plain, &SystemRandom::new())
        {
            return Ok(Self::Ecdsa(key));
        }
        if let Ok(key) = Ed25519KeyPair::from_pkcs8_maybe_unchecked(&plain) {
            return Ok(Self::Ed25519(key));
        }
        match RsaKeyPair::from_pkcs8(&plain) {
            Ok(key) => Ok(Self::Rsa(Box::new(key))),
            Err(_) => Err("keys of this kind are not supported; P-256, Ed25519 and RSA are"),
        }
    }

    /// Signs.
    pub(super) fn sign(&self, message: &[u8]) -> Option<Vec<u8>> {
        let random = SystemRandom::new();
        match self {
            Self::Ecdsa(key) => Some(key.sign(&random, message).ok()?.as_ref().to_vec()),
            Self::Ed25519(key) => Some(key.sign(message).as_ref().to_vec()),
            Self::Rsa(key) => {
                let mut signature = vec![0; key.public().modulus_len()];
                key.sign(&RSA_PKCS1_SHA256, &random, message, &mut signature).ok()?;
                Some(signature)
            }
        }
    }
}

fn decrypt(bytes: &[u8], passphrase: &[u8]) -> Result<Vec<u8>, &'static str> {
    const MALFORMED: &str = "the encrypted key is malformed";
    let Encrypted { kdf, cipher, ciphertext } = serde_json::from_slice(bytes).map_err(|_| MALFORMED)?;
    if kdf.name != "scrypt" || cipher.name != "nacl/secretbox" {
        return Err("the key is encrypted in another way than by scrypt and secretbox");
    }
    let Parameters { n, r, p } = kdf.params;
    // What a file asks for must not take all memory.
    if !n.is_power_of_two() || n < 2 || n.saturating_mul(u64::from(r)) > SCRYPT_MAX || p > 16 {
        return Err("the key is encrypted with settings that take too much memory");
    }
    let log_n = u8::try_from(n.trailing_zeros()).map_err(|_| MALFORMED)?;
    let decode = |text: &str| BASE64.decode(text).map_err(|_| MALFORMED);
    let settings = scrypt::Params::new(log_n, r, p, 32).map_err(|_| MALFORMED)?;
    let mut key = [0; 32];
    scrypt::scrypt(passphrase, &decode(&kdf.salt)?, &settings, &mut key).map_err(|_| MALFORMED)?;
    let nonce: [u8; 24] = decode(&cipher.nonce)?.try_into().map_err(|_| MALFORMED)?;
    let opened =
        XSalsa20Poly1305::new(&key.into()).decrypt(Nonce::from_slice(&nonce), &*decode(&ciphertext)?);
    opened.map_err(|_| "decrypting the key failed: the passphrase is wrong")
}
