//! Signed entry timestamps of a Rekor log: its word that a signature was in the log at some time.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde::Deserialize;
use serde_json::Value;

use super::key::PublicKey;
use crate::image::pem;
use crate::store::Digest;

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
struct Bundle {
    signed_entry_timestamp: String,
    payload: Payload,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Payload {
    body: String,
    integrated_time: i64,
    log_index: i64,
    #[serde(rename = "logID")]
    log_id: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Entry {
    api_version: String,
    kind: String,
    spec: Spec,
}

#[derive(Deserialize)]
struct Spec {
    data: Data,
    signature: Signed,
}

#[derive(Deserialize)]
struct Data {
    hash: Hash,
}

#[derive(Deserialize)]
struct Hash {
    algorithm: String,
    value: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Signed {
    content: String,
    public_key: LoggedKey,
}

#[derive(Deserialize)]
struct LoggedKey {
    content: String,
}

impl Payload {
    /// The form that is signed: RFC 8785, of which these fields need only the order.
    fn canonical(&self) -> Vec<u8> {
        let text = |text: &str| Value::from(text).to_string();
        format!(
            r#"{{"body":{},"integratedTime":{},"logID":{},"logIndex":{}}}"#,
            text(&self.body),
            self.integrated_time,
            text(&self.log_id),
            self.log_index
        )
        .into_bytes()
    }
}

/// The second at which the log took the signature `signature` of `payload` by `key`, the bytes of a public key or
/// certificate.
pub(super) fn verify(
    logs: &[PublicKey],
    bundle: &str,
    key: &[u8],
    signature: &[u8],
    payload: &[u8],
) -> Result<u64, String> {
    let wrong = |what: &str| format!("Rekor SET: {what}");
    let bundle: Bundle =
        serde_json::from_str(bundle).map_err(|error| wrong(&format!("it is malformed: {error}")))?;
    let decode = |text: &str| BASE64.decode(text).map_err(|error| wrong(&error.to_string()));
    let stamp = decode(&bundle.signed_entry_timestamp)?;
    let canonical = bundle.payload.canonical();
    if !logs.iter().any(|log| log.verifies(&canonical, &stamp)) {
        return Err("cryptographic signature verification of Rekor SET failed".to_owned());
    }
    let entry: Entry = serde_json::from_slice(&decode(&bundle.payload.body)?)
        .map_err(|error| wrong(&format!("its body is malformed: {error}")))?;
    if entry.kind != "hashedrekord" || entry.api_version != "0.0.1" {
        return Err(wrong("its body is no hashedrekord 0.0.1"));
    }
    let logged = pem::one(&decode(&entry.spec.signature.public_key.content)?);
    if logged.is_none_or(|block| block.bytes != key) {
        return Err("publicKey in Rekor SET does not match".to_owned());
    }
    if decode(&entry.spec.signature.content)? != signature {
        return Err("signature in Rekor SET does not match".to_owned());
    }
    let Hash { algorithm, value } = entry.spec.data.hash;
    if algorithm != "sha256" || value.to_ascii_lowercase() != Digest::of(payload).hex() {
        return Err("payload in Rekor SET does not match".to_owned());
    }
    u64::try_from(bundle.payload.integrated_time).map_err(|_| wrong("its time is before 1970"))
}
