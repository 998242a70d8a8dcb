//! Attacks that take a way of their own: a later start, a health check, `exec`, a push. Names of tests carry the numbers
//! of the attack catalogue. Each shows first that it would notice a success.

use std::io::Write as _;
use std::net::TcpListener;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use serde_json::Value;

use super::support::TestEnv;
use super::support::env::{Outcome, outcome, wait_until};
use super::support::fake::{Answer, FakeRegistry, Rule};
use super::support::image::OciImage;
use super::support::image::{busybox_config, file, layer};
use super::support::registry::{PASSWORD, Registry, USER};

const IMAGE: &str = "localhost/busybox";
const NO_CAPS: &str = "0000000000000000";
const DEFAULT_CAPS: &str = "00000000800405fb";

fn loaded(name: &str) -> TestEnv {
    let env = TestEnv::new(name);
    env.busybox();
    env
}

/// Runs rbox by a shell that has three more descriptors open.
fn with_descriptors(env: &TestEnv, line: &str) -> Outcome {
    let rbox = env.command([""; 0]);
    let mut shell = Command::new("/bin/bash");
    let line = format!("exec 7</etc 9<{} 20</etc/passwd; exec \"$0\" {line}", env.home().display());
    shell.args(["-c", &line]).arg(rbox.get_program()).current_dir(env.work()).env_clear();
    shell.envs(rbox.get_envs().filter_map(|(k, v)| Some((k, v?)))).stdin(Stdio::null());
    outcome(&mut shell)
}

/// What a probe has written to a file of the volume `data`.
fn report(env: &TestEnv, file: &str) -> Value {
    let text = env.ok(["run", "--rm", "--network=none", "-v=data:/d", IMAGE, "cat", file]);
    serde_json::from_str(&text).unwrap_or_else(|error| panic!("{file}: {error}: {text}"))
}

#[track_caller]
fn has_the_usual(what: &str, report: &Value) {
    let numbers: Vec<&String> = report["fds"].as_object().unwrap().keys().collect();
    assert_eq!(numbers, ["0", "1", "2"], "{what}: {:#}", report["fds"]);
    let status = &report["status"];
    for (set, expected) in
        [("CapInh", NO_CAPS), ("CapAmb", NO_CAPS), ("CapPrm", DEFAULT_CAPS), ("CapBnd", DEFAULT_CAPS)]
    {
        assert_eq!(status[set], expected, "{what}: {set}");
    }
    assert_eq!(status["Seccomp"], "2", "{what}");
}

#[test]
fn s05_s06_later_starts_and_health_checks_have_no_more_than_the_first() {
    let env = loaded("s05-later");
    let script = "mkdir -p /d/s; n=$(ls /d/s | wc -l); /probe report > /d/s/start$n; [ $n -ge 2 ] && exec sleep 1000; exit 1";
    let line = format!(
        "run -d --name=c --network=none --restart=on-failure:5 -v data:/d --health-interval=1s \
         --health-cmd='/probe report > /d/new && mv /d/new /d/health' {IMAGE} sh -c '{script}'"
    );
    let started = with_descriptors(&env, &line);
    assert_eq!(started.code, 0, "{started:#?}");
    let listed = |name: &str| {
        let names = env.ok(["run", "--rm", "--network=none", "-v=data:/d", IMAGE, "ls", "/d", "/d/s"]);
        names.lines().any(|line| line == name)
    };
    wait_until("the container is started twice again", || listed("start2"));
    wait_until("its monitor checks it", || listed("health"));
    for file in ["/d/s/start0", "/d/s/start1", "/d/s/start2", "/d/health"] {
        has_the_usual(file, &report(&env, file));
    }
    // And a check by hand, from a caller with open descriptors.
    env.ok(["exec", "c", "rm", "/d/health"]);
    wait_until("the check by hand works", || {
        with_descriptors(&env, "healthcheck run c").code == 0 && listed("health")
    });
    has_the_usual("by hand", &report(&env, "/d/health"));
    env.ok(["rm", "-f", "-t=0", "c"]);
}

