//! One layer from its bytes to the store.
//!
//! Two threads: the first takes the bytes, keeps them as a blob, hashes and decompresses them; the second hashes and
//! unpacks the archive. The second sees the end of the stream only after the first has found the blob to be what its
//! digest says, so that a layer in the store always comes from a verified blob. Nothing waits for all of the layer,
//! and memory does not grow with it.
//!
//! Locks are polled, not waited for: another process may hold them for as long as a download takes, and a pull that
//! has failed elsewhere must be able to end.

use std::fs::File;
use std::io::Read as _;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;

use super::pipe::{self, Closed};
use crate::image::decompress::{Decompressor, Failure};
use crate::image::error::LayerError;
use crate::image::manifest::Descriptor;
use crate::store::{self, BlobSlot, BlobWriter, Digest, LayerLock, Store, UnpackOptions};

/// How often a lock that somebody else holds is tried again.
const LOCK_POLL: Duration = Duration::from_millis(20);
/// Blobs that are here already are read in pieces of this size.
const READ_SIZE: usize = 256 << 10;

/// A layer to bring.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct LayerJob {
    /// The blob.
    pub(crate) descriptor: Descriptor,
    /// The digest of the uncompressed archive.
    pub(crate) diff_id: Digest,
}

/// What became of a layer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Brought {
    /// It was in the store.
    Present,
    /// It is now.
    Unpacked,
}

/// One step of a blob's bytes.
#[derive(Debug)]
pub(crate) enum Piece {
    /// The next bytes.
    Data(Bytes),
    /// What came before is dropped: the blob begins again.
    Restart,
    /// That was all.
    End,
}

/// Where the bytes of a blob come from.
pub(crate) trait Feed {
    /// Begins at `offset`; called again where what came was wrong.
    fn begin(&mut self, offset: u64) -> Result<(), LayerError>;
    /// The next piece.
    fn next(&mut self) -> Result<Piece, LayerError>;
    /// Whether what came may be wrong without the source being wrong: what comes after another beginning is not.
    fn is_guess(&self) -> bool {
        false
    }
}

/// Brings one layer into the store, unless it is there.
pub(crate) fn bring(
    store: &Store,
    job: &LayerJob,
    options: &UnpackOptions,
    stop: &AtomicBool,
    feed: &mut dyn Feed,
) -> Result<Brought, LayerError> {
    let lock = poll(stop, || store.try_lock_layer(&job.diff_id))?;
    if lock.present().is_some() {
        return bring_blob(store, job, stop, feed).map(|()| Brought::Present);
    }
    let options = &UnpackOptions {
        max_bytes: options.max_bytes.min(size_limit(job.descriptor.size)),
        ..options.clone()
    };
    let mut may_repeat = true;
    loop {
        let slot = poll(stop, || store.try_blob_writer(&job.descriptor.digest, Some(job.descriptor.size)))?;
        // Bytes of an earlier download were never checked: if the whole turns out wrong, they may be to blame.
        let resumed = matches!(&slot, BlobSlot::Missing(writer) if writer.offset() > 0);
        match transfer(store, &lock, options, slot, feed) {
            Err(error) if (resumed || feed.is_guess()) && may_repeat && is_wrong_content(&error) => {
                may_repeat = false;
                discard(store, job, stop)?;
            }
            outcome => return outcome.map(|()| Brought::Unpacked),
        }
    }
}

/// Removes what there is of a blob.
fn discard(store: &Store, job: &LayerJob, stop: &AtomicBool) -> Result<(), LayerError> {
    let slot = poll(stop, || store.try_blob_writer(&job.descriptor.digest, Some(job.descriptor.size)))?;
    if let BlobSlot::Missing(writer) = slot {
        writer.discard();
    }
    Ok(())
}

/// The largest archive that a blob of `size` bytes may be: a bomb must end before it fills the disk (S54).
fn size_limit(size: u64) -> u64 {
    const ALWAYS: u64 = 2 << 30;
    const RATIO: u64 = 100;
    ALWAYS.saturating_add(size.saturating_mul(RATIO))
}

/// Where the layer is there: sees to it that its image has the blob of it, so that it is pushed as it was pulled. For a
/// plain one, as archives have them, a compressed one of the same layer will do: nobody needs both.
fn bring_blob(
    store: &Store,
    job: &LayerJob,
    stop: &AtomicBool,
    feed: &mut dyn Feed,
) -> Result<(), LayerError> {
    let is_plain = job.descriptor.digest == job.diff_id;
    if store.blob_path(&job.descriptor.digest).exists()
        || (is_plain && known_blob(store, &job.diff_id)?.is_some())
    {
        return Ok(());
    }
    let mut may_repeat = true;
    loop {
        let slot = poll(stop, || store.try_blob_writer(&job.descriptor.digest, Some(job.descriptor.size)))?;
        let BlobSlot::Missing(blob) = slot else { return Ok(()) };
        match keep(blob, feed) {
            Err(error) if feed.is_guess() && may_repeat && is_wrong_content(&error) => {
                may_repeat = false;
                discard(store, job, stop)?;
            }
            outcome => return outcome,
        }
    }
}

