//! The image config: what an image says about itself.
//!
//! Everything here comes from whoever made the image. It is content, never policy: readers validate each field where
//! they use it. Docker's fields that the OCI type lacks (Healthcheck, OnBuild, Shell, ArgsEscaped) are here too.
//! The stored bytes stay the truth; these types are only written for `inspect`.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::manifest::null_as_default;
use super::platform::Platform;
use crate::store::Digest;

/// The config document of an image.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
pub struct ImageConfig {
    /// GOARCH name.
    #[serde(default)]
    pub architecture: String,
    /// GOOS name.
    #[serde(default)]
    pub os: String,
    /// Variant of the architecture.
    #[serde(default)]
    pub variant: Option<String>,
    /// When it was made, as written there: RFC 3339.
    #[serde(default)]
    pub created: Option<String>,
    /// Who made it.
    #[serde(default, deserialize_with = "null_as_default")]
    pub author: String,
    /// Docker's free comment.
    #[serde(default, deserialize_with = "null_as_default")]
    pub comment: String,
    /// Docker's version of the builder.
    #[serde(default, deserialize_with = "null_as_default")]
    pub docker_version: String,
    /// How to run a container of it.
    #[serde(default, deserialize_with = "null_as_default")]
    pub config: RunConfig,
    /// Its layers.
    #[serde(default, deserialize_with = "null_as_default")]
    pub rootfs: RootFs,
    /// How it was built, oldest step first.
    #[serde(default, deserialize_with = "null_as_default")]
    pub history: Vec<HistoryEntry>,
}

/// The layers of an image by the digests of their uncompressed tar streams.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RootFs {
    /// Always `layers`.
    #[serde(default, rename = "type")]
    pub kind: String,
    /// Lowest layer first.
    #[serde(default, deserialize_with = "null_as_default")]
    pub diff_ids: Vec<Digest>,
}

/// What a container of the image starts with, unless the command line says otherwise.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct RunConfig {
    /// `USER`: user or uid, with group or gid after a colon.
    #[serde(deserialize_with = "null_as_default", skip_serializing_if = "String::is_empty")]
    pub user: String,
    /// `EXPOSE`: the keys are `PORT[/PROTOCOL]`.
    #[serde(deserialize_with = "null_as_default", skip_serializing_if = "BTreeMap::is_empty")]
    pub exposed_ports: BTreeMap<String, Empty>,
    /// `ENV`: `NAME=VALUE`.
    #[serde(deserialize_with = "null_as_default", skip_serializing_if = "Vec::is_empty")]
    pub env: Vec<String>,
    /// `ENTRYPOINT`.
    #[serde(deserialize_with = "null_as_default", skip_serializing_if = "Vec::is_empty")]
    pub entrypoint: Vec<String>,
    /// `CMD`.
    #[serde(deserialize_with = "null_as_default", skip_serializing_if = "Vec::is_empty")]
    pub cmd: Vec<String>,
    /// `VOLUME`: the keys are paths.
    #[serde(deserialize_with = "null_as_default", skip_serializing_if = "BTreeMap::is_empty")]
    pub volumes: BTreeMap<String, Empty>,
    /// `WORKDIR`.
    #[serde(deserialize_with = "null_as_default", skip_serializing_if = "String::is_empty")]
    pub working_dir: String,
    /// `LABEL`.
    #[serde(deserialize_with = "null_as_default", skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// `STOPSIGNAL`.
    #[serde(deserialize_with = "null_as_default", skip_serializing_if = "String::is_empty")]
    pub stop_signal: String,
    /// `HEALTHCHECK`; Docker only.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub healthcheck: Option<Healthcheck>,
    /// `ONBUILD`; Docker only.
    #[serde(deserialize_with = "null_as_default", skip_serializing_if = "Vec::is_empty")]
    pub on_build: Vec<String>,
    /// `SHELL`; Docker only.
    #[serde(deserialize_with = "null_as_default", skip_serializing_if = "Vec::is_empty")]
    pub shell: Vec<String>,
    /// Docker only, for Windows.
    #[serde(deserialize_with = "null_as_default", skip_serializing_if = "std::ops::Not::not")]
    pub args_escaped: bool,
    /// `--stop-timeout` of the build; Docker only.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stop_timeout: Option<u32>,
}

/// The empty object that Go writes for a set's values; whatever stands there is not read.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Empty;

impl Serialize for Empty {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        use serde::ser::SerializeMap as _;
        serializer.serialize_map(Some(0))?.end()
    }
}

impl<'de> Deserialize<'de> for Empty {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        serde::de::IgnoredAny::deserialize(deserializer).map(|_| Self)
    }
}

