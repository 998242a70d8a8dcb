//! `rbox oci`: bundles run by the command line that other engines use. No store, no image, no monitor.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use crate::support::TestEnv;
use crate::support::canary::Canary;
use crate::support::env::{Outcome, probe_binary, wait_until};

/// A bundle directory with a small root file system.
struct Bundle {
    env: TestEnv,
    dir: PathBuf,
    spec: Value,
}

impl Bundle {
    fn new(name: &str) -> Self {
        let env = TestEnv::new(name);
        let dir = env.work().join("bundle");
        let root = dir.join("rootfs");
        for path in ["bin", "etc", "proc", "sys", "dev", "tmp"] {
            fs::create_dir_all(root.join(path)).unwrap();
        }
        fs::copy("/bin/busybox", root.join("bin/busybox")).unwrap();
        fs::copy(probe_binary(), root.join("probe")).unwrap();
        let applets = "sh true cat id ls sleep echo env mount touch stat readlink grep pwd kill ps mknod tty stty \
            hostname date dd mkdir chmod su nc trap tail head";
        for applet in applets.split_whitespace() {
            symlink("busybox", root.join("bin").join(applet)).unwrap();
        }
        fs::write(root.join("etc/passwd"), "root:x:0:0:root:/root:/bin/sh\n").unwrap();
        Self { env, dir, spec: spec() }
    }

    fn root(&self, path: &str) -> PathBuf {
        self.dir.join("rootfs").join(path)
    }

    fn program(&mut self, args: &[&str]) -> &mut Self {
        self.spec["process"]["args"] = json!(args);
        self
    }

    fn shell(&mut self, script: &str) -> &mut Self {
        self.program(&["sh", "-c", script])
    }

    fn write(&self) {
        fs::write(self.dir.join("config.json"), self.spec.to_string()).unwrap();
    }

    fn oci(&self, args: &[&str]) -> Outcome {
        self.env.run([&["oci"], args].concat())
    }

    /// Runs the bundle in the foreground.
    fn run(&self) -> Outcome {
        self.write();
        self.oci(&["run", "-b", self.dir.to_str().unwrap(), "c1"])
    }

    #[track_caller]
    fn ok(&self) -> String {
        let outcome = self.run();
        assert_eq!(outcome.code, 0, "{outcome:#?}");
        outcome.stdout
    }

    /// Runs the bundle, which must be refused cleanly, and returns what was said.
    #[track_caller]
    fn refused(&self) -> String {
        let outcome = self.run();
        assert_eq!(outcome.code, 1, "{outcome:#?}");
        assert_eq!(outcome.stdout, "", "nothing of it ran");
        assert_eq!(
            outcome.stderr.lines().filter(|line| !line.starts_with("Hint:")).count(),
            1,
            "{outcome:#?}"
        );
        assert!(!outcome.stderr.contains("panicked"));
        assert_eq!(self.oci(&["list", "-q"]).stdout, "", "nothing is left behind");
        outcome.stderr
    }

    /// Runs the bundle in the background; its streams are closed.
    #[track_caller]
    fn detached(&self, id: &str) {
        self.write();
        assert_eq!(self.quiet(&["run", "-d", "-b", self.dir.to_str().unwrap(), id]), 0);
    }

    /// Runs a command that leaves a container with its streams behind; returns the exit code.
    fn quiet(&self, args: &[&str]) -> i32 {
        use std::process::Stdio;
        let mut command = self.env.command([&["oci"], args].concat());
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        command.status().unwrap().code().unwrap()
    }

    #[track_caller]
    fn exec(&self, args: &[&str]) -> String {
        let outcome = self.oci(&[&["exec"], args].concat());
        assert_eq!(outcome.code, 0, "{args:?} {outcome:#?}");
        outcome.stdout
    }

    fn state(&self, id: &str) -> Value {
        serde_json::from_str(&self.oci(&["state", id]).stdout).unwrap_or(Value::Null)
    }
}

impl Drop for Bundle {
    fn drop(&mut self) {
        for id in self.oci(&["list", "-q"]).stdout.lines() {
            self.oci(&["delete", "--force", id]);
        }
    }
}

/// The caller's ids: her own as 0, her sub-ids from 1 on.
fn id_map(file: &str, own: u32) -> Value {
    let user = crate::support::env::tool("id", ["-un"]).stdout;
    let text = fs::read_to_string(file).unwrap();
    let line = text.lines().find(|line| line.split(':').next() == Some(user.trim())).unwrap();
    let mut fields = line.split(':').skip(1).map(|field| field.parse::<u32>().unwrap());
    let (first, count) = (fields.next().unwrap(), fields.next().unwrap());
    json!([{"containerID": 0, "hostID": own, "size": 1}, {"containerID": 1, "hostID": first, "size": count}])
}

fn spec() -> Value {
    let capabilities: Vec<_> = ["CHOWN", "DAC_OVERRIDE", "KILL", "SETGID", "SETUID", "SYS_CHROOT"]
        .map(|name| format!("CAP_{name}"))
        .to_vec();
    let own = |flag: &str| crate::support::env::tool("id", [flag]).stdout.trim().parse::<u32>().unwrap();
    let mount = |destination: &str, kind: &str, options: &[&str]| json!({"destination": destination, "type": kind, "source": kind, "options": options});
    let namespaces =
        ["pid", "network", "ipc", "uts", "mount", "cgroup", "user"].map(|kind| json!({"type": kind}));
    json!({
        "ociVersion": "1.2.0",
        "root": {"path": "rootfs"},
        "hostname": "box",
        "process": {
            "user": {"uid": 0, "gid": 0}, "args": ["true"], "cwd": "/", "env": ["PATH=/bin"],
            "capabilities": {"bounding": capabilities, "effective": capabilities, "permitted": capabilities},
        },
        "mounts": [
            mount("/proc", "proc", &["nosuid", "noexec", "nodev"]),
            mount("/dev", "tmpfs", &["nosuid", "noexec", "mode=755", "size=65536k"]),
            mount("/dev/pts", "devpts", &["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"]),
            mount("/dev/shm", "tmpfs", &["nosuid", "noexec", "nodev", "mode=1777"]),
            mount("/dev/mqueue", "mqueue", &["nosuid", "noexec", "nodev"]),
            mount("/sys", "sysfs", &["nosuid", "noexec", "nodev", "ro"]),
            mount("/sys/fs/cgroup", "cgroup", &["nosuid", "noexec", "nodev", "ro"]),
        ],
        "linux": {
            "namespaces": namespaces,
            "uidMappings": id_map("/etc/subuid", own("-u")),
            "gidMappings": id_map("/etc/subgid", own("-g")),
            "maskedPaths": ["/proc/kcore", "/proc/keys", "/proc/acpi", "/sys/firmware"],
            "readonlyPaths": ["/proc/sys", "/proc/bus"],
        },
    })
}

#[test]
fn run_passes_streams_and_the_exit_code() {
    let mut bundle = Bundle::new("oci-run");
    let outcome = bundle.shell("echo out; echo err >&2; hostname; cat; exit 7").run();
    assert_eq!((outcome.code, outcome.stdout.as_str()), (7, "out\nbox\n"));
    assert_eq!(outcome.stderr, "err\n");
    // The first process of a pid namespace cannot kill itself; another one ends by its signal.
    assert_eq!(bundle.shell("kill -9 $$; sh -c 'kill -9 $$'; exit $?").run().code, 137);
    assert_eq!(bundle.oci(&["list", "-q"]).stdout, "");
}

#[test]
fn a_created_container_waits_for_its_start() {
    let mut bundle = Bundle::new("oci-create");
    bundle.shell("echo started > /tmp/mark; sleep 100").write();
    let (dir, pid_file) = (bundle.dir.to_str().unwrap().to_owned(), bundle.env.work().join("pid"));
    let code = bundle.quiet(&["create", "c1", "--bundle", &dir, "--pid-file", pid_file.to_str().unwrap()]);
    assert_eq!(code, 0, "options may follow the id");
    let state = bundle.state("c1");
    assert_eq!(state["status"], "created");
    assert_eq!(state["pid"].to_string(), fs::read_to_string(&pid_file).unwrap());
    assert!(!bundle.root("tmp/mark").exists());
    assert!(bundle.oci(&["create", "-b", &dir, "c1"]).stderr.contains("already exists"));

    assert_eq!(bundle.oci(&["start", "c1"]).code, 0);
    wait_until("the program runs", || bundle.root("tmp/mark").exists());
    assert_eq!(bundle.state("c1")["status"], "running");
    assert!(bundle.oci(&["start", "c1"]).stderr.contains("it is running"), "a second start");
    assert!(bundle.oci(&["delete", "c1"]).stderr.contains("it is running"), "delete without --force");

    assert_eq!(bundle.oci(&["kill", "c1", "KILL"]).code, 0);
    wait_until("it has stopped", || bundle.state("c1")["status"] == "stopped");
    assert_eq!(bundle.oci(&["delete", "c1"]).code, 0);
    assert!(bundle.oci(&["state", "c1"]).stderr.contains("does not exist"));
    assert_eq!(bundle.oci(&["delete", "--force", "c1"]).code, 0);
}

