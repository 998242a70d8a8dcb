//! Where images are written to: a tar archive or a folder, which take files one after the other.

use std::collections::HashSet;
use std::fs::File;
use std::io::{Read, Seek, Write};
use std::path::PathBuf;

use super::ArchiveError;
use super::side_by_side::Place;
use crate::image::decompress::{Decompressor, Failure};
use crate::image::error::Error;
use crate::image::manifest::DOCUMENT_MAX;
use crate::image::pull::pipe;
use crate::kernel;
use crate::store::tar::{Header, Kind, Writer};

pub(super) const PIECE: usize = 256 << 10;

/// Why an image cannot be written.
pub(super) enum Problem {
    Archive(ArchiveError),
    Image(Box<Error>),
}

impl Problem {
    /// The error, with the file or folder that was written.
    pub(super) fn of(self, path: Option<PathBuf>) -> Error {
        match self {
            Self::Archive(error) => Error::Archive { path, source: Box::new(error) },
            Self::Image(error) => *error,
        }
    }
}

impl<E: Into<ArchiveError>> From<E> for Problem {
    fn from(error: E) -> Self {
        Self::Archive(error.into())
    }
}

/// The outcome of writing.
pub(super) type Saved<T = ()> = std::result::Result<T, Problem>;

/// Takes files one after the other.
pub(super) trait Output {
    /// Whether a blob is there already, from an earlier image.
    fn has(&self, name: &str, size: u64) -> bool;
    /// Reads a document that is there already.
    fn existing(&self, name: &str) -> Option<Vec<u8>>;
    /// Has room for a file of exactly `size` bytes, which others write; nothing where that is not possible.
    fn reserve(&mut self, _name: &str, _size: u64) -> Saved<Option<Place>> {
        Ok(None)
    }
    /// Writes a file of exactly `size` bytes.
    fn file(&mut self, name: &str, size: u64, fill: &mut dyn FnMut(&mut dyn Write) -> Saved) -> Saved;
}

impl dyn Output + '_ {
    /// Writes a small file.
    pub(super) fn bytes(&mut self, name: &str, bytes: &[u8]) -> Saved {
        self.file(name, bytes.len() as u64, &mut |out| Ok(out.write_all(bytes)?))
    }
}

/// Reads a file to its end.
pub(super) fn copy(file: &mut File, mut each: impl FnMut(&[u8]) -> Saved) -> Saved {
    let mut buffer = vec![0; PIECE];
    loop {
        match file.read(&mut buffer) {
            Ok(0) => return Ok(()),
            Ok(count) => each(&buffer[..count])?,
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error.into()),
        }
    }
}

/// Decompresses a layer on a thread of its own, while `take` writes what is ready; it is told how much that is in all.
pub(super) fn plain(file: &mut File, take: &mut dyn FnMut(&[u8], u64) -> Saved) -> Saved {
    let (writer, mut reader) = pipe::pipe();
    let (inflated, taken) = std::thread::scope(|scope| {
        let inflating = scope.spawn(move || inflate(file, writer));
        let mut position = 0;
        let taken: Saved = loop {
            match reader.piece() {
                Ok(Some(piece)) => {
                    position += piece.len() as u64;
                    if let Err(problem) = take(piece, position) {
                        break Err(problem);
                    }
                }
                Ok(None) => break Ok(()),
                Err(error) => break Err(error.into()),
            }
        };
        // Whoever waits for a buffer learns that nobody wants more.
        drop(reader);
        (inflating.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)), taken)
    });
    match inflated {
        // A stream that is wrong ends the other half, too.
        Err(Some(error)) => Err(error.into()),
        Ok(()) | Err(None) => taken,
    }
}

/// Nothing as the error means that the reader has gone.
fn inflate(file: &mut File, mut writer: pipe::Writer) -> Result<(), Option<ArchiveError>> {
    let failed = |failure| match failure {
        Failure::Stream(error) => Some(ArchiveError::from(error)),
        Failure::Sink(pipe::Closed) => None,
    };
    let mut decompressor = Decompressor::default();
    let mut buffer = vec![0; PIECE];
    loop {
        match file.read(&mut buffer) {
            Ok(0) => break,
            Ok(count) => decompressor.push(&buffer[..count], &mut writer).map_err(failed)?,
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Err(error) => return Err(Some(error.into())),
        }
    }
    decompressor.finish(&mut writer).map_err(failed)?;
    writer.finish().map_err(|pipe::Closed| None)
}

/// A tar archive.
pub(super) struct TarOutput<W: Write> {
    pub(super) writer: Writer<W>,
    /// The file that is written, if nobody else writes it and it has a beginning.
    own: Option<File>,
    /// What has an entry: files, and folders, since readers without rights cannot make those that are only implied.
    entries: HashSet<String>,
}

impl<W: Write> TarOutput<W> {
    pub(super) fn new(out: W, own: Option<File>) -> Self {
        Self { writer: Writer::new(out), own, entries: HashSet::new() }
    }

    fn folders_of(&mut self, name: &str) -> Saved {
        for (end, _) in name.match_indices('/') {
            let folder = name[..end].to_owned();
            if self.entries.insert(folder.clone()) {
                self.writer.header(&Header::plain(folder.as_str(), Kind::Directory, 0o755, 0))?;
            }
        }
        Ok(())
    }
}

impl<W: Write + Seek> Output for TarOutput<W> {
    fn has(&self, name: &str, _: u64) -> bool {
        self.entries.contains(name)
    }

    fn existing(&self, _: &str) -> Option<Vec<u8>> {
        None
    }

    fn reserve(&mut self, name: &str, size: u64) -> Saved<Option<Place>> {
        let Some(own) = &self.own else { return Ok(None) };
        let file = own.try_clone()?;
        self.folders_of(name)?;
        let offset = self.writer.reserve(&Header::plain(name, Kind::File, 0o644, size))?;
        self.entries.insert(name.to_owned());
        Ok(Some(Place { file, offset }))
    }

    fn file(&mut self, name: &str, size: u64, fill: &mut dyn FnMut(&mut dyn Write) -> Saved) -> Saved {
        self.folders_of(name)?;
        self.writer.header(&Header::plain(name, Kind::File, 0o644, size))?;
        self.entries.insert(name.to_owned());
        fill(&mut Body(&mut self.writer))
    }
}

struct Body<'w, W: Write>(&'w mut Writer<W>);

impl<W: Write> Write for Body<'_, W> {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.write(bytes).map(|()| bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// A folder.
pub(super) struct FolderOutput(pub(super) PathBuf);

impl Output for FolderOutput {
    fn has(&self, name: &str, size: u64) -> bool {
        // The digest is the name; a file that was cut off has another size.
        self.0.join(name).metadata().is_ok_and(|meta| meta.is_file() && meta.len() == size)
    }

    fn existing(&self, name: &str) -> Option<Vec<u8>> {
        kernel::file::read_limited(&self.0.join(name), DOCUMENT_MAX).ok()
    }

    fn file(&mut self, name: &str, _: u64, fill: &mut dyn FnMut(&mut dyn Write) -> Saved) -> Saved {
        let path = self.0.join(name);
        if let Some(folder) = path.parent() {
            std::fs::create_dir_all(folder).map_err(|error| kernel::Error::path("mkdir", folder, error))?;
        }
        let mut file = File::create(&path).map_err(|error| kernel::Error::path("open", &path, error))?;
        fill(&mut file)
    }
}
