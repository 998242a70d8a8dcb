//! The one place that writes to the terminal.
//!
//! Stdout carries data that a pipe may want (ids, tables, JSON); everything else
//! goes to stderr. A reader that has gone away ends the command quietly: writing
//! data returns an error that `?` passes on. On a terminal, text is made harmless
//! (see [`super::sanitize`]).
//!
//! Log lines have the form of logrus, because people and test-suites look for
//! `level=warning`: `time="2026-11-22T19:00:00Z" level=debug msg="…"`.

use std::fmt::Display;
use std::fs::OpenOptions;
use std::io::{self, BufWriter, IsTerminal as _, Write as _};
use std::path::Path;

use super::error::{CommandError, Result};
use super::format::go_quote;
use super::sanitize::sanitize;

/// How much is said on stderr.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// Nothing but the error that ends the command.
    Error,
    /// Also what may surprise.
    Warning,
    /// Also what is going on.
    Info,
    /// Also what helps to find a fault.
    Debug,
    /// Everything.
    Trace,
}

impl Level {
    /// The name in a log line.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warning => "warning",
            Self::Info => "info",
            Self::Debug => "debug",
            Self::Trace => "trace",
        }
    }
}

/// Terminal output of one command.
#[derive(Debug)]
pub struct Ui {
    program: String,
    data: BufWriter<io::Stdout>,
    level: Level,
    quiet: bool,
    stdout_is_terminal: bool,
    stderr_is_terminal: bool,
}

impl Ui {
    /// Output of a program that was called as `program`.
    #[must_use]
    pub fn new(program: String) -> Self {
        Self {
            program,
            data: BufWriter::new(io::stdout()),
            level: Level::Warning,
            quiet: false,
            stdout_is_terminal: io::stdout().is_terminal(),
            stderr_is_terminal: io::stderr().is_terminal(),
        }
    }

    /// The name this program was called by (`rbox`, or `podman` where it is installed as that).
    #[must_use]
    pub fn program(&self) -> &str {
        &self.program
    }

    /// Sets what is logged.
    pub fn set_level(&mut self, level: Level) {
        self.level = level;
    }

    /// What is logged.
    #[must_use]
    pub fn level(&self) -> Level {
        self.level
    }

    /// Whether lines of `level` are shown.
    #[must_use]
    pub fn shows(&self, level: Level) -> bool {
        level <= self.level
    }

    /// Drops status lines from now on (`-q`).
    pub fn set_quiet(&mut self, quiet: bool) {
        self.quiet = quiet;
    }

    /// Whether status lines are dropped.
    #[must_use]
    pub fn is_quiet(&self) -> bool {
        self.quiet
    }

    /// Whether stdout is a terminal.
    #[must_use]
    pub fn stdout_is_terminal(&self) -> bool {
        self.stdout_is_terminal
    }

    /// Whether stderr is a terminal, so that progress bars make sense.
    #[must_use]
    pub fn stderr_is_terminal(&self) -> bool {
        self.stderr_is_terminal
    }

    /// Writes one line of data to stdout.
    ///
    /// # Errors
    /// Fails when stdout does.
    pub fn data(&mut self, line: impl Display) -> Result<()> {
        if self.stdout_is_terminal {
            writeln!(self.data, "{}", sanitize(&line.to_string())).map_err(CommandError::from)
        } else {
            writeln!(self.data, "{line}").map_err(CommandError::from)
        }
    }

    /// Writes text to stdout, lines and all.
    ///
    /// # Errors
    /// Fails when stdout does.
    pub fn text(&mut self, text: &str) -> Result<()> {
        let text = if self.stdout_is_terminal { sanitize(text) } else { text.into() };
        self.data_bytes(text.as_bytes())
    }

    /// Writes bytes to stdout as they are: archives, and what a container wrote.
    ///
    /// # Errors
    /// Fails when stdout does.
    pub fn data_bytes(&mut self, bytes: &[u8]) -> Result<()> {
        self.data.write_all(bytes).map_err(CommandError::from)
    }

    /// Writes bytes to stderr as they are: what a container wrote there. What was written to
    /// stdout before comes first.
    ///
    /// # Errors
    /// Fails when one of them does.
    pub fn error_bytes(&mut self, bytes: &[u8]) -> Result<()> {
        self.flush()?;
        io::stderr().write_all(bytes).map_err(CommandError::from)
    }

    /// Sends file descriptor 1 to a file, so that programs started from here follow.
    ///
    /// # Errors
    /// Fails when the file cannot be opened for writing.
    pub fn redirect_stdout(&mut self, path: &Path) -> io::Result<()> {
        let file = OpenOptions::new().write(true).create(true).truncate(true).open(path)?;
        rustix::stdio::dup2_stdout(file)?;
        self.stdout_is_terminal = io::stdout().is_terminal();
        Ok(())
    }

    /// Passes on what was written to stdout. Needed before a fork, and before
    /// anything else writes to the same descriptor.
    ///
    /// # Errors
    /// Fails when stdout does.
    pub fn flush(&mut self) -> Result<()> {
        self.data.flush().map_err(CommandError::from)
    }

    /// Says on stderr what is going on or was done; dropped by `-q`.
    pub fn status(&mut self, line: impl Display) {
        if !self.quiet {
            self.stderr_line(format_args!("{line}"));
        }
    }

    /// Says what may surprise the user.
    pub fn warn(&mut self, message: impl Display) {
        self.log(Level::Warning, message);
    }

    /// Says what the user can do.
    pub fn hint(&mut self, message: impl Display) {
        self.stderr_line(format_args!("Hint: {message}"));
    }

    /// Logs one line.
    pub fn log(&mut self, level: Level, message: impl Display) {
        if !self.shows(level) {
            return;
        }
        if level == Level::Warning && self.stderr_is_terminal {
            return self.stderr_line(format_args!("Warning: {message}"));
        }
        let now = jiff::Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
        let message = go_quote(&message.to_string());
        self.stderr_line(format_args!("time=\"{now}\" level={} msg={message}", level.name()));
    }

    /// Prints the error that ends the command.
    pub fn error(&mut self, error: &CommandError) {
        // Data that was written before the failure stands before it.
        let _ = self.data.flush();
        if let Some(headline) = error.headline() {
            self.stderr_line(format_args!("{headline}"));
        }
        for hint in error.hints() {
            self.hint(hint);
        }
    }

    fn stderr_line(&self, line: std::fmt::Arguments<'_>) {
        // One write a line, so that lines of several processes do not mix. Nobody
        // is left to tell when stderr is gone.
        let line = format!("{line}\n");
        // Names from outside end up on a terminal sooner or later, even if stderr is a pipe right now.
        let _ = io::stderr().lock().write_all(sanitize(&line).as_bytes());
    }
}
