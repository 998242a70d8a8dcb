//! What happened to containers, images and volumes, for those who watch (`rbox events`).
//!
//! # On disk
//!
//! One file a user, `DATA/events.log` (or `events_logfile_path`), one JSON object a line, in podman's form:
//!
//! ```text
//! {"ID":"…","Image":"…","Name":"web","Status":"start","Time":"2026-11-22T19:00:00.5Z","Type":"container","Attributes":{}}
//! ```
//!
//! Any number of processes append, each with one `write` under a shared lock of the file, so lines are never torn.
//! When the file would pass its limit, a writer with the exclusive lock replaces it by one with
//! its newer half between two lines of the type `system`. Nobody can write to the old file after that: a writer
//! that finds its file replaced opens the new one.
//!
//! With the backend `journald` events go to systemd's journal as well, for those who read that; rbox reads the file.

mod filter;
mod read;
mod write;

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

pub use filter::{BadFilter, Filters};
pub use read::Reader;
pub use write::Sink;

/// Something that happened.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Event {
    /// How a container or process of `exec` ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub container_exit_code: Option<i32>,
    /// Of the container, image, …
    #[serde(rename = "ID", default, skip_serializing_if = "String::is_empty")]
    pub id: String,
    /// The container's image.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub image: String,
    /// Of the container, image, volume, …
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub name: String,
    /// Name of a network.
    #[serde(rename = "network", default, skip_serializing_if = "String::is_empty")]
    pub network: String,
    /// What happened: `create`, `start`, `died`, …
    pub status: String,
    /// When.
    #[serde(with = "rfc3339")]
    pub time: Timestamp,
    /// To what: `container`, `image`, `volume`, …
    #[serde(rename = "Type")]
    pub kind: String,
    /// What a health check came to.
    #[serde(rename = "health_status", default, skip_serializing_if = "String::is_empty")]
    pub health_status: String,
    /// Its last entry in the log of checks, where that is kept here.
    #[serde(rename = "health_log", default, skip_serializing_if = "String::is_empty")]
    pub health_log: String,
    /// How many checks in a row have failed.
    #[serde(rename = "health_failing_streak", default, skip_serializing_if = "is_zero")]
    pub health_failing_streak: u32,
    /// Why something failed.
    #[serde(rename = "error", default, skip_serializing_if = "String::is_empty")]
    pub error: String,
    /// What `inspect` says about a new container, where the configuration asks for it.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub container_inspect_data: String,
    /// The container's pod.
    #[serde(rename = "PodID", default, skip_serializing_if = "String::is_empty")]
    pub pod_id: String,
    /// Labels of a container, and what else there is to say.
    pub attributes: Option<BTreeMap<String, String>>,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "the signature that serde calls")]
fn is_zero(value: &u32) -> bool {
    *value == 0
}

impl Event {
    /// Something that happens now to a thing of this kind.
    #[must_use]
    pub fn new(kind: &str, status: &str) -> Self {
        Self {
            container_exit_code: None,
            id: String::new(),
            image: String::new(),
            name: String::new(),
            network: String::new(),
            status: status.to_owned(),
            time: Timestamp::now(),
            kind: kind.to_owned(),
            health_status: String::new(),
            health_log: String::new(),
            health_failing_streak: 0,
            error: String::new(),
            container_inspect_data: String::new(),
            pod_id: String::new(),
            attributes: None,
        }
    }

    /// Something that happens to an image.
    #[must_use]
    pub fn image(status: &str, id: &str, name: &str) -> Self {
        Self { id: id.to_owned(), name: name.to_owned(), ..Self::new("image", status) }
    }

    /// Something that happens to a volume.
    #[must_use]
    pub fn volume(status: &str, name: &str) -> Self {
        Self { name: name.to_owned(), ..Self::new("volume", status) }
    }

    /// The line in the file, with its newline.
    fn line(&self) -> String {
        let mut line = serde_json::to_string(self).expect("an event has only strings as keys");
        line.push('\n');
        line
    }
}

/// Times as RFC 3339 with nanoseconds.
mod rfc3339 {
    use jiff::Timestamp;
    use serde::de::Error as _;
    use serde::{Deserialize as _, Deserializer, Serializer};

    pub(super) fn serialize<S: Serializer>(time: &Timestamp, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(time)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Timestamp, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(D::Error::custom)
    }
}
