//! `cp`: both ways, running containers and others, volumes, streams, and containers that play tricks.

use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::PathBuf;

use super::support::TestEnv;

const IMAGE: &str = "localhost/busybox";

struct Copying {
    env: TestEnv,
    work: PathBuf,
}

impl Copying {
    fn new(name: &str) -> Self {
        let env = TestEnv::new(name);
        env.busybox();
        let work = env.work();
        std::fs::write(work.join("file"), "content\n").unwrap();
        std::fs::create_dir_all(work.join("dir/sub")).unwrap();
        std::fs::write(work.join("dir/sub/deep"), "deep\n").unwrap();
        Self { env, work }
    }

    #[track_caller]
    fn ok(&self, args: &[&str]) -> String {
        let outcome = self.env.run(args);
        assert_eq!(outcome.code, 0, "{args:?}: {outcome:#?}");
        outcome.stdout.trim_end().to_owned()
    }

    #[track_caller]
    fn fails(&self, args: &[&str], message: &str) {
        let outcome = self.env.run(args);
        assert_eq!(outcome.code, 125, "{args:?}: {outcome:#?}");
        assert!(outcome.stderr.contains(message), "{args:?}: {outcome:#?}");
    }

    /// A container that runs; `script` was run in it.
    fn running(&self, name: &str, options: &[&str], script: &str) {
        let mut args = vec!["run", "-d", "--network=none", "--name", name, "--workdir=/tmp"];
        args.extend(options);
        args.extend([IMAGE, "sleep", "1000"]);
        self.ok(&args);
        self.ok(&["exec", name, "sh", "-c", script]);
    }

    fn remove(&self) {
        self.ok(&["rm", "-fa", "-t0", "-v"]);
    }
}

#[test]
fn files_and_directories_go_into_running_and_stopped_containers() {
    let test = Copying::new("cpin");
    let cases = [
        ("file", "/", "/file"),
        ("file", "/new", "/new"),
        ("file", "/tmp", "/tmp/file"),
        ("file", "/tmp/.", "/tmp/file"),
        ("file", "rel", "/tmp/rel"),
        ("file", ".", "/tmp/file"),
        ("dir", "/", "/dir/sub/deep"),
        ("dir/", "/tmp/", "/tmp/dir/sub/deep"),
        ("dir/.", "/etc/", "/etc/sub/deep"),
        ("dir", "/made", "/made/sub/deep"),
        ("dir/.", "/made2", "/made2/sub/deep"),
    ];
    test.running("run", &[], "true");
    for (source, target, found) in cases {
        test.ok(&["cp", source, &format!("run:{target}")]);
        let text = test.ok(&["exec", "run", "cat", found]);
        assert_eq!(text, if source == "file" { "content" } else { "deep" }, "{source} {target}");
        test.ok(&["exec", "run", "rm", "-rf", found]);
    }
    test.ok(&["create", "--network=none", "--name=idle", "--workdir=/tmp", IMAGE, "sleep", "1000"]);
    for (source, target, _) in cases {
        test.ok(&["cp", source, &format!("idle:{target}")]);
    }
    test.ok(&["start", "idle"]);
    for (_, _, found) in cases {
        assert!(["content", "deep"].contains(&test.ok(&["exec", "idle", "cat", found]).as_str()), "{found}");
    }
    test.fails(&["cp", "none", "run:/"], "\"none\" could not be found on the host");
    let missing = "\"/none/\" could not be found on container run: no such file or directory";
    test.fails(&["cp", "file", "run:/none/"], missing);
    test.fails(&["cp", "dir", "run:/etc/passwd"], "destination must be a directory when copying a directory");
    test.fails(&["cp", "file", "nobody:/"], "container \"nobody\" does not exist");
    test.fails(&["cp", "file", "run:"], "you must specify paths");
    test.remove();
}

