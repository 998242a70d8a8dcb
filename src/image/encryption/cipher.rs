//! The cipher of layers: AES-256 in counter mode, and HMAC-SHA256 over what is encrypted, both under one key of the
//! layer's own.
//!
//! | options | where | what |
//! |---|---|---|
//! | private, `{symkey, digest, cipheroptions: {nonce}}` | in what is encrypted for the recipients | key and first counter |
//! | public, `{cipher, hmac, cipheroptions}` | an annotation, base64 | the sum over the encrypted bytes |

use std::collections::BTreeMap;

use aes::Aes256;
use aes::cipher::{KeyIvInit as _, StreamCipher as _, StreamCipherSeek as _};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use ring::hmac;
use ring::rand::{SecureRandom as _, SystemRandom};
use serde::{Deserialize, Serialize};

use super::EncryptionError;
use crate::image::manifest::null_as_default;
use crate::store::Digest;

/// The one cipher that there is.
const NAME: &str = "AES_256_CTR_HMAC_SHA256";
const NONCE: &str = "nonce";
const HMAC: &str = "hmac";

type Counter = ctr::Ctr128BE<Aes256>;

/// Key and first counter of a layer.
#[derive(Clone)]
pub(crate) struct LayerCipher {
    key: [u8; 32],
    nonce: [u8; 16],
}

impl std::fmt::Debug for LayerCipher {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("LayerCipher")
    }
}

#[derive(Serialize, Deserialize)]
struct Private {
    symkey: String,
    #[serde(default)]
    digest: String,
    #[serde(default, deserialize_with = "null_as_default")]
    cipheroptions: BTreeMap<String, String>,
}

#[derive(Serialize, Deserialize)]
struct Public {
    cipher: String,
    #[serde(default)]
    hmac: Option<String>,
    #[serde(default, deserialize_with = "null_as_default")]
    cipheroptions: BTreeMap<String, String>,
}

impl LayerCipher {
    /// A new key.
    pub(crate) fn generate() -> Result<Self, EncryptionError> {
        let (mut key, mut nonce, random) = ([0; 32], [0; 16], SystemRandom::new());
        random.fill(&mut key).map_err(|_| EncryptionError::Random)?;
        random.fill(&mut nonce).map_err(|_| EncryptionError::Random)?;
        Ok(Self { key, nonce })
    }

    /// Reads the options of a layer: its cipher, and the sum that its encrypted bytes must have.
    pub(super) fn parse(private: &[u8], public: &[u8]) -> Result<(Self, Vec<u8>), EncryptionError> {
        let malformed = |_| EncryptionError::Malformed("its options cannot be read");
        let private: Private = serde_json::from_slice(private).map_err(malformed)?;
        let public: Public = serde_json::from_slice(public).map_err(malformed)?;
        if public.cipher != NAME {
            return Err(EncryptionError::Cipher(public.cipher));
        }
        let decode = |text: &String| BASE64.decode(text).ok();
        // Any of these places has been used.
        let option = |name| {
            let text = public.cipheroptions.get(name).or_else(|| private.cipheroptions.get(name));
            text.and_then(decode)
        };
        let key = decode(&private.symkey).and_then(|key| key.try_into().ok());
        let nonce = option(NONCE).and_then(|nonce| nonce.try_into().ok());
        let sum = public.hmac.as_ref().and_then(decode).or_else(|| option(HMAC));
        let (Some(key), Some(nonce), Some(sum)) = (key, nonce, sum) else {
            return Err(EncryptionError::Malformed("its options lack a key of 32 bytes, a nonce or a sum"));
        };
        Ok((Self { key, nonce }, sum))
    }

    /// The private options, for a layer whose plain bytes have that digest.
    pub(super) fn private_options(&self, plain: &Digest) -> Vec<u8> {
        let options = Private {
            symkey: BASE64.encode(self.key),
            digest: plain.to_string(),
            cipheroptions: [(NONCE.to_owned(), BASE64.encode(self.nonce))].into(),
        };
        serde_json::to_vec(&options).expect("options serialise")
    }

    /// The public options, for a layer whose encrypted bytes have that sum.
    pub(super) fn public_options(sum: &[u8]) -> Vec<u8> {
        let options = Public {
            cipher: NAME.to_owned(),
            hmac: Some(BASE64.encode(sum)),
            cipheroptions: BTreeMap::new(),
        };
        serde_json::to_vec(&options).expect("options serialise")
    }

