//! `docker-credential-NAME`: programs that keep credentials, asked over their standard streams.

use std::io::{Read as _, Write as _};
use std::process::{Command, Stdio};

use serde::Deserialize;

use super::{AuthError, Secret};
use crate::config::Env;
use crate::image::request::Credentials;

/// The most that a helper's answer is read.
const ANSWER_MAX: u64 = 1 << 20;

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Answer {
    #[serde(default)]
    username: String,
    #[serde(default)]
    secret: String,
}

/// Asks a helper for the secret of `host`.
pub(super) fn get(env: &Env, helper: &str, host: &str) -> Result<Secret, AuthError> {
    let mut secret = Secret::None;
    for server in servers(host) {
        let (succeeded, answer) = run(env, helper, "get", server.as_bytes())?;
        if succeeded {
            secret = parse(&answer).map_err(|problem| failed(helper, problem))?;
        } else if !is_not_found(&answer) {
            return Err(failed(helper, describe(&answer)));
        }
        if secret != Secret::None {
            break;
        }
    }
    Ok(secret)
}

/// Has a helper keep credentials.
pub(super) fn store(env: &Env, helper: &str, host: &str, credentials: &Credentials) -> Result<(), AuthError> {
    let server = servers(host)[0];
    let request = serde_json::json!({
        "ServerURL": server, "Username": credentials.username, "Secret": credentials.password,
    });
    expect_success(helper, run(env, helper, "store", request.to_string().as_bytes())?)
}

/// Has a helper forget credentials; false where it has none.
pub(super) fn erase(env: &Env, helper: &str, host: &str) -> Result<bool, AuthError> {
    let server = servers(host)[0];
    let (succeeded, answer) = run(env, helper, "erase", server.as_bytes())?;
    if !succeeded && is_not_found(&answer) {
        return Ok(false);
    }
    expect_success(helper, (succeeded, answer)).map(|()| true)
}

/// The names under which helpers know a registry; Docker Hub has an old one.
fn servers(host: &str) -> Vec<&str> {
    if host == "docker.io" { vec!["https://index.docker.io/v1/", host] } else { vec![host] }
}

/// Runs a helper; the boolean is whether it succeeded, the bytes are its standard output.
fn run(env: &Env, helper: &str, verb: &str, input: &[u8]) -> Result<(bool, Vec<u8>), AuthError> {
    let program = format!("docker-credential-{helper}");
    // The name comes from a file; it must not lead out of PATH.
    let is_plain = helper.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b));
    let path = is_plain.then(|| env.find_program(&program, [])).flatten();
    let Some(path) = path else {
        return Err(failed(helper, format!("{program} is not in $PATH")));
    };
    let io = |error: std::io::Error| failed(helper, error.to_string());
    let mut child = Command::new(path)
        .arg(verb)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::inherit())
        .spawn()
        .map_err(io)?;
    if let Some(mut stdin) = child.stdin.take() {
        // A helper that does not read its input says what it has to say on stdout.
        let _ = stdin.write_all(input).and_then(|()| stdin.write_all(b"\n"));
    }
    let mut output = Vec::new();
    if let Some(stdout) = child.stdout.take() {
        stdout.take(ANSWER_MAX).read_to_end(&mut output).map_err(io)?;
    }
    let status = child.wait().map_err(io)?;
    Ok((status.success(), output))
}

fn parse(answer: &[u8]) -> Result<Secret, String> {
    let answer: Answer = serde_json::from_slice(answer).map_err(|_| "the answer is not JSON".to_owned())?;
    Ok(match (answer.username.as_str(), answer.secret) {
        (_, secret) if secret.is_empty() => Secret::None,
        ("<token>", secret) => Secret::IdentityToken(secret),
        (username, password) => Secret::Password(Credentials { username: username.to_owned(), password }),
    })
}

/// The words of docker-credential-helpers for "nothing here".
fn is_not_found(answer: &[u8]) -> bool {
    let text = String::from_utf8_lossy(answer);
    text.trim() == "credentials not found in native keychain" || text.contains("no credentials server URL")
}

fn describe(answer: &[u8]) -> String {
    String::from_utf8_lossy(answer).trim().chars().filter(|c| !c.is_control()).take(300).collect()
}

fn expect_success(helper: &str, (succeeded, answer): (bool, Vec<u8>)) -> Result<(), AuthError> {
    if succeeded { Ok(()) } else { Err(failed(helper, describe(&answer))) }
}

fn failed(helper: &str, problem: String) -> AuthError {
    AuthError::Helper { helper: format!("docker-credential-{helper}"), problem }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers() {
        let parsed = |text: &str| parse(text.as_bytes());
        assert_eq!(
            parsed(r#"{"ServerURL":"x","Username":"<token>","Secret":"t"}"#),
            Ok(Secret::IdentityToken("t".into()))
        );
        assert_eq!(
            parsed(r#"{"Username":"u","Secret":"p"}"#),
            Ok(Secret::Password(Credentials { username: "u".into(), password: "p".into() }))
        );
        assert_eq!(parsed("{}"), Ok(Secret::None));
        assert!(parsed("oops").is_err());
        assert!(is_not_found(b"credentials not found in native keychain\n"));
    }

    #[test]
    fn names_stay_in_path() {
        let env = Env::from_values(0, 0, [("PATH", "/usr/bin:/bin")]);
        for helper in ["../../tmp/evil", "a/b", "no-such-helper", ""] {
            assert!(matches!(get(&env, helper, "x.io"), Err(AuthError::Helper { .. })), "{helper}");
        }
    }
}