#[test]
fn s12_s14_s39_what_exec_starts_is_confined_as_the_container() {
    let env = loaded("s14-exec");
    env.ok(["run", "-d", "--name=c", "--network=none", IMAGE, "sleep", "1000"]);
    let json = |args: &[&str]| -> Value {
        let text = env.ok(args);
        serde_json::from_str(&text).unwrap_or_else(|error| panic!("{args:?}: {error}: {text}"))
    };
    let expected = env.probe(&[], &["syscalls"]);
    assert_ne!(expected, env.probe(&["--privileged"], &["syscalls"]), "the answers differ where they may");
    assert_eq!(json(&["exec", "c", "/probe", "syscalls"]), expected);
    assert_eq!(json(&["exec", "-u=1000", "c", "/probe", "syscalls"]), env.probe(&["-u=1000"], &["syscalls"]));
    assert_eq!(json(&["exec", "c", "/probe", "sockets"]), env.probe(&[], &["sockets"]));
    for options in [&["exec"][..], &["exec", "-t"], &["exec", "-it"]] {
        let answers = json(&[options, &["c", "/probe", "tty"]].concat());
        for (call, answer) in answers.as_object().unwrap() {
            // EPERM, ENOTTY, EINVAL
            assert!(matches!(answer.as_i64(), Some(1 | 25 | 22)), "{options:?} {call}: {answer}");
        }
    }
    // With all rights over its own namespaces none passes an exec.
    let privileged = json(&["exec", "--privileged", "c", "/probe", "report"]);
    let status = &privileged["status"];
    assert_eq!((&status["CapInh"], &status["CapAmb"]), (&NO_CAPS.into(), &NO_CAPS.into()), "{status}");
    let user = json(&["exec", "--privileged", "-u=1000", "c", "/probe", "report"]);
    assert_eq!((&user["status"]["CapInh"], &user["status"]["CapAmb"]), (&NO_CAPS.into(), &NO_CAPS.into()));
    for report in [&privileged, &user] {
        let text = report.to_string();
        for needle in ["/rbox/containers/", env.home().to_str().unwrap()] {
            assert!(!text.contains(needle), "{needle} is in {report:#}");
        }
    }
    env.ok(["rm", "-f", "-t=0", "c"]);
}

/// An image, pushed to a registry that has nothing of it and wants a password.
#[test]
fn s64_an_upload_to_another_host_carries_no_credentials() {
    let env = loaded("s64-push");
    let image = OciImage::new(&[layer(&[file("one", "1")])], &busybox_config());
    let target = Arc::new(FakeRegistry::serve(&image, Box::new(|_, _, _| Answer::new(201, ""))));
    let other = target.host();
    let rule: Rule = Box::new(move |request, _, _| {
        if !request.header("authorization").starts_with("Basic ") {
            return Answer::new(401, "").with("WWW-Authenticate", "Basic realm=\"test\"");
        }
        match request.method.as_str() {
            "POST" => Answer::new(202, "")
                .with("Location", format!("http://{other}/v2/test/blobs/uploads/x?_state=y")),
            _ => Answer::new(404, ""),
        }
    });
    let registry = FakeRegistry::serve(&image, rule);
    let to = format!("docker://{}", registry.image());
    let outcome =
        env.run(["push", "-q", "--tls-verify=false", "--retry=0", "--creds=user:hidden", IMAGE, &to]);
    assert_eq!(outcome.code, 125, "{outcome:#?}");
    assert!(!outcome.stderr.contains("hidden"), "{outcome:#?}");
    assert!(registry.requests().iter().any(|request| request.method == "POST"), "nothing was uploaded");
    for request in target.requests() {
        assert_eq!((request.header("authorization"), request.header("cookie")), ("", ""), "{request:#?}");
    }
}

#[test]
fn s74_passwords_are_in_no_log_event_or_record() {
    let mut env = loaded("s74");
    env.set("RBOX_LINGER", "0");
    let dir = env.work().join("registry");
    std::fs::create_dir_all(&dir).unwrap();
    let registry = Registry::secured(&dir);
    let credentials = format!("--creds={USER}:{PASSWORD}");
    let name = format!("{}/kept:1", registry.host());
    let encoded = {
        use base64::Engine as _;
        base64::prelude::BASE64_STANDARD.encode(format!("{USER}:{PASSWORD}"))
    };
    let silent = |what: &str, text: &str| {
        assert!(!text.contains(PASSWORD) && !text.contains(&encoded), "{what}: {text}");
    };
    let wrong =
        env.run(["--log-level=trace", "pull", "--tls-verify=false", "--creds=user:other-secret", &name]);
    assert!(wrong.code == 125 && !wrong.stderr.contains("other-secret"), "{wrong:#?}");
    for args in [
        &["push", "--tls-verify=false", &credentials, IMAGE, &name][..],
        &["pull", "--tls-verify=false", &credentials, &name],
        &[
            "run",
            "--pull=always",
            "--rm",
            "--network=none",
            "--tls-verify=false",
            &credentials,
            &name,
            "true",
        ],
        &["search", "--tls-verify=false", "--list-tags", &credentials, &name],
    ] {
        let outcome = env.run([&["--log-level=trace"][..], args].concat());
        assert!(outcome.code == 0 || args[0] == "search", "{args:?}: {outcome:#?}");
        silent(args[0], &format!("{}{}", outcome.stdout, outcome.stderr));
    }
    let login = [
        "--log-level=trace",
        "login",
        "--tls-verify=false",
        "-u",
        USER,
        "--password-stdin",
        &registry.host(),
    ];
    let outcome = env.run_with_input(login, PASSWORD.as_bytes());
    assert_eq!(outcome.code, 0, "{outcome:#?}");
    silent("login", &format!("{}{}", outcome.stdout, outcome.stderr));
    env.ok(["pull", "-q", "--tls-verify=false", &name]);
    env.ok(["create", "--name=c", "--pull=always", "-q", "--tls-verify=false", &credentials, &name]);
    let shown = env.ok(["inspect", "c"]);
    assert!(shown.contains("--creds=***"), "{shown}");
    silent("inspect of a container", &shown);
    silent("events", &env.ok(["events", "--stream=false", "--format=json"]));
    silent("inspect", &env.ok(["image", "inspect", &name]));

    // Nothing that was written has it but the file that is there for it.
    let mut dirs = vec![env.data(), env.run_dir(), env.home(), env.config()];
    let mut kept = Vec::new();
    while let Some(dir) = dirs.pop() {
        for entry in std::fs::read_dir(dir).into_iter().flatten().flatten() {
            let path = entry.path();
            if entry.file_type().unwrap().is_dir() {
                dirs.push(path);
            } else if let Ok(text) = std::fs::read(&path) {
                let has = |secret: &str| text.windows(secret.len()).any(|part| part == secret.as_bytes());
                if has(PASSWORD) || has(&encoded) {
                    kept.push(path);
                }
            }
        }
    }
    assert_eq!(kept, [env.config().join("containers/auth.json")]);
}

