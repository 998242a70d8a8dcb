//! Layers of an archive inflated side by side.
//!
//! Inflating is what takes the time of a save, and one stream cannot be divided. But how long a plain layer is, and so where
//! each one lies in the archive, is known before: in a file of our own several threads write each to its place. The
//! bytes are those that one thread would write.

use std::collections::VecDeque;
use std::fs::File;
use std::io::Read as _;
use std::os::unix::fs::FileExt as _;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Sender, channel};
use std::sync::{Mutex, PoisonError};

use super::ArchiveError;
use super::output::PIECE;
use crate::image::decompress::{Decompressor, Failure, Sink};
use crate::image::progress::{Event, Progress};
use crate::store::Digest;

/// More threads than this only get into each other's way.
const THREADS_MAX: usize = 4;

/// Room in a file.
#[derive(Debug)]
pub(super) struct Place {
    pub(super) file: File,
    pub(super) offset: u64,
}

/// A layer and where it goes.
#[derive(Debug)]
pub(super) struct Part {
    /// Compressed or not.
    pub(super) source: File,
    pub(super) place: Place,
    /// What the layer is called.
    pub(super) digest: Digest,
    /// How long it is.
    pub(super) size: u64,
}

/// What the threads tell.
enum Word {
    /// So much of a part is written.
    Position(usize, u64),
    Done(usize),
    Failed(ArchiveError),
}

/// Writes all parts; the first failure ends it.
pub(super) fn write(mut parts: Vec<Part>, progress: &mut dyn Progress) -> Result<(), ArchiveError> {
    // The longest first: at the end no thread has much left alone.
    parts.sort_by_key(|part| std::cmp::Reverse(part.size));
    let names: Vec<(Digest, u64)> = parts.iter().map(|part| (part.digest.clone(), part.size)).collect();
    let threads =
        std::thread::available_parallelism().map_or(1, usize::from).min(THREADS_MAX).min(parts.len());
    let queue: Mutex<VecDeque<(usize, Part)>> = Mutex::new(parts.into_iter().enumerate().collect());
    let next = || queue.lock().unwrap_or_else(PoisonError::into_inner).pop_front();
    let given_up = AtomicBool::new(false);
    let (sender, words) = channel();
    std::thread::scope(|scope| {
        for _ in 0..threads {
            let (sender, next, given_up) = (sender.clone(), &next, &given_up);
            scope.spawn(move || {
                while let Some((number, part)) = next() {
                    let word = match inflate(number, &part, &sender, given_up) {
                        Ok(()) => Word::Done(number),
                        Err(error) => Word::Failed(error),
                    };
                    // The other end stays until all have ended.
                    let _ = sender.send(word);
                }
            });
        }
        drop(sender);
        let mut outcome = Ok(());
        for word in words {
            match word {
                Word::Position(number, position) => {
                    let (digest, size) = &names[number];
                    if position == 0 {
                        progress.event(Event::BlobStarted { digest, size: Some(*size), offset: 0 });
                    } else {
                        progress.event(Event::BlobProgress { digest, position });
                    }
                }
                Word::Done(number) => progress.event(Event::BlobDone(&names[number].0)),
                Word::Failed(error) => {
                    given_up.store(true, Ordering::Relaxed);
                    // Those that end because of this one say nothing new.
                    outcome = outcome.and(Err(error));
                }
            }
        }
        outcome
    })
}

fn inflate(
    number: usize,
    part: &Part,
    words: &Sender<Word>,
    given_up: &AtomicBool,
) -> Result<(), ArchiveError> {
    let mut target = Target { number, part, words, given_up, position: 0, spare: Vec::new() };
    target.tell();
    let failed = |failure| match failure {
        Failure::Stream(error) => ArchiveError::from(error),
        Failure::Sink(error) => error,
    };
    let (mut decompressor, mut buffer) = (Decompressor::default(), vec![0; PIECE]);
    let mut source = &part.source;
    loop {
        match source.read(&mut buffer) {
            Ok(0) => break,
            Ok(count) => decompressor.push(&buffer[..count], &mut target).map_err(failed)?,
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error.into()),
        }
    }
    decompressor.finish(&mut target).map_err(failed)?;
    target.check(target.position == part.size)
}

