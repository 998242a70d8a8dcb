//! What other users of the host see of secrets: nothing in arguments and environments, for as long as a command takes.

use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use super::support::TestEnv;
use super::support::env::{Outcome, finish, spawn_captured, tool, wait_until};
use super::support::fake::{Answer, FakeRegistry, Rule};
use super::support::image::{OciImage, busybox_config, busybox_entries, layer};

const PASSWORD: &str = "Tr0ub4dor-of-the-test";
const PASSPHRASE: &str = "staple-of-the-test";

/// A registry that wants a password and gives no answer while `held` says so.
fn holding(held: &Arc<AtomicBool>, asked: &Arc<AtomicBool>) -> FakeRegistry {
    let image = OciImage::new(&[layer(&busybox_entries())], &busybox_config());
    let (held, asked) = (Arc::clone(held), Arc::clone(asked));
    let rule: Rule = Box::new(move |request, _, answer| {
        let Some(basic) = request.header("authorization").strip_prefix("Basic ") else {
            return Answer::new(401, "").with("WWW-Authenticate", "Basic realm=\"test\"");
        };
        use base64::Engine as _;
        let expected = base64::engine::general_purpose::STANDARD.encode(format!("tester:{PASSWORD}"));
        if basic != expected {
            return Answer::new(403, "");
        }
        asked.store(true, Ordering::SeqCst);
        let deadline = Instant::now() + Duration::from_secs(30);
        while held.load(Ordering::SeqCst) && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(5));
        }
        answer
    });
    FakeRegistry::serve(&image, rule)
}

/// The processes whose arguments or environment hold `secret`.
fn who_shows(secret: &str) -> Vec<String> {
    let holds = |bytes: &[u8]| bytes.windows(secret.len()).any(|part| part == secret.as_bytes());
    let entries = fs::read_dir("/proc").unwrap().flatten();
    let texts = entries.flat_map(|entry| ["cmdline", "environ"].map(|name| entry.path().join(name)));
    texts
        .filter(|path| fs::read(path).is_ok_and(|bytes| holds(&bytes)))
        .map(|path| format!("{}: {:?}", path.display(), fs::read_to_string(&path)))
        .collect()
}

#[test]
fn s74_passwords_are_not_in_the_process_list() {
    let env = TestEnv::new("process-list");
    let (held, asked) = (Arc::new(AtomicBool::new(true)), Arc::new(AtomicBool::new(false)));
    let registry = holding(&held, &asked);
    let image = registry.image();
    let key = env.work().join("key.pem").display().to_string();
    let pass = format!("pass:{PASSPHRASE}");
    tool("openssl", ["genpkey", "-algorithm", "RSA", "-aes256", "-pass", &pass, "-out", &key]);
    let with_key = format!("--decryption-key={key}:{PASSPHRASE}");
    let creds = format!("tester:{PASSWORD}");
    let joined = format!("--creds={creds}");
    let host = registry.host();
    let lines: [&[&str]; 5] = [
        &["pull", "--tls-verify=false", &joined, &with_key, &image],
        &["run", "--rm", "--tls-verify=false", &joined, &with_key, &image, "true"],
        &["create", "--rm", "--tls-verify=false", "--creds", &creds, &with_key, &image],
        &["container", "runlabel", "--tls-verify=false", "--creds", &creds, "none", &image],
        &["login", "--tls-verify=false", "-u", "tester", "-p", PASSWORD, &host],
    ];
    for line in lines {
        held.store(true, Ordering::SeqCst);
        asked.store(false, Ordering::SeqCst);
        let mut command = env.command(line);
        let child = spawn_captured(&mut command);
        wait_until("the registry is asked with the password", || asked.load(Ordering::SeqCst));
        let shown = [who_shows(PASSWORD), who_shows(PASSPHRASE)].concat();
        held.store(false, Ordering::SeqCst);
        let outcome: Outcome = finish(child, &command);
        assert!(shown.is_empty(), "{line:?}: {shown:#?}");
        let expected = if line[0] == "container" { 125 } else { 0 };
        assert_eq!(outcome.code, expected, "{line:?}: {outcome:#?}");
        for secret in [PASSWORD, PASSPHRASE] {
            assert!(!outcome.stderr.contains(secret) && !outcome.stdout.contains(secret), "{outcome:#?}");
        }
        if line[0] == "create" {
            let name = outcome.stdout.trim();
            let kept = env.ok(["container", "inspect", "--format", "{{.Config.CreateCommand}}", name]);
            assert!(kept.contains("--creds ***") && kept.ends_with(&format!("{image}]")), "{kept}");
            assert!(!kept.contains(PASSPHRASE) && !kept.contains(PASSWORD), "{kept}");
        }
        env.ok(["rm", "--all", "--force"]);
        env.run(["rmi", "--force", &image]);
    }
    let refused = env.run_with_input(["pull", "--secrets-from-stdin", &image], PASSWORD.as_bytes());
    assert!(refused.code == 125 && refused.stderr.contains("has no secrets"), "{refused:#?}");
    assert!(!refused.stderr.contains(PASSWORD), "{refused:#?}");
}
