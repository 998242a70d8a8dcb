//! Keys in files: PEM, DER or JSON web keys.
//!
//! | | public | private |
//! |---|---|---|
//! | PKIX, PKCS #8 | `PUBLIC KEY`, `CERTIFICATE` is none | `PRIVATE KEY`, `ENCRYPTED PRIVATE KEY` |
//! | PKCS #1 | `RSA PUBLIC KEY` | `RSA PRIVATE KEY` |
//! | SEC 1 | | `EC PRIVATE KEY` |
//! | RFC 7517 | `kty` RSA or EC | the same with `d` |

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64;
use serde::Deserialize;

use super::curve::Curve;
use super::passphrase;
use super::rsa::{RsaPrivate, RsaPublic};
use crate::image::der::{BIT_STRING, CONTEXT_0, Der, OCTET_STRING, OID, SEQUENCE};
use crate::image::pem;

const RSA_ENCRYPTION: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x01];
const EC_PUBLIC_KEY: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01];
const KINDS: &str = "keys of this kind are not supported; RSA and the curves P-256, P-384 and P-521 are";

/// A key that decrypts.
#[derive(Clone)]
pub(super) enum PrivateKey {
    Rsa(Box<RsaPrivate>),
    Curve { curve: Curve, secret: Vec<u8> },
}

/// A key that is encrypted for.
#[derive(Clone)]
pub(super) enum PublicKey {
    Rsa { key: Box<RsaPublic>, sha256: bool },
    Curve { curve: Curve, point: Vec<u8> },
}

/// A JSON web key.
#[derive(Deserialize)]
struct Jwk {
    kty: String,
    alg: Option<String>,
    crv: Option<String>,
    x: Option<String>,
    y: Option<String>,
    n: Option<String>,
    e: Option<String>,
    d: Option<String>,
}

impl PrivateKey {
    /// Reads a file.
    pub(super) fn read(file: &[u8], passphrase: Option<&[u8]>) -> Result<Self, &'static str> {
        if let Ok(jwk) = serde_json::from_slice::<Jwk>(file) {
            return Self::from_jwk(&jwk);
        }
        let Some(blocks) = pem::blocks(file).filter(|blocks| !blocks.is_empty()) else {
            return Self::from_der(file).unwrap_or(Err("it is no private key"));
        };
        // The parameters of a curve may stand before its key.
        let block = blocks.iter().find(|block| block.label.ends_with("PRIVATE KEY"));
        let block = block.ok_or("it has no private key")?;
        let decrypted = match block.label.as_str() {
            "ENCRYPTED PRIVATE KEY" => Some(passphrase::pkcs8(&block.bytes, passphrase)?),
            _ => passphrase::traditional(block, passphrase)?,
        };
        let der = decrypted.as_deref().unwrap_or(&block.bytes);
        Self::from_der(der).unwrap_or(match decrypted {
            Some(_) => Err(passphrase::WRONG),
            None => Err("it is malformed"),
        })
    }

    fn from_jwk(jwk: &Jwk) -> Result<Self, &'static str> {
        let bytes = |text: &Option<String>| BASE64.decode(text.as_deref()?).ok();
        let d = bytes(&jwk.d).ok_or("it is a public key: a private one is needed")?;
        match jwk.kty.as_str() {
            "RSA" => {
                let n = bytes(&jwk.n).ok_or("it is malformed")?;
                RsaPrivate::new(&n, &d).map(|key| Self::Rsa(Box::new(key))).ok_or("it is no RSA key")
            }
            "EC" => {
                let curve = jwk.crv.as_deref().and_then(Curve::named).ok_or(KINDS)?;
                Self::on(curve, &d).ok_or("it is malformed")
            }
            _ => Err(KINDS),
        }
    }

    /// Reads any of the binary forms; nothing where it is none of them.
    fn from_der(der: &[u8]) -> Option<Result<Self, &'static str>> {
        Self::from_pkcs8(der)
            .or_else(|| Self::from_pkcs1(der).map(Ok))
            .or_else(|| Self::from_sec1(der, None).map(Ok))
    }

    fn from_pkcs8(der: &[u8]) -> Option<Result<Self, &'static str>> {
        let mut key = Der(Der(der).expect(SEQUENCE)?);
        key.number()?;
        let mut algorithm = Der(key.expect(SEQUENCE)?);
        let inner = key.expect(OCTET_STRING)?;
        match algorithm.expect(OID)? {
            RSA_ENCRYPTION => Self::from_pkcs1(inner).map(Ok),
            EC_PUBLIC_KEY => match Curve::identified(algorithm.expect(OID)?) {
                Some(curve) => Self::from_sec1(inner, Some(curve)).map(Ok),
                None => Some(Err(KINDS)),
            },
            _ => Some(Err(KINDS)),
        }
    }

    fn from_pkcs1(der: &[u8]) -> Option<Self> {
        let mut key = Der(Der(der).expect(SEQUENCE)?);
        let (_version, n, _e, d) = (key.number()?, key.number()?, key.number()?, key.number()?);
        // The primes follow: what has none is another structure.
        key.number()?;
        Some(Self::Rsa(Box::new(RsaPrivate::new(n, d)?)))
    }

    fn from_sec1(der: &[u8], curve: Option<Curve>) -> Option<Self> {
        let mut key = Der(Der(der).expect(SEQUENCE)?);
        key.number()?;
        let secret = key.expect(OCTET_STRING)?;
        let named = key.optional(CONTEXT_0).and_then(|inner| Curve::identified(Der(inner).expect(OID)?));
        Self::on(curve.or(named)?, secret)
    }

    fn on(curve: Curve, secret: &[u8]) -> Option<Self> {
        // Some writers leave zeros in front away.
        let missing = curve.size().checked_sub(secret.len())?;
        let secret = [&vec![0; missing], secret].concat();
        curve.point_of(&secret)?;
        Some(Self::Curve { curve, secret })
    }
}

