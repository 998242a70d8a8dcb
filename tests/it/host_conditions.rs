//! Hosts that lack something, or lose it while containers run: run folder, sub-ids, helpers, disk space.

use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::support::disk::on_small_disk;
use super::support::env::{finish, outcome, spawn_captured};
use super::support::image::{Entry, busybox_config, busybox_entries, layer};
use super::support::{Outcome, TestEnv, image};

const IMAGE: &str = "localhost/busybox";

fn loaded(name: &str) -> TestEnv {
    let env = TestEnv::new(name);
    env.busybox();
    env
}

/// rbox with the sealed environment, but without `variable`.
fn without(env: &TestEnv, variable: &str, args: &[&str]) -> Outcome {
    outcome(env.command(args).env_remove(variable).stdin(Stdio::null()))
}

/// rbox with a PATH that holds only `programs` of the host.
fn with_path_of(env: &TestEnv, programs: &[&str], args: &[&str]) -> Outcome {
    let folder = env.work().join(format!("bin-{}", programs.len()));
    if !folder.exists() {
        fs::create_dir(&folder).unwrap();
        for program in programs {
            let places = ["/usr/bin", "/bin", "/usr/sbin", "/sbin"].map(|p| Path::new(p).join(program));
            symlink(places.iter().find(|p| p.exists()).unwrap(), folder.join(program)).unwrap();
        }
    }
    outcome(env.command(args).env("PATH", folder).stdin(Stdio::null()))
}

/// A mount and user namespace in which the shell prepares the host with `setup` and then runs rbox.
///
/// `identity` is `--map-current-user --keep-caps` (the user herself, alone) or `--map-auto --map-root-user`.
fn in_namespace(env: &TestEnv, identity: &[&str], setup: &str, args: &[&str]) -> Outcome {
    let rbox = env.command([""; 0]);
    let mut command = Command::new("unshare");
    command.args(["--user", "--mount"]).args(identity);
    command.args(["/bin/bash", "-ec", &format!("{setup}\nexec \"$@\""), "sh"]);
    if identity.contains(&"--keep-caps") {
        command.args(["setpriv", "--inh-caps=-all", "--ambient-caps=-all", "--"]);
    }
    command.arg(rbox.get_program()).args(args).env_clear().current_dir(env.work());
    command.envs(rbox.get_envs().filter_map(|(k, v)| Some((k, v?)))).stdin(Stdio::null());
    outcome(&mut command)
}

#[test]
fn without_a_run_folder_variable_another_private_folder_serves() {
    let env = loaded("noxdg");
    let variable = "XDG_RUNTIME_DIR";
    let own = rustix::process::getuid().as_raw();
    let started =
        without(&env, variable, &["run", "-d", "--name", "c", "--network=none", IMAGE, "sleep", "1000"]);
    assert_eq!(started.code, 0, "{started:#?}");
    // Every later command finds the same folder.
    assert_eq!(without(&env, variable, &["ps", "-q"]).stdout.lines().count(), 1);
    assert_eq!(without(&env, variable, &["exec", "c", "echo", "in"]).stdout, "in\n");
    assert_eq!(without(&env, variable, &["rm", "-f", "-t", "0", "c"]).code, 0);
    let standard = PathBuf::from(format!("/run/user/{own}"));
    if !standard.exists() {
        let fallback = PathBuf::from(format!("/tmp/rbox-run-{own}"));
        let meta = fs::symlink_metadata(&fallback).unwrap();
        assert!(meta.is_dir() && meta.uid() == own && meta.mode() & 0o777 == 0o700, "{:o}", meta.mode());
        // Somebody may have put another folder there first: one that is not private is refused.
        fs::set_permissions(&fallback, fs::Permissions::from_mode(0o777)).unwrap();
        let refused = without(&env, variable, &["run", "--rm", "--network=none", IMAGE, "true"]);
        fs::set_permissions(&fallback, fs::Permissions::from_mode(0o700)).unwrap();
        assert_eq!(refused.code, 125, "{refused:#?}");
        assert!(refused.stderr.contains("rbox-run-"), "{refused:#?}");
    }
}

