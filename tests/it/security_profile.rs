//! `--security-profile`: the stronger choice where podman's is another, and what wins over it.

use std::os::fd::AsFd as _;
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::net::{SocketAddr, UnixListener};
use std::path::Path;

use serde_json::Value;

use super::support::TestEnv;
use super::support::canary::Canary;
use super::support::env::{outcome, probe_binary};
use super::support::image::{Entry, busybox_config, busybox_entries};

const IMAGE: &str = "localhost/busybox";
const STRICT: &str = "--security-profile=strict";

fn loaded(name: &str) -> TestEnv {
    let env = TestEnv::new(name);
    env.busybox();
    env
}

fn inspected(env: &TestEnv, container: &str) -> Value {
    let all: Value = serde_json::from_str(&env.ok(["inspect", container])).unwrap();
    all[0].clone()
}

/// Runs a shell in a container with these options.
fn shell(env: &TestEnv, options: &[&str], script: &str) -> String {
    let mut args = vec!["run", "--rm", "--network=none"];
    args.extend(options);
    args.extend([IMAGE, "sh", "-c", script]);
    env.ok(args)
}

fn proxied(name: &str) -> TestEnv {
    let mut env = loaded(name);
    env.set("http_proxy", "http://user:secret@proxy:3128");
    env
}

#[test]
fn strict_takes_the_stronger_choice() {
    let env = proxied("strict");
    let report = env.probe(&[STRICT], &["report"]);
    let status = &report["status"];
    assert_eq!(status["NoNewPrivs"], "1");
    // Without SETPCAP.
    assert_eq!(
        (&status["CapBnd"], &status["CapEff"]),
        (&"00000000800404fb".into(), &"00000000800404fb".into())
    );
    for map in ["uid_map", "gid_map"] {
        let words: Vec<&str> = report[map][0].as_str().unwrap().split_whitespace().collect();
        assert_eq!((words[0], words[1]), ("0", "1"), "id 0 of the user's namespace is hers: {report:#}");
    }
    assert!(report["env"].get("http_proxy").is_none(), "{}", report["env"]);
    let limits = report["limits"].to_string();
    let files = limits.split("Max open files").nth(1).unwrap().split_whitespace().next();
    assert_eq!(files, Some("1024"), "{limits}");
    let own_score = std::fs::read_to_string("/proc/self/oom_score_adj").unwrap();
    let score = (own_score.trim().parse::<i32>().unwrap() + 200).min(1000);
    let script = "cat /proc/self/oom_score_adj; touch /dev/x || echo refused; echo > /dev/null && echo open";
    assert_eq!(shell(&env, &[STRICT], script), format!("{score}\nrefused\nopen"));
    let shared = ["run", "--rm", "--network=host", STRICT, IMAGE, "ls", "/sys"];
    assert_eq!(env.ok(shared), "fs", "only the cgroup");

    env.ok(["create", "--name=c", STRICT, "-p=80", "--expose=81", "-P", IMAGE]);
    let shown = inspected(&env, "c");
    let host = &shown["HostConfig"];
    assert_eq!(host["SecurityProfile"], "strict");
    assert_eq!((&host["UsernsMode"], &host["IpcMode"]), (&"private".into(), &"private".into()), "{host}");
    assert!(host["SecurityOpt"].to_string().contains("no-new-privileges"), "{host}");
    assert_eq!(host["LogConfig"]["Size"], "10.49MB");
    for port in ["80/tcp", "81/tcp"] {
        assert_eq!(host["PortBindings"][port][0]["HostIp"], "127.0.0.1", "{host}");
    }
    let hello = env.ok(["run", "--rm", "--network=none", STRICT, "builtin:hello"]);
    assert!(hello.contains("none of them is yours") && hello.contains("refused"), "{hello}");
    let hello = env.ok(["run", "--rm", "--network=none", "builtin:hello"]);
    assert!(hello.contains("0 is yours") && hello.contains("allowed"), "{hello}");
    let listed = env.ok(["images", "--format", "{{.Repository}}:{{.Tag}}"]);
    assert!(listed.lines().any(|name| name == "builtin:hello"), "{listed}");
}

