//! `login` and `logout`: where credentials are kept, and who is asked.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use super::support::TestEnv;
use super::support::registry::{PASSWORD, Registry, USER};

fn registry(env: &TestEnv) -> Registry {
    let dir = env.work().join("registry");
    fs::create_dir_all(&dir).unwrap();
    Registry::secured(&dir)
}

fn read(path: &Path) -> Value {
    serde_json::from_slice(&fs::read(path).unwrap()).unwrap()
}

fn persistent(env: &TestEnv) -> PathBuf {
    env.config().join("containers/auth.json")
}

/// Logs in with the password on standard input.
#[track_caller]
fn login(env: &TestEnv, more: &[&str], host: &str) -> String {
    let mut args = vec!["login", "--tls-verify=false", "-u", USER, "--password-stdin"];
    args.extend(more);
    args.push(host);
    let outcome = env.run_with_input(args, PASSWORD.as_bytes());
    assert_eq!(outcome.code, 0, "{outcome:#?}");
    outcome.stdout
}

#[test]
fn credentials_survive_a_reboot_and_are_for_their_owner_only() {
    let mut env = TestEnv::new("login");
    let registry = registry(&env);
    let host = registry.host();
    env.fails(125, ["login", "--get-login", &host]);
    let wrong = env.run(["login", "--tls-verify=false", "-u", USER, "-p", "guess", &host]);
    assert!(wrong.code == 125 && wrong.stderr.contains("invalid username/password"), "{wrong:#?}");
    assert!(!wrong.stderr.contains("guess") && !persistent(&env).exists(), "{wrong:#?}");
    // What another tool has left in the runtime directory would be found first.
    let runtime = env.run_dir().parent().unwrap().join("containers/auth.json");
    fs::create_dir_all(runtime.parent().unwrap()).unwrap();
    fs::write(
        &runtime,
        json!({"auths": {&host: {"auth": "b2xkOm9sZA=="}, "q.io": {"auth": "eDp5"}}}).to_string(),
    )
    .unwrap();
    assert_eq!(env.ok(["login", "--get-login", &host]), "old");
    let said = login(&env, &["--verbose"], &host);
    assert!(said.contains(&format!("Used:  {}", persistent(&env).display())), "{said}");
    assert_eq!(env.ok(["login", "--get-login", &host]), USER);
    assert_eq!(fs::metadata(persistent(&env)).unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!(read(&runtime), json!({"auths": {"q.io": {"auth": "eDp5"}}}));
    // Known credentials are used again.
    let again = env.ok(["login", "--tls-verify=false", &host]);
    assert!(again.contains("Existing credentials are valid"), "{again}");
    env.ok(["logout", &host]);
    env.fails(125, ["logout", &host]);
    env.fails(125, ["login", "--get-login", &host]);
    login(&env, &[], &host);
    login(&env, &[], &format!("{host}/team"));
    env.ok(["logout", "--all"]);
    assert_eq!((read(&persistent(&env)), read(&runtime)), (json!({"auths": {}}), json!({"auths": {}})));

    // Files that are named are the only ones.
    let (own, docker) = (env.work().join("own.json"), env.work().join("docker.json"));
    login(&env, &[&format!("--authfile={}", own.display())], &host);
    login(&env, &[&format!("--compat-auth-file={}", docker.display())], &host);
    assert!(
        read(&own)["auths"][&host]["auth"].is_string() && read(&docker)["auths"][&host]["auth"].is_string()
    );
    env.fails(125, ["login", "--get-login", &host]);
    env.set("REGISTRY_AUTH_FILE", own.to_str().unwrap());
    assert_eq!(env.ok(["login", "--get-login", &host]), USER);
    env.ok(["logout", &host]);
    assert_eq!(read(&own), json!({"auths": {}}));
}

/// A helper that keeps what it is given in a file.
fn helper(env: &mut TestEnv, name: &str) -> PathBuf {
    let bin = env.work().join("bin");
    fs::create_dir_all(&bin).unwrap();
    let kept = bin.join(format!("{name}.kept"));
    let program = bin.join(format!("docker-credential-{name}"));
    let text = format!(
        "#!/bin/sh\nkept={0}\ncase $1 in\nstore) cat > $kept ;;\nget) [ -f $kept ] && cat $kept || \
         {{ echo 'credentials not found in native keychain'; exit 1; }} ;;\n\
         erase) [ -f $kept ] && rm $kept || {{ echo 'credentials not found in native keychain'; exit 1; }} ;;\nesac\n",
        kept.display()
    );
    fs::write(&program, text).unwrap();
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
    let path = format!("{}:{}", bin.display(), std::env::var("PATH").unwrap());
    env.set("PATH", path);
    kept
}

#[test]
fn helpers_keep_what_is_theirs() {
    let mut env = TestEnv::new("login-helpers");
    let registry = registry(&env);
    let host = registry.host();
    let (one, all) = (helper(&mut env, "one"), helper(&mut env, "all"));
    let file = env.work().join("auth.json");
    let authfile = format!("--authfile={}", file.display());
    let write = |value: Value| fs::write(&file, value.to_string()).unwrap();
    for (config, kept) in [
        (json!({"credsStore": "all", "HttpHeaders": {"a": "b"}}), &all),
        (json!({"credsStore": "all", "credHelpers": {&host: "one"}, "HttpHeaders": {"a": "b"}}), &one),
    ] {
        write(config.clone());
        login(&env, &[&authfile], &host);
        let stored = read(kept);
        assert_eq!((&stored["ServerURL"], &stored["Secret"]), (&json!(host), &json!(PASSWORD)));
        let text = fs::read_to_string(&file).unwrap();
        assert!(!text.contains("\"auth\""), "the password is in the file too: {text}");
        assert_eq!(read(&file)["auths"][&host], json!({}), "nobody sees who is logged in");
        assert_eq!(read(&file)["HttpHeaders"], json!({"a": "b"}));
        assert_eq!(env.ok(["login", "--get-login", &authfile, &host]), USER);
        env.ok(["logout", &authfile, &host]);
        assert!(!kept.exists());
        assert_eq!(read(&file)["auths"], json!({}));
        login(&env, &[&authfile], &host);
        env.ok(["logout", "--all", &authfile]);
        assert!(!kept.exists(), "logging out of all left what a helper keeps");
    }
}