#[test]
fn f25_a_wiped_run_folder_loses_no_container() {
    let env = loaded("f25");
    env.ok(["run", "-d", "--name", "c", "--network=none", IMAGE, "sleep", "1000"]);
    // What a logout does. Its mounts and sockets are gone from sight, the processes are not.
    let run = env.run_dir();
    fs::remove_dir_all(&run).unwrap();
    let listed = env.ok(["ps", "-a", "--format", "{{.Names}} {{.Status}}"]);
    assert!(listed.starts_with("c "), "{listed}");
    for args in [&["exec", "c", "true"][..], &["stop", "-t", "0", "c"], &["inspect", "c"], &["logs", "c"]] {
        let outcome = env.run(args);
        assert!(outcome.code == 0 || !outcome.stderr.is_empty(), "{args:?}: {outcome:#?}");
        assert!(!outcome.stderr.contains("panicked"), "{outcome:#?}");
    }
    env.ok(["rm", "-f", "-t", "0", "c"]);
    assert_eq!(env.ok(["ps", "-aq"]), "");
    assert_eq!(env.ok(["run", "--rm", "--name", "c", "--network=none", IMAGE, "echo", "again"]), "again");
}

#[test]
fn state_of_another_boot_counts_for_nothing() {
    let env = loaded("boot");
    env.ok(["run", "-d", "--name", "c", "--network=none", IMAGE, "sleep", "1000"]);
    let id = env.ok(["inspect", "--format", "{{.Id}}", "c"]);
    let path = env.data().join("containers").join(id).join("state.json");
    let kept = fs::read_to_string(&path).unwrap();
    let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap();
    assert!(kept.contains(boot.trim()), "the record names the boot: {kept}");
    fs::write(&path, kept.replace(boot.trim(), "00000000-0000-4000-8000-000000000000")).unwrap();
    assert_eq!(env.ok(["ps", "-q"]), "", "a process of an earlier boot cannot run");
    fs::write(&path, kept).unwrap();
    assert_eq!(env.ok(["ps", "-q"]).lines().count(), 1);
    env.ok(["rm", "-f", "-t", "0", "c"]);
}

#[test]
fn without_sub_ids_images_unpack_and_run_with_one_warning() {
    let env = TestEnv::new("nosubids");
    let mut entries = busybox_entries();
    entries.push(Entry::Owned(33, 34, Box::new(Entry::File("var-file".into(), 0o644, b"x".to_vec()))));
    let archive = env.work().join("image.tar");
    image::docker_archive(&archive, "localhost/busybox:latest", &[layer(&entries)], &busybox_config());
    let hide = "mount --bind /dev/null /etc/subuid; mount --bind /dev/null /etc/subgid";
    let alone = &["--map-current-user", "--keep-caps"];
    let load = in_namespace(&env, alone, hide, &["load", "-q", "-i", archive.to_str().unwrap()]);
    assert_eq!(load.code, 0, "{load:#?}");
    let args = [
        "run",
        "--rm",
        "--network=none",
        IMAGE,
        "sh",
        "-c",
        "id -u; cat /var-file; wc -l < /proc/self/uid_map",
    ];
    let ran = in_namespace(&env, alone, hide, &args);
    assert_eq!((ran.code, ran.stdout.as_str()), (0, "0\nx1\n"), "{ran:#?}");
    // The warning comes where owners are lost, with the command that an administrator types.
    assert_eq!(load.stderr.matches("usermod --add-subuids").count(), 1, "{load:#?}");
    assert!(ran.stderr.matches("usermod --add-subuids").count() <= 1, "{ran:#?}");
    let user =
        in_namespace(&env, alone, hide, &["run", "--rm", "--network=none", "-u", "1000", IMAGE, "true"]);
    assert!((125..=126).contains(&user.code) && user.stderr.contains("1000"), "{user:#?}");
    assert!(user.stderr.contains("/etc/subuid"), "a hint says where ids come from: {user:#?}");
    // The one id may have any name; what belongs to the image's root is its own.
    let script = "echo $(id -u) $(stat -c %u /bin/busybox); touch /etc/x && stat -c %u /etc/x";
    let keep = &["run", "--rm", "--network=none", "--userns=keep-id:uid=7,gid=7", IMAGE, "sh", "-c", script];
    let kept = in_namespace(&env, alone, hide, keep);
    assert_eq!((kept.code, kept.stdout.as_str()), (0, "7 7\n7\n"), "{kept:#?}");
}

