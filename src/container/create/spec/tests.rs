//! Golden specs: what typical flag sets become, as a whole.

use std::path::Path;

use serde_json::Value;

use super::super::request::{IpcMode, NamespaceMode, RootFs, Systemd, UserNsMode};
use super::super::{CreateRequest, Ulimit, security};
use super::{Generated, HostFacts, SpecInput, generate};
use crate::config::{Env, containers::Containers};
use crate::container::{ContainerId, Result};
use crate::image::config::RunConfig;
use crate::kernel::cap::Capability;
use crate::kernel::idmap::{IdMaps, IdRange};
use crate::network::Mode;
use crate::volume::{parse_tmpfs, parse_volume};

const ID: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

fn maps() -> IdMaps {
    let map = vec![IdRange { inside: 0, outside: 0, count: 65_537 }];
    IdMaps { uid: map.clone(), gid: map }
}

fn image() -> RunConfig {
    RunConfig {
        env: vec!["PATH=/bin".to_owned(), "LANG=C".to_owned()],
        entrypoint: vec!["/entry".to_owned()],
        cmd: vec!["default".to_owned()],
        working_dir: "/srv//app/".to_owned(),
        ..RunConfig::default()
    }
}

fn request() -> CreateRequest {
    CreateRequest {
        rootfs: RootFs::Image { reference: "img".to_owned(), id: None },
        ulimits: Some(Vec::new()),
        read_only_tmpfs: true,
        ..CreateRequest::default()
    }
}

fn made(request: &CreateRequest, image: Option<&RunConfig>) -> Result<Generated> {
    let id = ContainerId::parse(ID).expect("an id");
    let host = HostFacts {
        has_message_queues: true,
        host_name: "host".to_owned(),
        uid: 4242,
        gid: 4242,
        hard_limits: vec![("nofile".to_owned(), 4096)],
        capabilities: Capability::all().collect(),
        volumes: "/data/volumes".into(),
        fresh_volumes: vec!["new".to_owned()],
        images: vec![("other".to_owned(), vec!["/l/2".into(), "/l/1".into()])],
        ..HostFacts::default()
    };
    let env = Env::from_values(4242, 4242, [("HOME", "/home/x")]);
    let config = Containers::default();
    let maps = maps();
    let input = SpecInput {
        id: &id,
        name: "web",
        request,
        image,
        config: &config,
        env: &env,
        maps: Some(&maps),
        directory: Path::new("/data/containers/ID"),
        host: &host,
    };
    generate(&input)
}

/// The spec as JSON with everything sorted that has no order.
fn json(generated: &Generated) -> String {
    fn sorted(value: Value) -> Value {
        match value {
            Value::Object(map) => {
                let mut entries: Vec<_> = map.into_iter().map(|(key, value)| (key, sorted(value))).collect();
                entries.sort_by(|a, b| a.0.cmp(&b.0));
                Value::Object(entries.into_iter().collect())
            }
            Value::Array(mut list)
                if list.iter().all(|v| v.as_str().is_some_and(|s| s.starts_with("CAP_"))) =>
            {
                list.sort_by_key(ToString::to_string);
                // One line instead of forty.
                Value::String(list.iter().filter_map(Value::as_str).collect::<Vec<_>>().join(" "))
            }
            Value::Array(list) if list.iter().all(Value::is_string) => {
                Value::String(list.iter().filter_map(Value::as_str).collect::<Vec<_>>().join(" | "))
            }
            Value::Array(list) => Value::Array(list.into_iter().map(sorted).collect()),
            other => other,
        }
    }
    let spec = serde_json::to_value(&generated.spec).expect("a spec is JSON");
    let extras = serde_json::to_value(&generated.extras).expect("extras are JSON");
    let text = |value| serde_json::to_string_pretty(&sorted(value)).expect("JSON prints");
    format!("{}\nextras: {}\n", text(spec), text(extras))
}

#[test]
fn nothing_asked() {
    insta::assert_snapshot!(json(&made(&request(), Some(&image())).unwrap()));
}

#[test]
fn many_flags() {
    let mut request = request();
    let cwd = Path::new("/cwd");
    for value in ["/host:/a:ro,U", "named:/b", "new:/c", "/src:/d:O"] {
        request.mounts.push(parse_volume(value, cwd).unwrap());
    }
    request.mounts.push(parse_tmpfs("/t:size=1m,exec").unwrap());
    request.command = vec!["run".to_owned()];
    request.terminal = true;
    request.user.user = Some("1000:2000".to_owned());
    request.user.groups = vec!["audio".to_owned()];
    request.env.set = vec![("A".to_owned(), "b".to_owned())];
    request.workdir = Some("/w".into());
    request.security.cap_add = vec!["CAP_NET_RAW".to_owned()];
    request.security.cap_drop = vec!["CAP_CHOWN".to_owned()];
    request.ulimits = Some(vec![Ulimit { name: "nofile".to_owned(), soft: 10, hard: 9999 }]);
    request.umask = Some(0o77);
    request.devices = vec![("/dev/fuse".into(), "/dev/fuse".into(), "rwm".to_owned())];
    request.sysctl.insert("kernel.shmmax".to_owned(), "1".to_owned());
    request.init = Some(super::super::Init::default());
    request.hostname = Some("name".to_owned());
    insta::assert_snapshot!(json(&made(&request, Some(&image())).unwrap()));
}

