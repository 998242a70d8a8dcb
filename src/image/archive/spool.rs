//! From any input to a file that can be read at any place.
//!
//! A plain file is used as it is. What is compressed or comes through a pipe goes into a file without a name, in
//! `image_copy_tmp_dir` of containers.conf, `$TMPDIR` or /var/tmp.

use std::fs::File;
use std::io::{Read, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags};

use super::ArchiveError;
use crate::config::{Config, Env, env::name};
use crate::image::decompress::{Decompressor, Failure, Sink};
use crate::image::pull::Context;
use crate::kernel;

const PIECE: usize = 256 << 10;

/// Makes `input` seekable and uncompressed.
pub(super) fn seekable(mut input: File, context: (&Config, &Env)) -> Result<File, ArchiveError> {
    let mut start = [0; 8];
    let is_file = input.metadata()?.is_file();
    let count = fill(&mut input, &mut start)?;
    if is_file && !is_compressed(&start[..count]) {
        input.seek(SeekFrom::Start(0))?;
        return Ok(input);
    }
    let mut spool = Spool { file: nameless(&folder(context))?, spare: Vec::new() };
    let mut decompressor = Decompressor::default();
    let failed = |failure| match failure {
        Failure::Stream(error) => ArchiveError::Decompress(error),
        Failure::Sink(error) => ArchiveError::Io(error),
    };
    decompressor.push(&start[..count], &mut spool).map_err(failed)?;
    let mut buffer = vec![0; PIECE];
    loop {
        match fill(&mut input, &mut buffer)? {
            0 => break,
            count => decompressor.push(&buffer[..count], &mut spool).map_err(failed)?,
        }
    }
    decompressor.finish(&mut spool).map_err(failed)?;
    let mut file = spool.file;
    file.seek(SeekFrom::Start(0))?;
    Ok(file)
}

fn is_compressed(start: &[u8]) -> bool {
    matches!(
        start,
        [0x1f, 0x8b, ..]
            | [0x28, 0xb5, 0x2f, 0xfd, ..]
            | [b'B', b'Z', b'h', ..]
            | [0xfd, b'7', b'z', b'X', b'Z', ..]
    )
}

/// Reads until the buffer is full or the input ends.
fn fill(input: &mut File, buffer: &mut [u8]) -> std::io::Result<usize> {
    let mut filled = 0;
    while filled < buffer.len() {
        match input.read(&mut buffer[filled..]) {
            Ok(0) => break,
            Ok(count) => filled += count,
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}

/// Where large temporary files go.
pub(super) fn folder((config, env): (&Config, &Env)) -> PathBuf {
    match config.engine.image_copy_tmp_dir.as_str() {
        "" | "storage" => env.absolute(name::TMPDIR).unwrap_or_else(|| PathBuf::from("/var/tmp")),
        path => PathBuf::from(path),
    }
}

/// The same by the settings of a whole operation.
pub(crate) fn copy_folder(context: Context<'_>) -> PathBuf {
    folder((context.config, context.env))
}

/// A file that vanishes with its handle.
pub(crate) fn nameless(folder: &Path) -> Result<File, ArchiveError> {
    let flags = OFlags::RDWR | OFlags::TMPFILE | OFlags::CLOEXEC;
    match rustix::fs::open(folder, flags, Mode::RUSR | Mode::WUSR) {
        Ok(fd) => Ok(File::from(fd)),
        Err(errno) => Err(kernel::Error::path("open temporary file in", folder, errno).into()),
    }
}

struct Spool {
    file: File,
    spare: Vec<u8>,
}

impl Sink for Spool {
    type Error = std::io::Error;

    fn buffer(&mut self) -> std::io::Result<Vec<u8>> {
        let spare = std::mem::take(&mut self.spare);
        Ok(if spare.is_empty() { vec![0; PIECE] } else { spare })
    }

    fn take(&mut self, buffer: Vec<u8>, filled: usize) -> std::io::Result<()> {
        self.file.write_all(&buffer[..filled])?;
        self.spare = buffer;
        Ok(())
    }
}
