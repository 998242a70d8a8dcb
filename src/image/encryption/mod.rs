//! Encrypted layers, in the form that ocicrypt has made common: the layer is encrypted by a key of its own, and that key for
//! each recipient.
//!
//! | annotation of the layer | what |
//! |---|---|
//! | `org.opencontainers.image.enc.keys.jwe` | the key for its recipients, base64 of JSON web encryption, commas between several |
//! | `org.opencontainers.image.enc.pubopts` | cipher and sum ([`cipher`]) |
//!
//! The media type ends in `+encrypted`. An image that was decrypted is an ordinary one here: its layers are stored plain, and
//! its manifest names these.

mod cipher;
mod curve;
mod jwe;
mod key;
mod passphrase;
mod rsa;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;

pub(crate) use cipher::LayerCipher;

use self::key::{PrivateKey, PublicKey};
use super::chunked;
use super::manifest::Descriptor;
use crate::config::ErrorKind;
use crate::kernel;
use crate::kernel::file::read_given;
use crate::store::Digest;

const SUFFIX: &str = "+encrypted";
/// What all annotations of encryption begin with.
const ANNOTATIONS: &str = "org.opencontainers.image.enc.";
const KEYS: &str = "org.opencontainers.image.enc.keys.";
const JWE: &str = "jwe";
const OPTIONS: &str = "org.opencontainers.image.enc.pubopts";
const FILE_MAX: u64 = 1 << 20;

/// Why a layer cannot be encrypted or decrypted.
#[derive(Debug, thiserror::Error)]
pub enum EncryptionError {
    /// A file of keys cannot be read.
    #[error("invalid {what} keys")]
    File {
        /// `decryption` or `encryption`.
        what: &'static str,
        /// What happened.
        source: kernel::Error,
    },
    /// A file has no key of a known kind.
    #[error("invalid {what} keys: {}: {problem}", path.display())]
    Key {
        /// `decryption` or `encryption`.
        what: &'static str,
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        problem: &'static str,
    },
    /// A protocol of keys other than JWE.
    #[error("invalid {what} keys: {text:?}: only {form} is supported")]
    Protocol {
        /// `decryption` or `encryption`.
        what: &'static str,
        /// What was given.
        text: String,
        /// What could have been.
        form: &'static str,
    },
    /// A layer that the image does not have.
    #[error("there is no layer {layer} to encrypt: the image has {layers}")]
    Layer {
        /// Its number.
        layer: i64,
        /// How many there are.
        layers: usize,
    },
    /// No key was given.
    #[error("the layer is encrypted: missing private key needed for decryption")]
    NoKey,
    /// None of the keys is that of a recipient.
    #[error("no suitable key unwrapper found or none of the private keys could be used for decryption")]
    WrongKey,
    /// It is encrypted for keys of other kinds only.
    #[error("the layer is encrypted for {0} only, which is not supported: JWE is")]
    Recipients(String),
    /// Another cipher.
    #[error("unsupported cipher type: {0}")]
    Cipher(String),
    /// It does not say of itself what it must.
    #[error("the layer cannot be decrypted: {0}")]
    Malformed(&'static str),
    /// It is not what was encrypted.
    #[error(
        "could not properly decrypt byte stream: its HMAC is another one, it has been changed since it was encrypted"
    )]
    Tampered,
    /// A key that is too short for what it shall encrypt.
    #[error("a key cannot be used to encrypt")]
    Unusable,
    /// No random numbers.
    #[error("the system gives no random numbers")]
    Random,
}

impl EncryptionError {
    /// Classifies the error.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::NoKey | Self::WrongKey => ErrorKind::Denied,
            Self::Recipients(_) | Self::Cipher(_) => ErrorKind::Unsupported,
            Self::Random => ErrorKind::Internal,
            _ => ErrorKind::InvalidInput,
        }
    }

    /// What helps.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::NoKey => {
                Some("`--decryption-key KEY.pem` names the private key of one of its recipients".to_owned())
            }
            Self::WrongKey => {
                Some("the layer was encrypted for other keys: ask who made the image".to_owned())
            }
            _ => None,
        }
    }
}

