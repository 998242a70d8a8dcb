//! Output as entries of systemd's journal, with the fields of conmon, so that `journalctl CONTAINER_NAME=web` and
//! log shippers find it.
//!
//! What does not end in a newline is an entry with `CONTAINER_PARTIAL_MESSAGE=true`. The journal takes an entry or
//! makes us wait: a container that writes faster than it is slowed down.

use super::protocol::Stream;
use crate::kernel::Result;
use crate::kernel::journal::Journal;

/// The longest text of one entry: the journal's own limit for a line of a stream.
const LONGEST: usize = 48 * 1024;

/// Sends output to the journal.
#[derive(Debug)]
pub(super) struct Writer {
    journal: Journal,
    fields: Vec<(String, String)>,
}

impl Writer {
    /// Connects; `fields` go with every entry.
    pub(super) fn open(fields: Vec<(String, String)>) -> Result<Self> {
        Ok(Self { journal: Journal::open()?, fields })
    }

    /// Sends what was read from `stream` in one go. Without a journal it is lost.
    pub(super) fn append(&mut self, stream: Stream, bytes: &[u8]) {
        let priority = match stream {
            Stream::Stdout => "6",
            Stream::Stderr => "3",
        };
        for line in bytes.split_inclusive(|&b| b == b'\n') {
            let (text, whole) = match line.strip_suffix(b"\n") {
                Some(text) => (text, true),
                None => (line, false),
            };
            let mut pieces = text.chunks(LONGEST).peekable();
            if pieces.peek().is_none() {
                self.send(priority, &[], whole);
            }
            while let Some(piece) = pieces.next() {
                self.send(priority, piece, whole && pieces.peek().is_none());
            }
        }
    }

    fn send(&mut self, priority: &str, text: &[u8], whole: bool) {
        let mut fields: Vec<(&str, &[u8])> = vec![("MESSAGE", text), ("PRIORITY", priority.as_bytes())];
        fields.extend(self.fields.iter().map(|(key, value)| (key.as_str(), value.as_bytes())));
        if !whole {
            fields.push(("CONTAINER_PARTIAL_MESSAGE", b"true"));
        }
        if self.journal.send(&fields).is_err()
            // The journal was restarted: its socket is another one now.
            && let Ok(journal) = Journal::open()
        {
            self.journal = journal;
            let _ = self.journal.send(&fields);
        }
    }
}
