//! Blobs: streams that survive a cut connection by asking for the rest.

use std::time::{Duration, Instant};

use bytes::Bytes;
use reqwest::header::{CONTENT_RANGE, HeaderMap};
use reqwest::{Method, Response, StatusCode};

use super::client::{Ask, Client, unexpected};
use super::error::{RegistryError, TransportCause};
use crate::image::manifest::Descriptor;

/// A transfer that brings less than this in [`PATIENCE`] is given up (S69). What came is kept for the next try.
const PATIENCE: Duration = Duration::from_secs(30);
const PATIENCE_BYTES: u64 = 16 << 10;
/// A connection that brought this much earns all retries back.
const EARNED: u64 = 1 << 20;

/// The bytes of a blob from some offset on.
#[derive(Debug)]
pub struct BlobStream<'c, 'a> {
    client: &'c Client<'a>,
    ask: Ask<'static>,
    /// Size of the whole blob.
    size: u64,
    /// Bytes that the reader has by now.
    position: u64,
    response: Option<Response>,
    attempt: u32,
    /// Position when the connection was made.
    connected_at: u64,
    interval: Instant,
    interval_start: u64,
}

/// One step of a stream.
#[derive(Debug)]
pub enum BlobPiece {
    /// The next bytes.
    Data(Bytes),
    /// The server does not serve ranges: what was read before is to be dropped, the blob begins again.
    Restart,
    /// All bytes have been read.
    End,
}

impl<'a> Client<'a> {
    /// Starts to read a blob at `offset`.
    pub fn blob<'c>(&'c self, descriptor: &Descriptor, offset: u64) -> BlobStream<'c, 'a> {
        let doing = format!("reading blob {} in {}", descriptor.digest, self.repository());
        let path = format!("{}/blobs/{}", self.path(), descriptor.digest);
        BlobStream {
            client: self,
            ask: Ask { from: offset, ..Ask::get(path, doing) },
            size: descriptor.size,
            position: offset,
            response: None,
            attempt: 0,
            connected_at: offset,
            interval: Instant::now(),
            interval_start: offset,
        }
    }
}

impl BlobStream<'_, '_> {
    /// How many bytes of the blob the reader has by now.
    #[must_use]
    pub fn position(&self) -> u64 {
        self.position
    }

    /// The next bytes. After an error the stream is at its end.
    pub async fn next(&mut self) -> Result<BlobPiece, RegistryError> {
        loop {
            if self.position == self.size {
                return Ok(BlobPiece::End);
            }
            if self.response.is_none() && !self.connect().await? {
                self.position = 0;
                return Ok(BlobPiece::Restart);
            }
            let Some(response) = self.response.as_mut() else { continue };
            let error = match response.chunk().await {
                Ok(Some(chunk)) => {
                    self.accept(&chunk)?;
                    return Ok(BlobPiece::Data(chunk));
                }
                Ok(None) => self.truncated(),
                Err(error) => match TransportCause::of(&error) {
                    // The body ended before its announced length.
                    TransportCause::Closed => self.truncated(),
                    cause => self.client.transport().transport_error(&Method::GET, response.url(), cause),
                },
            };
            self.response = None;
            if self.position - self.connected_at >= EARNED {
                self.attempt = 0;
            }
            self.client.pause_or_fail(error, None, &mut self.attempt).await?;
        }
    }

    /// Asks for the bytes from the position on; false if the server begins at zero instead.
    async fn connect(&mut self) -> Result<bool, RegistryError> {
        self.ask.from = self.position;
        let response = self.client.request(&self.ask).await?;
        self.interval = Instant::now();
        let broken = |problem| RegistryError::Protocol { doing: self.ask.doing.clone(), problem };
        let (from, total) = match response.status() {
            StatusCode::OK => (0, response.content_length()),
            StatusCode::PARTIAL_CONTENT => content_range(response.headers())
                .map(|(first, _, total)| (first, total))
                .ok_or_else(|| broken("the answer has no valid Content-Range"))?,
            status => return Err(unexpected(&self.ask.doing, status)),
        };
        if total.is_some_and(|total| total != self.size) {
            return Err(broken("the blob's size is not the one that its manifest states"));
        }
        if from != self.position && from != 0 {
            return Err(broken("the server sent another range than the one asked for"));
        }
        let goes_on = from == self.position;
        self.interval_start = from;
        self.connected_at = from;
        self.response = Some(response);
        Ok(goes_on)
    }

    /// Counts what came, refuses more than was announced and less than anybody would wait for.
    fn accept(&mut self, chunk: &Bytes) -> Result<(), RegistryError> {
        self.position += chunk.len() as u64;
        if self.position > self.size {
            let problem = "the server sent more bytes than the manifest states";
            return Err(RegistryError::Protocol { doing: self.ask.doing.clone(), problem });
        }
        if self.interval.elapsed() >= PATIENCE {
            let received = self.position - self.interval_start;
            if received < PATIENCE_BYTES && self.position < self.size {
                return Err(RegistryError::Slow { doing: self.ask.doing.clone(), received, after: PATIENCE });
            }
            self.interval = Instant::now();
            self.interval_start = self.position;
        }
        Ok(())
    }

    fn truncated(&self) -> RegistryError {
        RegistryError::Truncated {
            doing: self.ask.doing.clone(),
            received: self.position,
            expected: self.size,
        }
    }
}

/// First byte, last byte and total size in `Content-Range: bytes FIRST-LAST/TOTAL`.
pub(super) fn content_range(headers: &HeaderMap) -> Option<(u64, u64, Option<u64>)> {
    let (range, total) =
        headers.get(CONTENT_RANGE)?.to_str().ok()?.strip_prefix("bytes ")?.split_once('/')?;
    let (first, last) = range.split_once('-')?;
    let (first, last): (u64, u64) = (first.trim().parse().ok()?, last.trim().parse().ok()?);
    if last < first {
        return None;
    }
    match total.trim() {
        "*" => Some((first, last, None)),
        total => Some((first, last, Some(total.parse().ok()?))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges() {
        let parse = |value: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(CONTENT_RANGE, value.parse().unwrap());
            content_range(&headers)
        };
        assert_eq!(parse("bytes 5-9/10"), Some((5, 9, Some(10))));
        assert_eq!(parse("bytes 5-9/*"), Some((5, 9, None)));
        for value in [
            "bytes */10",
            "5-9/10",
            "bytes 9-5/10",
            "bytes 5-/10",
            "bytes 5-9",
            "bytes -1-9/10",
            "bytes 5-9/x",
        ] {
            assert_eq!(parse(value), None, "{value}");
        }
    }
}
