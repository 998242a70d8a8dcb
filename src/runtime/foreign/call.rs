//! One call of another runtime's command line.

use std::ffi::{OsStr, OsString};
use std::os::fd::OwnedFd;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::kernel::process::{self, Fork};
use crate::kernel::signal::{self, SignalSet};
use crate::kernel::{self, file};
use crate::runtime::error::{Error, Result};
use crate::runtime::streams::Passed;

use super::MAX_FILE;

/// A call that is being put together.
#[derive(Debug)]
pub(super) struct Call<'a> {
    program: &'a Path,
    words: Vec<OsString>,
    log: PathBuf,
    /// Standard streams, which the container gets; otherwise there are none.
    pub(super) streams: Option<[OwnedFd; 3]>,
    /// The standard streams are this process's own.
    pub(super) inherit: bool,
}

impl<'a> Call<'a> {
    pub(super) fn new(program: &'a Path, log: PathBuf) -> Self {
        Self { program, words: Vec::new(), log, streams: None, inherit: false }
    }

    pub(super) fn word(&mut self, word: &str) -> &mut Self {
        self.words.push(word.into());
        self
    }

    pub(super) fn option(&mut self, name: &str, value: &Path) -> &mut Self {
        self.words.extend([OsStr::new(name), value.as_os_str()].map(OsStr::to_owned));
        self
    }

    /// Runs it to its end.
    pub(super) fn run(self, extra: &[Passed]) -> Result<()> {
        let (program, log, words) = (self.program.to_owned(), self.log.clone(), self.words.clone());
        let _ = std::fs::remove_file(&log);
        match process::fork()? {
            Fork::Child => {
                let error = self.execute(extra);
                let _ = std::fs::File::create(&log)
                    .and_then(|mut log| std::io::Write::write_all(&mut log, error.as_bytes()));
                process::exit_now(127)
            }
            Fork::Parent { pidfd, .. } => {
                drop(self);
                let status = process::wait_pidfd(&pidfd)?;
                if status.code() == 0 {
                    return Ok(());
                }
                Err(failure(program, &log, &words, status.code()))
            }
        }
    }

    /// In the fork. This process blocks all signals, which must not pass on.
    fn execute(self, extra: &[Passed]) -> String {
        signal::reset_dispositions();
        if let Err(error) = signal::set_mask(&SignalSet::empty()) {
            return error.to_string();
        }
        let first_free = 3 + extra.len() as i32;
        for passed in extra {
            // Above all targets first, since these may be sources.
            let moved = rustix::io::fcntl_dupfd_cloexec(&passed.descriptor, first_free)
                .map_err(|errno| kernel::Error::call("fcntl", "", errno))
                .and_then(|moved| process::duplicate_to(&moved, passed.number));
            if let Err(error) = moved {
                return error.to_string();
            }
        }
        let mut command = Command::new(self.program);
        command.args(&self.words);
        match self.streams {
            Some([stdin, stdout, stderr]) => drop(command.stdin(stdin).stdout(stdout).stderr(stderr)),
            None if self.inherit => {}
            None => drop(command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null())),
        }
        command.exec().to_string()
    }
}

/// What went wrong, from the log. The kinds of failure that have exit codes of their own are told by the words
/// that runc and crun use.
fn failure(program: PathBuf, log: &Path, words: &[OsString], code: i32) -> Error {
    let text = file::read_limited(log, MAX_FILE).unwrap_or_default();
    let what = message(&String::from_utf8_lossy(&text)).unwrap_or_else(|| {
        let words: Vec<_> = words.iter().map(|word| word.to_string_lossy()).collect();
        format!("it ended with code {code}, called with `{}`", words.join(" "))
    });
    Error::Foreign { program, what }
}

/// The last error of a log: JSON, whose entries may take several lines, or text.
fn message(log: &str) -> Option<String> {
    let entries = serde_json::Deserializer::from_str(log).into_iter::<serde_json::Value>();
    match entries.collect::<Result<Vec<_>, _>>() {
        Ok(entries) => {
            let is_error =
                |entry: &&serde_json::Value| entry["level"] == "error" || entry["level"] == "fatal";
            entries.iter().rev().find(is_error).and_then(|entry| entry["msg"].as_str()).map(str::to_owned)
        }
        Err(_) => log.lines().rev().find(|line| !line.trim().is_empty()).map(str::to_owned),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_error_of_a_log_is_told() {
        for (log, expected) in [
            ("", None),
            ("{\"msg\":\"a\",\"level\":\"error\",\"time\":\"x\"}\n", Some("a")),
            ("{\"msg\":\"a\",\"level\":\"error\"}\n{\"msg\":\"b\",\"level\":\"info\"}\n", Some("a")),
            ("{\"msg\":\"a\",\"level\":\"warning\"}\n", None),
            ("{\n \"msg\":\"a\",\n \"level\":\"error\"\n}\n", Some("a")),
            ("no such file\n\n", Some("no such file")),
        ] {
            assert_eq!(message(log).as_deref(), expected, "{log}");
        }
    }
}
