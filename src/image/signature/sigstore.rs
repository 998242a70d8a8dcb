//! Signatures of sigstore, as cosign attaches them to images.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use jiff::Timestamp;

use super::certificate::{self, Expected};
use super::key::PublicKey;
use super::payload::{Format, Payload};
use super::rekor;
use crate::image::pem;

/// The type of a signature's payload.
pub(crate) const PAYLOAD_TYPE: &str = "application/vnd.dev.cosign.simplesigning.v1+json";
/// Where the signature itself stands.
pub(crate) const SIGNATURE: &str = "dev.cosignproject.cosign/signature";
const BUNDLE: &str = "dev.sigstore.cosign/bundle";
const CERTIFICATE: &str = "dev.sigstore.cosign/certificate";
const CHAIN: &str = "dev.sigstore.cosign/chain";

/// One signature: what was signed, and what proves it.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub(crate) struct Attachment {
    /// Its type; there are attachments that are no signatures.
    #[serde(rename = "mimeType")]
    pub(crate) media_type: String,
    /// What was signed.
    #[serde(with = "base64_text")]
    pub(crate) payload: Vec<u8>,
    /// Everything else.
    pub(crate) annotations: BTreeMap<String, String>,
}

mod base64_text {
    use base64::Engine as _;
    use serde::{Deserialize as _, Deserializer, Serializer, de::Error as _};

    pub(super) fn serialize<S: Serializer>(bytes: &[u8], serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&super::BASE64.encode(bytes))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<u8>, D::Error> {
        super::BASE64.decode(String::deserialize(deserializer)?).map_err(D::Error::custom)
    }
}

/// Whose signatures count.
#[derive(Debug, Clone)]
pub(super) enum Trust {
    /// Those of given keys.
    Keys(Vec<PublicKey>),
    /// Those with a certificate of Fulcio, at the time that a log recorded.
    Fulcio { roots: Vec<u8>, issuer: String, email: String },
    /// Those with a certificate of somebody's own authority.
    Pki { roots: Vec<u8>, intermediates: Vec<u8>, email: Option<String>, host: Option<String> },
}

/// What a signature says, if it is good.
pub(super) fn verify(attachment: &Attachment, trust: &Trust, logs: &[PublicKey]) -> Result<Payload, String> {
    let annotation = |name: &str| {
        attachment
            .annotations
            .get(name)
            .map(String::as_str)
            .ok_or_else(|| format!("missing {name} annotation"))
    };
    let signature =
        BASE64.decode(annotation(SIGNATURE)?).map_err(|error| format!("base64 decoding: {error}"))?;
    let payload = attachment.payload.as_slice();
    let logged = |key: &[u8]| rekor::verify(logs, annotation(BUNDLE)?, key, &signature, payload);
    let chain = attachment.annotations.get(CHAIN).map_or("", String::as_str).as_bytes();
    let keys = match trust {
        Trust::Keys(keys) if logs.is_empty() => keys.clone(),
        Trust::Keys(keys) => {
            let mut reasons = Vec::new();
            let mut known = Vec::new();
            for key in keys {
                match logged(key.info()) {
                    Ok(_) => known.push(key.clone()),
                    Err(reason) => reasons.push(reason),
                }
            }
            if known.is_empty() {
                return Err(format!("No public key verified against the RekorSET: {}", reasons.join(", ")));
            }
            known
        }
        Trust::Fulcio { roots, issuer, email } => {
            let leaf = annotation(CERTIFICATE)?.as_bytes();
            let der = pem::one(leaf).ok_or("the signature's certificate is no PEM file")?.bytes;
            let second = logged(&der)?;
            let (issuer, email) = (Some(issuer.as_str()), Some(email.as_str()));
            let expected = Expected { roots, intermediates: &[], issuer, email, host: None };
            vec![certificate::verify(leaf, chain, expected, second)?]
        }
        Trust::Pki { roots, intermediates, email, host } => {
            let leaf = annotation(CERTIFICATE)?.as_bytes();
            let (email, host) = (email.as_deref(), host.as_deref());
            let expected = Expected { roots, intermediates, issuer: None, email, host };
            let now = u64::try_from(Timestamp::now().as_second()).unwrap_or_default();
            vec![certificate::verify(leaf, chain, expected, now)?]
        }
    };
    if !keys.iter().any(|key| key.verifies(payload, &signature)) {
        return Err("cryptographic signature verification failed: invalid signature when validating ASN.1 encoded signature".to_owned());
    }
    Payload::parse(payload, Format::Sigstore)
}
