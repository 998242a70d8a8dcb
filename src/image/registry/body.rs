//! What requests send: content that can be asked for again from any place, so that an upload can go on after a cut.
//!
//! Large bodies have no time limit as a whole. They are watched: one of which no byte is taken for two minutes, and for
//! whose end the server needs longer than that, is given up.

use std::fmt;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_util::stream::{self, Stream, StreamExt as _};
use reqwest::header::{CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE};
use reqwest::{RequestBuilder, Response};

use super::error::TransportCause;
use crate::store::Digest;

/// A server that takes nothing, or does not answer, for so long is given up.
const SILENCE_LIMIT: Duration = Duration::from_secs(120);
/// How often progress is told.
const TICK: Duration = Duration::from_millis(50);
/// Files are read in pieces of this size.
const PIECE: usize = 256 << 10;

/// Bytes on their way to a server.
pub type Pieces = Pin<Box<dyn Stream<Item = io::Result<Bytes>> + Send>>;

/// Content to upload. Each opening gives the same bytes.
pub trait Payload {
    /// Its length, where that is known before it is read.
    fn size(&self) -> Option<u64>;
    /// Its bytes from `offset` on.
    ///
    /// # Errors
    /// When it cannot be read.
    fn open(&self, offset: u64) -> io::Result<Pieces>;
    /// Its digest and size; for content that is made while it is read, once it has been read to its end.
    fn digest(&self) -> Option<(Digest, u64)>;
    /// Is told how many bytes the server has taken.
    fn taken(&self, position: u64);
}

/// A body of one request.
#[derive(Clone, Copy)]
pub(super) struct Sent<'b> {
    pub(super) payload: &'b dyn Payload,
    /// The first byte that is sent.
    pub(super) offset: u64,
    pub(super) media_type: &'b str,
}

impl fmt::Debug for Sent<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sent").field("offset", &self.offset).finish_non_exhaustive()
    }
}

/// A request whose body is counted while it leaves.
pub(super) struct Sending {
    builder: RequestBuilder,
    count: Arc<AtomicU64>,
}

impl Sent<'_> {
    /// Makes the body of a request.
    pub(super) fn attach(self, builder: RequestBuilder) -> io::Result<Sending> {
        let mut builder = builder.header(CONTENT_TYPE, self.media_type);
        if let Some(size) = self.payload.size() {
            builder = builder.header(CONTENT_LENGTH, size - self.offset.min(size));
            // The first piece of an upload begins at zero by itself, and not every registry reads the header.
            if self.offset > 0 && size > self.offset {
                builder = builder.header(CONTENT_RANGE, format!("{}-{}", self.offset, size - 1));
            }
        }
        let count = Arc::new(AtomicU64::new(0));
        let counter = Arc::clone(&count);
        let pieces = self.payload.open(self.offset)?.inspect(move |piece| {
            if let Ok(piece) = piece {
                counter.fetch_add(piece.len() as u64, Ordering::Relaxed);
            }
        });
        Ok(Sending { builder: builder.body(reqwest::Body::wrap_stream(pieces)), count })
    }

    /// Sends it and tells how far it is.
    pub(super) async fn watch(self, sending: Sending) -> Result<Response, TransportCause> {
        let Sending { builder, count } = sending;
        let mut sending = std::pin::pin!(builder.send());
        let (mut taken, mut since) = (0, Instant::now());
        loop {
            let answer = tokio::time::timeout(TICK, &mut sending).await;
            let now = count.load(Ordering::Relaxed);
            if now != taken {
                (taken, since) = (now, Instant::now());
                self.payload.taken(self.offset + taken);
            }
            match answer {
                Ok(answer) => return answer.map_err(|error| TransportCause::of(&error)),
                Err(_) if since.elapsed() > SILENCE_LIMIT => return Err(TransportCause::Timeout),
                Err(_) => {}
            }
        }
    }
}

/// A document in memory.
impl Payload for Bytes {
    fn size(&self) -> Option<u64> {
        Some(self.len() as u64)
    }

    fn open(&self, offset: u64) -> io::Result<Pieces> {
        let start = usize::try_from(offset).unwrap_or(usize::MAX).min(self.len());
        let rest = self.slice(start..);
        Ok(Box::pin(stream::iter((!rest.is_empty()).then_some(Ok(rest)))))
    }

    fn digest(&self) -> Option<(Digest, u64)> {
        Some((Digest::of(self), self.len() as u64))
    }

    fn taken(&self, _: u64) {}
}

/// The bytes of an open file from `offset` on.
pub fn file_pieces(file: Arc<File>, offset: u64) -> Pieces {
    Box::pin(stream::unfold(Some((file, offset)), |state| async move {
        let (file, position) = state?;
        let mut buffer = vec![0; PIECE];
        match file.read_at(&mut buffer, position) {
            Ok(0) => None,
            Ok(count) => {
                buffer.truncate(count);
                Some((Ok(Bytes::from(buffer)), Some((file, position + count as u64))))
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {
                Some((Ok(Bytes::new()), Some((file, position))))
            }
            Err(error) => Some((Err(error), None)),
        }
    }))
}
