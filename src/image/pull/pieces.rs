//! A blob of which parts are here: these from the store, the rest from the registry.
//!
//! Whatever does not work, from no table to a registry that sends other ranges than the ones asked for, makes the
//! ordinary stream take over at the place where the parts ended.

use std::cell::Cell;
use std::sync::Arc;

use futures_util::stream::{self, StreamExt as _};
use tokio::sync::{OnceCell, oneshot};

use super::network::Transfer;
use crate::image::chunked::local::{self, LocalBlob};
use crate::image::chunked::plan::{Part, Source, plan};
use crate::image::chunked::tail::{Announced, STARGZ_FOOTER, Tail, announced};
use crate::image::manifest::Descriptor;
use crate::image::reference::Reference;
use crate::image::registry::{Client, RANGE_MAX, RegistryError, split};

/// Smaller blobs are fetched at once: to ask for the table first would take longer.
const SMALL: u64 = 128 << 10;
/// Parts that are read ahead.
const AHEAD: usize = 6;

/// What the layers of one pull share.
#[derive(Debug, Default)]
pub(super) struct Shared {
    locals: OnceCell<Arc<Vec<LocalBlob>>>,
    /// The registry does not do what parts need.
    refused: Cell<bool>,
}

/// A blob in parts.
#[derive(Debug)]
pub(super) struct InParts<'b> {
    blob: &'b Descriptor,
    locals: Arc<Vec<LocalBlob>>,
    parts: Vec<Part>,
    /// The end of the blob, which was needed to make the parts.
    tail: Vec<u8>,
    tail_start: u64,
}

/// The parts in which a blob can be had from `from` on; nothing if it is better fetched as a whole.
pub(super) async fn prepare<'b>(
    transfer: Transfer<'_, '_>,
    shared: &Shared,
    client: &Client<'_>,
    reference: &Reference,
    blob: &'b Descriptor,
    from: u64,
) -> Option<InParts<'b>> {
    let announced = announced(blob).filter(|_| blob.size > SMALL && !shared.refused.get())?;
    let locals = shared.locals.get_or_init(|| blobs(transfer, reference)).await;
    if locals.is_empty() {
        return None;
    }
    let refused = |_: RegistryError| shared.refused.set(true);
    let tail = match announced {
        Announced::Tail(tail) => tail,
        Announced::Stargz(digest) => {
            let footer = client.range(blob, blob.size - STARGZ_FOOTER..blob.size);
            let footer = footer.await.map_err(refused).ok()?;
            Tail::stargz(&footer, blob.size, Some(digest))?
        }
    };
    if tail.range.start < from || tail.range.end - tail.range.start > blob.size / 2 {
        return None;
    }
    let bytes = client.long_range(blob, tail.range.clone()).await.map_err(refused).ok()?;
    let pieces = tail.pieces(&bytes)?;
    let parts = plan(&pieces, tail.format(), locals, from)?;
    Some(InParts { blob, locals: Arc::clone(locals), parts, tail: bytes, tail_start: tail.range.start })
}

/// Reads the tables of the store on a thread of its own: there may be many.
async fn blobs(transfer: Transfer<'_, '_>, reference: &Reference) -> Arc<Vec<LocalBlob>> {
    let (sender, receiver) = oneshot::channel();
    let (store, repository) = (transfer.store, reference.repository());
    transfer.scope.spawn(move || {
        // Nobody waits any more when the pull was given up.
        let _ = sender.send(local::blobs(store, &repository));
    });
    Arc::new(receiver.await.unwrap_or_default())
}

impl InParts<'_> {
    /// Passes on all bytes from `from` on, as far as they can be had; returns the place that was reached. `take` says
    /// whether to go on.
    pub(super) async fn send(
        &self,
        client: &Client<'_>,
        from: u64,
        mut take: impl AsyncFnMut(Vec<u8>) -> bool,
    ) -> u64 {
        let mut position = from;
        let steps = self
            .parts
            .iter()
            .flat_map(|part| split(part.range.clone(), RANGE_MAX).map(move |range| (range, part)));
        let mut steps = stream::iter(steps)
            .map(|(range, part)| async move {
                match part.source {
                    Source::Remote => client.range(self.blob, range).await.ok(),
                    Source::Local(blob, at) => {
                        let length = usize::try_from(range.end - range.start).ok()?;
                        self.locals[blob].read(at + (range.start - part.range.start), length).ok()
                    }
                }
            })
            .buffered(AHEAD);
        while let Some(bytes) = steps.next().await {
            let Some(bytes) = bytes else { return position };
            let count = bytes.len() as u64;
            if !take(bytes).await {
                return position;
            }
            position += count;
        }
        let skipped = usize::try_from(position - self.tail_start).unwrap_or(usize::MAX);
        let tail = self.tail.get(skipped..).unwrap_or_default().to_vec();
        let count = tail.len() as u64;
        if take(tail).await { position + count } else { position }
    }
}