/// Docker's health check; the times are nanoseconds.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct Healthcheck {
    /// `["NONE"]`, `["CMD", …]` or `["CMD-SHELL", TEXT]`; empty inherits.
    #[serde(deserialize_with = "null_as_default", skip_serializing_if = "Vec::is_empty")]
    pub test: Vec<String>,
    /// Time between two checks.
    #[serde(skip_serializing_if = "is_zero")]
    pub interval: i64,
    /// How long one check may take.
    #[serde(skip_serializing_if = "is_zero")]
    pub timeout: i64,
    /// How long failures do not count after the start.
    #[serde(skip_serializing_if = "is_zero")]
    pub start_period: i64,
    /// Time between two checks during the start period.
    #[serde(skip_serializing_if = "is_zero")]
    pub start_interval: i64,
    /// How many failures in a row make a container unhealthy.
    #[serde(skip_serializing_if = "is_zero")]
    pub retries: i64,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "the signature that serde calls")]
fn is_zero(value: &i64) -> bool {
    *value == 0
}

/// One step of a build.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct HistoryEntry {
    /// RFC 3339.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub created: Option<String>,
    /// The command.
    #[serde(deserialize_with = "null_as_default", skip_serializing_if = "String::is_empty")]
    pub created_by: String,
    /// Who ran it.
    #[serde(deserialize_with = "null_as_default", skip_serializing_if = "String::is_empty")]
    pub author: String,
    /// Free text.
    #[serde(deserialize_with = "null_as_default", skip_serializing_if = "String::is_empty")]
    pub comment: String,
    /// Whether the step made no layer.
    #[serde(deserialize_with = "null_as_default", skip_serializing_if = "std::ops::Not::not")]
    pub empty_layer: bool,
}

impl ImageConfig {
    /// Parses the bytes of a config document.
    pub fn parse(bytes: &[u8]) -> Result<Self, serde_json::Error> {
        // serde also reads a struct from an array; a config is an object.
        let object: BTreeMap<String, &serde_json::value::RawValue> = serde_json::from_slice(bytes)?;
        drop(object);
        serde_json::from_slice(bytes)
    }

    /// The platform that it was made for.
    #[must_use]
    pub fn platform(&self) -> Platform {
        Platform::normalised(&self.os, &self.architecture, self.variant.as_deref())
    }

    /// When it was made, if it says so in a form that can be read.
    #[must_use]
    pub fn created_at(&self) -> Option<jiff::Timestamp> {
        self.created.as_deref()?.parse().ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_docker_writes() {
        let text = r#"{"architecture":"arm64","os":"linux","variant":"v8","created":"2024-01-02T03:04:05.123456789Z",
            "config":{"Hostname":"","User":"1000:1000","Env":["A=b"],"Entrypoint":null,"Cmd":["sh"],"Volumes":{"/data":{}},
            "ExposedPorts":{"80/tcp":{}},"Labels":null,"OnBuild":null,"Shell":["/bin/bash","-c"],
            "Healthcheck":{"Test":["CMD-SHELL","true"],"Interval":30000000000,"Retries":3}},
            "rootfs":{"type":"layers","diff_ids":null},"history":[{"created_by":"x","empty_layer":true},{}],"unknown":1}"#;
        let config = ImageConfig::parse(text.as_bytes()).unwrap();
        assert_eq!(config.platform().to_string(), "linux/arm64/v8");
        assert_eq!(config.config.cmd, ["sh"]);
        assert!(config.config.volumes.contains_key("/data"));
        assert_eq!(config.config.healthcheck.as_ref().unwrap().retries, 3);
        assert!(config.history[0].empty_layer && !config.history[1].empty_layer);
        assert_eq!(config.created_at().unwrap().as_second(), 1_704_164_645);
        assert_eq!(
            serde_json::to_string(&config.config).unwrap(),
            r#"{"User":"1000:1000","ExposedPorts":{"80/tcp":{}},"Env":["A=b"],"Cmd":["sh"],"Volumes":{"/data":{}},"Healthcheck":{"Test":["CMD-SHELL","true"],"Interval":30000000000,"Retries":3},"Shell":["/bin/bash","-c"]}"#
        );
    }

    #[test]
    fn an_empty_config_is_a_config() {
        assert_eq!(ImageConfig::parse(br#"{"config":null,"rootfs":null}"#).unwrap(), ImageConfig::default());
        assert!(ImageConfig::parse(b"[]").is_err());
        assert!(ImageConfig::parse(br#"{"rootfs":{"diff_ids":["sha256:../.."]}}"#).is_err());
    }
}
