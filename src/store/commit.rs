//! From a tree to a layer of the store: what `commit` and `import` add.
//!
//! The archive is written to staging first, because its digest, by which everything is named, is known at its end
//! only. It is kept as it is, uncompressed, so its digest is the layer's id and the blob's at once.

use std::fs::{File, OpenOptions};
use std::io::{self, Read as _, Seek as _, Write};
use std::os::unix::fs::OpenOptionsExt as _;

use super::blob::BlobSlot;
use super::error::{Error, Result};
use super::layer::{Stage, UnpackOptions};
use super::pack::Sink;
use super::tar::Writer;
use super::{Digest, Hasher, Store};
use crate::kernel;

const PIECE: usize = 256 << 10;

/// A layer that was just made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Committed {
    /// Its id, and the digest of its blob.
    pub digest: Digest,
    /// Bytes of the blob.
    pub size: u64,
}

impl Store {
    /// Makes a layer of the entries that `fill` writes. The caller is in the user's namespace.
    ///
    /// # Errors
    /// When `fill` fails, or the layer cannot be stored; nothing is left behind then.
    pub fn commit_layer(
        &self,
        options: &UnpackOptions,
        fill: impl FnOnce(&mut dyn Sink) -> Result<()>,
    ) -> Result<Committed> {
        let stage = Stage::new(self, "commit")?;
        let path = stage.path.join("layer.tar");
        let failed = |call: &'static str| {
            let path = path.clone();
            move |e: io::Error| Error::Kernel {
                action: "write the layer",
                source: kernel::Error::path(call, &path, e),
            }
        };
        let mut open = OpenOptions::new();
        let file = open.read(true).write(true).create_new(true).mode(0o600).open(&path);
        let file = file.map_err(failed("open"))?;
        let hashing =
            Hashing { file: io::BufWriter::with_capacity(PIECE, &file), hasher: Hasher::sha256(), size: 0 };
        let mut writer = Writer::new(hashing);
        fill(&mut writer)?;
        let mut hashing = writer.finish().map_err(failed("write"))?;
        hashing.flush().map_err(failed("write"))?;
        let committed = Committed { digest: hashing.hasher.finish(), size: hashing.size };
        drop(hashing.file);
        self.keep_blob(&committed, &file).map_err(|problem| match problem {
            Problem::Io(call, error) => failed(call)(error),
            Problem::Store(error) => error,
        })?;
        let lock = self.lock_layer(&committed.digest)?;
        (&file).rewind().map_err(failed("lseek"))?;
        self.unpack_layer(&lock, io::BufReader::with_capacity(PIECE, &file), options)?;
        Ok(committed)
    }

    fn keep_blob(&self, committed: &Committed, mut file: &File) -> std::result::Result<(), Problem> {
        let BlobSlot::Missing(mut blob) = self.blob_writer(&committed.digest, Some(committed.size))? else {
            return Ok(());
        };
        blob.restart()?;
        file.rewind().map_err(|e| Problem::Io("lseek", e))?;
        let mut buffer = vec![0; PIECE];
        loop {
            match file.read(&mut buffer) {
                Ok(0) => break,
                Ok(count) => blob.write(&buffer[..count])?,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(Problem::Io("read", e)),
            }
        }
        blob.commit()?;
        Ok(())
    }
}

enum Problem {
    Io(&'static str, io::Error),
    Store(Error),
}

impl From<Error> for Problem {
    fn from(error: Error) -> Self {
        Self::Store(error)
    }
}

/// Counts and hashes what is written.
struct Hashing<W> {
    file: W,
    hasher: Hasher,
    size: u64,
}

impl<W: Write> Write for Hashing<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let count = self.file.write(bytes)?;
        self.hasher.update(&bytes[..count]);
        self.size += count as u64;
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}
