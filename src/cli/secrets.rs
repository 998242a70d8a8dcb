//! Secrets of a command line: kept out of the process list, of the log, of records, and of the arguments of children.
//!
//! The arguments of a process can be read by every user of the host in `/proc/PID/cmdline`, so they are overwritten before
//! anything else is done. A child that needs secrets gets them as a line of JSON through a pipe on its standard input.

use std::ffi::OsString;
use std::io::{Read as _, Write as _};
use std::os::unix::ffi::OsStrExt as _;
use std::process::{Child, Command, Stdio};

use super::error::{CommandError, Result};
use crate::kernel;

/// Options whose value is a secret, or has one in it.
const SECRETS: [&str; 2] = ["--creds", "--decryption-key"];
/// Those of `login`; other commands have other meanings for them.
const SECRETS_OF_LOGIN: [&str; 2] = ["--password", "-p"];

/// What stands for a secret.
const HIDDEN: &str = "***";

/// The command line of this process, as a container's record has it.
#[must_use]
pub fn command_line() -> Vec<String> {
    hide(std::env::args())
}

/// `words` with every secret replaced.
#[must_use]
pub fn hide(words: impl IntoIterator<Item = String>) -> Vec<String> {
    let mut finder = Finder::default();
    let hidden = |mut word: String| {
        if let Some(start) = finder.start(word.as_bytes()) {
            word.replace_range(start.., HIDDEN);
        }
        word
    };
    words.into_iter().map(hidden).collect()
}

/// Overwrites the secrets among this process's arguments, all of which `words` are.
pub fn hide_own<'w>(words: impl IntoIterator<Item = &'w OsString>) {
    let (mut finder, mut offset, mut parts) = (Finder::default(), 0, Vec::new());
    for word in words {
        let word = word.as_bytes();
        if let Some(start) = finder.start(word) {
            parts.push((offset + start, word.len() - start));
        }
        offset += word.len() + 1;
    }
    if !parts.is_empty() {
        // Where that is not possible, they are as visible as whoever typed them has made them.
        let _ = kernel::process::hide_in_arguments(&parts);
    }
}

/// Finds secrets word by word.
#[derive(Debug, Default)]
struct Finder {
    follows: bool,
    is_login: bool,
}

impl Finder {
    /// Where in the next word a secret starts.
    fn start(&mut self, word: &[u8]) -> Option<usize> {
        if std::mem::take(&mut self.follows) {
            return Some(0);
        }
        self.is_login |= word == b"login";
        let of_login = SECRETS_OF_LOGIN.iter().filter(|_| self.is_login);
        let option = SECRETS.iter().chain(of_login).find(|option| word.starts_with(option.as_bytes()))?;
        match word.get(option.len()) {
            None => {
                self.follows = true;
                None
            }
            Some(b'=') => Some(option.len() + 1),
            // A short option may have its value in the same word.
            Some(_) if !option.starts_with("--") => Some(option.len()),
            Some(_) => None,
        }
    }
}

/// Secrets that a command passes on to a child.
#[derive(Debug, Default, serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Secrets {
    /// `--creds`.
    pub creds: Option<String>,
    /// `--decryption-key`, each with its passphrase.
    pub decryption_key: Vec<String>,
}

/// The option by which a child learns that secrets come.
const OPTION: &str = "--secrets-from-stdin";
/// More than any key and password.
const LENGTH_MAX: u64 = 1 << 20;

impl Secrets {
    /// Starts `child`, a command of this program which takes them.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn start(&self, child: &mut Command) -> std::io::Result<Child> {
        if self.creds.is_none() && self.decryption_key.is_empty() {
            return child.stdin(Stdio::null()).spawn();
        }
        let mut running = child.stdin(Stdio::piped()).spawn()?;
        if let Some(mut stdin) = running.stdin.take() {
            let text = serde_json::to_vec(self).expect("texts serialise");
            // A child that ended before it has read them says why itself.
            let _ = stdin.write_all(&text);
        }
        Ok(running)
    }

    /// Announces them to `child`, before its arguments.
    pub fn announce(&self, child: &mut Command) {
        if self.creds.is_some() || !self.decryption_key.is_empty() {
            child.arg(OPTION);
        }
    }

    /// Reads them.
    ///
    /// # Errors
    /// When what comes is something else.
    pub fn read() -> Result<Self> {
        let mut text = String::new();
        let read = std::io::stdin().lock().take(LENGTH_MAX).read_to_string(&mut text);
        // What was read is in no message.
        read.ok().and_then(|_| serde_json::from_str(&text).ok()).ok_or_else(|| {
            CommandError::new(format!("{OPTION}: standard input has no secrets in rbox's own form"))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn s74_secrets_of_a_command_line_are_hidden() {
        for (line, expected) in [
            ("rbox pull --creds=u:p x", "rbox pull --creds=*** x"),
            ("rbox pull --creds u:p x", "rbox pull --creds *** x"),
            ("rbox pull --decryption-key k:pass x", "rbox pull --decryption-key *** x"),
            ("rbox login -u me -p secret host", "rbox login -u me -p *** host"),
            ("rbox login -u me -psecret --password=other host", "rbox login -u me -p*** --password=*** host"),
            ("rbox login --password-stdin host", "rbox login --password-stdin host"),
            ("rbox run -p 80:80 --pull=always x", "rbox run -p 80:80 --pull=always x"),
            ("rbox run x mysql --password y", "rbox run x mysql --password y"),
        ] {
            let words = line.split(' ').map(str::to_owned);
            assert_eq!(hide(words).join(" "), expected);
        }
    }
}