#[test]
fn host_namespaces() {
    let mut request = request();
    request.pid = NamespaceMode::Host;
    request.uts = NamespaceMode::Host;
    request.ipc = IpcMode::Host;
    request.cgroupns = NamespaceMode::Host;
    request.network.mode = Mode::Host;
    insta::assert_snapshot!(json(&made(&request, Some(&image())).unwrap()));
}

#[test]
fn privileged() {
    let mut request = request();
    request.security.privileged = true;
    insta::assert_snapshot!(json(&made(&request, Some(&image())).unwrap()));
}

#[test]
fn read_only() {
    let mut request = request();
    request.read_only = true;
    let (with, without) = (made(&request, None).unwrap(), {
        request.read_only_tmpfs = false;
        made(&request, None).unwrap()
    });
    let targets = |generated: &Generated| -> Vec<String> {
        let mounts = generated.spec.mounts().as_ref().expect("mounts").iter();
        mounts
            .map(|m| {
                format!("{} {}", m.destination().display(), m.options().as_ref().expect("options").join(","))
            })
            .collect()
    };
    insta::assert_snapshot!(format!("{}\n\n{}", targets(&with).join("\n"), targets(&without).join("\n")));
}

#[test]
fn systemd_is_recognised() {
    for (args, choice, expected) in [
        (&["/sbin/init"][..], Systemd::Auto, true),
        (&["/usr/lib/systemd/systemd"], Systemd::Auto, true),
        (&["/bin/sh", "-c", "/sbin/init"], Systemd::Auto, true),
        (&["init"], Systemd::Auto, false),
        (&["/sbin/init"], Systemd::Never, false),
        (&["true"], Systemd::Always, true),
    ] {
        let request = CreateRequest {
            entrypoint: Some(Vec::new()),
            command: args.iter().map(|a| (*a).to_owned()).collect(),
            systemd: choice,
            ..request()
        };
        assert_eq!(made(&request, None).unwrap().systemd, expected, "{args:?}");
    }
}

#[test]
fn entry_points_and_commands() {
    let list = |words: &[&str]| words.iter().map(|w| (*w).to_owned()).collect::<Vec<_>>();
    for (entrypoint, command, expected) in [
        (None, &[][..], &["/entry", "default"][..]),
        (None, &["x"], &["/entry", "x"]),
        (Some(&["e", "f"][..]), &[], &["e", "f"]),
        (Some(&["e"]), &["x"], &["e", "x"]),
        (Some(&[""]), &["x"], &["x"]),
        (Some(&[]), &[], &["default"]),
        (Some(&[""]), &[], &[""]),
    ] {
        let request = CreateRequest { entrypoint: entrypoint.map(list), command: list(command), ..request() };
        assert_eq!(made(&request, Some(&image())).unwrap().arguments, expected, "{entrypoint:?} {command:?}");
    }
}

#[test]
fn users_come_from_flag_image_or_mode() {
    let keep = UserNsMode::KeepId { uid: None, gid: None, size: None };
    for (flag, of_image, mode, expected) in [
        (None, "", UserNsMode::Host, ""),
        (None, "app:app", UserNsMode::Host, "app:app"),
        (Some("5"), "app", UserNsMode::Host, "5"),
        (None, "", keep.clone(), "4242:4242"),
        (Some("root"), "", keep.clone(), "root"),
        (None, "", UserNsMode::KeepId { uid: Some(7), gid: Some(8), size: None }, "7:8"),
    ] {
        let mut request = request();
        request.user.user = flag.map(str::to_owned);
        request.userns = mode;
        let image = RunConfig { user: of_image.to_owned(), ..RunConfig::default() };
        assert_eq!(made(&request, Some(&image)).unwrap().user, expected);
    }
}

#[test]
fn s25_mounts_over_proc_are_refused() {
    for (value, allowed) in [
        ("/x:/proc", false),
        ("/x:/proc/self/attr", false),
        ("/x:/proc/../proc", false),
        ("/x:/", false),
        ("/x:/proc/cpuinfo", true),
        ("/x:/process", true),
    ] {
        let mut request = request();
        request.mounts.push(parse_volume(value, Path::new("/")).unwrap());
        assert_eq!(made(&request, None).is_ok(), allowed, "{value}");
    }
}

#[test]
fn s6_no_capability_is_inheritable_or_ambient() {
    for user in [None, Some("1000")] {
        let mut request = request();
        request.user.user = user.map(str::to_owned);
        request.security.cap_add = vec!["ALL".to_owned()];
        let generated = made(&request, None).unwrap();
        let sets = generated.spec.process().as_ref().unwrap().capabilities().as_ref().unwrap();
        assert!(
            sets.inheritable().as_ref().unwrap().is_empty() && sets.ambient().as_ref().unwrap().is_empty()
        );
        assert_eq!(sets.effective().as_ref().unwrap().is_empty(), user.is_some());
        assert_eq!(sets.bounding().as_ref().unwrap().len(), 41);
    }
}

#[test]
fn every_masked_path_is_absolute() {
    let (masked, read_only) = security::paths(&super::super::Security::default());
    assert!(masked.iter().chain(&read_only).all(|path| path.starts_with('/')));
}

#[test]
fn a_lower_oom_score_is_raised_with_a_warning() {
    let mut request = request();
    request.oom_score_adj = Some(-1000);
    let generated = made(&request, None).unwrap();
    assert_eq!(generated.spec.process().as_ref().unwrap().oom_score_adj(), Some(0));
    assert_eq!(
        generated.warnings,
        ["Requested oom_score_adj=-1000 is lower than the current one, changing to 0"]
    );
}