/// Takes what one thread has inflated.
struct Target<'p> {
    number: usize,
    part: &'p Part,
    words: &'p Sender<Word>,
    given_up: &'p AtomicBool,
    position: u64,
    spare: Vec<u8>,
}

impl Target<'_> {
    fn tell(&self) {
        let _ = self.words.send(Word::Position(self.number, self.position));
    }

    fn check(&self, is_right: bool) -> Result<(), ArchiveError> {
        if is_right {
            return Ok(());
        }
        let name = self.part.digest.to_string();
        Err(ArchiveError::Size { name, expected: self.part.size, actual: self.position })
    }
}

impl Sink for Target<'_> {
    type Error = ArchiveError;

    fn buffer(&mut self) -> Result<Vec<u8>, ArchiveError> {
        let spare = std::mem::take(&mut self.spare);
        Ok(if spare.is_empty() { vec![0; PIECE] } else { spare })
    }

    fn take(&mut self, buffer: Vec<u8>, filled: usize) -> Result<(), ArchiveError> {
        if self.given_up.load(Ordering::Relaxed) {
            return Err(ArchiveError::Refused("another layer cannot be written"));
        }
        let start = self.position;
        self.position += filled as u64;
        // What follows in the file is another's.
        self.check(self.position <= self.part.size)?;
        self.part.place.file.write_all_at(&buffer[..filled], self.part.place.offset + start)?;
        self.spare = buffer;
        self.tell();
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Seek as _, Write as _};

    use super::*;
    use crate::image::progress::Silent;

    fn file(bytes: &[u8]) -> File {
        let path = crate::kernel::scratch::path("side-by-side");
        let mut file =
            File::options().read(true).write(true).create(true).truncate(true).open(&path).unwrap();
        std::fs::remove_file(path).unwrap();
        file.write_all(bytes).unwrap();
        file.rewind().unwrap();
        file
    }

    fn gzip(bytes: &[u8]) -> Vec<u8> {
        let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        gzip.write_all(bytes).unwrap();
        gzip.finish().unwrap()
    }

    fn part(target: &File, (content, source): (&[u8], &[u8]), offset: u64) -> Part {
        let place = Place { file: target.try_clone().unwrap(), offset };
        Part { source: file(source), place, digest: Digest::of(content), size: content.len() as u64 }
    }

    #[test]
    fn each_part_goes_to_its_place() {
        let contents: Vec<Vec<u8>> =
            (1..8_u8).map(|i| vec![i; usize::from(i) * 100_000 % 650_000 + 1]).collect();
        let target = file(b"");
        let (mut parts, mut expected) = (Vec::new(), Vec::new());
        for (i, content) in contents.iter().enumerate() {
            let source = if i % 2 == 0 { gzip(content) } else { content.clone() };
            parts.push(part(&target, (content, &source), expected.len() as u64));
            expected.extend_from_slice(content);
        }
        write(parts, &mut Silent).unwrap();
        let mut written = Vec::new();
        (&target).read_to_end(&mut written).unwrap();
        assert!(written == expected);
    }

    #[test]
    fn a_part_of_another_length_or_a_damaged_one_is_an_error() {
        let content = vec![7; 400_000];
        let good = gzip(&content);
        for wrong in [gzip(&content[..399_999]), gzip(&[7; 400_001]), good[..good.len() - 1].to_vec()] {
            let target = file(b"");
            let parts = vec![part(&target, (&content, &wrong), 0), part(&target, (&content, &good), 400_000)];
            assert!(write(parts, &mut Silent).is_err());
            assert!(target.metadata().unwrap().len() <= 800_000);
        }
    }
}
