//! All layers of an image from a registry: the network on this thread, the rest on threads of its own.
//!
//! Each layer has a worker (see [`super::layer`]) and a task. The worker decides whether bytes are needed and from
//! which offset; the task streams them over a short channel, in parts where some of them are here ([`super::pieces`]). The first failure stops everything; what was downloaded
//! so far stays and is continued by the next pull.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::Scope;

use futures_util::stream::{self, StreamExt as _, TryStreamExt as _};
use tokio::sync::{mpsc, oneshot};

use super::layer::{self, Brought, Feed, LayerJob, Piece};
use super::pieces::{InParts, Shared, prepare};
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
        let shared = Shared::default();
        let outcome = stream::iter(jobs.iter().map(Ok))
            .try_for_each_concurrent(self.parallel, |job| self.one(client, reference, reporter, job, &shared))
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
        shared: &Shared,
    ) -> Result<(), Error> {
        let Self { store, options, stop, .. } = self;
        let worker_job = job.clone();
        let work = move |feed: &mut dyn Feed| layer::bring(store, &worker_job, options, stop, feed);
        let digest = &job.descriptor.digest;
        match self.worker(client, reference, reporter, (&job.descriptor, Some(shared)), work).await? {
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
            let plain = self.worker(client, reference, reporter, (&blob, None), work).await?;
            reporter.report(Event::BlobDone(&blob.digest));
            Ok((blob.digest, plain))
        };
        let outcome = stream::iter(sealed.into_iter().map(one)).buffered(self.parallel).try_collect().await;
        if outcome.is_err() {
            self.stop.store(true, Ordering::Relaxed);
        }
        outcome
    }

    /// Does the work for a blob on a thread of its own, and streams what it asks for; in parts where `shared` is there.
    async fn worker<T: Send + 'scope>(
        self,
        client: &Client<'_>,
        reference: &Reference,
        reporter: Reporter<'_>,
        (blob, shared): (&Descriptor, Option<&Shared>),
        work: impl FnOnce(&mut dyn Feed) -> Result<T, LayerError> + Send + 'scope,
    ) -> Result<T, Error> {
        let in_parts = Arc::new(AtomicBool::new(false));
        let worker_in_parts = Arc::clone(&in_parts);
        let (start_sender, starts) = mpsc::channel(1);
        let (result_sender, result) = oneshot::channel();
        self.scope.spawn(move || {
            let mut feed = Channels { starts: start_sender, pieces: None, in_parts: worker_in_parts };
            // Nobody waits any more when the pull was given up.
            let _ = result_sender.send(work(&mut feed));
        });
        let prepare = async |from| {
            let parts = prepare(self, shared?, client, reference, blob, from).await?;
            in_parts.store(true, Ordering::Relaxed);
            Some(parts)
        };
        let served = Serving { client, reporter, blob }.run(starts, prepare).await;
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

/// A blob on its way to its worker.
struct Serving<'s> {
    client: &'s Client<'s>,
    reporter: Reporter<'s>,
    blob: &'s Descriptor,
}

/// What a worker asks for: the bytes from an offset on, and where to send them.
type Start = (u64, mpsc::Sender<Piece>);

impl Serving<'_> {
    /// Streams the blob as often as the worker asks for it; the first time in parts, if `prepare` has any.
    async fn run<'p>(
        self,
        mut starts: mpsc::Receiver<Start>,
        prepare: impl AsyncFn(u64) -> Option<InParts<'p>>,
    ) -> Result<(), RegistryError> {
        let mut is_first = true;
        while let Some((mut offset, pieces)) = starts.recv().await {
            let (digest, size) = (&self.blob.digest, self.blob.size);
            self.reporter.report(Event::BlobStarted { digest, size: Some(size), offset });
            if std::mem::take(&mut is_first)
                && let Some(parts) = prepare(offset).await
            {
                let mut position = offset;
                let take = async |bytes: Vec<u8>| {
                    position += bytes.len() as u64;
                    self.send(&pieces, Piece::Data(bytes.into()), position).await
                };
                offset = parts.send(self.client, offset, take).await;
            }
            if !pieces.is_closed() {
                self.rest(&pieces, offset).await?;
            }
        }
        Ok(())
    }

    /// Streams the blob from `offset` on.
    async fn rest(&self, pieces: &mpsc::Sender<Piece>, offset: u64) -> Result<(), RegistryError> {
        let mut stream = self.client.blob(self.blob, offset);
        loop {
            let piece = match stream.next().await? {
                BlobPiece::Data(bytes) => Piece::Data(bytes),
                BlobPiece::Restart => Piece::Restart,
                BlobPiece::End => Piece::End,
            };
            let is_last = matches!(piece, Piece::End);
            // A worker that has gone away says why in its result, or has begun again.
            if !self.send(pieces, piece, stream.position()).await || is_last {
                return Ok(());
            }
        }
    }

    async fn send(&self, pieces: &mpsc::Sender<Piece>, piece: Piece, position: u64) -> bool {
        if matches!(piece, Piece::Data(_)) {
            let digest = &self.blob.digest;
            self.reporter.report(Event::BlobProgress { digest, position });
        }
        pieces.send(piece).await.is_ok()
    }
}

/// The worker's ends of the channels.
struct Channels {
    starts: mpsc::Sender<Start>,
    pieces: Option<mpsc::Receiver<Piece>>,
    in_parts: Arc<AtomicBool>,
}

impl Feed for Channels {
    fn is_guess(&self) -> bool {
        self.in_parts.load(Ordering::Relaxed)
    }

    fn begin(&mut self, offset: u64) -> Result<(), LayerError> {
        // What a stream that was given up still has under way belongs to no new one: it ends with its channel.
        let (sender, receiver) = mpsc::channel(PIECES);
        self.pieces = Some(receiver);
        self.starts.blocking_send((offset, sender)).map_err(|_| LayerError::Cancelled)
    }

    fn next(&mut self) -> Result<Piece, LayerError> {
        self.pieces.as_mut().and_then(mpsc::Receiver::blocking_recv).ok_or(LayerError::Cancelled)
    }
}