#[test]
fn files_and_directories_come_out() {
    let test = Copying::new("cpout");
    let script = "mkdir -p /srv/s; echo one > /srv/s/f; ln -s /srv /tmp/link; echo dot > /tmp/dot.; chmod 4755 /srv/s/f";
    test.running("c", &[], script);
    for round in ["running", "stopped"] {
        let out = test.work.join(round);
        std::fs::create_dir(&out).unwrap();
        let to = |name: &str| out.join(name).to_str().unwrap().to_owned();
        let read = |name: &str| std::fs::read_to_string(out.join(name)).unwrap();
        test.ok(&["cp", "c:/srv/s/f", &to("")]);
        test.ok(&["cp", "c:/srv/s/f", &to("g")]);
        test.ok(&["cp", "c:dot.", &to("")]);
        test.ok(&["cp", "c:/srv/.", &to("content")]);
        test.ok(&["cp", "c:/tmp/link", &to("followed")]);
        test.ok(&["cp", "c:/srv", &to("")]);
        for name in ["f", "g", "content/s/f", "followed/s/f", "srv/s/f"] {
            assert_eq!(read(name), "one\n", "{round} {name}");
        }
        assert_eq!(read("dot."), "dot\n");
        let meta = std::fs::metadata(out.join("f")).unwrap();
        // It is the caller's now, and gives nobody her rights.
        assert_eq!(meta.uid(), std::fs::metadata(&test.work).unwrap().uid());
        assert_eq!(meta.permissions().mode() & 0o7777, 0o755);
        test.fails(&["cp", "c:/etc", &to("f")], "destination must be a directory when copying a directory");
        test.fails(&["cp", "c:/none", &to("")], "\"/none\" could not be found on container c");
        test.fails(&["cp", "c:/tmp/*", &to("")], "\"/tmp/*\" could not be found on container c");
        test.fails(&["cp", "c:/srv", &to("no/such")], "could not be found on the host");
        test.ok(&["stop", "-t0", "c"]);
    }
    test.remove();
}

#[test]
fn between_containers_and_through_streams() {
    let test = Copying::new("cpstream");
    test.running("a", &[], "mkdir /tmp/d; echo one > /tmp/d/f; ln /tmp/d/f /tmp/d/g");
    test.ok(&["create", "--network=none", "--name=b", IMAGE, "sleep", "1000"]);
    test.ok(&["cp", "a:d", "b:/x"]);
    test.ok(&["cp", "b:/x", "a:/x"]);
    assert_eq!(test.ok(&["exec", "a", "sh", "-c", "cat /x/f; stat -c %h /x/g"]), "one\n2");
    test.ok(&["cp", "a:/x", "a:/y"]);
    assert_eq!(test.ok(&["exec", "a", "cat", "/y/f"]), "one");

    let tar = test.env.command(["cp", "a:/x", "-"]).output().unwrap().stdout;
    let outcome = test.env.run_with_input(["cp", "-", "b:/tmp"], &tar);
    assert_eq!(outcome.code, 0, "{outcome:#?}");
    test.ok(&["start", "b"]);
    assert_eq!(test.ok(&["exec", "b", "cat", "/tmp/x/f"]), "one");
    for (target, input, message) in [
        ("b:/tmp", &b"nothing"[..], "source must be a (compressed) tar archive when copying from stdin"),
        ("b:/etc/passwd", &tar, "destination must be a directory when copying from stdin"),
        ("b:/none", &tar, "destination must be a directory when copying from stdin"),
        ("b:/none/", &tar, "could not be found on container b"),
    ] {
        let outcome = test.env.run_with_input(["cp", "-", target], input);
        assert_eq!(outcome.code, 125, "{target}: {outcome:#?}");
        assert!(outcome.stderr.contains(message), "{target}: {outcome:#?}");
    }
    test.remove();
}

#[test]
fn owners_are_those_of_the_container() {
    let test = Copying::new("cpowner");
    for (name, options, owner) in [
        ("root", &[][..], "0:0"),
        ("user", &["--user=7:8"], "7:8"),
        ("keep", &["--userns=keep-id:uid=50,gid=51"], "50:51"),
        ("auto", &["--userns=auto", "--mount=type=tmpfs,dst=/mnt"], "0:0"),
    ] {
        let mut args = vec!["run", "-d", "--network=none", "--name", name];
        args.extend(options);
        args.extend([IMAGE, "sleep", "1000"]);
        test.ok(&args);
        for target in ["/tmp/f", "/mnt/f"] {
            if target == "/mnt/f" && name != "auto" {
                continue;
            }
            test.ok(&["cp", "file", &format!("{name}:{target}")]);
            assert_eq!(test.ok(&["exec", name, "stat", "-c", "%u:%g", target]), owner, "{name} {target}");
        }
        test.ok(&["cp", "-a=false", "file", &format!("{name}:/tmp/g")]);
        assert_eq!(test.ok(&["exec", name, "stat", "-c", "%u:%g", "/tmp/g"]), "0:0", "{name}");
    }
    test.remove();
}