#[test]
fn without_the_map_helpers_one_warning_names_them() {
    let env = TestEnv::new("nohelpers");
    let archive = image::busybox_archive(&env.work(), "localhost/busybox:latest");
    let load = with_path_of(&env, &[], &["load", "-q", "-i", archive.to_str().unwrap()]);
    assert_eq!(load.code, 0, "{load:#?}");
    let ran = with_path_of(&env, &[], &["run", "--rm", "--network=none", IMAGE, "id", "-u"]);
    assert_eq!((ran.code, ran.stdout.as_str()), (0, "0\n"), "{ran:#?}");
    assert_eq!(load.stderr.lines().filter(|l| l.contains("newuidmap")).count(), 1, "{load:#?}");
    assert!(load.stderr.contains("uidmap"), "the package is named: {load:#?}");
}

#[test]
fn without_user_namespaces_the_error_names_the_setting() {
    let env = loaded("nouserns");
    let forbid = "echo 0 > /proc/sys/user/max_user_namespaces";
    let begin = std::time::Instant::now();
    for args in [
        &["run", "--rm", "--network=none", IMAGE, "true"][..],
        &["run", "-d", "--network=none", IMAGE, "true"],
    ] {
        let ran = in_namespace(&env, &["--map-auto", "--map-root-user"], forbid, args);
        assert!((125..=126).contains(&ran.code), "{ran:#?}");
        assert!(ran.stderr.contains("max_user_namespaces"), "{ran:#?}");
    }
    assert!(begin.elapsed().as_secs() < 30, "{:?}", begin.elapsed());
    // As with podman, what was not to be removed after its run is there, and was never started.
    assert_eq!(env.ok(["ps", "-a", "--format", "{{.State}}"]), "created");
}

#[test]
fn without_pasta_the_error_names_it_and_other_modes_work() {
    let env = loaded("nopasta");
    let helpers = &["newuidmap", "newgidmap"];
    let ran = with_path_of(&env, helpers, &["run", "--rm", IMAGE, "true"]);
    assert!((125..=126).contains(&ran.code) && ran.stderr.contains("pasta"), "{ran:#?}");
    for mode in ["none", "host"] {
        let network = format!("--network={mode}");
        let ran = with_path_of(&env, helpers, &["run", "--rm", &network, IMAGE, "echo", "works"]);
        assert_eq!((ran.code, ran.stdout.as_str()), (0, "works\n"), "{mode}: {ran:#?}");
    }
    assert_eq!(env.ok(["ps", "-aq"]), "");
}

#[test]
fn without_the_tun_device_pasta_fails_with_a_reason() {
    let env = loaded("notun");
    let hide = "mount --bind /dev/null /dev/net/tun";
    let ran = in_namespace(&env, &["--map-auto", "--map-root-user"], hide, &["run", "--rm", IMAGE, "true"]);
    assert!((125..=126).contains(&ran.code), "{ran:#?}");
    assert!(ran.stderr.contains("tun") || ran.stderr.contains("pasta"), "{ran:#?}");
    assert_eq!(env.ok(["ps", "-aq"]), "");
}

