//! Reading a container's output back from systemd's journal, by `journalctl`.

use std::collections::VecDeque;
use std::io::{BufRead as _, BufReader};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use jiff::Timestamp;
use serde_json::Value;

use super::{LogLine, LogOptions, LogTime};
use crate::container::{Error, Record, Result};
use crate::monitor::protocol::Stream;

/// How often the journal is asked for more.
const PAUSE: Duration = Duration::from_millis(200);

/// Reads entries; asks again for those after the last one.
#[derive(Debug)]
pub(super) struct JournalReader {
    id: String,
    options: LogOptions,
    /// Entries that `journalctl` is giving out.
    running: Option<(Child, BufReader<ChildStdout>)>,
    /// The place after the last entry.
    cursor: Option<String>,
    asked: Option<Instant>,
    lines: VecDeque<LogLine<'static>>,
}

impl JournalReader {
    pub(super) fn new(record: &Record, options: LogOptions) -> Self {
        let id = record.id.to_string();
        Self { id, options, running: None, cursor: None, asked: None, lines: VecDeque::new() }
    }

    /// The journal is asked anew, however short ago that was.
    pub(super) fn settle(&mut self) {
        std::thread::sleep(PAUSE);
        self.asked = None;
    }

    /// The next entry that is there.
    pub(super) fn next_line(&mut self) -> Result<Option<LogLine<'static>>> {
        if let Some(line) = self.lines.pop_front() {
            return Ok(Some(line));
        }
        if self.running.is_none() {
            if self.asked.is_some_and(|asked| asked.elapsed() < PAUSE) {
                return Ok(None);
            }
            self.asked = Some(Instant::now());
            self.running = Some(self.ask()?);
        }
        let Some((child, output)) = &mut self.running else { return Ok(None) };
        let mut text = String::new();
        loop {
            text.clear();
            let failed = |e| crate::kernel::Error::call("read", "the output of journalctl", e);
            if output.read_line(&mut text).map_err(failed)? == 0 {
                let _ = child.wait();
                self.running = None;
                return Ok(None);
            }
            let Ok(entry) = serde_json::from_str::<Value>(&text) else { continue };
            if let Some(cursor) = entry["__CURSOR"].as_str() {
                self.cursor = Some(cursor.to_owned());
            }
            if let Some(line) = parse(&entry) {
                return Ok(Some(line));
            }
        }
    }

    fn ask(&self) -> Result<(Child, BufReader<ChildStdout>)> {
        let mut command = Command::new("journalctl");
        command.args(["--quiet", "--no-pager", "--all", "--output=json"]);
        match (&self.cursor, self.options.tail) {
            (Some(cursor), _) => drop(command.arg(format!("--after-cursor={cursor}"))),
            (None, Some(tail)) => drop(command.arg(format!("--lines={tail}"))),
            (None, None) => {}
        }
        if let Some(since) = self.options.since {
            // Whole seconds; the rest is compared here.
            command.arg(format!("--since=@{}", since.as_second()));
        }
        command.arg(format!("CONTAINER_ID_FULL={}", self.id));
        let spawned = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn();
        let mut child = spawned.map_err(|e| match e.kind() {
            std::io::ErrorKind::NotFound => Error::Invalid {
                what:
                    "reading logs of the driver journald needs the program journalctl, which is not installed"
                        .to_owned(),
            },
            _ => crate::kernel::Error::path("execve", "journalctl", e).into(),
        })?;
        let output = child.stdout.take().expect("it was asked for just now");
        Ok((child, BufReader::new(output)))
    }
}

impl Drop for JournalReader {
    fn drop(&mut self) {
        if let Some((child, _)) = &mut self.running {
            // Nobody reads it any more.
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// Reads an entry of `journalctl --output=json`.
fn parse(entry: &Value) -> Option<LogLine<'static>> {
    let micros: i64 = entry["__REALTIME_TIMESTAMP"].as_str()?.parse().ok()?;
    let text = match &entry["MESSAGE"] {
        Value::String(text) => text.clone().into_bytes(),
        // What is not UTF-8 comes as numbers.
        Value::Array(bytes) => {
            bytes.iter().filter_map(|byte| byte.as_u64().and_then(|byte| u8::try_from(byte).ok())).collect()
        }
        _ => Vec::new(),
    };
    Some(LogLine {
        time: LogTime::Known(Timestamp::from_microsecond(micros).ok()?),
        stream: if entry["PRIORITY"] == "3" { Stream::Stderr } else { Stream::Stdout },
        whole: entry["CONTAINER_PARTIAL_MESSAGE"] != "true",
        text: text.into(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_become_lines() {
        let entry = serde_json::json!({
            "__REALTIME_TIMESTAMP": "1700000000123456", "MESSAGE": "hi", "PRIORITY": "3",
            "CONTAINER_PARTIAL_MESSAGE": "true",
        });
        let line = parse(&entry).unwrap();
        assert_eq!((line.stream, line.whole, &*line.text), (Stream::Stderr, false, &b"hi"[..]));
        assert_eq!(line.time.get().map(Timestamp::as_microsecond), Some(1_700_000_000_123_456));
        let bytes = serde_json::json!({"__REALTIME_TIMESTAMP": "1", "MESSAGE": [255, 10], "PRIORITY": "6"});
        assert_eq!(&*parse(&bytes).unwrap().text, [255, 10]);
        assert!(parse(&serde_json::json!({"MESSAGE": "x"})).is_none());
    }
}
