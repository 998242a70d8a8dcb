//! `--log FILE`: where conmon and containerd look for the reason of a failure.

use std::fs::OpenOptions;
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;

use jiff::Timestamp;

use super::Globals;
use crate::cli::error::CommandError;

/// Appends the error. That the log cannot be written is no further failure.
pub(super) fn write(globals: &Globals, error: &CommandError) {
    let Some(path) = &globals.log else { return };
    let time = Timestamp::now();
    let message = error.message();
    let line = if globals.log_format == "json" {
        serde_json::json!({"level": "error", "msg": message, "time": time.to_string()}).to_string()
    } else {
        format!("time=\"{time}\" level=error msg={message:?}")
    };
    let file = OpenOptions::new().append(true).create(true).mode(0o600).open(path);
    let _ = file.and_then(|mut file| writeln!(file, "{line}"));
}