/// Takes a blob from its feed, and nothing else.
fn keep(mut blob: BlobWriter, feed: &mut dyn Feed) -> Result<(), LayerError> {
    feed.begin(blob.offset())?;
    loop {
        match feed.next()? {
            Piece::Data(bytes) => blob.write(&bytes)?,
            Piece::Restart => blob.restart()?,
            Piece::End => break,
        }
    }
    blob.commit()?;
    Ok(())
}

/// A blob of the layer that some image has, with its media type.
pub(crate) fn known_blob(store: &Store, diff_id: &Digest) -> store::Result<Option<(Digest, Option<String>)>> {
    let records = store.images()?;
    let mut layers = records.into_iter().flat_map(|record| record.layers);
    let known = layers.find_map(|layer| {
        let blob = layer.blob.filter(|blob| layer.diff_id == *diff_id && store.blob_path(blob).exists())?;
        Some((blob, layer.media_type))
    });
    Ok(known)
}

fn is_wrong_content(error: &LayerError) -> bool {
    match error {
        LayerError::Decompress(_) => true,
        LayerError::Store(error) => matches!(
            error,
            store::Error::Mismatch { .. } | store::Error::Archive(_) | store::Error::Entry { .. }
        ),
        LayerError::Encryption(_) | LayerError::Read(_) | LayerError::Cancelled => false,
    }
}

pub(super) fn poll<T>(
    stop: &AtomicBool,
    mut attempt: impl FnMut() -> store::Result<Option<T>>,
) -> Result<T, LayerError> {
    loop {
        if stop.load(Ordering::Relaxed) {
            return Err(LayerError::Cancelled);
        }
        if let Some(value) = attempt()? {
            return Ok(value);
        }
        std::thread::sleep(LOCK_POLL);
    }
}

/// Runs both halves and reports the failure that came first in the stream.
fn transfer(
    store: &Store,
    lock: &LayerLock,
    options: &UnpackOptions,
    slot: BlobSlot,
    feed: &mut dyn Feed,
) -> Result<(), LayerError> {
    let (writer, reader) = pipe::pipe();
    let (taken, unpacked) = std::thread::scope(|scope| {
        let unpacking = scope.spawn(|| store.unpack_layer(lock, reader, options));
        let taken = match slot {
            BlobSlot::Present(file) => replay(file, writer),
            BlobSlot::Missing(blob) => take(blob, feed, writer),
        };
        (taken, unpacking.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
    });
    match (taken, unpacked) {
        (Ok(()), Ok(_)) => Ok(()),
        // The pipe was closed because unpacking failed, and that says why.
        (Err(Taken::Closed) | Ok(()), Err(error)) => Err(error.into()),
        (Err(Taken::Layer(error)), _) => Err(error),
        // A reader that is content before the end of the stream.
        (Err(Taken::Closed), Ok(_)) => Err(LayerError::Cancelled),
    }
}

/// Why the taking half ended early.
enum Taken {
    Closed,
    Layer(LayerError),
}

impl<E: Into<LayerError>> From<E> for Taken {
    fn from(error: E) -> Self {
        Self::Layer(error.into())
    }
}

impl From<Failure<Closed>> for Taken {
    fn from(failure: Failure<Closed>) -> Self {
        match failure {
            Failure::Stream(error) => Self::Layer(error.into()),
            Failure::Sink(Closed) => Self::Closed,
        }
    }
}

/// Takes a blob from its feed: keeps it, checks it, decompresses it.
fn take(mut blob: BlobWriter, feed: &mut dyn Feed, mut pipe: pipe::Writer) -> Result<(), Taken> {
    let mut decompressor = Decompressor::default();
    // How much of the blob the decompressor has seen: after a restart it must not see it again.
    let mut seen = blob.offset();
    if seen > 0 {
        read_pieces(blob.reader()?, seen, |piece| Ok(decompressor.push(piece, &mut pipe)?))?;
    }
    feed.begin(seen)?;
    loop {
        match feed.next()? {
            Piece::Data(bytes) => {
                let start = blob.offset();
                blob.write(&bytes)?;
                let known =
                    usize::try_from(seen.saturating_sub(start)).unwrap_or(usize::MAX).min(bytes.len());
                decompressor.push(&bytes[known..], &mut pipe)?;
                seen = seen.max(blob.offset());
            }
            Piece::Restart => blob.restart()?,
            Piece::End => break,
        }
    }
    decompressor.finish(&mut pipe)?;
    blob.commit()?;
    pipe.finish().map_err(|Closed| Taken::Closed)
}

/// Decompresses a blob that is in the store.
fn replay(file: File, mut pipe: pipe::Writer) -> Result<(), Taken> {
    let mut decompressor = Decompressor::default();
    read_pieces(file, u64::MAX, |piece| Ok(decompressor.push(piece, &mut pipe)?))?;
    decompressor.finish(&mut pipe)?;
    pipe.finish().map_err(|Closed| Taken::Closed)
}

fn read_pieces(
    file: File,
    limit: u64,
    mut each: impl FnMut(&[u8]) -> Result<(), Taken>,
) -> Result<(), Taken> {
    let mut file = file.take(limit);
    let mut buffer = vec![0; READ_SIZE];
    loop {
        match file.read(&mut buffer) {
            Ok(0) => return Ok(()),
            Ok(count) => each(&buffer[..count])?,
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Err(error) => return Err(Taken::Layer(LayerError::Read(error))),
        }
    }
}
