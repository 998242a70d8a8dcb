//! One CDI specification: a file in JSON or YAML that says what of a host's devices a container needs.
//!
//! The format is that of the Container Device Interface, versions 0.3.0 to 1.1.0. A file whose version is older than
//! what it uses is refused, and so are fields that no version has: half of a device is worse than none.

use std::collections::BTreeMap;

use serde::de::IgnoredAny;
use serde::{Deserialize, Deserializer};

use super::name;

/// The versions that there are, with what each brought.
const VERSIONS: [&str; 10] =
    ["0.1.0", "0.2.0", "0.3.0", "0.4.0", "0.5.0", "0.6.0", "0.7.0", "0.8.0", "1.0.0", "1.1.0"];

/// The points at which hooks run.
const HOOKS: [&str; 6] =
    ["prestart", "createRuntime", "createContainer", "startContainer", "poststart", "poststop"];

/// A specification.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Specification {
    cdi_version: String,
    /// `VENDOR/CLASS`.
    pub kind: String,
    #[serde(default, deserialize_with = "or_default")]
    annotations: BTreeMap<String, String>,
    /// The devices.
    #[serde(default, deserialize_with = "or_default")]
    pub devices: Vec<Device>,
    /// What each of them needs.
    #[serde(default, deserialize_with = "or_default")]
    pub container_edits: Edits,
}

/// A device.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Device {
    /// Its name among those of its kind.
    pub name: String,
    #[serde(default, deserialize_with = "or_default")]
    annotations: BTreeMap<String, String>,
    /// What it needs.
    #[serde(default, deserialize_with = "or_default")]
    pub container_edits: Edits,
}

/// What is done to a container.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
pub struct Edits {
    /// Variables, `NAME=VALUE`.
    #[serde(deserialize_with = "or_default")]
    pub env: Vec<String>,
    /// Device nodes.
    #[serde(deserialize_with = "or_default")]
    pub device_nodes: Vec<Node>,
    /// Mounts.
    #[serde(deserialize_with = "or_default")]
    pub mounts: Vec<Mount>,
    /// Programs of the host to run.
    #[serde(deserialize_with = "or_default")]
    pub hooks: Vec<Hook>,
    /// Supplementary groups; 0 stands for none.
    #[serde(rename = "additionalGids", alias = "additionalGIDs", deserialize_with = "or_default")]
    pub additional_gids: Vec<u32>,
    intel_rdt: Option<IgnoredAny>,
    #[serde(deserialize_with = "or_default")]
    net_devices: Vec<IgnoredAny>,
}

/// A device node.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
pub struct Node {
    /// Path in the container.
    pub path: String,
    /// Path on the host, if another one.
    pub host_path: String,
    /// `c` or `u`, `b`, `p`, or nothing for what the host has.
    #[serde(rename = "type")]
    pub kind: String,
    /// Major number.
    pub major: i64,
    /// Minor number.
    pub minor: i64,
    /// Mode, of a FIFO.
    pub file_mode: Option<u32>,
    /// `rwm` or a part of that, or `none`.
    pub permissions: String,
    /// Owner inside, of a FIFO.
    pub uid: Option<u32>,
    /// Group inside, of a FIFO.
    pub gid: Option<u32>,
}

impl Node {
    /// Where it is on the host.
    #[must_use]
    pub fn source(&self) -> &str {
        if self.host_path.is_empty() { &self.path } else { &self.host_path }
    }
}

/// A mount.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
pub struct Mount {
    /// Path on the host.
    pub host_path: String,
    /// Path in the container.
    pub container_path: String,
    /// Options of mount(8).
    #[serde(deserialize_with = "or_default")]
    pub options: Vec<String>,
    /// File system.
    #[serde(rename = "type")]
    pub kind: String,
}

/// A program of the host.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
pub struct Hook {
    /// When it runs, as the runtime specification names it.
    pub hook_name: String,
    /// Where it is.
    pub path: String,
    /// Arguments, the first of which is its name.
    #[serde(deserialize_with = "or_default")]
    pub args: Vec<String>,
    /// Its environment.
    #[serde(deserialize_with = "or_default")]
    pub env: Vec<String>,
    /// Seconds that it may take.
    pub timeout: Option<i64>,
}

/// Go writes `null` for empty lists.
fn or_default<'de, D: Deserializer<'de>, T: Default + Deserialize<'de>>(source: D) -> Result<T, D::Error> {
    Option::deserialize(source).map(Option::unwrap_or_default)
}

