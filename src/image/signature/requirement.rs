//! What policy.json asks of signatures: `signedBy` and `sigstoreSigned`.

use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use jiff::Timestamp;
use serde::{Deserialize, Deserializer, de::Error as _};

use super::identity::SignedIdentity;
use super::key::PublicKey;
use super::openpgp::Keyring;
use super::payload::{Format, Payload};
use super::sigstore::{self, PAYLOAD_TYPE, Trust};
use super::{Signature, Subject};
use crate::kernel::file::read_limited;

const FILE_MAX: u64 = 4 << 20;

/// Bytes that stand in the policy itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Data(Vec<u8>);

impl<'de> Deserialize<'de> for Data {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        BASE64.decode(text).map(Self).map_err(|_| D::Error::custom("data is no base64"))
    }
}

/// `signedBy`: with OpenPGP keys.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct SignedBy {
    key_type: String,
    key_path: Option<PathBuf>,
    key_paths: Option<Vec<PathBuf>>,
    key_data: Option<Data>,
    #[serde(default)]
    signed_identity: SignedIdentity,
}

/// `sigstoreSigned`: with keys of sigstore, or certificates.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct SigstoreSigned {
    key_path: Option<PathBuf>,
    key_paths: Option<Vec<PathBuf>>,
    key_data: Option<Data>,
    key_datas: Option<Vec<Data>>,
    fulcio: Option<Fulcio>,
    rekor_public_key_path: Option<PathBuf>,
    rekor_public_key_paths: Option<Vec<PathBuf>>,
    rekor_public_key_data: Option<Data>,
    rekor_public_key_datas: Option<Vec<Data>>,
    pki: Option<Pki>,
    #[serde(default)]
    signed_identity: SignedIdentity,
}

#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
struct Fulcio {
    #[serde(rename = "caPath")]
    path: Option<PathBuf>,
    #[serde(rename = "caData")]
    data: Option<Data>,
    #[serde(rename = "oidcIssuer")]
    issuer: String,
    #[serde(rename = "subjectEmail")]
    email: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
struct Pki {
    #[serde(rename = "caRootsPath")]
    roots_path: Option<PathBuf>,
    #[serde(rename = "caRootsData")]
    roots_data: Option<Data>,
    #[serde(rename = "caIntermediatesPath")]
    intermediates_path: Option<PathBuf>,
    #[serde(rename = "caIntermediatesData")]
    intermediates_data: Option<Data>,
    #[serde(rename = "subjectEmail")]
    email: Option<String>,
    #[serde(rename = "subjectHostname")]
    host: Option<String>,
}

/// The places where keys may stand; at most one of them is used.
struct Sources<'s> {
    path: Option<&'s Path>,
    paths: Option<&'s [PathBuf]>,
    data: Option<&'s Data>,
    datas: Option<&'s [Data]>,
}

impl Sources<'_> {
    fn count(&self) -> usize {
        usize::from(self.path.is_some())
            + usize::from(self.paths.is_some())
            + usize::from(self.data.is_some())
            + usize::from(self.datas.is_some())
    }

    fn is_valid(&self) -> bool {
        self.count() == 1
            && self.paths.is_none_or(|paths| !paths.is_empty())
            && self.datas.is_none_or(|datas| !datas.is_empty())
    }

    fn read(&self) -> Result<Vec<Vec<u8>>, String> {
        let file =
            |path: &Path| read_limited(path, FILE_MAX).map_err(|error| crate::image::error::chain(&error));
        let files = self.path.into_iter().chain(self.paths.into_iter().flatten().map(PathBuf::as_path));
        let mut found = files.map(file).collect::<Result<Vec<_>, _>>()?;
        let datas = self.data.into_iter().chain(self.datas.into_iter().flatten());
        found.extend(datas.map(|data| data.0.clone()));
        Ok(found)
    }
}

impl SignedBy {
    fn sources(&self) -> Sources<'_> {
        Sources {
            path: self.key_path.as_deref(),
            paths: self.key_paths.as_deref(),
            data: self.key_data.as_ref(),
            datas: None,
        }
    }

    /// What is wrong with the requirement.
    pub(crate) fn problem(&self) -> Option<String> {
        match self.key_type.as_str() {
            "GPGKeys" => {}
            "signedByGPGKeys" | "X509Certificates" | "signedByX509CAs" => {
                return Some(format!("not supported: keyType {:?}", self.key_type));
            }
            other => return Some(format!("invalid keyType {other:?}")),
        }
        if !self.sources().is_valid() {
            return Some("exactly one of keyPath, keyPaths and keyData must be specified".to_owned());
        }
        self.signed_identity.problem()
    }

    /// Whether one of the signatures satisfies it.
    pub(crate) fn check(&self, subject: &Subject<'_>, signatures: &[Signature]) -> Result<(), String> {
        let files = self.sources().read()?;
        let now = u64::try_from(Timestamp::now().as_second()).unwrap_or_default();
        let keyring = Keyring::read(files.iter().map(Vec::as_slice), now)
            .map_err(|problem| format!("reading the keys of the policy: {problem}"))?;
        if keyring.is_empty() {
            return Err("No public keys imported".to_owned());
        }
        // Signatures of the other format count as none that are good, as with podman.
        let each = signatures.iter().map(|signature| match signature {
            Signature::Simple(message) => {
                let document = keyring.verify(message).map_err(|problem| problem.to_string())?;
                accept(&Payload::parse(&document, Format::Simple)?, subject, &self.signed_identity)
            }
            Signature::Sigstore(_) => Err("unsupported signature format sigstore-json".to_owned()),
        });
        one_of(each.collect())
    }
}

