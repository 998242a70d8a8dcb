//! Whether CRIU can work here, and what is missing if not.

use std::path::Path;
use std::process::{Command, Output, Stdio};

use super::OLDEST;

/// From this version on CRIU does some of its work for users without rights.
const UNPRIVILEGED: (u64, u64) = (3, 18);

/// What checkpoints miss here; nothing if they can be made. `is_root` says that the caller is the host's root.
#[must_use]
pub fn missing(program: Option<&Path>, is_root: bool) -> Option<String> {
    let Some(program) = program else { return Some("the program criu is not installed".to_owned()) };
    let name = program.display();
    let Ok(output) = call(program, &["--version"]) else {
        return Some(format!("{name} cannot be run"));
    };
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let Some(version) = version_in(&text) else { return Some(format!("{name} does not tell its version")) };
    let told = text.split_whitespace().nth(1).unwrap_or("?");
    if version < OLDEST {
        return Some(format!("{name} has version {told}, and {}.{} is needed", OLDEST.0, OLDEST.1));
    }
    if is_root {
        return failure(program, &["check"])
            .map(|why| format!("{name} {told} cannot work on this kernel: {why}"));
    }
    if version < UNPRIVILEGED {
        let (major, minor) = UNPRIVILEGED;
        return Some(format!(
            "{name} {told} works for the host's root only ({major}.{minor} is the first that others can call)"
        ));
    }
    Some(match failure(program, &["check", "--unprivileged"]) {
        Some(why) => format!("{name} {told} cannot work for this user: {why}"),
        None => format!(
            "{name} {told} can write processes of this user, but namespaces need the capability CAP_SYS_ADMIN of the host"
        ),
    })
}

/// The version of CRIU as one number, such as 31701 of 3.17.1; empty where it does not tell.
#[must_use]
pub fn version(program: &Path) -> String {
    let Ok(output) = call(program, &["--version"]) else { return String::new() };
    let text = String::from_utf8_lossy(&output.stdout);
    let numbers = text.split_whitespace().nth(1).unwrap_or_default().split('.');
    let mut numbers = numbers.map(|number| number.parse::<u64>().unwrap_or(0));
    let mut next = || numbers.next().unwrap_or(0);
    match next() * 10_000 + next() * 100 + next() {
        0 => String::new(),
        number => number.to_string(),
    }
}

/// The first thing that CRIU complains about.
fn failure(program: &Path, arguments: &[&str]) -> Option<String> {
    let output = match call(program, arguments) {
        Ok(output) if output.status.success() => return None,
        Ok(output) => output,
        Err(error) => return Some(error.to_string()),
    };
    let text =
        String::from_utf8_lossy(&output.stderr).into_owned() + &String::from_utf8_lossy(&output.stdout);
    Some(first_error(&text))
}

fn first_error(text: &str) -> String {
    let reason = |line: &&str| line.contains("Error") && !line.contains("exited, ");
    let line = text.lines().find(reason).or(text.lines().next()).unwrap_or("it does not say why");
    line.split_once("): ").map_or(line, |(_, reason)| reason).trim().to_owned()
}

fn call(program: &Path, arguments: &[&str]) -> std::io::Result<Output> {
    Command::new(program).args(arguments).env_clear().stdin(Stdio::null()).output()
}

/// `Version: 3.17.1` and what follows.
fn version_in(text: &str) -> Option<(u64, u64)> {
    let mut numbers = text.split_whitespace().nth(1)?.split('.');
    Some((numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_and_reasons_are_read() {
        assert_eq!(version_in("Version: 3.17.1\nGitID: x\n"), Some((3, 17)));
        assert_eq!(version_in("Version: 4.2\n"), Some((4, 2)));
        assert_eq!(version_in("nothing"), None);
        let text = "Warn  (criu/x.c:1): y\nError (criu/vdso.c:381): vdso: Unexpected rt vDSO area bounds\n";
        assert_eq!(first_error(text), "vdso: Unexpected rt vDSO area bounds");
        assert_eq!(first_error("You need to be root"), "You need to be root");
    }

    #[test]
    fn what_is_missing_is_named() {
        assert_eq!(missing(None, true).unwrap(), "the program criu is not installed");
        assert!(missing(Some(Path::new("/nonexistent/criu")), true).unwrap().contains("cannot be run"));
        assert!(missing(Some(Path::new("/bin/true")), false).unwrap().contains("its version"));
    }
}
