//! Some of the bytes of a blob, all of them or none.

use std::ops::Range;

use futures_util::stream::{self, StreamExt as _, TryStreamExt as _};
use reqwest::StatusCode;

use super::blob::content_range;
use super::client::{Ask, Client};
use super::error::RegistryError;
use crate::image::manifest::Descriptor;

/// The most that one request asks for: it is kept in memory.
pub(in crate::image) const RANGE_MAX: u64 = 1 << 20;
/// Requests at the same time.
const PARALLEL: usize = 6;

impl Client<'_> {
    /// The bytes `range` of a blob, in one request; the range is not empty.
    ///
    /// # Errors
    /// When the registry does not send exactly these.
    pub(in crate::image) async fn range(
        &self,
        blob: &Descriptor,
        range: Range<u64>,
    ) -> Result<Vec<u8>, RegistryError> {
        let doing = format!("reading blob {} in {}", blob.digest, self.repository());
        let path = format!("{}/blobs/{}", self.path(), blob.digest);
        let last = range.end - 1;
        let ask = Ask { from: range.start, to: Some(last), ..Ask::get(path, doing) };
        let broken = |problem| RegistryError::Protocol { doing: ask.doing.clone(), problem };
        let length = range.end - range.start;
        let mut attempt = 0;
        loop {
            let mut response = self.request(&ask).await?;
            if response.status() != StatusCode::PARTIAL_CONTENT {
                return Err(broken("the server does not serve ranges"));
            }
            let sent = content_range(response.headers());
            if sent.is_none_or(|(first, end, total)| {
                (first, end) != (range.start, last) || total.is_some_and(|total| total != blob.size)
            }) {
                return Err(broken("the server sent another range than the one asked for"));
            }
            let error = match self.transport().read(&mut response, length, &ask.doing).await {
                Ok(bytes) if bytes.len() as u64 == length => return Ok(bytes),
                Ok(_) => return Err(broken("the server sent fewer bytes than it announced")),
                Err(error) => error,
            };
            self.pause_or_fail(error, None, &mut attempt).await?;
        }
    }

    /// The bytes `range` of a blob, in as many requests as it takes.
    ///
    /// # Errors
    /// As [`Self::range`].
    pub(in crate::image) async fn long_range(
        &self,
        blob: &Descriptor,
        range: Range<u64>,
    ) -> Result<Vec<u8>, RegistryError> {
        let parts = split(range, RANGE_MAX).map(|part| self.range(blob, part));
        let parts: Vec<Vec<u8>> = stream::iter(parts).buffered(PARALLEL).try_collect().await?;
        Ok(parts.concat())
    }
}

/// A range in parts of at most `most` bytes.
pub(in crate::image) fn split(range: Range<u64>, most: u64) -> impl Iterator<Item = Range<u64>> {
    let end = range.end;
    let step = usize::try_from(most).unwrap_or(usize::MAX);
    range.step_by(step).map(move |start| start..end.min(start + most))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts() {
        let parts = |range| split(range, 10).map(|part| (part.start, part.end)).collect::<Vec<_>>();
        assert_eq!(parts(5..26), [(5, 15), (15, 25), (25, 26)]);
        assert_eq!(parts(5..15), [(5, 15)]);
        assert_eq!(parts(5..5), []);
    }
}