#[test]
fn a_read_only_store_is_readable_and_nothing_else() {
    let env = loaded("readonly-store");
    env.ok(["create", "--name", "c", "--network=none", IMAGE, "true"]);
    let seal = format!("mount --bind -o ro {0} {0}; mount -o remount,bind,ro {0}", env.data().display());
    let root = &["--map-auto", "--map-root-user"];
    for args in [&["images", "-q"][..], &["ps", "-aq"], &["inspect", "c"], &["image", "exists", IMAGE]] {
        let outcome = in_namespace(&env, root, &seal, args);
        assert_eq!(outcome.code, 0, "{args:?}: {outcome:#?}");
    }
    for args in [
        &["run", "--rm", "--network=none", IMAGE, "true"][..],
        &["rm", "c"],
        &["rmi", "-f", IMAGE],
        &["tag", IMAGE, "x"],
    ] {
        let outcome = in_namespace(&env, root, &seal, args);
        assert!(
            outcome.code != 0 && outcome.stderr.to_lowercase().contains("read-only"),
            "{args:?}: {outcome:#?}"
        );
    }
    assert_eq!(env.ok(["ps", "-aq"]).lines().count(), 1);
}

#[test]
fn f12_a_full_disk_stops_nothing_that_frees_space() {
    let (disk, env) = on_small_disk("f12");
    env.busybox();
    for name in ["run", "kill", "stop"] {
        env.ok(["run", "-d", "--name", name, "--network=none", IMAGE, "sleep", "1000"]);
    }
    env.ok(["create", "--name", "created", "--network=none", IMAGE, "true"]);
    disk.fill();
    for args in [
        &["ps", "-a"][..],
        &["images"],
        &["inspect", "run"],
        &["logs", "run"],
        &["exec", "run", "true"],
        &["exec", "-d", "run", "sleep", "0.1"],
        &["kill", "kill"],
        &["stop", "-t", "0", "stop"],
        &["rm", "created"],
        &["rm", "-f", "-t", "0", "run", "kill", "stop"],
        &["rmi", IMAGE],
    ] {
        let outcome = env.run(args);
        assert_eq!(outcome.code, 0, "{args:?}: {outcome:#?}");
    }
    disk.free();
    env.busybox();
    assert_eq!(env.ok(["run", "--rm", "--network=none", IMAGE, "echo", "again"]), "again");
    env.ok(["rmi", "--all", "--force"]);
}

#[test]
fn f13_what_needs_space_fails_cleanly_on_a_full_disk() {
    let (disk, env) = on_small_disk("f13");
    env.busybox();
    let big = vec![Entry::File("big".into(), 0o644, vec![1; 100 << 20])];
    let outcome = env.try_load_layers("localhost/big:1", &[layer(&big)], &busybox_config());
    assert!(outcome.code == 125 && outcome.stderr.to_lowercase().contains("no space left"), "{outcome:#?}");
    assert!(env.leaks().is_empty(), "{:?}", env.leaks());
    assert_ne!(env.run(["image", "exists", "localhost/big:1"]).code, 0);
    disk.fill();
    let outcome = env.run(["run", "--rm", "--network=none", IMAGE, "true"]);
    assert!(
        (125..=126).contains(&outcome.code) && outcome.stderr.to_lowercase().contains("no space left"),
        "{outcome:#?}"
    );
    disk.free();
    assert_eq!(env.ok(["ps", "-aq"]), "");
    assert_eq!(env.ok(["run", "--rm", "--network=none", IMAGE, "echo", "again"]), "again");
    env.ok(["rmi", "--all", "--force"]);
}