    /// Encrypts or decrypts from `offset` on.
    pub(crate) fn stream(&self, offset: u64) -> Stream {
        let mut counter = Counter::new(&self.key.into(), &self.nonce.into());
        counter.seek(offset);
        Stream(counter)
    }

    /// Begins the sum over all encrypted bytes.
    pub(crate) fn sum(&self) -> Sum {
        Sum(hmac::Context::with_key(&hmac::Key::new(hmac::HMAC_SHA256, &self.key)))
    }

    /// Whether a sum that was stated is that of the encrypted bytes.
    pub(crate) fn verify(&self, stated: &[u8], sum: Sum) -> bool {
        // Compared by another sum: how long it takes tells nothing.
        let key = hmac::Key::new(hmac::HMAC_SHA256, &self.key);
        let actual = sum.finish();
        hmac::verify(&key, &actual, hmac::sign(&key, stated).as_ref()).is_ok()
    }
}

/// Bytes on their way through the cipher, which works the same both ways.
pub(crate) struct Stream(Counter);

impl Stream {
    pub(crate) fn apply(&mut self, bytes: &mut [u8]) {
        self.0.apply_keystream(bytes);
    }
}

/// The sum over the encrypted bytes so far.
#[derive(Clone)]
pub(crate) struct Sum(hmac::Context);

impl Sum {
    pub(crate) fn update(&mut self, encrypted: &[u8]) {
        self.0.update(encrypted);
    }

    pub(crate) fn finish(self) -> Vec<u8> {
        self.0.sign().as_ref().to_vec()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_part_is_decrypted_alone() {
        let cipher = LayerCipher::generate().unwrap();
        let plain: Vec<u8> = (0..1000_u32).map(|i| i as u8).collect();
        let mut encrypted = plain.clone();
        cipher.stream(0).apply(&mut encrypted);
        assert_ne!(encrypted, plain);
        for offset in [0, 1, 15, 16, 17, 999, 1000] {
            let mut part = encrypted[offset..].to_vec();
            cipher.stream(offset as u64).apply(&mut part);
            assert_eq!(part, plain[offset..], "from {offset}");
        }
    }

    /// NIST SP 800-38A, F.5.5.
    #[test]
    fn the_counter_mode_is_the_usual_one() {
        let key: [u8; 32] = [
            0x60, 0x3d, 0xeb, 0x10, 0x15, 0xca, 0x71, 0xbe, 0x2b, 0x73, 0xae, 0xf0, 0x85, 0x7d, 0x77, 0x81,
            0x1f, 0x35, 0x2c, 0x07, 0x3b, 0x61, 0x08, 0xd7, 0x2d, 0x98, 0x10, 0xa3, 0x09, 0x14, 0xdf, 0xf4,
        ];
        let nonce = std::array::from_fn(|i| 0xf0 + i as u8);
        let mut block =
            [0x6b, 0xc1, 0xbe, 0xe2, 0x2e, 0x40, 0x9f, 0x96, 0xe9, 0x3d, 0x7e, 0x11, 0x73, 0x93, 0x17, 0x2a];
        LayerCipher { key, nonce }.stream(0).apply(&mut block);
        assert_eq!(
            block,
            [0x60, 0x1e, 0xc3, 0x13, 0x77, 0x57, 0x89, 0xa5, 0xb7, 0xa7, 0xf5, 0x04, 0xbb, 0xf3, 0xd2, 0x28]
        );
    }

    #[test]
    fn options_come_back_and_wrong_ones_are_refused() {
        let cipher = LayerCipher::generate().unwrap();
        let mut sum = cipher.sum();
        sum.update(b"encrypted");
        let public = LayerCipher::public_options(&sum.clone().finish());
        let private = cipher.private_options(&Digest::of(b"plain"));
        let (again, stated) = LayerCipher::parse(&private, &public).unwrap();
        assert_eq!((again.key, again.nonce), (cipher.key, cipher.nonce));
        assert!(again.verify(&stated, sum.clone()));
        sum.update(b"!");
        assert!(!again.verify(&stated, sum));
        for (private, public) in [
            (&b"{}"[..], &public[..]),
            (&private, b"{}"),
            (&private, br#"{"cipher":"ROT13","cipheroptions":{}}"#),
            (&private, br#"{"cipher":"AES_256_CTR_HMAC_SHA256","cipheroptions":null}"#),
            (br#"{"symkey":"AAAA","cipheroptions":{}}"#, &public),
        ] {
            assert!(LayerCipher::parse(private, public).is_err());
        }
    }
}
