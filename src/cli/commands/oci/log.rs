//! `--log FILE`: where conmon and containerd look for the reason of a failure.

use std::fs::{File, OpenOptions};
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;

use jiff::Timestamp;

use super::Globals;
use crate::cli::error::{CommandError, Result};

/// Opens the log, for the caller to hear of a wrong path before anything is done.
pub(super) fn open(globals: &Globals) -> Result<Option<File>> {
    let Some(path) = &globals.log else { return Ok(None) };
    let file = OpenOptions::new().append(true).create(true).mode(0o600).open(path);
    file.map(Some)
        .map_err(|error| CommandError::new(format!("cannot open the log file {}: {error}", path.display())))
}

/// Appends the error. That the log cannot be written is no further failure.
pub(super) fn write(globals: &Globals, log: Option<&mut File>, error: &CommandError) {
    let Some(file) = log else { return };
    let time = Timestamp::now();
    let message = error.message();
    let line = if globals.log_format == "json" {
        serde_json::json!({"level": "error", "msg": message, "time": time.to_string()}).to_string()
    } else {
        format!("time=\"{time}\" level=error msg={message:?}")
    };
    let _ = writeln!(file, "{line}");
}
