//! All layers of an image from a registry: the network on this thread, the rest on threads of its own.
//!
//! Each layer has a worker (see [`super::layer`]) and a task. The worker decides whether bytes are needed and from
//! which offset; the task streams them over a short channel. The first failure stops everything; what was downloaded
//! so far stays and is continued by the next pull.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::Scope;

use futures_util::stream::{self, StreamExt as _, TryStreamExt as _};
use tokio::sync::{mpsc, oneshot};

use super::layer::{self, Brought, Feed, LayerJob, Piece};
use super::sealed::{self, Sealed};
use crate::image::error::{Error, LayerError};
use crate::image::manifest::Descriptor;
use crate::image::progress::{Event, Reporter};
use crate::image::reference::Reference;
use crate::image::registry::{BlobPiece, Client, RegistryError};
use crate::store::{Digest, Store, UnpackOptions};

/// Network reads that wait for the worker of a layer.
const PIECES: usize = 8;

/// What the transfer of an image needs.
#[derive(Debug, Clone, Copy)]
pub(super) struct Transfer<'scope, 'env> {
    pub(super) store: &'scope Store,
    pub(super) options: &'scope UnpackOptions,
    /// Layers at the same time.
    pub(super) parallel: usize,
    /// Where the workers run.
    pub(super) scope: &'scope Scope<'scope, 'env>,
    /// Set when the transfer is to end.
    pub(super) stop: &'scope AtomicBool,
}

impl<'scope> Transfer<'scope, '_> {
    /// Brings all layers.
    pub(super) async fn run(
        self,
        client: &Client<'_>,
        reference: &Reference,
        reporter: Reporter<'_>,
        jobs: &[LayerJob],
    ) -> Result<(), Error> {
        let outcome = stream::iter(jobs.iter().map(Ok))
            .try_for_each_concurrent(self.parallel, |job| self.one(client, reference, reporter, job))
            .await;
        if outcome.is_err() {
            self.stop.store(true, Ordering::Relaxed);
        }
        outcome
    }

    async fn one(
        self,
        client: &Client<'_>,
        reference: &Reference,
        reporter: Reporter<'_>,
        job: &LayerJob,
    ) -> Result<(), Error> {
        let Self { store, options, stop, .. } = self;
        let worker_job = job.clone();
        let work = move |feed: &mut dyn Feed| layer::bring(store, &worker_job, options, stop, feed);
        let digest = &job.descriptor.digest;
        match self.worker(client, reference, reporter, &job.descriptor, work).await? {
            Brought::Present => reporter.report(Event::BlobSkipped(digest)),
            Brought::Unpacked => reporter.report(Event::BlobDone(digest)),
        }
        Ok(())
    }

    /// Brings encrypted layers as plain blobs; returned is the descriptor of each, with the digest that it had.
    pub(super) async fn unseal(
        self,
        client: &Client<'_>,
        reference: &Reference,
        reporter: Reporter<'_>,
        sealed: Vec<Sealed>,
    ) -> Result<Vec<(Digest, Descriptor)>, Error> {
        let Self { store, stop, .. } = self;
        let one = async |sealed: Sealed| {
            let blob = sealed.blob.clone();
            let work = move |feed: &mut dyn Feed| sealed::unseal(store, &sealed, stop, feed);
            let plain = self.worker(client, reference, reporter, &blob, work).await?;
            reporter.report(Event::BlobDone(&blob.digest));
            Ok((blob.digest, plain))
        };
        let outcome = stream::iter(sealed.into_iter().map(one)).buffered(self.parallel).try_collect().await;
        if outcome.is_err() {
            self.stop.store(true, Ordering::Relaxed);
        }
        outcome
    }

    /// Does the work for a blob on a thread of its own, and streams what it asks for.
    async fn worker<T: Send + 'scope>(
        self,
        client: &Client<'_>,
        reference: &Reference,
        reporter: Reporter<'_>,
        blob: &Descriptor,
        work: impl FnOnce(&mut dyn Feed) -> Result<T, LayerError> + Send + 'scope,
    ) -> Result<T, Error> {
        let (start_sender, starts) = mpsc::channel(1);
        let (pieces, piece_receiver) = mpsc::channel(PIECES);
        let (result_sender, result) = oneshot::channel();
        self.scope.spawn(move || {
            let mut feed = Channels { starts: start_sender, pieces: piece_receiver };
            // Nobody waits any more when the pull was given up.
            let _ = result_sender.send(work(&mut feed));
        });
        let served = serve(client, reporter, blob, starts, pieces).await;
        // The channels are closed by now, so that the worker ends in any case.
        let done = result.await.unwrap_or(Err(LayerError::Cancelled));
        match (served, done) {
            (Err(error), _) => {
                Err(Error::Source { reference: Box::new(reference.clone()), source: Box::new(error) })
            }
            (Ok(()), done) => done.map_err(|error| error.of(&blob.digest)),
        }
    }
}

/// Streams the blob as often as the worker asks for it.
async fn serve(
    client: &Client<'_>,
    reporter: Reporter<'_>,
    blob: &Descriptor,
    mut starts: mpsc::Receiver<u64>,
    pieces: mpsc::Sender<Piece>,
) -> Result<(), RegistryError> {
    let digest = &blob.digest;
    while let Some(offset) = starts.recv().await {
        reporter.report(Event::BlobStarted { digest, size: Some(blob.size), offset });
        let mut stream = client.blob(blob, offset);
        loop {
            let piece = match stream.next().await? {
                BlobPiece::Data(bytes) => {
                    reporter.report(Event::BlobProgress { digest, position: stream.position() });
                    Piece::Data(bytes)
                }
                BlobPiece::Restart => Piece::Restart,
                BlobPiece::End => Piece::End,
            };
            let is_last = matches!(piece, Piece::End);
            // A worker that has gone away says why in its result.
            if pieces.send(piece).await.is_err() || is_last {
                break;
            }
        }
    }
    Ok(())
}

/// The worker's ends of the channels.
struct Channels {
    starts: mpsc::Sender<u64>,
    pieces: mpsc::Receiver<Piece>,
}

impl Feed for Channels {
    fn begin(&mut self, offset: u64) -> Result<(), LayerError> {
        // What a stream that was given up still had under way belongs to no new one.
        while self.pieces.try_recv().is_ok() {}
        self.starts.blocking_send(offset).map_err(|_| LayerError::Cancelled)
    }

    fn next(&mut self) -> Result<Piece, LayerError> {
        self.pieces.blocking_recv().ok_or(LayerError::Cancelled)
    }
}