impl Specification {
    /// Reads a file's text and checks it.
    ///
    /// # Errors
    /// What is wrong with it.
    pub(super) fn parse(text: &[u8], is_json: bool) -> Result<Self, String> {
        let text = std::str::from_utf8(text).map_err(|_| "it is not UTF-8".to_owned())?;
        if text.trim().is_empty() {
            return Err("it is empty".to_owned());
        }
        let spec: Self = if is_json {
            serde_json::from_str(text).map_err(|error| error.to_string())?
        } else {
            serde_saphyr::from_str(text).map_err(|error| error.to_string())?
        };
        spec.check()?;
        Ok(spec)
    }

    fn check(&self) -> Result<(), String> {
        let version = self.cdi_version.strip_prefix('v').unwrap_or(&self.cdi_version);
        let known = VERSIONS.iter().position(|known| *known == version);
        let known = known.ok_or_else(|| format!("cdiVersion {version:?} is none of 0.3.0 to 1.1.0"))?;
        name::check_kind(&self.kind)?;
        let (needed, why) = self.needed_version();
        if known < needed {
            let needed = VERSIONS[needed];
            return Err(format!("cdiVersion is {version}, and must be {needed} at least for {why}"));
        }
        self.container_edits.check()?;
        for (index, device) in self.devices.iter().enumerate() {
            let context = |why: String| format!("device {:?}: {why}", device.name);
            name::check_device(&device.name).map_err(context)?;
            device.container_edits.check().map_err(context)?;
            if self.devices[..index].iter().any(|other| other.name == device.name) {
                return Err(format!("there are two devices {:?}", device.name));
            }
        }
        if self.devices.is_empty() {
            return Err("it has no devices".to_owned());
        }
        Ok(())
    }

    /// The first version that has all that is used, and what needs it.
    fn needed_version(&self) -> (usize, &'static str) {
        let edits =
            || self.devices.iter().map(|device| &device.container_edits).chain([&self.container_edits]);
        let class = self.kind.split_once('/').map_or("", |(_, class)| class);
        let starts_with_digit = |device: &Device| !device.name.starts_with(|c: char| c.is_ascii_alphabetic());
        let annotated = |device: &Device| !device.annotations.is_empty();
        let table = [
            (9, "netDevices", edits().any(|edits| !edits.net_devices.is_empty())),
            (6, "intelRdt", edits().any(|edits| edits.intel_rdt.is_some())),
            (6, "additionalGids", edits().any(|edits| !edits.additional_gids.is_empty())),
            (5, "annotations", !self.annotations.is_empty() || self.devices.iter().any(annotated)),
            (5, "a class with a dot", class.contains('.')),
            (4, "a device name that starts with a digit", self.devices.iter().any(starts_with_digit)),
            (4, "hostPath", edits().flat_map(|e| &e.device_nodes).any(|node| !node.host_path.is_empty())),
            (3, "the type of a mount", edits().flat_map(|e| &e.mounts).any(|mount| !mount.kind.is_empty())),
        ];
        let used = table.into_iter().find(|(_, _, used)| *used);
        used.map_or((2, "any device"), |(version, what, _)| (version, what))
    }
}

impl Edits {
    /// What is not done to containers here, if the edits ask for that.
    #[must_use]
    pub fn unsupported(&self) -> Option<&'static str> {
        if self.intel_rdt.is_some() {
            return Some("intelRdt (only root can make groups of the cache allocation)");
        }
        (!self.net_devices.is_empty()).then_some("netDevices (only root can take an interface from the host)")
    }

    /// Adds what `other` says.
    pub(super) fn append(&mut self, other: &Self) {
        self.env.extend_from_slice(&other.env);
        self.device_nodes.extend_from_slice(&other.device_nodes);
        self.mounts.extend_from_slice(&other.mounts);
        self.hooks.extend_from_slice(&other.hooks);
        self.additional_gids.extend_from_slice(&other.additional_gids);
        self.net_devices.extend_from_slice(&other.net_devices);
        self.intel_rdt = self.intel_rdt.or(other.intel_rdt);
    }

    fn check(&self) -> Result<(), String> {
        check_variables(&self.env)?;
        for node in &self.device_nodes {
            let bad = |why: &str| Err(format!("device node {:?}: {why}", node.path));
            let known = node.permissions == "none" || node.permissions.chars().all(|c| "rwm".contains(c));
            if node.path.is_empty() {
                return bad("it has no path");
            }
            if !matches!(node.kind.as_str(), "" | "b" | "c" | "u" | "p") {
                return bad(&format!("{:?} is no type", node.kind));
            }
            if node.major < 0 || node.minor < 0 {
                return bad("its numbers are negative");
            }
            if !known {
                return bad(&format!("{:?} are no permissions", node.permissions));
            }
        }
        for mount in &self.mounts {
            if mount.host_path.is_empty() || mount.container_path.is_empty() {
                return Err("a mount needs hostPath and containerPath".to_owned());
            }
        }
        for hook in &self.hooks {
            if !HOOKS.contains(&hook.hook_name.as_str()) {
                return Err(format!("{:?} is no name of a hook", hook.hook_name));
            }
            if !hook.path.starts_with('/') {
                return Err(format!("hook {:?}: its path {:?} is not absolute", hook.hook_name, hook.path));
            }
            check_variables(&hook.env)?;
        }
        Ok(())
    }
}