#[test]
fn volumes_and_binds_of_a_container_that_does_not_run() {
    let test = Copying::new("cpvolume");
    let host = test.work.join("host");
    std::fs::create_dir(&host).unwrap();
    let bind = format!("{}:/vol/bind", host.display());
    let ro = format!("{}:/ro:ro", host.display());
    test.ok(&[
        "create",
        "--network=none",
        "--name=c",
        "-v=one:/vol",
        "-v=two:/vol/sub",
        "-v",
        &bind,
        "-v",
        &ro,
        IMAGE,
        "true",
    ]);
    let inside = |name: &str| {
        let dir = test.ok(&["volume", "inspect", "-f", "{{.Mountpoint}}", name]);
        std::fs::read_dir(dir).unwrap().map(|e| e.unwrap().file_name()).collect::<Vec<_>>()
    };
    test.ok(&["cp", "file", "c:/vol/sub"]);
    test.ok(&["cp", "file", "c:/vol/bind/x"]);
    assert_eq!(inside("two"), ["file"]);
    assert!(inside("one").is_empty());
    assert_eq!(std::fs::read_to_string(host.join("x")).unwrap(), "content\n");
    test.ok(&["cp", "c:/vol/sub/file", "back"]);
    test.fails(&["cp", "file", "c:/ro"], "is mounted read-only");
    test.remove();
}

#[test]
fn overwriting_another_kind_must_be_asked_for() {
    let test = Copying::new("cpover");
    test.running("c", &[], "mkdir /tmp/file; echo x > /tmp/dir");
    test.fails(&["cp", "file", "c:/tmp"], "error creating \"/tmp/file\": open: file exists");
    test.fails(&["cp", "dir", "c:/tmp"], "error creating \"/tmp/dir\": mkdir: file exists");
    test.ok(&["cp", "--overwrite", "file", "c:/tmp"]);
    test.ok(&["cp", "--overwrite", "dir", "c:/tmp"]);
    assert_eq!(test.ok(&["exec", "c", "cat", "/tmp/file", "/tmp/dir/sub/deep"]), "content\ndeep");
    // A mount point can be overwritten, though not replaced.
    test.ok(&["cp", "file", "c:/etc/hosts"]);
    assert_eq!(test.ok(&["exec", "c", "cat", "/etc/hosts"]), "content");
    test.remove();
}

#[test]
fn s87_links_of_the_container_stay_inside() {
    let test = Copying::new("s87");
    let secret = test.work.join("secret");
    std::fs::create_dir(&secret).unwrap();
    std::fs::write(secret.join("canary"), "host").unwrap();
    let path = secret.to_str().unwrap();
    let script = format!(
        "ln -s {path} /data; ln -s {path}/canary /canary; ln -s /proc/1/root/{path} /magic; ln -s ../../../../{path} /up"
    );
    test.running("c", &[], &script);
    for stopped in [false, true] {
        for link in ["/canary", "/data/canary", "/magic/canary", "/up/canary"] {
            test.fails(&["cp", &format!("c:{link}"), "stolen"], "could not be found on container c");
        }
        // The link leads to a path of the container, which is not there.
        test.fails(&["cp", "file", "c:/data/canary"], "could not be found");
        if !stopped {
            test.ok(&["stop", "-t0", "c"]);
        }
    }
    assert_eq!(std::fs::read_to_string(secret.join("canary")).unwrap(), "host");
    assert_eq!(std::fs::read_dir(&secret).unwrap().count(), 1);
    test.remove();
}

#[test]
fn s88_a_container_that_swaps_paths_meanwhile_gains_nothing() {
    let test = Copying::new("s88");
    let secret = test.work.join("secret");
    std::fs::create_dir(&secret).unwrap();
    std::fs::write(secret.join("canary"), "host").unwrap();
    let path = secret.to_str().unwrap();
    // The same path exists inside, so that whatever follows the link there finds something.
    let script = format!(
        "mkdir -p {path} /x/d; ln -s {path} /x/l; echo inside > {path}/canary; echo inside > /x/d/canary;
         (while :; do mv /x/d /x/t; mv /x/l /x/d; mv /x/d /x/l; mv /x/t /x/d; done) 2>/dev/null >/dev/null </dev/null &"
    );
    test.running("c", &[], &script);
    for round in 0..40 {
        // Whether a copy succeeds depends on the moment.
        test.env.run(["cp", "dir", "c:/x/d"]);
        test.env.run(["cp", "file", "c:/x/d/canary"]);
        let to = format!("out{round}");
        test.env.run(["cp", "c:/x/d/canary", &to]);
        if let Ok(text) = std::fs::read_to_string(test.work.join(to)) {
            assert_ne!(text, "host");
        }
    }
    assert_eq!(std::fs::read_to_string(secret.join("canary")).unwrap(), "host");
    assert_eq!(std::fs::read_dir(&secret).unwrap().count(), 1);
    test.remove();
}