impl PublicKey {
    /// Reads a file.
    pub(super) fn read(file: &[u8]) -> Result<Self, &'static str> {
        if let Ok(jwk) = serde_json::from_slice::<Jwk>(file) {
            return Self::from_jwk(&jwk);
        }
        let blocks = pem::blocks(file).unwrap_or_default();
        let der = match blocks.first() {
            Some(block) if block.label.ends_with("PUBLIC KEY") => &block.bytes,
            Some(block) if block.label.ends_with("PRIVATE KEY") => {
                return Err("it is a private key: a public one is needed");
            }
            Some(_) => return Err("it is no public key"),
            None => file,
        };
        Self::from_info(der).or_else(|| Self::from_pkcs1(der).map(Ok)).unwrap_or(Err("it is no public key"))
    }

    fn from_jwk(jwk: &Jwk) -> Result<Self, &'static str> {
        let bytes = |text: &Option<String>| BASE64.decode(text.as_deref()?).ok().ok_or("").ok();
        if jwk.d.is_some() {
            return Err("it is a private key: a public one is needed");
        }
        match (jwk.kty.as_str(), jwk.alg.as_deref()) {
            ("RSA", None | Some("RSA-OAEP" | "RSA-OAEP-256")) => {
                let (n, e) = bytes(&jwk.n).zip(bytes(&jwk.e)).ok_or("it is malformed")?;
                let key = RsaPublic::new(&n, &e).ok_or("it is no RSA key")?;
                Ok(Self::Rsa { key: Box::new(key), sha256: jwk.alg.as_deref() == Some("RSA-OAEP-256") })
            }
            ("EC", None | Some("ECDH-ES+A256KW")) => {
                let curve = jwk.crv.as_deref().and_then(Curve::named).ok_or(KINDS)?;
                let (x, y) = bytes(&jwk.x).zip(bytes(&jwk.y)).ok_or("it is malformed")?;
                Self::on(curve, &[&[4], x.as_slice(), &y].concat()).ok_or("it is malformed")
            }
            ("RSA" | "EC", Some(_)) => Err("its algorithm is not supported; RSA-OAEP and ECDH-ES+A256KW are"),
            _ => Err(KINDS),
        }
    }

    fn from_info(der: &[u8]) -> Option<Result<Self, &'static str>> {
        let mut info = Der(Der(der).expect(SEQUENCE)?);
        let mut algorithm = Der(info.expect(SEQUENCE)?);
        let (name, curve) = (algorithm.expect(OID)?, algorithm.optional(OID));
        let bits = info.expect(BIT_STRING)?.strip_prefix(&[0])?;
        match (name, curve.and_then(Curve::identified)) {
            (RSA_ENCRYPTION, _) => Self::from_pkcs1(bits).map(Ok),
            (EC_PUBLIC_KEY, Some(curve)) => Self::on(curve, bits).map(Ok),
            _ => Some(Err(KINDS)),
        }
    }

    fn from_pkcs1(der: &[u8]) -> Option<Self> {
        let mut key = Der(Der(der).expect(SEQUENCE)?);
        let key = RsaPublic::new(key.number()?, key.number()?)?;
        Some(Self::Rsa { key: Box::new(key), sha256: false })
    }

    fn on(curve: Curve, point: &[u8]) -> Option<Self> {
        curve.has(point).then(|| Self::Curve { curve, point: point.to_vec() })
    }
}
