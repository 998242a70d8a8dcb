//! The content of one layer on its way to a registry.

use std::fs::File;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::Scope;

use bytes::Bytes;
use futures_util::stream;
use tokio::sync::mpsc;

use crate::image::chunked::Annotations;
use crate::image::compress::{Settings, compress};
use crate::image::encryption::LayerCipher;
use crate::image::inflate::Inflated;
use crate::image::progress::{Event, Reporter};
use crate::image::registry::{Payload, Pieces, file_pieces};
use crate::store::{Digest, Hasher};

/// Compressed pieces that wait for the network.
const PIECES: usize = 4;
/// What is not compressed is read in pieces of this size.
const PIECE: usize = 256 << 10;

/// A blob that is here, sent as it is.
pub(in crate::image) struct Stored<'r> {
    pub(in crate::image) file: Arc<File>,
    pub(in crate::image) digest: Digest,
    pub(in crate::image) size: u64,
    pub(in crate::image) reporter: Reporter<'r>,
}

impl Payload for Stored<'_> {
    fn size(&self) -> Option<u64> {
        Some(self.size)
    }

    fn open(&self, offset: u64) -> io::Result<Pieces> {
        Ok(file_pieces(Arc::clone(&self.file), offset))
    }

    fn digest(&self) -> Option<(Digest, u64)> {
        Some((self.digest.clone(), self.size))
    }

    fn taken(&self, position: u64) {
        self.reporter.report(Event::BlobProgress { digest: &self.digest, position });
    }
}

/// A layer that is compressed or encrypted while it is sent, on a thread of its own.
pub(super) struct Encoded<'r, 'scope, 'env> {
    pub(super) file: Arc<File>,
    /// What it is called meanwhile.
    pub(super) shown: Digest,
    pub(super) coding: Coding,
    pub(super) reporter: Reporter<'r>,
    pub(super) scope: &'scope Scope<'scope, 'env>,
    /// Known once the thread has come to the end.
    pub(super) result: Arc<Mutex<Option<Coded>>>,
}

/// What is done to a layer.
#[derive(Debug, Clone)]
pub(super) struct Coding {
    /// How it is compressed, if not as it is.
    pub(super) settings: Option<Settings>,
    /// What it is encrypted by afterwards.
    pub(super) cipher: Option<LayerCipher>,
}

/// What has become of a layer.
#[derive(Debug, Clone)]
pub(super) struct Coded {
    pub(super) digest: Digest,
    pub(super) size: u64,
    /// What its descriptor says besides, where it is not encrypted.
    pub(super) annotations: Annotations,
    /// Of an encrypted one: the digest before, and the sum.
    pub(super) sealed: Option<(Digest, Vec<u8>)>,
}

impl Payload for Encoded<'_, '_, '_> {
    fn size(&self) -> Option<u64> {
        None
    }

    fn open(&self, offset: u64) -> io::Result<Pieces> {
        let (sender, receiver) = mpsc::channel(PIECES);
        let (file, coding, result) = (Arc::clone(&self.file), self.coding.clone(), Arc::clone(&self.result));
        *result.lock().unwrap_or_else(PoisonError::into_inner) = None;
        self.scope.spawn(move || {
            match encode(&file, &coding, offset, &sender) {
                Ok(encoded) => *result.lock().unwrap_or_else(PoisonError::into_inner) = Some(encoded),
                // Where nobody listens any more, the upload was given up for another reason.
                Err(error) => drop(sender.blocking_send(Err(error))),
            }
        });
        Ok(Box::pin(stream::unfold(receiver, |mut receiver| async {
            let piece = receiver.recv().await?;
            Some((piece, receiver))
        })))
    }

    fn digest(&self) -> Option<(Digest, u64)> {
        let result = self.result.lock().unwrap_or_else(PoisonError::into_inner);
        result.as_ref().map(|coded| (coded.digest.clone(), coded.size))
    }

    fn taken(&self, position: u64) {
        self.reporter.report(Event::BlobProgress { digest: &self.shown, position });
    }
}

/// Compresses and encrypts all of a blob and sends what lies behind `offset`. Each time the same bytes come out, so an upload that was
/// cut off can go on.
fn encode(
    file: &File,
    coding: &Coding,
    offset: u64,
    sender: &mpsc::Sender<io::Result<Bytes>>,
) -> io::Result<Coded> {
    let (mut hasher, mut size) = (Hasher::sha256(), 0_u64);
    let cipher = coding.cipher.as_ref();
    let mut sealing = cipher.map(|cipher| (cipher.stream(0), cipher.sum(), Hasher::sha256()));
    let mut send = |mut piece: Vec<u8>| {
        if let Some((stream, sum, plain)) = &mut sealing {
            plain.update(&piece);
            stream.apply(&mut piece);
            sum.update(&piece);
        }
        hasher.update(&piece);
        let skip = usize::try_from(offset.saturating_sub(size)).unwrap_or(usize::MAX).min(piece.len());
        size += piece.len() as u64;
        let piece = Bytes::from(piece).slice(skip..);
        if piece.is_empty() {
            return Ok(());
        }
        sender.blocking_send(Ok(piece)).map_err(|_| io::Error::other("the upload was given up"))
    };
    let mut input = ReadAt { file, position: 0 };
    let annotations = match coding.settings {
        Some(settings) => compress(&mut Inflated::new(input), settings, &mut send)?,
        None => {
            pieces(&mut input, &mut send)?;
            Annotations::new()
        }
    };
    let sealed = sealing.map(|(_, sum, plain)| (plain.finish(), sum.finish()));
    Ok(Coded { digest: hasher.finish(), size, annotations, sealed })
}

fn pieces(input: &mut dyn io::Read, send: &mut dyn FnMut(Vec<u8>) -> io::Result<()>) -> io::Result<()> {
    loop {
        let mut piece = vec![0; PIECE];
        match input.read(&mut piece) {
            Ok(0) => return Ok(()),
            Ok(count) => {
                piece.truncate(count);
                send(piece)?;
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

/// Reads a file without moving the place that others see.
struct ReadAt<'f> {
    file: &'f File,
    position: u64,
}

impl io::Read for ReadAt<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        use std::os::unix::fs::FileExt as _;
        let count = self.file.read_at(buffer, self.position)?;
        self.position += count as u64;
        Ok(count)
    }
}