#[test]
fn options_win_over_the_profile() {
    let env = proxied("strict-options");
    let options = [
        STRICT,
        "--security-opt=no-new-privileges=false",
        "--security-opt=landlock=false",
        "--userns=host",
        "--http-proxy",
        "--cap-add=setpcap",
        "--ulimit=nofile=77:77",
        "--oom-score-adj=1000",
    ];
    let report = env.probe(&options, &["report"]);
    assert_eq!(report["status"]["NoNewPrivs"], "0");
    assert_eq!(report["status"]["CapBnd"], "00000000800405fb");
    assert!(report["uid_map"][0].as_str().unwrap().split_whitespace().take(2).eq(["0", "0"]), "{report:#}");
    assert!(report["env"]["http_proxy"].as_str().unwrap().contains("proxy"));
    let limits = report["limits"].to_string();
    assert_eq!(limits.split("Max open files").nth(1).unwrap().split_whitespace().next(), Some("77"));
    assert_eq!(shell(&env, &options, "cat /proc/self/oom_score_adj"), "1000");
    let uid = env.probe(&[STRICT, "--userns=keep-id"], &["report"])["status"]["Uid"].clone();
    assert_ne!(uid, "0 0 0 0");
    let privileged = env.probe(&[STRICT, "--privileged"], &["report"]);
    assert_eq!(
        (&privileged["status"]["NoNewPrivs"], &privileged["status"]["Seccomp"]),
        (&"0".into(), &"0".into())
    );
    let answers = env.probe(&[STRICT, "--privileged"], &["syscalls"]);
    assert_eq!(answers["unshare_mount"], "ok", "{answers}");

    env.ok([
        "create",
        "--name=c",
        STRICT,
        "--ipc=shareable",
        "--log-opt=max-size=5mb",
        "-p=0.0.0.0:18080:80",
        "-p=127.0.0.2:18081:81",
        IMAGE,
    ]);
    let host = inspected(&env, "c")["HostConfig"].clone();
    assert_eq!(
        (&host["IpcMode"], &host["LogConfig"]["Size"]),
        (&"shareable".into(), &"5MB".into()),
        "{host}"
    );
    let bound = |port: &str| host["PortBindings"][port][0]["HostIp"].as_str().unwrap_or_default().to_owned();
    assert!(matches!(bound("80/tcp").as_str(), "" | "0.0.0.0"), "{host}");
    assert_eq!(bound("81/tcp"), "127.0.0.2");
}

#[test]
fn the_profile_comes_from_the_configuration_too() {
    let env = loaded("strict-conf");
    std::fs::create_dir_all(env.config().join("containers")).unwrap();
    let conf = env.config().join("containers/containers.conf");
    let profile = |options: &[&str]| env.probe(options, &["report"])["status"]["NoNewPrivs"].clone();
    assert_eq!(profile(&[]), "0");
    std::fs::write(&conf, "[containers]\nsecurity_profile = \"strict\"\n").unwrap();
    assert_eq!(profile(&[]), "1");
    assert_eq!(profile(&["--security-profile=default"]), "0");
    std::fs::write(&conf, "[containers]\nsecurity_profile = \"loose\"\n").unwrap();
    assert!(env.fails(125, ["run", "--rm", IMAGE, "true"]).contains("invalid security profile \"loose\""));
    std::fs::remove_file(&conf).unwrap();
    assert!(env.fails(125, ["create", "--security-profile=x", IMAGE]).contains("must be default or strict"));
    assert_eq!(env.ok(["ps", "-aq"]), "");
}

/// S11: who is not root cannot become root, and root is nobody whom the host knows.
#[test]
fn s11_setuid_programs_gain_nothing_in_a_strict_container() {
    let env = TestEnv::new("s11-strict");
    let mut entries = busybox_entries();
    let probe = std::fs::read(probe_binary()).unwrap();
    entries.push(Entry::File("setuid".into(), 0o4755, probe));
    env.load_image("localhost/busybox:latest", &entries, &busybox_config());
    let uids = |options: &[&str]| {
        let mut args = vec!["run", "--rm", "--network=none", "-u=1000"];
        args.extend(options);
        args.extend([IMAGE, "/setuid", "report"]);
        let report: Value = serde_json::from_str(&env.ok(args)).unwrap();
        report["status"]["Uid"].as_str().unwrap().to_owned()
    };
    assert_eq!(uids(&[]), "1000 0 0 0", "the program works where it may");
    assert_eq!(uids(&[STRICT]), "1000 1000 1000 1000");
    assert_eq!(uids(&["--security-opt=no-new-privileges"]), "1000 1000 1000 1000");

    // Nor can root there touch what is the caller's alone.
    let canary = Canary::plant(&env.work().join("canary"));
    let mount = format!("{}:/c", canary.dir().display());
    let outcome = env.run([
        "run",
        "--rm",
        "--network=none",
        STRICT,
        "-v",
        &mount,
        IMAGE,
        "sh",
        "-c",
        "cat /c/secret; rm -rf /c/sub",
    ]);
    assert_ne!(outcome.code, 0, "{outcome:#?}");
    canary.assert_unseen(&outcome.stdout);
    canary.assert_untouched();
}