#[test]
fn errors_of_the_program_are_told_at_creation() {
    let mut bundle = Bundle::new("oci-program");
    let error = bundle.program(&["nosuch"]).refused();
    assert!(
        error.contains("executable file `nosuch` not found in $PATH: No such file or directory"),
        "{error}"
    );
    assert!(bundle.program(&["/nosuch"]).refused().contains("No such file or directory"));
    assert!(bundle.program(&["/etc/passwd"]).refused().contains("ermission denied"));
    assert!(bundle.program(&["/etc"]).refused().contains("s a directory"));
    fs::write(bundle.root("bin/bad"), "\x7fELF nonsense").unwrap();
    fs::set_permissions(bundle.root("bin/bad"), std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    assert!(bundle.program(&["bad"]).refused().contains("xec format error"));
}

#[test]
fn the_log_file_tells_engines_what_failed() {
    let mut bundle = Bundle::new("oci-log");
    bundle.program(&["nosuch"]).write();
    let log = bundle.env.work().join("log");
    let dir = bundle.dir.to_str().unwrap();
    let log_path = log.to_str().unwrap();
    bundle.oci(&["--log-format", "json", "--log", log_path, "create", "-b", dir, "c1"]);
    let line: Value = serde_json::from_str(fs::read_to_string(&log).unwrap().trim()).unwrap();
    assert_eq!(line["level"], "error");
    assert!(line["msg"].as_str().unwrap().contains("executable file `nosuch` not found in $PATH"));
    let outcome = bundle.oci(&["--log", "/nosuch/log", "create", "-b", dir, "c1"]);
    assert_eq!(outcome.code, 1);
    assert!(outcome.stderr.contains("cannot open the log file /nosuch/log"), "{outcome:#?}");
}

#[test]
fn exec_enters_with_the_same_limits() {
    let mut bundle = Bundle::new("oci-exec");
    bundle.program(&["sleep", "100"]);
    bundle.spec["linux"]["seccomp"] = json!({"defaultAction": "SCMP_ACT_ALLOW",
        "syscalls": [{"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO", "errnoRet": 95}]});
    bundle.detached("c1");
    let first: Value = serde_json::from_str(&bundle.exec(&["c1", "/probe", "report"])).unwrap();
    assert_eq!(first["status"]["CapEff"], "00000000000400e3");
    assert_eq!(first["status"]["Seccomp"], "2");
    assert_eq!(first["hostname"], "box");
    assert_eq!(first["fds"].as_object().unwrap().keys().filter(|fd| fd.as_str() < "3").count(), 3);

    let script = "id -u; id -G; pwd; echo $A; mkdir /tmp/x 2>&1; exit 9";
    let user =
        bundle.oci(&["exec", "-u", "1000:2000", "--cwd", "/tmp", "-e", "A=b", "c1", "sh", "-c", script]);
    assert_eq!(user.code, 9, "{user:#?}");
    assert!(user.stdout.starts_with("1000\n2000\n/tmp\nb\n"), "{user:#?}");
    assert!(user.stdout.contains("not supported"), "the filter holds: {user:#?}");

    for (options, groups) in [
        (&["-g", "7", "--additional-gids", "8"][..], "0 7 8\n"),
        (&["-u", "1000:2000", "-g", "7"], "2000 7\n"),
    ] {
        let groups_of = [&["exec"], options, &["c1", "id", "-G"]].concat();
        assert_eq!(bundle.oci(&groups_of).stdout, groups, "{options:?}");
    }

    let user: Value = serde_json::from_str(&bundle.exec(&["-u", "1000", "c1", "/probe", "report"])).unwrap();
    assert_eq!(
        (&user["status"]["CapPrm"], &user["status"]["CapEff"]),
        (&json!("0000000000000000"), &json!("0000000000000000"))
    );

    let missing = bundle.oci(&["exec", "c1", "nosuch"]);
    assert!(missing.stderr.contains("executable file `nosuch` not found in $PATH"), "{missing:#?}");
    // A code of the program's own, or that of runc and crun for one that did not run.
    assert_eq!((missing.code, bundle.oci(&["exec", "c1", "sh", "-c", "exit 1"]).code), (255, 1));
    assert_eq!(bundle.oci(&["exec", "nosuch", "true"]).code, 255);
    assert_eq!(bundle.exec(&["--tty=false", "c1", "echo", "fine"]), "fine\n");
    assert!(bundle.oci(&["ps", "c1"]).stdout.lines().count() >= 2);
}

/// As crun does: a user can make namespaces in one of her own only.
#[test]
fn a_spec_without_a_user_namespace_gets_one() {
    let mut bundle = Bundle::new("oci-nouser");
    let namespaces = bundle.spec["linux"]["namespaces"].as_array_mut().unwrap();
    namespaces.retain(|namespace| namespace["type"] != "user");
    for field in ["uidMappings", "gidMappings"] {
        bundle.spec["linux"].as_object_mut().unwrap().remove(field);
    }
    assert_eq!(bundle.shell("id -u; wc -l < /proc/self/uid_map").ok().lines().next(), Some("0"));
    bundle.program(&["sleep", "60"]).detached("c1");
    assert_eq!(bundle.exec(&["c1", "id", "-u"]), "0\n");
    assert_eq!(bundle.oci(&["delete", "-f", "c1"]).code, 0);
}

#[test]
fn environments_have_a_home_and_no_entry_twice() {
    let mut bundle = Bundle::new("oci-home");
    bundle.spec["process"]["env"] = json!(["PATH=/bin", "A=old"]);
    assert_eq!(bundle.shell("echo $HOME").ok(), "/root\n");
    bundle.program(&["sleep", "60"]).detached("c1");
    assert_eq!(bundle.exec(&["-e", "A=new", "c1", "env"]).matches("A=").count(), 1);
    assert_eq!(bundle.exec(&["-e", "A=new", "c1", "sh", "-c", "echo $A $HOME"]), "new /root\n");
    assert_eq!(bundle.oci(&["delete", "-f", "c1"]).code, 0);
}

#[test]
fn priorities_are_those_of_the_spec() {
    let mut bundle = Bundle::new("oci-priorities");
    bundle.spec["process"]["scheduler"] = json!({"policy": "SCHED_BATCH", "nice": 5});
    bundle.spec["process"]["ioPriority"] = json!({"class": "IOPRIO_CLASS_IDLE", "priority": 0});
    // Fields 19 and 41 of proc_pid_stat(5): the nice value, and the policy.
    let script = "cut -d' ' -f19,41 /proc/self/stat; ionice -p $$";
    for applet in ["cut", "ionice"] {
        symlink("busybox", bundle.root("bin").join(applet)).unwrap();
    }
    assert_eq!(bundle.shell(script).ok(), "5 3\nidle\n");
    bundle.spec["process"]["ioPriority"] = json!({"class": "IOPRIO_CLASS_BE", "priority": 8});
    assert!(bundle.refused().contains("process.ioPriority"));
}

#[test]
fn s03_working_directories_never_lead_out() {
    let mut bundle = Bundle::new("oci-s03");
    bundle.program(&["pwd"]);
    for fd in 0..40 {
        for cwd in [format!("/proc/self/fd/{fd}"), format!("/proc/thread-self/fd/{fd}")] {
            bundle.spec["process"]["cwd"] = json!(cwd);
            bundle.refused();
        }
    }
    // A link inside leads inside.
    symlink("/tmp", bundle.root("work")).unwrap();
    bundle.spec["process"]["cwd"] = json!("/work");
    assert_eq!(bundle.ok(), "/tmp\n");
    // The same for exec, whose caller holds a directory of the host open.
    bundle.spec["process"]["cwd"] = json!("/");
    bundle.program(&["sleep", "100"]).detached("c1");
    for fd in 3..20 {
        let outcome = bundle.oci(&["exec", "--cwd", &format!("/proc/self/fd/{fd}"), "c1", "pwd"]);
        assert_eq!((outcome.code, outcome.stdout.as_str()), (255, ""), "{outcome:#?}");
    }
}

#[test]
fn s05_only_asked_descriptors_pass() {
    let mut bundle = Bundle::new("oci-s05");
    bundle.program(&["/probe", "report"]).write();
    let dir = bundle.dir.to_str().unwrap();
    let rbox = crate::support::env::rbox_binary();
    let run = |options: &str| {
        let script =
            format!("exec 3</etc/hostname 4</etc/passwd 7</home; exec \"$0\" oci run {options} -b {dir} c1");
        let mut command = bundle.env.command(Vec::<String>::new());
        let environment: Vec<_> =
            command.get_envs().map(|(k, v)| (k.to_owned(), v.unwrap().to_owned())).collect();
        command = std::process::Command::new("bash");
        command.args(["-c", &script]).arg(&rbox).env_clear().envs(environment);
        let outcome = crate::support::env::outcome(command.stdin(std::process::Stdio::null()));
        let report: Value =
            serde_json::from_str(&outcome.stdout).unwrap_or_else(|e| panic!("{e} {outcome:#?}"));
        report["fds"].as_object().unwrap().clone()
    };
    let names = |fds: &serde_json::Map<String, Value>| {
        // The probe's own handle on /proc/self/fd comes last.
        fds.iter()
            .filter(|(_, to)| !to.as_str().unwrap().contains("/fd"))
            .map(|(fd, _)| fd.clone())
            .collect::<Vec<_>>()
    };
    assert_eq!(names(&run("")), ["0", "1", "2"]);
    assert_eq!(names(&run("--preserve-fds 2")), ["0", "1", "2", "3", "4"]);
    assert_eq!(names(&run("--preserve-fds 5")), ["0", "1", "2", "3", "4", "7"], "5 and 6 are not open");
}

#[test]
fn s08_groups_are_exactly_those_asked_for() {
    let mut bundle = Bundle::new("oci-s08");
    bundle.program(&["id", "-G"]);
    bundle.spec["process"]["user"] = json!({"uid": 1000, "gid": 2000, "additionalGids": [2000, 3000]});
    assert_eq!(bundle.ok(), "2000 3000\n");
    bundle.spec["process"]["user"] = json!({"uid": 0, "gid": 0});
    assert_eq!(bundle.ok(), "0\n");
}

#[test]
fn s06_what_a_spec_leaves_out_is_empty() {
    let mut bundle = Bundle::new("oci-s06");
    bundle.program(&["/probe", "report"]);
    let sets = |bundle: &Bundle| {
        let report: Value = serde_json::from_str(&bundle.ok()).unwrap();
        ["CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"]
            .map(|set| report["status"][set].as_str().unwrap().to_owned())
    };
    let (none, given) = ("0000000000000000", "00000000000400e3");
    assert_eq!(sets(&bundle), [none, given, given, given, none]);
    bundle.spec["process"]["user"] = json!({"uid": 1000, "gid": 1000});
    assert_eq!(sets(&bundle), [none, none, none, given, none]);
    let ambient = json!(["CAP_CHOWN"]);
    bundle.spec["process"]["capabilities"]["inheritable"] = ambient.clone();
    bundle.spec["process"]["capabilities"]["ambient"] = ambient;
    assert_eq!(
        sets(&bundle),
        ["0000000000000001"; 3].into_iter().chain([given, "0000000000000001"]).collect::<Vec<_>>()[..]
    );
    bundle.spec["process"].as_object_mut().unwrap().remove("capabilities");
    assert_eq!(sets(&bundle), [none; 5]);
    bundle.spec["process"]["user"] = json!({"uid": 0, "gid": 0});
    assert_eq!(sets(&bundle), [none; 5]);
}

#[test]
fn s25_proc_and_sys_are_the_real_ones_or_nothing() {
    let mut bundle = Bundle::new("oci-s25");
    bundle.shell("echo must not run");
    for (path, target) in [("proc", "/tmp/fake"), ("proc", "/tmp"), ("sys", ".."), ("sys", "/tmp")] {
        let place = bundle.root(path);
        fs::remove_dir(&place).unwrap();
        symlink(target, &place).unwrap();
        let error = bundle.refused();
        assert!(error.contains("not an ordinary directory"), "{error}");
        fs::remove_file(&place).unwrap();
        fs::create_dir(&place).unwrap();
    }
    let volume = bundle.env.work().join("volume");
    fs::create_dir(&volume).unwrap();
    let mounts = bundle.spec["mounts"].clone();
    symlink("/proc/self", bundle.root("me")).unwrap();
    for destination in ["/proc", "/proc/self/attr", "/proc/sys", "/proc/1/fd", "/me/attr"] {
        bundle.spec["mounts"] = mounts.clone();
        let bind =
            json!({"destination": destination, "type": "bind", "source": volume, "options": ["rbind"]});
        bundle.spec["mounts"].as_array_mut().unwrap().push(bind);
        bundle.refused();
    }
}

#[test]
fn s29_links_in_dev_lead_nowhere() {
    let mut bundle = Bundle::new("oci-s29");
    let canary = Canary::plant(&bundle.env.work().join("canary"));
    bundle.shell("ls -l /dev/null /dev/fd /dev/ptmx && echo x > /dev/null && ls /dev/pts /dev/shm");
    let check = |bundle: &Bundle| {
        let outcome = bundle.run();
        assert!(matches!(outcome.code, 0 | 1), "{outcome:#?}");
        canary.assert_untouched();
    };
    let names = ["pts", "ptmx", "fd", "shm", "mqueue", "console", "null", "stdin"];
    for name in names {
        symlink(canary.dir(), bundle.root("dev").join(name)).unwrap();
    }
    check(&bundle);
    // Without a file system on /dev the links are what the runtime meets.
    let mounts: Vec<_> = bundle.spec["mounts"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|m| m["destination"] != "/dev")
        .cloned()
        .collect();
    bundle.spec["mounts"] = json!(mounts);
    check(&bundle);
    for name in names {
        fs::remove_file(bundle.root("dev").join(name)).unwrap();
    }
    fs::remove_dir_all(bundle.root("dev")).unwrap();
    symlink(canary.dir(), bundle.root("dev")).unwrap();
    check(&bundle);
}

#[test]
fn s30_working_directories_are_made_inside() {
    let mut bundle = Bundle::new("oci-s30");
    let canary = Canary::plant(&bundle.env.work().join("canary"));
    symlink(canary.dir(), bundle.root("w")).unwrap();
    bundle.program(&["pwd"]);
    bundle.spec["process"]["cwd"] = json!("/w/new/deep");
    let outcome = bundle.run();
    canary.assert_untouched();
    assert!(outcome.code != 0 || outcome.stdout.ends_with("/new/deep\n"), "{outcome:#?}");
    bundle.spec["process"]["cwd"] = json!("/made/by/runtime");
    bundle.spec["process"]["user"] = json!({"uid": 1000, "gid": 1000});
    bundle.shell("pwd; stat -c %u:%g .");
    assert_eq!(bundle.ok(), "/made/by/runtime\n1000:1000\n");
}

#[test]
fn s32_masks_and_read_only_paths_hold() {
    let mut bundle = Bundle::new("oci-s32");
    bundle.spec["linux"]["sysctl"] =
        json!({"net.ipv4.ping_group_range": "0 100", "kernel.shm_rmid_forced": "1"});
    bundle.shell(
        "cat /proc/keys; ls /sys/firmware; echo 1 2>&1 > /proc/sys/kernel/shm_rmid_forced; cat /proc/sys/kernel/shm_rmid_forced \
         /proc/sys/net/ipv4/ping_group_range; mount | grep -c 'size=0k'; umount /proc/keys 2>&1",
    );
    let text = bundle.run().stdout;
    for part in ["Read-only file system", "\n1\n0\t100\n2\n", "Operation not permitted"] {
        assert!(text.contains(part), "{part}: {text}");
    }
}

#[test]
fn s39_nothing_of_the_host_shows_in_mountinfo() {
    let mut bundle = Bundle::new("oci-s39");
    let lower = bundle.env.work().join("lower");
    fs::create_dir(&lower).unwrap();
    fs::write(lower.join("file"), "from below").unwrap();
    for dir in ["upper", "work"] {
        fs::create_dir(bundle.env.work().join(dir)).unwrap();
    }
    let work = bundle.env.work();
    let option = |key: &str, dir: &str| format!("{key}={}", work.join(dir).display());
    let options = [
        option("lowerdir", "lower"),
        option("upperdir", "upper"),
        option("workdir", "work"),
        "userxattr".into(),
    ];
    let overlay = json!({"destination": "/data", "type": "overlay", "source": "overlay", "options": options});
    bundle.spec["mounts"].as_array_mut().unwrap().push(overlay);
    bundle.shell("cat /data/file && echo new > /data/new && grep overlay /proc/self/mountinfo");
    let text = bundle.ok();
    assert!(text.contains("lowerdir+=.,upperdir=upper,workdir=work"), "{text}");
    assert!(!text.contains(work.to_str().unwrap()), "{text}");
    assert!(work.join("upper/new").exists());
}

#[test]
fn privileges_are_not_gained_with_no_new_privileges() {
    let mut bundle = Bundle::new("oci-nnp");
    bundle.program(&["/probe", "report"]);
    let filter = json!({"defaultAction": "SCMP_ACT_ALLOW",
        "syscalls": [{"names": ["mkdir"], "action": "SCMP_ACT_ERRNO"}]});
    bundle.spec["linux"]["seccomp"] = filter;
    for (asked, shown) in [(true, "1"), (false, "0")] {
        bundle.spec["process"]["noNewPrivileges"] = json!(asked);
        let report: Value = serde_json::from_str(&bundle.ok()).unwrap();
        assert_eq!(
            (&report["status"]["NoNewPrivs"], &report["status"]["Seccomp"]),
            (&json!(shown), &json!("2"))
        );
        // Loading the filter needed CAP_SYS_ADMIN; it must be gone again.
        assert_eq!(report["status"]["CapEff"], "00000000000400e3");
    }
}

#[test]
fn signals_are_as_a_shell_expects_them() {
    let mut bundle = Bundle::new("oci-signals");
    bundle.program(&["grep", "^Sig[BI]", "/proc/self/status"]);
    assert_eq!(bundle.ok(), "SigBlk:\t0000000000000000\nSigIgn:\t0000000000000000\n");
}

#[test]
fn hooks_run_at_their_points() {
    let mut bundle = Bundle::new("oci-hooks");
    let log = bundle.env.work().join("log");
    let hook = |name: &str| {
        let script = format!("echo {name} $(cat | tr -d ' \\n') >> {}", log.display());
        json!([{"path": "/bin/sh", "args": ["sh", "-c", script], "env": ["PATH=/bin:/usr/bin"]}])
    };
    let inside = json!([{"path": "/bin/sh", "args": ["sh", "-c", "cat > /tmp/hook"], "env": ["PATH=/bin"]}]);
    bundle.spec["hooks"] = json!({
        "prestart": hook("prestart"), "createRuntime": hook("createRuntime"),
        "createContainer": hook("createContainer"), "startContainer": inside,
        "poststart": hook("poststart"), "poststop": hook("poststop"),
    });
    bundle.spec["annotations"] = json!({"key": "value"});
    // Time for the hook that comes after the start.
    bundle.shell("sleep 3; cat /tmp/hook");
    let state: Value = serde_json::from_str(&bundle.ok()).unwrap();
    assert_eq!((&state["id"], &state["status"]), (&json!("c1"), &json!("created")));
    assert_eq!(state["annotations"]["key"], "value");
    let text = fs::read_to_string(&log).unwrap();
    let names: Vec<_> = text.lines().map(|line| line.split(' ').next().unwrap()).collect();
    assert_eq!(names, ["createContainer", "prestart", "createRuntime", "poststart", "poststop"]);
    let pid = |line: &str| {
        let state: Value = serde_json::from_str(line.split_once(' ').unwrap().1).unwrap();
        state["pid"].as_u64().unwrap()
    };
    let pids: Vec<_> = text.lines().map(pid).collect();
    assert!(pids[0] > 1 && pids[0] == pids[1] && pids[1] == pids[3], "{text}");

    bundle.spec["hooks"] =
        json!({"createRuntime": [{"path": "/bin/sh", "args": ["sh", "-c", "echo no >&2; exit 3"]}]});
    assert!(
        bundle
            .refused()
            .contains("error running createRuntime hook #0: /bin/sh: failed with exit code 3: no")
    );
    bundle.spec["hooks"] =
        json!({"createRuntime": [{"path": "/bin/sleep", "args": ["sleep", "60"], "timeout": 1}]});
    assert!(bundle.refused().contains("did not end within 1 s"));
}

#[test]
fn hooks_outside_have_the_callers_environment_and_those_inside_the_programs() {
    let mut bundle = Bundle::new("oci-hooks-env");
    let log = bundle.env.work().join("log");
    let hook = |script: &str| json!([{"path": "/bin/sh", "args": ["sh", "-c", script]}]);
    let home = bundle.env.home();
    bundle.spec["process"]["env"] = json!(["PATH=/bin", "OF=program"]);
    bundle.spec["hooks"] = json!({
        "createRuntime": hook(&format!("echo $HOME $OF > {}", log.display())),
        "startContainer": hook("env > /tmp/env"),
    });
    let inside = bundle.shell("cat /tmp/env").ok();
    assert_eq!(fs::read_to_string(&log).unwrap().trim(), home.to_str().unwrap());
    assert!(inside.lines().any(|line| line == "OF=program"), "{inside}");
    assert!(!inside.contains("XDG_RUNTIME_DIR"), "{inside}");
}

#[test]
fn failed_hooks_after_the_end_are_told_and_those_after_the_start_end_the_container() {
    let mut bundle = Bundle::new("oci-hooks-fail");
    let log = bundle.env.work().join("log");
    let fail = json!({"path": "/bin/sh", "args": ["sh", "-c", "echo no >&2; exit 3"]});
    let last = json!({"path": "/bin/sh", "args": ["sh", "-c", format!("echo last > {}", log.display())]});
    bundle.spec["hooks"] = json!({"poststop": [fail, fail, last]});
    let outcome = bundle.program(&["echo", "word"]).run();
    assert_eq!((outcome.code, outcome.stdout.as_str()), (0, "word\n"), "{outcome:#?}");
    assert_eq!(outcome.stderr.matches("poststop hook failed with exit code 3: no (/bin/sh)").count(), 2);
    assert_eq!(fs::read_to_string(&log).unwrap(), "last\n");

    bundle.spec["hooks"] = json!({"poststart": [fail], "poststop": [last]});
    fs::remove_file(&log).unwrap();
    bundle.program(&["sleep", "100"]).write();
    assert_eq!(bundle.quiet(&["create", "-b", bundle.dir.to_str().unwrap(), "c1"]), 0);
    let outcome = bundle.oci(&["start", "c1"]);
    assert!(outcome.code == 1 && outcome.stderr.contains("exit code 3: no"), "{outcome:#?}");
    assert_eq!(bundle.state("c1"), Value::Null);
    assert_eq!(fs::read_to_string(&log).unwrap(), "last\n");
}

#[test]
fn sockets_of_systemd_are_passed_on() {
    let mut bundle = Bundle::new("oci-listen");
    bundle.shell("echo $LISTEN_PID $LISTEN_FDS $LISTEN_FDNAMES; cat <&3").write();
    let dir = bundle.dir.to_str().unwrap();
    let run = |listen: &str| {
        let mut command = bundle.env.command(Vec::<String>::new());
        let environment: Vec<_> =
            command.get_envs().map(|(k, v)| (k.to_owned(), v.unwrap().to_owned())).collect();
        command = std::process::Command::new("bash");
        let script = format!("exec 3<<<word; {listen} exec \"$0\" oci run -b {dir} c1");
        command.args(["-c", &script]).arg(crate::support::env::rbox_binary()).env_clear().envs(environment);
        crate::support::env::outcome(command.stdin(std::process::Stdio::null()))
    };
    // Their process id is that of an engine in between.
    let outcome = run("LISTEN_FDS=1 LISTEN_PID=99 LISTEN_FDNAMES=web");
    assert_eq!(outcome.stdout, "1 1 web\nword\n", "{outcome:#?}");
    let outcome = run("LISTEN_FDS=x");
    assert!(outcome.code == 1 && outcome.stderr.contains("LISTEN_FDS is `x`"), "{outcome:#?}");
}

#[test]
fn memory_comes_from_the_nodes_asked_for() {
    if !std::path::Path::new("/proc/self/numa_maps").exists() {
        return;
    }
    let mut bundle = Bundle::new("oci-numa");
    bundle.spec["linux"]["memoryPolicy"] =
        json!({"mode": "MPOL_BIND", "nodes": "0", "flags": ["MPOL_F_STATIC_NODES"]});
    bundle.program(&["cat", "/proc/self/numa_maps"]);
    assert!(bundle.ok().contains(" bind=static:0 "));
    bundle.program(&["sleep", "100"]).detached("c2");
    assert!(bundle.exec(&["c2", "cat", "/proc/self/numa_maps"]).contains(" bind=static:0 "));
    assert_eq!(bundle.oci(&["delete", "-f", "c2"]).code, 0);
    bundle.spec["linux"]["memoryPolicy"] = json!({"mode": "MPOL_INTERLEAVE"});
    assert!(bundle.refused().contains("nvalid argument"), "the kernel needs nodes for it");
    bundle.spec["linux"]["memoryPolicy"] = json!({"mode": "MPOL_BIND", "nodes": "0-9999"});
    assert!(bundle.refused().contains("no range of nodes"));
}

#[test]
fn names_of_the_machine_can_be_kernel_parameters() {
    let mut bundle = Bundle::new("oci-domain");
    bundle.spec["linux"]["sysctl"] = json!({"kernel.domainname": "example.org"});
    assert_eq!(bundle.shell("cat /proc/sys/kernel/domainname").ok(), "example.org\n");
    bundle.spec["domainname"] = json!("other");
    assert!(bundle.refused().contains("the spec's domainname sets it already"));
}

#[test]
fn an_agent_decides_calls() {
    use std::os::fd::AsFd as _;
    let mut bundle = Bundle::new("oci-agent");
    let socket = bundle.env.work().join("agent");
    bundle.spec["linux"]["seccomp"] = json!({
        "defaultAction": "SCMP_ACT_ALLOW", "listenerPath": socket, "listenerMetadata": "about",
        "syscalls": [
            {"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_NOTIFY"},
            {"names": ["sethostname"], "action": "SCMP_ACT_ERRNO", "errnoRet": 95},
        ],
    });
    bundle.spec["annotations"] = json!({"key": "value"});
    bundle.shell("mkdir /tmp/x 2>&1; hostname y 2>&1; exit 0");
    assert!(bundle.refused().contains("failed to connect with seccomp agent"), "nobody listens");

    let listener = std::os::unix::net::UnixListener::bind(&socket).unwrap();
    // An agent that is gone: the kernel says so to those who wait.
    let agent = move |count: usize| {
        let hear = |listener: &std::os::unix::net::UnixListener| {
            let (connection, _) = listener.accept().unwrap();
            let mut buffer = [0; 4096];
            let (length, fds) = rbox::kernel::socket::recv_with_fds(connection.as_fd(), &mut buffer).unwrap();
            assert_eq!(fds.len(), 1);
            serde_json::from_slice::<Value>(&buffer[..length]).unwrap()
        };
        (0..count).map(|_| hear(&listener)).collect::<Vec<_>>()
    };
    let agent = std::thread::spawn(move || agent(3));
    let answers = "mkdir: can't create directory '/tmp/x': Function not implemented\n\
        hostname: sethostname: Operation not supported\n";
    assert_eq!(bundle.ok(), answers);

    bundle.program(&["sleep", "100"]).write();
    assert_eq!(bundle.quiet(&["create", "-b", bundle.dir.to_str().unwrap(), "c2"]), 0);
    assert_eq!(bundle.quiet(&["start", "c2"]), 0);
    let init = bundle.state("c2")["pid"].clone();
    let answer = bundle.exec(&["c2", "sh", "-c", "mkdir /tmp/x 2>&1; exit 0"]);
    assert_eq!(answer, "mkdir: can't create directory '/tmp/x': Function not implemented\n");
    assert_eq!(bundle.oci(&["delete", "-f", "c2"]).code, 0);
    let told = agent.join().unwrap();
    for (message, (id, status)) in
        told.iter().zip([("c1", "creating"), ("c2", "creating"), ("c2", "running")])
    {
        assert_eq!((&message["fds"], &message["metadata"]), (&json!(["seccompFd"]), &json!("about")));
        assert_eq!((&message["state"]["id"], &message["state"]["status"]), (&json!(id), &json!(status)));
        assert_eq!(message["state"]["annotations"], json!({"key": "value"}));
    }
    assert_eq!((&told[1]["pid"], &told[1]["state"]["pid"], &told[2]["state"]["pid"]), (&init, &init, &init));
    assert!(told[2]["pid"].as_u64().is_some_and(|pid| pid > 1 && json!(pid) != init), "{told:?}");

    // Without a call for it, it may be missing.
    bundle.spec["linux"]["seccomp"]["syscalls"] = json!([]);
    fs::remove_file(&socket).unwrap();
    assert_eq!(bundle.program(&["echo", "fine"]).ok(), "fine\n");
    for (path, call, why) in
        [("", "mkdir", "needs a listenerPath"), ("/x", "sendmsg", "for the sendmsg syscall")]
    {
        bundle.spec["linux"]["seccomp"]["listenerPath"] = json!(path);
        bundle.spec["linux"]["seccomp"]["syscalls"] = json!([{"names": [call], "action": "SCMP_ACT_NOTIFY"}]);
        assert!(bundle.refused().contains(why));
    }
}

/// Listens as a seccomp agent for `count` processes; gives what it was told of each, and which calls it has answered.
fn answering_agent(socket: &Path, count: usize) -> std::thread::JoinHandle<Vec<(Value, Vec<Value>)>> {
    use std::os::fd::AsFd as _;
    use std::process::{Command, Stdio};
    let listener = std::os::unix::net::UnixListener::bind(socket).unwrap();
    std::thread::spawn(move || {
        let hear = |_| {
            let (connection, _) = listener.accept().unwrap();
            let mut buffer = [0; 4096];
            let (length, fds) = rbox::kernel::socket::recv_with_fds(connection.as_fd(), &mut buffer).unwrap();
            let calls = fds.into_iter().next().unwrap();
            let agent = Command::new(probe_binary())
                .arg("answer")
                .stdin(calls)
                .stdout(Stdio::piped())
                .spawn()
                .unwrap();
            (serde_json::from_slice(&buffer[..length]).unwrap(), agent)
        };
        let heard: Vec<(Value, std::process::Child)> = (0..count).map(hear).collect();
        let end = |(told, agent): (Value, std::process::Child)| {
            (told, serde_json::from_slice(&agent.wait_with_output().unwrap().stdout).unwrap())
        };
        heard.into_iter().map(end).collect()
    })
}

#[test]
fn an_agent_answers_calls() {
    let mut bundle = Bundle::new("oci-answers");
    let socket = bundle.env.work().join("agent");
    let filter = json!({
        "defaultAction": "SCMP_ACT_ALLOW", "listenerPath": socket,
        "syscalls": [{"names": ["getppid", "sethostname", "umask"], "action": "SCMP_ACT_NOTIFY"}],
    });
    bundle.spec["linux"]["seccomp"] = filter.clone();
    // A value, an error, and what the kernel makes of it.
    let script = "echo $PPID; hostname yz 2>&1; umask 027; echo -n $(umask)";
    let expected = "4242\nhostname: sethostname: Device or resource busy\n0027";
    let agent = answering_agent(&socket, 2);
    assert_eq!(bundle.shell(script).ok(), expected);
    // One without such calls waits for nobody.
    bundle.program(&["sleep", "100"]).detached("c2");
    assert_eq!(bundle.oci(&["delete", "-f", "c2"]).code, 0);
    let heard = agent.join().unwrap();
    let (told, answered) = &heard[0];
    let of = |number: libc::c_long| answered.iter().find(|call| call["call"] == number).unwrap();
    assert_eq!(of(libc::SYS_getppid)["pid"], told["pid"], "{heard:?}");
    assert_eq!(of(libc::SYS_sethostname)["arguments"][1], 2, "{heard:?}");
    assert!(heard[1].1.is_empty(), "{heard:?}");

    // The same for a container of an image, and for what is started in it later.
    fs::remove_file(&socket).unwrap();
    let profile = bundle.env.work().join("profile.json");
    fs::write(&profile, filter.to_string()).unwrap();
    let option = format!("seccomp={}", profile.display());
    let image = bundle.env.busybox();
    let agent = answering_agent(&socket, 3);
    let run = ["run", "--rm", "--network=none", "--security-opt", &option, image, "sh", "-c", script];
    assert_eq!(bundle.env.ok(run), expected);
    let run = ["run", "-d", "--name=c3", "--network=none", "--security-opt", &option, image, "sleep", "100"];
    bundle.env.ok(run);
    assert_eq!(bundle.env.ok(["exec", "c3", "sh", "-c", script]), expected);
    bundle.env.ok(["rm", "-f", "-t0", "c3"]);
    let heard = agent.join().unwrap();
    assert_eq!(
        heard.iter().map(|(_, calls)| calls.len() >= 3).collect::<Vec<_>>(),
        [true, false, true],
        "{heard:?}"
    );
}

#[test]
fn unknown_calls_are_errors_where_the_spec_wants_that() {
    let mut bundle = Bundle::new("oci-unknown-call");
    bundle.spec["linux"]["seccomp"] = json!({"defaultAction": "SCMP_ACT_ALLOW",
        "syscalls": [{"names": ["no_such_call"], "action": "SCMP_ACT_ERRNO"}]});
    bundle.ok();
    bundle.spec["annotations"] = json!({"run.oci.seccomp_fail_unknown_syscall": "1"});
    assert!(bundle.refused().contains("`no_such_call` is no system call"));
}

#[test]
fn a_container_without_a_process_can_be_created_and_not_started() {
    let mut bundle = Bundle::new("oci-no-process");
    bundle.spec.as_object_mut().unwrap().remove("process");
    assert!(bundle.refused().contains("no `process` section"));
    let dir = bundle.dir.to_str().unwrap();
    assert_eq!(bundle.quiet(&["create", "-b", dir, "c1"]), 0);
    assert_eq!(bundle.state("c1")["status"], "created");
    let outcome = bundle.oci(&["start", "c1"]);
    assert!(outcome.code == 1 && outcome.stderr.contains("no `process` section"), "{outcome:#?}");
    assert_eq!(bundle.oci(&["delete", "-f", "c1"]).code, 0);
}

#[test]
fn capabilities_that_cannot_be_had_are_left_out_with_a_warning() {
    let mut bundle = Bundle::new("oci-lost-caps");
    let capabilities = &mut bundle.spec["process"]["capabilities"];
    capabilities["bounding"].as_array_mut().unwrap().push(json!("CAP_NO_SUCH"));
    capabilities["inheritable"] = json!(["CAP_CHOWN", "CAP_NO_SUCH", "CAP_KILL"]);
    capabilities["ambient"] = json!(["CAP_CHOWN", "CAP_SETUID"]);
    let outcome = bundle.shell("grep CapAmb /proc/self/status").run();
    assert_eq!(outcome.stdout, "CapAmb:\t0000000000000001\n", "{outcome:#?}");
    assert_eq!(
        outcome.stderr.matches("ignoring unknown capability `CAP_NO_SUCH`").count(),
        1,
        "{outcome:#?}"
    );
    assert_eq!(outcome.stderr.matches("can't raise ambient capability").count(), 1, "{outcome:#?}");
    assert!(outcome.stderr.contains("can't raise ambient capability CAP_SETUID: "), "{outcome:#?}");
    bundle.program(&["sleep", "100"]).detached("c2");
    let ambient = |added: &str| bundle.exec(&["--cap", added, "c2", "grep", "CapAmb", "/proc/self/status"]);
    assert_eq!(ambient("CAP_KILL"), "CapAmb:\t0000000000000021\n", "it is inheritable");
    assert_eq!(ambient("CAP_SETUID"), "CapAmb:\t0000000000000001\n", "it is not");
    bundle.spec["process"]["capabilities"]["bounding"] = json!("CAP_CHOWN");
    let outcome = bundle.program(&["true"]).run();
    assert_eq!(outcome.code, 1, "another mistake is one: {outcome:#?}");
}

#[test]
fn processes_that_share_the_hosts_ids_die_with_their_cgroup() {
    let mut bundle = Bundle::new("oci-kill-shared");
    let namespaces = bundle.spec["linux"]["namespaces"].as_array_mut().unwrap();
    namespaces.retain(|namespace| namespace["type"] != "pid");
    let mounts = bundle.spec["mounts"].as_array_mut().unwrap();
    mounts.retain(|mount| mount["destination"] != "/proc");
    bundle.shell("sleep 1234 & echo $! > /tmp/other; exec sleep 1235").detached("c1");
    let other = || fs::read_to_string(bundle.root("tmp/other")).unwrap_or_default().trim().to_owned();
    wait_until("the other process runs", || !other().is_empty());
    let is_alive = || std::path::Path::new("/proc").join(other()).exists();
    if bundle.oci(&["ps", "c1"]).stdout.lines().count() < 3 {
        // Without a cgroup nobody knows which processes are the container's.
        crate::support::env::tool("kill", ["-KILL", &other()]);
        return;
    }
    assert_eq!(bundle.oci(&["kill", "c1", "KILL"]).code, 0);
    wait_until("it has stopped", || bundle.state("c1")["status"] == "stopped");
    assert_eq!(bundle.oci(&["delete", "c1"]).code, 0);
    wait_until("the other process is gone too", || !is_alive());
}

#[test]
fn a_tmpfs_without_a_mode_has_that_of_its_directory() {
    use std::os::unix::fs::PermissionsExt as _;
    let mut bundle = Bundle::new("oci-tmpfs-mode");
    fs::create_dir(bundle.root("quiet")).unwrap();
    fs::set_permissions(bundle.root("quiet"), fs::Permissions::from_mode(0o710)).unwrap();
    let mounts = bundle.spec["mounts"].as_array_mut().unwrap();
    for (path, options) in [("/quiet", json!([])), ("/new", json!([])), ("/given", json!(["mode=0750"]))] {
        mounts.push(json!({"destination": path, "type": "tmpfs", "source": "tmpfs", "options": options}));
    }
    bundle.program(&["stat", "-c", "%a", "/quiet", "/new", "/given"]);
    assert_eq!(bundle.ok(), "710\n1777\n750\n");
}

#[test]
fn what_exec_is_given_can_come_by_a_pipe_and_keeps_the_personality() {
    let mut bundle = Bundle::new("oci-exec-pipe");
    bundle.spec["linux"]["personality"] = json!({"domain": "LINUX32"});
    bundle.spec["linux"]["devices"] =
        json!([{"path": "/dev/ptmx", "type": "c", "major": 5, "minor": 2, "fileMode": 0o666}]);
    bundle.program(&["sleep", "100"]).detached("c1");
    let process = json!({"args": ["cat", "/proc/self/personality"], "cwd": "/", "env": ["PATH=/bin"],
        "user": {"uid": 0, "gid": 0}});
    let mut command = bundle.env.command(Vec::<String>::new());
    let environment: Vec<_> =
        command.get_envs().map(|(k, v)| (k.to_owned(), v.unwrap().to_owned())).collect();
    command = std::process::Command::new("bash");
    let script = format!("exec \"$0\" oci exec --process <(echo '{process}') c1");
    command.args(["-c", &script]).arg(crate::support::env::rbox_binary()).env_clear().envs(environment);
    let outcome = crate::support::env::outcome(command.stdin(std::process::Stdio::null()));
    assert_eq!(outcome.stdout, "00000008\n", "{outcome:#?}");
    assert!(bundle.exec(&["c1", "readlink", "/dev/ptmx"]).starts_with("pts/"));
}

#[test]
fn containers_can_be_deleted_by_a_pattern() {
    let mut bundle = Bundle::new("oci-regex");
    bundle.program(&["sleep", "100"]);
    for id in ["web-1", "web-2", "db"] {
        bundle.detached(id);
    }
    assert_eq!(bundle.oci(&["delete", "-f", "--regex", "^web-"]).code, 0);
    assert_eq!(bundle.oci(&["list", "-q"]).stdout, "db\n");
    assert_eq!(bundle.oci(&["delete", "-f", "--regex", "("]).code, 1);
}

#[test]
fn limits_change_or_nothing_does() {
    let mut bundle = Bundle::new("oci-update");
    bundle.program(&["sleep", "100"]).detached("c1");
    let refused = |args: &[&str], why: &str| {
        let outcome = bundle.oci(&[&["update"], args].concat());
        assert_eq!((outcome.code, outcome.stdout.as_str()), (1, ""), "{args:?} {outcome:#?}");
        assert!(outcome.stderr.contains(why), "{args:?} {outcome:#?}");
    };
    let file = |name: &str, text: &str| {
        let path = bundle.env.work().join(name);
        fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    };
    for (text, why) in [
        ("{", "EOF while parsing"),
        ("[1]", "invalid"),
        (r#"{"memory":{"limit":"1m"}}"#, "invalid type"),
        (r#"{"memory":{"limit":2097152,"swap":1048576}}"#, "below memory.limit"),
        (r#"{"memory":{"swappiness":3}}"#, "cgroup v1"),
        (r#"{"unified":{"../cgroup.procs":"1"}}"#, "not a controller file"),
        (r#"{"blockIO":{"weight":9}}"#, "not between 10 and 1000"),
    ] {
        refused(&["--resources", &file("bad.json", text), "c1"], why);
        let outcome = bundle.env.run_with_input(["oci", "update", "-r", "-", "c1"], text.as_bytes());
        assert!(outcome.code == 1 && outcome.stderr.contains(why), "{text} {outcome:#?}");
    }
    let good = file("good.json", "{}");
    for (args, why) in [
        (&["-r", "/nowhere", "c1"][..], "/nowhere"),
        (&["-r", &good, "--memory", "1m", "c1"], "cannot be used with"),
        (&["-r", &good, "c9"], "`c9` does not exist"),
        (&["--pids-limit", "3"], "ID"),
        (&["--memory", "much", "c1"], "much"),
        (&["--memory", "-2", "c1"], "-2"),
        (&["--pids-limit", "many", "c1"], "many"),
        (&["--cpu-share", "-1", "c1"], "-1"),
        (&["--cpu-idle", "2", "c1"], "0..=1"),
        (&["--blkio-weight", "5000", "c1"], "not between 10 and 1000"),
        (&["--cpu-rt-period", "1000", "c1"], "cgroup v1"),
        (&["--l3-cache-schema", "L3:0=f", "c1"], "not supported yet"),
        (&["--memory", "1m", "--memory-swap", "512k", "c1"], "below memory.limit"),
    ] {
        refused(args, why);
    }
    // What a further process is, is read in the same way.
    for (text, answer) in [
        (&br#"{"args":["echo","read"],"cwd":"/","user":{"uid":0,"gid":0}}"#[..], (0, "read\n", "")),
        (b"{", (255, "", "stdin: EOF while parsing")),
        (br#"{"args":[1],"cwd":"/"}"#, (255, "", "stdin: invalid type")),
    ] {
        let outcome = bundle.env.run_with_input(["oci", "exec", "--process", "-", "c1"], text);
        assert_eq!((outcome.code, outcome.stdout.as_str()), (answer.0, answer.1), "{outcome:#?}");
        assert!(outcome.stderr.contains(answer.2), "{outcome:#?}");
    }
    // Nothing asked for, and no limit asked for, which everybody can keep.
    for args in [&["c1"][..], &["-r", &good, "c1"], &["--pids-limit", "-1", "--cpu-share", "0", "c1"]] {
        let outcome = bundle.oci(&[&["update"], args].concat());
        assert_eq!((outcome.code, outcome.stderr.as_str()), (0, ""), "{args:?} {outcome:#?}");
    }
    let outcome = bundle.oci(&["update", "--kernel-memory", "1m", "c1"]);
    assert!(outcome.code == 0 && outcome.stderr.contains("--kernel-memory is ignored"), "{outcome:#?}");
    // Where a cgroup can be had, tests/vm reads the limit back.
    let outcome = bundle.oci(&["update", "--pids-limit", "100", "c1"]);
    if outcome.code != 0 {
        assert!(outcome.stderr.contains("controller \"pids\" is not available"), "{outcome:#?}");
    }
    assert_eq!(bundle.state("c1")["status"], "running");
    bundle.oci(&["kill", "c1", "KILL"]);
    wait_until("the container ends", || bundle.state("c1")["status"] == "stopped");
    refused(&["--pids-limit", "100", "c1"], "it is stopped");
}

#[test]
fn signals_go_to_the_containers_that_are_meant() {
    let mut bundle = Bundle::new("oci-kill");
    bundle.program(&["sleep", "100"]);
    for id in ["web-1", "web-2", "db"] {
        bundle.detached(id);
    }
    let code = |args: &[&str]| bundle.oci(&[&["kill"], args].concat()).code;
    // Signal 0 asks, and changes nothing.
    assert_eq!((code(&["db", "0"]), code(&["-r", "^web-", "0"]), code(&["nosuch", "0"])), (0, 0, 1));
    assert_eq!(bundle.state("db")["status"], "running");
    assert_eq!((code(&["-r", "(", "KILL"]), code(&["db", "00x"]), code(&["db", "-1"])), (1, 1, 1));
    assert_eq!(code(&["--regex", "^web-", "KILL"]), 0);
    for id in ["web-1", "web-2"] {
        wait_until("the container ends", || bundle.state(id)["status"] == "stopped");
        assert_eq!(code(&[id, "0"]), 1, "nobody is left");
    }
    assert_eq!(bundle.state("db")["status"], "running");
    // Scripts append to what an alias gives already: the last one counts.
    let outcome = bundle.oci(&["--log-format", "text", "--log-format", "json", "list", "-q"]);
    assert_eq!((outcome.code, outcome.stdout.as_str()), (0, "db\nweb-1\nweb-2\n"), "{outcome:#?}");
}

#[test]
fn labels_that_the_machine_does_not_know_are_ignored_aloud() {
    let mut bundle = Bundle::new("oci-labels");
    let knows = |path: &str| std::path::Path::new(path).exists();
    if knows("/sys/fs/selinux") || knows("/sys/module/apparmor/parameters/enabled") {
        return;
    }
    bundle.spec["process"]["apparmorProfile"] = json!("profile");
    bundle.spec["linux"]["mountLabel"] = json!("system_u:object_r:x:s0");
    let outcome = bundle.program(&["echo", "fine"]).run();
    assert_eq!(outcome.stdout, "fine\n", "{outcome:#?}");
    assert!(outcome.stderr.contains("no AppArmor") && outcome.stderr.contains("no SELinux"), "{outcome:#?}");
}

#[test]
fn namespaces_of_another_container_can_be_joined() {
    let mut bundle = Bundle::new("oci-join");
    bundle.program(&["sleep", "100"]).detached("c1");
    let pid = bundle.state("c1")["pid"].to_string();
    let file = |kind: &str| format!("/proc/{pid}/ns/{kind}");
    let identity = |kind: &str| bundle.exec(&["c1", "readlink", &format!("/proc/self/ns/{kind}")]);
    let expected: String = ["user", "net", "pid", "ipc", "uts"].map(identity).concat();
    let mut other = Bundle::new("oci-join-2");
    let kinds = [("user", "user"), ("network", "net"), ("pid", "pid"), ("ipc", "ipc"), ("uts", "uts")];
    let mut namespaces: Vec<_> =
        kinds.iter().map(|(kind, name)| json!({"type": kind, "path": file(name)})).collect();
    namespaces.push(json!({"type": "mount"}));
    other.spec["linux"]["namespaces"] = json!(namespaces);
    for key in ["uidMappings", "gidMappings"] {
        other.spec["linux"].as_object_mut().unwrap().remove(key);
    }
    other.spec.as_object_mut().unwrap().remove("hostname");
    other.shell("for n in user net pid ipc uts; do readlink /proc/self/ns/$n; done; ps | grep -c '[s]leep 100$'; hostname");
    assert_eq!(other.ok(), format!("{expected}1\nbox\n"));
    // A file of another kind is not taken at its word.
    other.spec["linux"]["namespaces"][1]["path"] = json!(file("uts"));
    assert!(other.refused().contains("is not a net namespace"));
}

/// Runs a script as root of a network of its own.
fn in_a_network(bundle: &Bundle, script: &str) -> Outcome {
    use std::process::Command;
    let rbox = bundle.env.command(["oci"]);
    let mut command = Command::new("unshare");
    command.args(["--user", "--map-root-user", "--net", "sh", "-euc", script]).env_clear();
    command.envs(rbox.get_envs().filter_map(|(name, value)| Some((name, value?))));
    command.env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin").env("RBOX", rbox.get_program());
    command.env("BUNDLE", &bundle.dir);
    crate::support::env::outcome(&mut command)
}

#[test]
fn network_devices_move_into_the_container() {
    let mut bundle = Bundle::new("oci-devices");
    bundle.spec["linux"]["netDevices"] = json!({"rbv0": {"name": "data0"}, "rbv2": {}});
    let namespaces = bundle.spec["linux"]["namespaces"].as_array_mut().unwrap();
    namespaces.retain(|namespace| namespace["type"] != "user");
    for key in ["uidMappings", "gidMappings"] {
        bundle.spec["linux"].as_object_mut().unwrap().remove(key);
    }
    bundle.shell("busybox ip -o addr show data0; busybox ip -o link show rbv2").write();
    let make = "ip link add rbv0 type veth peer name rbv1; ip link add rbv2 type veth peer name rbv3
        ip addr add 192.0.2.7/24 brd + dev rbv0; ip addr add 2001:db8::7/64 dev rbv0 nodad
        ip addr add 169.254.3.3/16 scope link dev rbv0; ip link set rbv0 up; ip link set rbv1 up\n";
    let run = "$RBOX oci run -b $BUNDLE c1";
    // The kernel ends a network a moment after its last process.
    let gone = "for n in $(seq 200); do ip -o link | grep -q rbv || break; sleep 0.05; done";
    let outcome = in_a_network(&bundle, &format!("{make}{run}; {gone}; echo left:; ip -o link"));
    assert_eq!((outcome.code, outcome.stderr.as_str()), (0, ""), "{outcome:#?}");
    let (inside, left) = outcome.stdout.split_once("left:").unwrap();
    // Up, with its addresses, except for what meant only the old link.
    assert!(inside.contains("192.0.2.7/24 brd 192.0.2.255") && inside.contains("2001:db8::7/64"), "{inside}");
    assert!(!inside.contains("169.254.3.3"), "{inside}");
    assert!(inside.contains(": rbv2@"), "{inside}");
    assert!(inside.lines().last().unwrap().contains("UP"), "{inside}");
    // What is only virtual ends with the container's network, and with it the other end.
    assert!(!left.contains("rbv"), "{left}");

    // A network that is joined gets them likewise.
    let join = format!(
        "{make}
        unshare --net sleep 60 & other=$!
        while [ $(readlink /proc/$other/ns/net) = $(readlink /proc/self/ns/net) ]; do sleep 0.05; done
        sed -i \"s#{{\\\"type\\\":\\\"network\\\"}}#{{\\\"type\\\":\\\"network\\\",\\\"path\\\":\\\"/proc/$other/ns/net\\\"}}#\" $BUNDLE/config.json
        {run}; ip -o link | grep -c rbv; kill $other"
    );
    let outcome = in_a_network(&bundle, &join);
    assert!(outcome.code == 0 && outcome.stdout.contains("192.0.2.7/24"), "{outcome:#?}");
    assert!(outcome.stdout.ends_with("\n2\n"), "the other ends stay: {outcome:#?}");

    // What cannot be moved is an error, and nothing is left.
    bundle.write();
    let outcome = in_a_network(&bundle, &format!("ip link add rbv0 type veth peer name rbv1; {run}"));
    assert!(outcome.code == 1 && outcome.stderr.contains("rbv2: no such device"), "{outcome:#?}");
    bundle.spec["linux"]["netDevices"] = json!({"rbv0": {"name": "lo"}});
    bundle.write();
    let outcome = in_a_network(&bundle, &format!("{make}{run}"));
    assert!(outcome.code == 1 && outcome.stderr.contains("rbv0: file exists"), "{outcome:#?}");
    for (devices, why) in [
        (json!({"a/b": {}}), "not a name of a network device"),
        (json!({"a": {"name": "b%d"}}), "not a name of a network device"),
        (json!({"a": {"name": "sixteen-letters-"}}), "not a name of a network device"),
        (json!({"a": {"name": "c"}, "b": {"name": "c"}}), "two devices would be called `c`"),
    ] {
        bundle.spec["linux"]["netDevices"] = devices;
        assert!(bundle.refused().contains(why), "{why}");
    }
    let namespaces = bundle.spec["linux"]["namespaces"].as_array_mut().unwrap();
    namespaces.retain(|namespace| namespace["type"] != "network");
    assert!(bundle.refused().contains("need a network namespace of the container's own"));
}

#[test]
fn clocks_can_be_shifted() {
    let mut bundle = Bundle::new("oci-time");
    bundle.spec["linux"]["namespaces"].as_array_mut().unwrap().push(json!({"type": "time"}));
    bundle.spec["linux"]["timeOffsets"] = json!({"boottime": {"secs": 1_000_000_000, "nanosecs": 0}});
    bundle.shell("cat /proc/uptime");
    let uptime: f64 = bundle.ok().split(' ').next().unwrap().parse().unwrap();
    assert!(uptime > 1e9, "{uptime}");
}

#[test]
fn a_tmpfs_can_start_with_the_images_files() {
    let mut bundle = Bundle::new("oci-copyup");
    fs::create_dir_all(bundle.root("etc/conf/sub")).unwrap();
    fs::write(bundle.root("etc/conf/sub/file"), "text").unwrap();
    symlink("sub/file", bundle.root("etc/conf/link")).unwrap();
    let mount = json!({"destination": "/etc/conf", "type": "tmpfs", "source": "tmpfs",
        "options": ["nosuid", "tmpcopyup", "ro"]});
    bundle.spec["mounts"].as_array_mut().unwrap().push(mount);
    bundle.shell("cat /etc/conf/link; touch /etc/conf/x 2>&1; grep -c ' /etc/conf ' /proc/self/mountinfo");
    let text = bundle.ok();
    assert!(text.starts_with("text") && text.contains("Read-only") && text.ends_with("1\n"), "{text}");
}

#[test]
fn a_terminal_is_the_containers_own() {
    let mut bundle = Bundle::new("oci-tty");
    bundle.spec["process"]["terminal"] = json!(true);
    bundle.spec["process"]["consoleSize"] = json!({"width": 90, "height": 33});
    bundle.shell("tty; stty size; ls /dev/pts; readlink /proc/self/fd/1; stat -c %t:%T /dev/console; exit 3");
    let outcome = bundle.run();
    assert_eq!(outcome.code, 3, "{outcome:#?}");
    // What reads it is no terminal, so a line ends as in a file.
    assert_eq!(outcome.stdout, "/dev/pts/0\n33 90\n0     ptmx\n/dev/pts/0\n88:0\n");
    // Without a devpts there is no terminal, and no other one is used instead.
    let mounts: Vec<_> = bundle.spec["mounts"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|m| m["destination"] != "/dev/pts")
        .cloned()
        .collect();
    bundle.spec["mounts"] = json!(mounts);
    bundle.refused();
}

#[test]
fn a_terminal_goes_to_the_console_socket() {
    use std::os::fd::AsFd as _;
    let mut bundle = Bundle::new("oci-console");
    bundle.spec["process"]["terminal"] = json!(true);
    bundle.shell("echo hello; read line; echo got $line");
    bundle.write();
    let socket = bundle.env.work().join("console");
    let listener = std::os::unix::net::UnixListener::bind(&socket).unwrap();
    let dir = bundle.dir.to_str().unwrap();
    assert_eq!(bundle.quiet(&["create", "-b", dir, "--console-socket", socket.to_str().unwrap(), "c1"]), 0);
    listener.set_nonblocking(true).unwrap();
    let (connection, _) = listener.accept().expect("the terminal was sent before create returned");
    let mut buffer = [0; 64];
    let (_, fds) = rbox::kernel::socket::recv_with_fds(connection.as_fd(), &mut buffer).unwrap();
    let mut master = fs::File::from(fds.into_iter().next().unwrap());
    assert_eq!(bundle.quiet(&["start", "c1"]), 0);
    std::io::Write::write_all(&mut master, b"word\n").unwrap();
    let mut text = Vec::new();
    let _ = std::io::Read::read_to_end(&mut master, &mut text); // ends with EIO
    let text = String::from_utf8(text).unwrap();
    assert!(text.contains("hello") && text.contains("got word"), "{text:?}");
    wait_until("it has stopped", || bundle.state("c1")["status"] == "stopped");
}

#[test]
fn broken_records_and_dead_reservations_block_nobody() {
    let mut bundle = Bundle::new("oci-broken");
    bundle.program(&["sleep", "100"]).detached("c1");
    let state = bundle.env.run_dir().join("oci");
    fs::create_dir(state.join("half")).unwrap();
    fs::create_dir(state.join("broken")).unwrap();
    fs::write(state.join("broken/state.json"), b"\0\0\0\0").unwrap();
    let list = bundle.oci(&["list", "-q"]);
    assert_eq!((list.code, list.stdout.as_str()), (0, "c1\n"));
    for id in ["half", "broken"] {
        assert_eq!(bundle.oci(&["delete", "--force", id]).code, 0);
        assert!(!state.join(id).exists());
    }
    for id in ["../x", "a/b", ".", "", "-x"] {
        assert_ne!(bundle.oci(&["state", "--", id]).code, 0);
    }
    for (id, why) in [("a/b", "invalid character `/`"), (".a", "invalid character `.` at the start")] {
        let outcome = bundle.oci(&["state", id]);
        assert!(
            outcome.stderr.contains("invalid container ID") && outcome.stderr.contains(why),
            "{outcome:#?}"
        );
    }
}

#[test]
fn spec_and_features_describe_the_runtime() {
    let bundle = Bundle::new("oci-spec");
    let dir = bundle.env.work().join("new");
    fs::create_dir(&dir).unwrap();
    symlink(bundle.dir.join("rootfs"), dir.join("rootfs")).unwrap();
    assert_eq!(bundle.oci(&["spec", "-b", dir.to_str().unwrap()]).code, 0);
    assert_eq!(bundle.oci(&["spec", "-b", dir.to_str().unwrap()]).code, 1, "it is not overwritten");
    let mut spec: Value =
        serde_json::from_str(&fs::read_to_string(dir.join("config.json")).unwrap()).unwrap();
    spec["process"]["args"] = json!(["sh", "-c", "id -u; touch /x 2>&1 | grep -o Read-only"]);
    spec["process"]["env"] = json!(["PATH=/bin"]);
    spec["process"]["terminal"] = json!(false);
    fs::write(dir.join("config.json"), spec.to_string()).unwrap();
    let outcome = bundle.oci(&["run", "-b", dir.to_str().unwrap(), "c1"]);
    assert_eq!(outcome.stdout, "0\nRead-only\n", "the template runs as it is: {outcome:#?}");
    let features: Value = serde_json::from_str(&bundle.oci(&["features"]).stdout).unwrap();
    assert_eq!(features["linux"]["seccomp"]["enabled"], true);
    assert!(bundle.oci(&["--version"]).stdout.starts_with("rbox version"));
    assert!(bundle.oci(&["--root", "/tmp", "--version"]).stdout.starts_with("rbox version"));
    assert_eq!(bundle.oci(&["--systemd-cgroup", "list"]).code, 0);
    let elsewhere = bundle.oci(&["--systemd-cgroup", "run", "-b", dir.to_str().unwrap(), "c2"]);
    // Without a service manager there is no such cgroup, and nothing else is taken for it.
    assert!(elsewhere.code == 1 || std::path::Path::new("/sys/fs/cgroup/cgroup.controllers").exists());
    assert_eq!(bundle.oci(&["nosuch"]).code, 1);
}