#[test]
fn f14_without_free_inodes_the_same_holds() {
    let (disk, env) = on_small_disk("f14");
    env.busybox();
    env.ok(["run", "-d", "--name", "run", "--network=none", IMAGE, "sleep", "1000"]);
    env.ok(["create", "--name", "created", "--network=none", IMAGE, "true"]);
    let filler = disk.path.join("many");
    fs::create_dir(&filler).unwrap();
    let made = (0_u32..).take_while(|n| fs::File::create(filler.join(n.to_string())).is_ok()).count();
    assert!(made > 10, "there was no room before");
    let outcome = env.run(["run", "--rm", "--network=none", IMAGE, "true"]);
    assert!(
        (125..=126).contains(&outcome.code) && outcome.stderr.to_lowercase().contains("no space left"),
        "{outcome:#?}"
    );
    for args in [
        &["ps", "-a"][..],
        &["images"],
        &["exec", "run", "true"],
        &["rm", "created"],
        &["rm", "-f", "-t", "0", "run"],
        &["rmi", IMAGE],
    ] {
        let outcome = env.run(args);
        assert_eq!(outcome.code, 0, "{args:?}: {outcome:#?}");
    }
    fs::remove_dir_all(filler).unwrap();
    env.busybox();
    assert_eq!(env.ok(["run", "--rm", "--network=none", IMAGE, "echo", "again"]), "again");
    env.ok(["rmi", "--all", "--force"]);
}

#[test]
fn f16_eight_loads_and_runs_at_once_agree() {
    let env = TestEnv::new("f16");
    let archive = image::busybox_archive(&env.work(), "localhost/busybox:latest");
    let path = archive.to_str().unwrap();
    let loads: Vec<_> = (0..8)
        .map(|_| {
            let mut command = env.command(["load", "-q", "-i", path]);
            (spawn_captured(command.stdin(Stdio::null())), command)
        })
        .collect();
    for (child, command) in loads {
        let outcome = finish(child, &command);
        assert_eq!(outcome.code, 0, "{outcome:#?}");
    }
    assert_eq!(env.ok(["images", "-q"]).lines().count(), 1);
    assert_eq!(env.ok(["run", "--rm", "--network=none", IMAGE, "echo", "one"]), "one");
}

#[test]
fn f27_a_killed_monitor_is_noticed() {
    let env = loaded("f27");
    env.ok(["run", "-d", "--name", "c", "--network=none", IMAGE, "sleep", "1000"]);
    let init: u32 = env.ok(["inspect", "--format", "{{.State.Pid}}", "c"]).parse().unwrap();
    let status = fs::read_to_string(format!("/proc/{init}/status")).unwrap();
    let monitor = status.lines().find_map(|l| l.strip_prefix("PPid:")).unwrap().trim().parse().unwrap();
    let monitor = rustix::process::Pid::from_raw(monitor).unwrap();
    assert_ne!(monitor.as_raw_nonzero().get(), 1);
    rustix::process::kill_process(monitor, rustix::process::Signal::KILL).unwrap();
    // The container lives on without a monitor, or it went with it; every command tells the truth.
    let state = env.ok(["inspect", "--format", "{{.State.Status}}", "c"]);
    let alive = Path::new(&format!("/proc/{init}/stat")).exists();
    assert!(state != "running" || alive, "{state}, but the process is gone");
    env.ok(["rm", "-f", "-t", "0", "c"]);
    super::support::env::wait_until("the container's process ends", || {
        !Path::new(&format!("/proc/{init}/stat")).exists()
    });
    assert_eq!(env.ok(["ps", "-aq"]), "");
}

#[test]
fn f43_staging_of_dead_processes_is_reclaimed_and_of_living_ones_is_not() {
    let env = loaded("f43");
    let staging = env.data().join("tmp");
    let (alive, dead) = (staging.join("1-aaaa"), staging.join("1-bbbb"));
    for folder in [&alive, &dead] {
        fs::create_dir(folder).unwrap();
        fs::write(folder.join("half"), "x").unwrap();
    }
    // The owner of staging holds a lock on it; the kernel takes that away with the process.
    let owner = fs::File::open(&alive).unwrap();
    rustix::fs::flock(&owner, rustix::fs::FlockOperation::LockExclusive).unwrap();
    env.load_image("localhost/other:1", &busybox_entries(), &busybox_config());
    assert!(alive.exists(), "staging of a living process was deleted");
    assert!(!dead.exists(), "staging of a dead process stays for ever");
    drop(owner);
    env.load_image("localhost/other:2", &[], &busybox_config());
    assert!(!alive.exists());
}
