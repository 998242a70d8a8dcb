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
    /// When it was written, as in the file. Not looked at: most readers of a log never do.
    pub time: Cow<'a, [u8]>,
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

/// What stands between the time and the text, most frequent first.
const K8S_TAGS: [(&[u8; 10], Stream, bool); 4] = [
    (b" stdout F ", Stream::Stdout, true),
    (b" stderr F ", Stream::Stderr, true),
    (b" stdout P ", Stream::Stdout, false),
    (b" stderr P ", Stream::Stderr, false),
];

/// `2026-11-22T19:00:00.000000000+00:00`.
const TIME_LENGTH: usize = 35;

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
                // Times that are written here are all as long: looked at first, that is half of the work.
                let length = if line.len() > TIME_LENGTH
                    && (line[19], line[32], line[TIME_LENGTH]) == (b'.', b':', b' ')
                {
                    TIME_LENGTH
                } else {
                    memchr::memchr(b' ', line)?
                };
                let (time, rest) = line.split_at(length);
                let mut tags = K8S_TAGS.iter();
                let (stream, whole, text) = tags.find_map(|(tag, stream, whole)| {
                    Some((*stream, *whole, rest.strip_prefix(tag.as_slice())?))
                })?;
                Some(Line { time: time.into(), stream, whole, text: text.into() })
            }
            Self::Json => {
                let JsonLine { log, stream, time } = serde_json::from_slice(line).ok()?;
                let mut text = log.into_owned().into_bytes();
                let whole = text.pop_if(|last| *last == b'\n').is_some();
                let time = time.into_owned().into_bytes().into();
                Some(Line { time, stream: stream_of(stream.as_bytes())?, whole, text: text.into() })
            }
        }
    }
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
                (Stream::Stderr, true, "0123 stdout F x"),
            ] {
                for time in ["2026-11-22T19:00:00.5Z", "2026-11-22T19:00:00.123456789+00:00"] {
                    let mut out = Vec::new();
                    format.write(&mut out, time, stream, whole, text.as_bytes());
                    assert_eq!(out.pop(), Some(b'\n'));
                    assert!(!out.contains(&b'\n'));
                    let line = format.parse(&out).unwrap();
                    assert_eq!((line.stream, line.whole, &*line.text), (stream, whole, text.as_bytes()));
                    assert_eq!(*line.time, *time.as_bytes());
                }
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