type Result<T, E = EncryptionError> = std::result::Result<T, E>;

/// Whether content of this type is encrypted.
pub(crate) fn is_encrypted(media_type: &str) -> bool {
    media_type.ends_with(SUFFIX)
}

/// Keys that decrypt layers.
#[derive(Clone, Default)]
pub struct DecryptionKeys(Arc<Vec<PrivateKey>>);

impl std::fmt::Debug for DecryptionKeys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "DecryptionKeys({})", self.0.len())
    }
}

impl DecryptionKeys {
    /// Reads keys: files, each with its passphrase behind a colon where it needs one, as it is or as `file=PATH`, `fd=NUMBER`
    /// or `pass=PASSPHRASE`.
    ///
    /// # Errors
    /// When one cannot be read, or is no private key of a known kind.
    pub fn read(texts: &[String]) -> Result<Self> {
        let what = "decryption";
        let mut keys = Vec::new();
        for text in texts {
            if text.starts_with("provider:") {
                return Err(EncryptionError::Protocol { what, text: text.clone(), form: "KEY[:PASSPHRASE]" });
            }
            let (path, passphrase) = match text.split_once(':') {
                Some((path, passphrase)) if !Path::new(text).exists() => (path, Some(secret(passphrase)?)),
                _ => (text.as_str(), None),
            };
            let file = read(what, Path::new(path))?;
            let key = PrivateKey::read(&file, passphrase.as_deref());
            keys.push(key.map_err(|problem| EncryptionError::Key { what, path: path.into(), problem })?);
        }
        Ok(Self(Arc::new(keys)))
    }

    /// There are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Reads what an encrypted layer says about itself.
    pub(crate) fn open(&self, layer: &Descriptor) -> Result<Opened> {
        let (cipher, sum) = self.unwrap(&layer.annotations)?;
        let mut plain = layer.clone();
        plain.media_type.truncate(layer.media_type.len() - SUFFIX.len());
        plain.annotations.retain(|name, _| !name.starts_with(ANNOTATIONS));
        Ok(Opened { cipher, sum, plain })
    }

    /// The cipher of a layer with these annotations, and the sum that it must have.
    fn unwrap(&self, annotations: &BTreeMap<String, String>) -> Result<(LayerCipher, Vec<u8>)> {
        let wrapped = |name: &String| name.strip_prefix(KEYS).map(str::to_owned);
        let protocols: Vec<String> = annotations.keys().filter_map(wrapped).collect();
        if protocols.is_empty() {
            return Err(EncryptionError::Malformed("it does not say for whom it is encrypted"));
        }
        let Some(texts) = annotations.get(&format!("{KEYS}{JWE}")) else {
            return Err(EncryptionError::Recipients(protocols.join(", ")));
        };
        if self.0.is_empty() {
            return Err(EncryptionError::NoKey);
        }
        let decode = |text: &str| BASE64.decode(text.trim()).ok();
        let mut options = texts.split(',').filter_map(|text| jwe::decrypt(&decode(text)?, &self.0));
        let private = options.next().ok_or(EncryptionError::WrongKey)?;
        let public = annotations.get(OPTIONS).and_then(|text| decode(text));
        LayerCipher::parse(
            &private,
            &public.ok_or(EncryptionError::Malformed("it does not name its cipher"))?,
        )
    }
}

/// An encrypted layer whose key is known.
#[derive(Debug, Clone)]
pub(crate) struct Opened {
    /// Its cipher.
    pub(crate) cipher: LayerCipher,
    /// The sum that its bytes must have.
    pub(crate) sum: Vec<u8>,
    /// What will be known of it: type, size and annotations of the plain layer, still with the digest of the encrypted one.
    pub(crate) plain: Descriptor,
}

