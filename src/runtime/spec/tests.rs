//! Whole specs to plans.

use std::path::Path;

use oci_spec::runtime::Spec;

use super::super::plan::{Membership, MountSource, Namespaces, RootSource, UserNamespace};
use super::*;

/// Namespaces in which every kind but user and mount is `membership`.
pub(in crate::runtime) fn namespaces_of(membership: Membership) -> Namespaces {
    Namespaces {
        user: UserNamespace::Host,
        pid: membership.clone(),
        network: membership.clone(),
        uts: membership.clone(),
        ipc: membership.clone(),
        cgroup: membership.clone(),
        time: Membership::Host,
        time_offsets: None,
    }
}

/// A spec as an engine writes it, with `change` applied to its JSON.
pub(in crate::runtime) fn spec_with(change: impl FnOnce(&mut serde_json::Value)) -> Spec {
    let mut json = serde_json::json!({
        "ociVersion": "1.2.0",
        "root": {"path": "rootfs", "readonly": true},
        "hostname": "box",
        "process": {
            "terminal": false, "user": {"uid": 0, "gid": 0, "additionalGids": [10]},
            "args": ["sh"], "env": ["PATH=/bin", "broken"], "cwd": "/",
            "rlimits": [{"type": "RLIMIT_NOFILE", "soft": 10, "hard": 20}]
        },
        "mounts": [
            {"destination": "/proc", "type": "proc", "source": "proc", "options": ["nosuid"]},
            {"destination": "/data", "type": "bind", "source": "/srv", "options": ["rbind", "ro", "rprivate"]}
        ],
        "linux": {
            "namespaces": [{"type": "mount"}, {"type": "pid"}, {"type": "uts"},
                           {"type": "network", "path": "/proc/1/ns/net"}, {"type": "user"}],
            "uidMappings": [{"containerID": 0, "hostID": 1000, "size": 1}],
            "gidMappings": [{"containerID": 0, "hostID": 1000, "size": 1}]
        }
    });
    change(&mut json);
    serde_json::from_value(json).unwrap()
}

fn plan_with(change: impl FnOnce(&mut serde_json::Value)) -> Result<Plan> {
    Plan::from_spec(&spec_with(change), Path::new("/bundle"), None)
}

#[test]
fn a_whole_spec_becomes_a_plan() {
    let plan = plan_with(|_| {}).unwrap();
    assert_eq!(plan.root, RootSource::Bind("/bundle/rootfs".into()));
    assert!(plan.root_read_only && plan.new_keyring && !plan.init);
    assert_eq!(plan.namespaces.pid, Membership::New);
    assert_eq!(plan.namespaces.ipc, Membership::Host);
    assert_eq!(plan.namespaces.network, Membership::Join("/proc/1/ns/net".into()));
    assert_eq!(plan.process.environment, ["PATH=/bin"]);
    assert_eq!(
        plan.mounts[1].source,
        MountSource::Bind { path: "/srv".into(), below: None, recursive: true }
    );
    // Absent means none: not the caller's, not all.
    assert!(plan.process.capabilities.bounding.is_empty());
}

#[test]
fn wrong_specs_are_refused_with_their_place() {
    type Change = fn(&mut serde_json::Value);
    let table: [(&str, Change); 12] = [
        ("process.args", |spec| spec["process"]["args"] = serde_json::json!([])),
        ("process.cwd", |spec| spec["process"]["cwd"] = "relative".into()),
        ("process.user.uid", |spec| spec["process"]["user"]["uid"] = u32::MAX.into()),
        ("process.rlimits", |spec| spec["process"]["rlimits"][0]["soft"] = 30.into()),
        ("ociVersion", |spec| spec["ociVersion"] = "2.0.0".into()),
        ("linux.uidMappings", |spec| spec["linux"]["uidMappings"] = serde_json::json!([])),
        ("linux.uidMappings", |spec| spec["linux"]["uidMappings"][0]["size"] = u32::MAX.into()),
        ("hostname", |spec| spec["hostname"] = "a\nb".into()),
        ("mount at `/proc`", |spec| spec["mounts"][0]["options"] = serde_json::json!(["remount"])),
        ("mounts", |spec| spec["mounts"][0]["destination"] = "/proc/../..".into()),
        ("maskedPaths", |spec| spec["linux"]["maskedPaths"] = serde_json::json!(["relative"])),
        ("linux.rootfsPropagation", |spec| spec["linux"]["rootfsPropagation"] = "rshared,suid".into()),
    ];
    for (place, change) in table {
        let error = plan_with(change).unwrap_err().to_string();
        assert!(error.starts_with(&format!("invalid {place}")), "{place}: {error}");
    }
}

/// A plan as an engine's spec makes it.
pub(in crate::runtime) fn plan() -> Plan {
    plan_with(|_| {}).unwrap()
}