fn check_variables(env: &[String]) -> Result<(), String> {
    match env.iter().find(|entry| entry.find('=').is_none_or(|at| at == 0)) {
        Some(entry) => Err(format!("the variable {entry:?} is not NAME=VALUE")),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(version: &str, device: &str, edits: &str) -> Result<Specification, String> {
        let text = format!(
            r#"{{"cdiVersion": "{version}", "kind": "vendor.com/class", "devices": [{{"name": "d", {device}
                "containerEdits": {{}}}}], "containerEdits": {{{edits}}}}}"#
        );
        Specification::parse(text.as_bytes(), true)
    }

    #[test]
    fn versions_must_have_what_is_used() {
        for (first, device, edits) in [
            (2, "", ""),
            (3, "", r#""mounts": [{"hostPath": "/a", "containerPath": "/b", "type": "bind"}]"#),
            (4, "", r#""deviceNodes": [{"path": "/dev/a", "hostPath": "/dev/b"}]"#),
            (5, r#""annotations": {"a": "b"},"#, ""),
            (6, "", r#""additionalGids": [5]"#),
            (6, "", r#""intelRdt": {"closID": "x"}"#),
            (9, "", r#""netDevices": [{"hostInterfaceName": "a", "name": "b"}]"#),
        ] {
            for (index, version) in VERSIONS.iter().enumerate() {
                let parsed = with(version, device, edits);
                assert_eq!(parsed.is_ok(), index >= first, "{version} {edits}: {parsed:?}");
            }
        }
        for version in ["", "1", "0.5", "1.2.0", "2.0.0", "latest"] {
            assert!(with(version, "", "").unwrap_err().contains("none of 0.3.0 to 1.1.0"), "{version}");
        }
        assert!(with("v0.5.0", "", "").is_ok());
    }

    #[test]
    fn what_makes_no_sense_is_named() {
        for (edits, reason) in [
            (r#""env": ["A"]"#, "\"A\" is not NAME=VALUE"),
            (r#""env": ["=x"]"#, "\"=x\" is not NAME=VALUE"),
            (r#""deviceNodes": [{"path": ""}]"#, "no path"),
            (r#""deviceNodes": [{"path": "/x", "type": "d"}]"#, "\"d\" is no type"),
            (r#""deviceNodes": [{"path": "/x", "major": -1}]"#, "negative"),
            (r#""deviceNodes": [{"path": "/x", "permissions": "rx"}]"#, "no permissions"),
            (r#""mounts": [{"hostPath": "/x"}]"#, "containerPath"),
            (r#""hooks": [{"hookName": "precreate", "path": "/x"}]"#, "no name of a hook"),
            (r#""hooks": [{"hookName": "prestart", "path": "x"}]"#, "not absolute"),
            (r#""additionalGids": [-1]"#, "-1"),
            (r#""volumes": []"#, "volumes"),
        ] {
            let error = with("0.7.0", "", edits).unwrap_err();
            assert!(error.contains(reason), "{edits}: {error}");
        }
        for text in ["", "{}", "[]", "{\"cdiVersion\": \"0.5.0\", \"kind\": \"a/b\", \"devices\": []}"] {
            assert!(Specification::parse(text.as_bytes(), true).is_err(), "{text}");
        }
        let twice = "{cdiVersion: 0.5.0, kind: a/b, devices: [{name: x}, {name: x}]}";
        assert_eq!(Specification::parse(twice.as_bytes(), false).unwrap_err(), "there are two devices \"x\"");
    }

    #[test]
    fn yaml_and_json_say_the_same() {
        let yaml = "cdiVersion: 0.5.0\nkind: vendor.com/net\ndevices:\n- name: \"0\"\n  containerEdits:\n    \
                    env: [A=b]\n    mounts: null\n    deviceNodes:\n    - path: /dev/x\n      hostPath: /dev/null\n      \
                    permissions: rw\n";
        let json = r#"{"cdiVersion": "0.5.0", "kind": "vendor.com/net", "devices": [{"name": "0", "containerEdits":
            {"env": ["A=b"], "deviceNodes": [{"path": "/dev/x", "hostPath": "/dev/null", "permissions": "rw"}]}}]}"#;
        let yaml = Specification::parse(yaml.as_bytes(), false).unwrap();
        assert_eq!(yaml, Specification::parse(json.as_bytes(), true).unwrap());
        assert_eq!(yaml.devices[0].container_edits.device_nodes[0].source(), "/dev/null");
    }
}