/// Keys that layers are encrypted for, and which layers.
#[derive(Clone, Default)]
pub struct EncryptionKeys {
    keys: Arc<Vec<PublicKey>>,
    layers: Vec<i64>,
}

impl std::fmt::Debug for EncryptionKeys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("EncryptionKeys")
            .field("keys", &self.keys.len())
            .field("layers", &self.layers)
            .finish()
    }
}

impl EncryptionKeys {
    /// Reads `jwe:FILE` of each recipient. The layers count from 0, or backwards from -1; without any, all are meant.
    ///
    /// # Errors
    /// When a file cannot be read, or has no public key of a known kind.
    pub fn read(texts: &[String], layers: Vec<i64>) -> Result<Self> {
        let what = "encryption";
        let mut keys = Vec::new();
        for text in texts {
            let Some(path) = text.strip_prefix("jwe:") else {
                return Err(EncryptionError::Protocol {
                    what,
                    text: text.clone(),
                    form: "jwe:PUBLIC-KEY.pem",
                });
            };
            let key = PublicKey::read(&read(what, Path::new(path))?);
            keys.push(key.map_err(|problem| EncryptionError::Key { what, path: path.into(), problem })?);
        }
        Ok(Self { keys: Arc::new(keys), layers })
    }

    /// Nothing is encrypted.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    /// For each of so many layers, whether it is encrypted.
    pub(crate) fn chosen(&self, layers: usize) -> Result<Vec<bool>> {
        let mut chosen = vec![!self.is_empty() && self.layers.is_empty(); layers];
        for layer in self.layers.iter().filter(|_| !self.is_empty()) {
            let count = i64::try_from(layers).unwrap_or(i64::MAX);
            let at = if *layer < 0 { layer + count } else { *layer };
            let slot = usize::try_from(at).ok().and_then(|at| chosen.get_mut(at));
            *slot.ok_or(EncryptionError::Layer { layer: *layer, layers })? = true;
        }
        Ok(chosen)
    }

    /// The descriptor of a layer that is encrypted by now: `encrypted` are digest and size of its bytes, `sum` is theirs.
    pub(crate) fn describe(
        &self,
        plain: &Descriptor,
        cipher: &LayerCipher,
        sum: &[u8],
        encrypted: (Digest, u64),
    ) -> Result<Descriptor> {
        let keys = jwe::encrypt(&cipher.private_options(&plain.digest), &self.keys);
        let keys = keys.ok_or(EncryptionError::Unusable)?;
        let mut descriptor = plain.clone();
        // What says where files are says it of the plain blob.
        chunked::forget(&mut descriptor.annotations);
        descriptor.media_type.push_str(SUFFIX);
        (descriptor.digest, descriptor.size) = encrypted;
        descriptor.annotations.insert(format!("{KEYS}{JWE}"), BASE64.encode(keys));
        let options = BASE64.encode(LayerCipher::public_options(sum));
        descriptor.annotations.insert(OPTIONS.to_owned(), options);
        Ok(descriptor)
    }
}

fn read(what: &'static str, path: &Path) -> Result<Vec<u8>> {
    read_given(path, FILE_MAX).map_err(|source| EncryptionError::File { what, source })
}

/// A passphrase, from where the text says that it is.
fn secret(text: &str) -> Result<Vec<u8>> {
    let from = |path: &Path| {
        let mut bytes = read("decryption", path)?;
        // As editors and `echo` end a file.
        if bytes.last() == Some(&b'\n') {
            bytes.pop();
        }
        Ok(bytes)
    };
    if let Some(path) = text.strip_prefix("file=") {
        return from(Path::new(path));
    }
    if let Some(number) = text.strip_prefix("fd=") {
        return from(&Path::new("/proc/self/fd").join(number));
    }
    Ok(text.strip_prefix("pass=").unwrap_or(text).as_bytes().to_vec())
}

#[cfg(test)]
mod tests;
