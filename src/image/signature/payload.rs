//! What a signature says: that an image with some name has some manifest. Both formats share the form and differ in
//! the type.
//!
//! It is read strictly, after the signature was verified: a field that is unknown, missing or there twice makes it
//! invalid, so that no two readers see different things in it.

use jiff::Timestamp;
use serde::Deserialize;
use serde_json::Value;

use crate::store::Digest;

/// The formats.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Format {
    /// With an OpenPGP key.
    Simple,
    /// With a key of sigstore.
    Sigstore,
}

impl Format {
    fn name(self) -> &'static str {
        match self {
            Self::Simple => "atomic container signature",
            Self::Sigstore => "cosign container image signature",
        }
    }
}

/// What was signed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Payload {
    /// The manifest.
    pub(super) digest: Digest,
    /// The image's name.
    pub(super) reference: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Wire {
    critical: Critical,
    /// Free; `null` from cosign.
    #[serde(rename = "optional")]
    _optional: Value,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Critical {
    r#type: String,
    image: Image,
    identity: Identity,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Image {
    #[serde(rename = "docker-manifest-digest")]
    digest: Digest,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Identity {
    #[serde(rename = "docker-reference")]
    reference: String,
}

impl Payload {
    /// Reads it.
    pub(super) fn parse(bytes: &[u8], format: Format) -> Result<Self, String> {
        let wire: Wire =
            serde_json::from_slice(bytes).map_err(|error| format!("invalid signature: {error}"))?;
        if wire.critical.r#type != format.name() {
            return Err(format!("Unrecognized signature type {}", wire.critical.r#type));
        }
        Ok(Self { digest: wire.critical.image.digest, reference: wire.critical.identity.reference })
    }

    /// Writes it, as of now.
    pub(super) fn to_json(&self, format: Format) -> Vec<u8> {
        let text = |text: &str| Value::from(text).to_string();
        format!(
            r#"{{"critical":{{"identity":{{"docker-reference":{}}},"image":{{"docker-manifest-digest":{}}},"type":{}}},"optional":{{"creator":{},"timestamp":{}}}}}"#,
            text(&self.reference),
            text(&self.digest.to_string()),
            text(format.name()),
            text(concat!("rbox ", env!("CARGO_PKG_VERSION"))),
            Timestamp::now().as_second(),
        )
        .into_bytes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_exact_form_is_read() {
        let digest = format!("sha256:{}", "a".repeat(64));
        let payload = Payload { digest: digest.parse().unwrap(), reference: "a.io/b:1".into() };
        for format in [Format::Simple, Format::Sigstore] {
            let bytes = payload.to_json(format);
            assert_eq!(Payload::parse(&bytes, format), Ok(payload.clone()));
        }
        assert!(Payload::parse(&payload.to_json(Format::Simple), Format::Sigstore).is_err());
        let parse = |critical: &str, rest: &str| {
            let text = format!(r#"{{"critical":{{{critical}}}{rest}}}"#);
            Payload::parse(text.as_bytes(), Format::Sigstore).is_ok()
        };
        let image = format!(r#""image":{{"docker-manifest-digest":"{digest}"}}"#);
        let identity = r#""identity":{"docker-reference":"a.io/b:1"}"#;
        let kind = r#""type":"cosign container image signature""#;
        let whole = format!("{kind},{image},{identity}");
        assert!(parse(&whole, r#","optional":null"#));
        assert!(parse(&whole, r#","optional":{"any":1}"#));
        assert!(!parse(&whole, ""), "nothing optional");
        assert!(!parse(&whole, r#","optional":null,"more":1"#));
        assert!(!parse(&format!("{whole},{image}"), r#","optional":null"#), "twice");
        assert!(!parse(&format!("{kind},{identity}"), r#","optional":null"#));
        assert!(!parse(&whole.replace("sha256:", "sha256-"), r#","optional":null"#));
    }
}