#[test]
fn s103_ids_that_are_not_the_users_cannot_be_had() {
    let env = loaded("s103");
    env.ok(["run", "--rm", "--network=none", "--uidmap=0:1:100", IMAGE, "true"]);
    for options in [
        &["--uidmap=0:4000000000:10"][..],
        &["--gidmap=0:4000000000:10"],
        &["--uidmap=0:@4000000000:10"],
        &["--uidmap=0:1:4000000000"],
        &["--uidmap=0:0:4294967295"],
        &["--uidmap=0:1:10", "--uidmap=5:100:10"],
        &["--userns=auto:uidmapping=0:4000000000:10"],
        &["--userns=auto:size=4000000000"],
        &["--userns=keep-id:uid=4294967295"],
    ] {
        let mut args = vec!["run", "--rm", "--network=none"];
        args.extend(options);
        args.extend([IMAGE, "cat", "/proc/self/uid_map"]);
        let outcome = env.run(&args);
        assert!((125..=126).contains(&outcome.code), "{options:?}: {outcome:#?}");
        assert!(!outcome.stderr.contains("panicked"), "{outcome:#?}");
        assert_eq!(env.ok(["ps", "-aq"]), "", "{options:?}");
    }
}

/// What listens on the host's loopback trusts who is on the host.
#[test]
fn s110_the_loopback_of_the_host_is_out_of_reach() {
    let env = loaded("s110");
    let listeners = [TcpListener::bind("127.0.0.1:0").unwrap(), TcpListener::bind("[::1]:0").unwrap()];
    let ports = listeners.each_ref().map(|listener| listener.local_addr().unwrap().port());
    let visits = Arc::new(AtomicU32::new(0));
    for listener in listeners {
        let visits = Arc::clone(&visits);
        std::thread::spawn(move || {
            for mut visitor in listener.incoming().flatten() {
                visits.fetch_add(1, Ordering::SeqCst);
                let _ = visitor.write_all(b"secret\n");
            }
        });
    }
    let script = format!(
        "addresses=$(ip -o addr | grep -o 'inet6* [^/ ]*' | grep -o '[^ ]*$')\n\
         gateways=$(ip route; ip -6 route)\n\
         gateways=$(echo \"$gateways\" | grep -o 'via [^ ]*' | grep -o '[^ ]*$')\n\
         for a in 127.0.0.1 127.0.0.2 ::1 0.0.0.0 host.containers.internal host.docker.internal 169.254.1.1 169.254.1.2 \
         $addresses $gateways; do\n\
         for p in {} {}; do nc -w 1 $a $p < /dev/null; done; done; echo \"tried $addresses via $gateways\"",
        ports[0], ports[1]
    );
    let run = |options: &[&str]| {
        let mut args = vec!["run", "--rm"];
        args.extend(options);
        args.extend([IMAGE, "sh", "-c", script.as_str()]);
        env.run(args)
    };
    let open = run(&["--network=host"]);
    assert!(open.stdout.contains("secret") && visits.swap(0, Ordering::SeqCst) > 0, "it is there: {open:#?}");
    for options in [&[][..], &["--network=pasta"], &["--network=none"], &["--security-profile=strict"]] {
        let outcome = run(options);
        assert!(outcome.stdout.contains("tried"), "{options:?}: {outcome:#?}");
        assert!(!outcome.stdout.contains("secret"), "{options:?}: {outcome:#?}");
        assert_eq!(visits.load(Ordering::SeqCst), 0, "{options:?}: {outcome:#?}");
    }
}
