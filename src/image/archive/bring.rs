//! Layers from files into the store, as many at a time as there are processors.

use std::io::Read;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;

use bytes::Bytes;

use super::files::Content;
use super::podman::Rebuilt;
use crate::image::error::{LayerError, Result};
use crate::image::manifest::Descriptor;
use crate::image::progress::{Event, Reporter};
use crate::image::pull::Context;
use crate::image::pull::layer::{Brought, Feed, LayerJob, Piece, bring};
use crate::image::pull::sealed::{Sealed, unseal};
use crate::store::Digest;

const PIECE: usize = 256 << 10;
/// Nothing waits for a network here: more than the processors only costs memory.
const PARALLEL: usize = 3;

/// Where a layer comes from.
#[derive(Debug, Clone)]
pub(super) enum Supply {
    /// A run of bytes in a file.
    Content(Content),
    /// Another tool's store.
    Rebuilt(Rebuilt),
}

impl Supply {
    fn size(&self) -> u64 {
        match self {
            Self::Content(content) => content.size(),
            Self::Rebuilt(rebuilt) => rebuilt.size,
        }
    }

    fn open(&self, offset: u64) -> std::io::Result<Box<dyn Read>> {
        match self {
            Self::Content(content) => Ok(Box::new(Run { content: content.clone(), position: offset })),
            Self::Rebuilt(rebuilt) => {
                let mut input = rebuilt.open()?;
                std::io::copy(&mut input.by_ref().take(offset), &mut std::io::sink())?;
                Ok(Box::new(input))
            }
        }
    }
}

struct Run {
    content: Content,
    position: u64,
}

impl Read for Run {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let count = self.content.read_at(buffer, self.position)?;
        self.position += count as u64;
        Ok(count)
    }
}

/// Brings all layers; each job comes with its content.
pub(super) fn bring_all(
    context: Context<'_>,
    jobs: &[(LayerJob, Supply)],
    reporter: Reporter<'_>,
) -> Result<()> {
    let stop = AtomicBool::new(false);
    let (sender, results) = mpsc::channel();
    std::thread::scope(|scope| {
        let mut waiting = jobs.iter();
        let mut start = || {
            let Some((job, content)) = waiting.next() else { return false };
            let digest = &job.descriptor.digest;
            reporter.report(Event::BlobStarted { digest, size: Some(content.size()), offset: 0 });
            let (sender, stop, content) = (sender.clone(), &stop, content.clone());
            scope.spawn(move || {
                let mut feed = FromFile { supply: content, input: None };
                let brought = bring(context.store, job, context.unpack, stop, &mut feed);
                // The receiver outlives the scope.
                let _ = sender.send((job, brought));
            });
            true
        };
        let mut running = (0..PARALLEL.min(context.parallel())).filter(|_| start()).count();
        let mut failure = None;
        while running > 0 {
            let Ok((job, brought)) = results.recv() else { break };
            running -= 1;
            let digest = &job.descriptor.digest;
            match brought {
                Ok(Brought::Present) => reporter.report(Event::BlobSkipped(digest)),
                Ok(Brought::Unpacked) => reporter.report(Event::BlobDone(digest)),
                Err(LayerError::Cancelled) if failure.is_some() => {}
                Err(source) => {
                    stop.store(true, Ordering::Relaxed);
                    failure.get_or_insert_with(|| source.of(digest));
                }
            }
            if failure.is_none() && start() {
                running += 1;
            }
        }
        failure.map_or(Ok(()), Err)
    })
}

/// Brings encrypted layers as plain blobs; returned is the descriptor of each, with the digest that it had.
pub(super) fn unseal_all(
    context: Context<'_>,
    sealed: &[(Sealed, Supply)],
    reporter: Reporter<'_>,
) -> Result<Vec<(Digest, Descriptor)>> {
    let mut plain = Vec::new();
    for (sealed, supply) in sealed {
        let digest = &sealed.blob.digest;
        reporter.report(Event::BlobStarted { digest, size: Some(supply.size()), offset: 0 });
        let mut feed = FromFile { supply: supply.clone(), input: None };
        let brought = unseal(context.store, sealed, &AtomicBool::new(false), &mut feed);
        plain.push((digest.clone(), brought.map_err(|error| error.of(digest))?));
        reporter.report(Event::BlobDone(digest));
    }
    Ok(plain)
}

struct FromFile {
    supply: Supply,
    input: Option<Box<dyn Read>>,
}

impl Feed for FromFile {
    fn begin(&mut self, offset: u64) -> std::result::Result<(), LayerError> {
        self.input = Some(self.supply.open(offset).map_err(LayerError::Read)?);
        Ok(())
    }

    fn next(&mut self) -> std::result::Result<Piece, LayerError> {
        let Some(input) = &mut self.input else { return Err(LayerError::Cancelled) };
        let mut buffer = vec![0; PIECE];
        let mut filled = 0;
        // Small reads would make small pieces.
        while filled < buffer.len() {
            match input.read(&mut buffer[filled..]) {
                Ok(0) => break,
                Ok(count) => filled += count,
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                Err(error) => return Err(LayerError::Read(error)),
            }
        }
        if filled == 0 {
            return Ok(Piece::End);
        }
        buffer.truncate(filled);
        Ok(Piece::Data(Bytes::from(buffer)))
    }
}
