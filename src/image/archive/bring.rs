//! Layers from files into the store, as many at a time as there are processors.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;

use bytes::Bytes;

use super::files::Content;
use crate::image::error::{Error, LayerError, Result};
use crate::image::progress::{Event, Reporter};
use crate::image::pull::Context;
use crate::image::pull::layer::{Brought, Feed, LayerJob, Piece, bring};

const PIECE: usize = 256 << 10;
/// Nothing waits for a network here: more than the processors only costs memory.
const PARALLEL: usize = 3;

/// Brings all layers; each job comes with its content.
pub(super) fn bring_all(
    context: Context<'_>,
    jobs: &[(LayerJob, Content)],
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
                let mut feed = FromFile { content, position: 0 };
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
                    failure.get_or_insert(Error::Layer { digest: Box::new(digest.clone()), source });
                }
            }
            if failure.is_none() && start() {
                running += 1;
            }
        }
        failure.map_or(Ok(()), Err)
    })
}

struct FromFile {
    content: Content,
    position: u64,
}

impl Feed for FromFile {
    fn begin(&mut self, offset: u64) -> std::result::Result<(), LayerError> {
        self.position = offset;
        Ok(())
    }

    fn next(&mut self) -> std::result::Result<Piece, LayerError> {
        let mut buffer = vec![0; PIECE];
        let count = loop {
            match self.content.read_at(&mut buffer, self.position) {
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                other => break other.map_err(LayerError::Read)?,
            }
        };
        if count == 0 {
            return Ok(Piece::End);
        }
        self.position += count as u64;
        buffer.truncate(count);
        Ok(Piece::Data(Bytes::from(buffer)))
    }
}