impl SigstoreSigned {
    fn keys(&self) -> Sources<'_> {
        Sources {
            path: self.key_path.as_deref(),
            paths: self.key_paths.as_deref(),
            data: self.key_data.as_ref(),
            datas: self.key_datas.as_deref(),
        }
    }

    fn logs(&self) -> Sources<'_> {
        Sources {
            path: self.rekor_public_key_path.as_deref(),
            paths: self.rekor_public_key_paths.as_deref(),
            data: self.rekor_public_key_data.as_ref(),
            datas: self.rekor_public_key_datas.as_deref(),
        }
    }

    /// What is wrong with the requirement.
    pub(crate) fn problem(&self) -> Option<String> {
        let (keys, logs) = (self.keys(), self.logs());
        let kinds = usize::from(keys.count() > 0)
            + usize::from(self.fulcio.is_some())
            + usize::from(self.pki.is_some());
        let text = match () {
            () if kinds != 1 || (keys.count() > 0 && !keys.is_valid()) => {
                "exactly one of keyPath, keyPaths, keyData, keyDatas, fulcio, and pki must be specified"
            }
            () if logs.count() > 0 && !logs.is_valid() => {
                "at most one of rekorPublicKeyPath, rekorPublicKeyPaths, rekorPublicKeyData and rekorPublicKeyDatas can be used simultaneously"
            }
            () if self.fulcio.is_some() && logs.count() == 0 => {
                "At least one of rekorPublicKeyPath, rekorPublicKeyPaths, rekorPublicKeyData and rekorPublicKeyDatas must be specified if fulcio is used"
            }
            () if self.pki.is_some() && logs.count() > 0 => "rekorPublicKey is not supported for pki",
            () => return self.subject_problem(),
        };
        Some(text.to_owned())
    }

    fn subject_problem(&self) -> Option<String> {
        if let Some(fulcio) = &self.fulcio
            && fulcio.path.is_some() == fulcio.data.is_some()
        {
            return Some("exactly one of caPath and caData must be specified".to_owned());
        }
        if let Some(pki) = &self.pki {
            if pki.roots_path.is_some() == pki.roots_data.is_some() {
                return Some("exactly one of caRootsPath and caRootsData must be specified".to_owned());
            }
            if pki.intermediates_path.is_some() && pki.intermediates_data.is_some() {
                return Some(
                    "caIntermediatesPath and caIntermediatesData cannot be used simultaneously".to_owned(),
                );
            }
            if pki.email.is_none() && pki.host.is_none() {
                return Some("at least one of subjectEmail and subjectHostname must be specified".to_owned());
            }
        }
        self.signed_identity.problem()
    }

    fn trust(&self) -> Result<Trust, String> {
        let one = |path: Option<&PathBuf>, data: Option<&Data>| {
            let sources = Sources { path: path.map(PathBuf::as_path), paths: None, data, datas: None };
            Ok::<_, String>(sources.read()?.concat())
        };
        if let Some(Fulcio { path, data, issuer, email }) = &self.fulcio {
            let roots = one(path.as_ref(), data.as_ref())?;
            return Ok(Trust::Fulcio { roots, issuer: issuer.clone(), email: email.clone() });
        }
        if let Some(pki) = &self.pki {
            return Ok(Trust::Pki {
                roots: one(pki.roots_path.as_ref(), pki.roots_data.as_ref())?,
                intermediates: one(pki.intermediates_path.as_ref(), pki.intermediates_data.as_ref())?,
                email: pki.email.clone(),
                host: pki.host.clone(),
            });
        }
        Ok(Trust::Keys(public_keys(&self.keys().read()?, "public key")?))
    }

    /// Whether one of the signatures satisfies it.
    pub(crate) fn check(&self, subject: &Subject<'_>, signatures: &[Signature]) -> Result<(), String> {
        let trust = self.trust()?;
        let logs = public_keys(&self.logs().read()?, "Rekor public key")?;
        if logs.iter().any(|log| !log.is_ecdsa()) {
            return Err("a Rekor public key is not using ECDSA".to_owned());
        }
        let attachments = signatures.iter().filter_map(|signature| match signature {
            // Others are attestations and the like, which prove nothing here.
            Signature::Sigstore(attachment) if attachment.media_type == PAYLOAD_TYPE => Some(attachment),
            Signature::Sigstore(_) | Signature::Simple(_) => None,
        });
        let each = attachments.map(|attachment| {
            accept(&sigstore::verify(attachment, &trust, &logs)?, subject, &self.signed_identity)
        });
        one_of(each.collect())
    }
}

fn public_keys(files: &[Vec<u8>], what: &str) -> Result<Vec<PublicKey>, String> {
    let read = |(at, file): (usize, &Vec<u8>)| {
        PublicKey::from_pem(file).map_err(|problem| format!("parsing {what} {}: {problem}", at + 1))
    };
    files.iter().enumerate().map(read).collect()
}

/// Whether a good signature is for this image.
fn accept(payload: &Payload, subject: &Subject<'_>, identity: &SignedIdentity) -> Result<(), String> {
    if !subject.has(&payload.digest) {
        return Err(format!("Signature for digest {} does not match", payload.digest));
    }
    if !identity.accepts(subject.name, &payload.reference) {
        return Err(format!("Signature for identity {:?} is not accepted", payload.reference));
    }
    Ok(())
}

/// One good signature is enough.
fn one_of(results: Vec<Result<(), String>>) -> Result<(), String> {
    if results.iter().any(Result::is_ok) {
        return Ok(());
    }
    let mut reasons: Vec<String> = results.into_iter().filter_map(Result::err).collect();
    Err(match reasons.len() {
        0 => "A signature was required, but no signature exists".to_owned(),
        1 => reasons.remove(0),
        _ => format!("None of the signatures were accepted, reasons: {}", reasons.join("; ")),
    })
}