/// What an ordinary program does with files goes on as before.
#[test]
fn ordinary_work_goes_on_in_a_strict_container() {
    let env = loaded("strict-work");
    let script = "set -e; mkdir -p /tmp/a/b /tmp/c; echo x > /tmp/a/b/f; mv /tmp/a/b/f /tmp/c/g; ln /tmp/c/g /root/h; \
        ln -s /root/h /tmp/l; cat /tmp/l; mknod /tmp/p p; chmod 600 /root/h; chown 5:6 /root/h; \
        touch /v/new; mv /v/new /v/old; echo y > /dev/shm/s; echo out > /dev/stdout; echo err > /dev/stderr; \
        cat /proc/self/status | grep -c Name; ls /proc/1/fd > /dev/null; (sleep 5 & kill $!); id -u";
    let text = shell(&env, &[STRICT, "-v", "data:/v", "--tmpfs=/t"], script);
    assert_eq!(text, "x\nout\n1\n0");
    assert_eq!(shell(&env, &[STRICT, "-t"], "echo in > /dev/tty; tty"), "in\r\n/dev/pts/0\r");
    assert_eq!(shell(&env, &[STRICT, "--init"], "echo $$ | grep -c ."), "1");
    // A file of the host that is given on purpose is the program's to open again.
    let file = env.work().join("out");
    let mut command =
        env.command(["run", "--rm", "--network=none", "--log-driver=passthrough", STRICT, "--userns=host"]);
    command.args([IMAGE, "sh", "-c", "echo one; echo two > /dev/stderr; echo three >> /proc/self/fd/2"]);
    let status = command.stderr(std::fs::File::create(&file).unwrap()).status().unwrap();
    assert!(status.success());
    assert!(std::fs::read_to_string(&file).unwrap().contains("three"));

    env.ok(["run", "-d", "--name=c", "--network=none", STRICT, IMAGE, "sleep", "100"]);
    assert_eq!(
        env.ok(["exec", "c", "sh", "-c", "echo x > /tmp/f; cat /tmp/f; kill -0 1 && echo y > /dev/stdout"]),
        "x\ny"
    );
    env.ok(["rm", "-f", "-t=0", "c"]);
}

/// Offers a descriptor of `directory` to whoever connects to `socket`, once.
fn offer(socket: &Path, directory: &Path) -> std::thread::JoinHandle<()> {
    let _ = std::fs::remove_file(socket);
    let listener = UnixListener::bind(socket).unwrap();
    let directory = std::fs::File::open(directory).unwrap();
    std::thread::spawn(move || {
        let (connection, _) = listener.accept().unwrap();
        rbox::kernel::socket::send_with_fds(connection.as_fd(), b"x", &[directory.as_fd()]).unwrap();
    })
}

/// S3: a directory of the host that gets into a container opens nothing there.
#[test]
fn s03_handles_of_the_host_open_nothing_in_an_enclosed_container() {
    let env = loaded("s03-handles");
    let canary = Canary::plant(&env.work().join("canary"));
    let sockets = env.work().join("sockets");
    std::fs::create_dir(&sockets).unwrap();
    let socket = sockets.join("s");
    let mount = format!("{}:/sockets", sockets.display());
    let read = |options: &[&str], name: &str| {
        let offered = offer(&socket, canary.dir());
        let mut options = options.to_vec();
        options.extend(["-v", mount.as_str(), "--userns=host"]);
        let said = env.probe(&options, &["handle", "/sockets/s", name]).to_string();
        offered.join().unwrap();
        said
    };
    assert!(read(&[], "secret").contains(canary.token()), "the handle is good where nothing encloses");
    for options in [&[STRICT][..], &["--security-opt=landlock=true"]] {
        for name in ["secret", "sub/secret", "../canary/secret"] {
            let said = read(options, name);
            assert!(said.contains("Permission denied"), "{options:?} {name}: {said}");
        }
    }
    // A process of exec is in the same case.
    env.ok([
        "run",
        "-d",
        "--name=c",
        "--network=none",
        STRICT,
        "--userns=host",
        "-v",
        &mount,
        IMAGE,
        "sleep",
        "100",
    ]);
    let offered = offer(&socket, canary.dir());
    let said = env.ok(["exec", "c", "/probe", "handle", "/sockets/s", "secret"]);
    offered.join().unwrap();
    assert!(said.contains("Permission denied"), "{said}");
    env.ok(["rm", "-f", "-t=0", "c"]);
    canary.assert_untouched();
}

/// Abstract sockets belong to the network: with the host's, they are the host's.
#[test]
fn abstract_sockets_of_the_host_are_out_of_reach_of_a_strict_container() {
    let env = loaded("strict-abstract");
    let name = format!("rbox-test-{}", std::process::id());
    let _listener = UnixListener::bind_addr(&SocketAddr::from_abstract_name(&name).unwrap()).unwrap();
    let connect = |options: &[&str]| {
        let mut args = vec!["run", "--rm", "--network=host"];
        args.extend(options);
        args.extend([IMAGE, "/probe", "abstract", &name]);
        env.ok(args)
    };
    assert_eq!(connect(&[]), "null", "no error");
    assert_eq!(connect(&[STRICT]), "1", "EPERM");
    assert_eq!(connect(&[STRICT, "--security-opt=landlock=false"]), "null");
    let mut other = env.command(["run", "--rm", "--network=none", IMAGE, "/probe", "abstract", &name]);
    assert_eq!(outcome(&mut other).stdout.trim(), "111", "not there in a network of its own");
}
