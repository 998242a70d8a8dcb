//! Lines of log files.
//!
//! # Formats
//!
//! That of CRI, which podman calls `k8s-file`; it gives back the exact bytes:
//!
//! ```text
//! 2026-11-22T19:00:00.000000000+00:00 stdout F a whole line
//! 2026-11-22T19:00:00.000000000+00:00 stderr P the beginning of a line
//! ```
//!
//! That of docker's `json-file`, which log shippers read. The text ends in a newline where the line does; what is
//! not UTF-8 is replaced:
//!
//! ```text
//! {"log":"a whole line\n","stream":"stdout","time":"2026-11-22T19:00:00.000000000Z"}
//! ```

use std::borrow::Cow;

use serde::{Deserialize, Serialize};

use super::protocol::Stream;

/// How lines are written.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Format {
    /// `TIME STREAM F|P TEXT`.
    #[default]
    K8s,
    /// Docker's JSON.
    Json,
}

/// A line of a log, or the beginning of one.
#[derive(Debug, PartialEq, Eq)]
pub struct Line<'a> {
    /// When it was written, as in the file.
    pub time: Cow<'a, str>,
    /// Which stream it belongs to.
    pub stream: Stream,
    /// Whether the line ends here.
    pub whole: bool,
    /// The text without its newline.
    pub text: Cow<'a, [u8]>,
}

#[derive(Serialize, Deserialize)]
struct JsonLine<'a> {
    #[serde(borrow)]
    log: Cow<'a, str>,
    #[serde(borrow)]
    stream: Cow<'a, str>,
    #[serde(borrow)]
    time: Cow<'a, str>,
}

const fn stream_name(stream: Stream) -> &'static str {
    match stream {
        Stream::Stdout => "stdout",
        Stream::Stderr => "stderr",
    }
}

fn stream_of(name: &[u8]) -> Option<Stream> {
    match name {
        b"stdout" => Some(Stream::Stdout),
        b"stderr" => Some(Stream::Stderr),
        _ => None,
    }
}

impl Format {
    /// Appends a line to `out`.
    pub(super) fn write(self, out: &mut Vec<u8>, time: &str, stream: Stream, whole: bool, text: &[u8]) {
        let stream = stream_name(stream);
        match self {
            Self::K8s => {
                let tag = if whole { " F " } else { " P " };
                for part in [time.as_bytes(), b" ", stream.as_bytes(), tag.as_bytes(), text, b"\n"] {
                    out.extend_from_slice(part);
                }
            }
            Self::Json => {
                let mut log = String::from_utf8_lossy(text);
                if whole {
                    log.to_mut().push('\n');
                }
                let line = JsonLine { log, stream: stream.into(), time: time.into() };
                out.extend(serde_json::to_vec(&line).expect("a line has only strings"));
                out.push(b'\n');
            }
        }
    }

    /// Reads a line without its newline; nothing for one that is damaged.
    #[must_use]
    pub fn parse(self, line: &[u8]) -> Option<Line<'_>> {
        match self {
            Self::K8s => {
                let (time, rest) = split_blank(line)?;
                let (stream, rest) = split_blank(rest)?;
                let (tag, text) = split_blank(rest)?;
                let whole = match tag {
                    b"F" => true,
                    b"P" => false,
                    _ => return None,
                };
                let time = std::str::from_utf8(time).ok()?.into();
                Some(Line { time, stream: stream_of(stream)?, whole, text: text.into() })
            }
            Self::Json => {
                let JsonLine { log, stream, time } = serde_json::from_slice(line).ok()?;
                let mut text = log.into_owned().into_bytes();
                let whole = text.pop_if(|last| *last == b'\n').is_some();
                Some(Line { time, stream: stream_of(stream.as_bytes())?, whole, text: text.into() })
            }
        }
    }
}

fn split_blank(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let at = bytes.iter().position(|&b| b == b' ')?;
    Some((&bytes[..at], &bytes[at + 1..]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_come_back() {
        for format in [Format::K8s, Format::Json] {
            for (stream, whole, text) in [
                (Stream::Stdout, true, "a \"b\"\t\u{1b}[0m"),
                (Stream::Stderr, false, ""),
                (Stream::Stdout, false, " x "),
            ] {
                let mut out = Vec::new();
                format.write(&mut out, "2026-11-22T19:00:00.5Z", stream, whole, text.as_bytes());
                assert_eq!(out.pop(), Some(b'\n'));
                assert!(!out.contains(&b'\n'));
                let line = format.parse(&out).unwrap();
                assert_eq!((line.stream, line.whole, &*line.text), (stream, whole, text.as_bytes()));
                assert_eq!(line.time, "2026-11-22T19:00:00.5Z");
            }
            for bad in ["", "x", "{}", "a stdin F x", "a stdout X x", "{\"log\":1}"] {
                assert_eq!(format.parse(bad.as_bytes()), None, "{bad}");
            }
        }
    }

    #[test]
    fn json_is_that_of_docker() {
        let mut out = Vec::new();
        Format::Json.write(&mut out, "2026-11-22T19:00:00.000000000Z", Stream::Stdout, true, b"hi \xff");
        let text = "{\"log\":\"hi \u{fffd}\\n\",\"stream\":\"stdout\",\"time\":\"2026-11-22T19:00:00.000000000Z\"}\n";
        assert_eq!(String::from_utf8(out).unwrap(), text);
    }
}
