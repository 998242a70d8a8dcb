//! Compression of layers on their way out.
//!
//! The same input gives the same bytes whatever the number of processors: the digest of a layer that was pushed once is
//! known for ever. Gzip is cut into pieces that are compressed side by side; each becomes a member of its own, and members
//! that follow each other are one file (RFC 1952, 2.2).

use std::collections::VecDeque;
use std::io::{self, Read, Write as _};
use std::sync::Mutex;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

use libdeflater::{CompressionLvl, Compressor};

use super::chunked::{self, Annotations};

/// How much of the input one piece has.
const PIECE: usize = 1 << 20;
/// More threads bring nothing that a network could take.
const THREADS_MAX: usize = 8;

/// How a layer is compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Algorithm {
    /// RFC 1952.
    Gzip,
    /// RFC 8878.
    Zstd,
    /// The same, with files that can be had one by one.
    #[serde(rename = "zstd:chunked")]
    ZstdChunked,
}

/// An algorithm with its level.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Settings {
    /// The algorithm.
    pub algorithm: Algorithm,
    /// Its level; the default is a fast one.
    pub level: Option<i32>,
}

/// A compression that layers cannot be written with.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SettingsError {
    /// Not an algorithm.
    #[error("unknown compression format {0:?}: use gzip, zstd or zstd:chunked")]
    Algorithm(String),
    /// An algorithm that is read but not written.
    #[error("not supported yet: compression format {0:?}")]
    Unsupported(String),
    /// A level that the algorithm does not have.
    #[error("invalid compression level {level}: {algorithm} has {low} to {high}")]
    Level {
        /// As asked for.
        level: i32,
        /// Of this algorithm.
        algorithm: &'static str,
        /// The fastest.
        low: i32,
        /// The smallest.
        high: i32,
    },
}

impl Settings {
    /// What everybody reads.
    pub const DEFAULT: Self = Self { algorithm: Algorithm::Gzip, level: None };

    /// Reads `--compression-format` and `--compression-level`.
    ///
    /// # Errors
    /// When there is no such format or level.
    pub fn parse(format: &str, level: Option<i32>) -> Result<Self, SettingsError> {
        let (algorithm, name, low, high) = match format {
            "gzip" => (Algorithm::Gzip, "gzip", 1, 9),
            "zstd" => (Algorithm::Zstd, "zstd", 1, 20),
            "zstd:chunked" => (Algorithm::ZstdChunked, "zstd:chunked", 1, 20),
            "bzip2" | "xz" => return Err(SettingsError::Unsupported(format.to_owned())),
            _ => return Err(SettingsError::Algorithm(format.to_owned())),
        };
        match level {
            Some(level) if !(low..=high).contains(&level) => {
                Err(SettingsError::Level { level, algorithm: name, low, high })
            }
            _ => Ok(Self { algorithm, level }),
        }
    }

    /// The level that is used.
    #[must_use]
    pub fn level(self) -> i32 {
        self.level.unwrap_or(match self.algorithm {
            Algorithm::Gzip => 2,
            Algorithm::Zstd | Algorithm::ZstdChunked => 3,
        })
    }
}

/// Compresses all of `input`, an archive; `out` takes the result in order. Returned is what a descriptor of it says besides.
///
/// # Errors
/// When reading, compressing or `out` fails.
pub fn compress(
    input: &mut dyn Read,
    settings: Settings,
    out: &mut dyn FnMut(Vec<u8>) -> io::Result<()>,
) -> io::Result<Annotations> {
    match settings.algorithm {
        Algorithm::Gzip => gzip(input, settings.level(), out)?,
        Algorithm::Zstd => zstd(input, settings.level(), out)?,
        Algorithm::ZstdChunked => return chunked::write::write(input, settings.level(), out),
    }
    Ok(Annotations::new())
}

fn zstd(input: &mut dyn Read, level: i32, out: &mut dyn FnMut(Vec<u8>) -> io::Result<()>) -> io::Result<()> {
    let mut encoder = zstd::stream::write::Encoder::new(Vec::new(), level)?;
    let mut buffer = vec![0; PIECE];
    loop {
        let count = fill(input, &mut buffer)?;
        encoder.write_all(&buffer[..count])?;
        let ready = std::mem::take(encoder.get_mut());
        if !ready.is_empty() {
            out(ready)?;
        }
        if count < buffer.len() {
            break;
        }
    }
    out(encoder.finish()?)
}

/// A piece of the input on its way through a thread.
struct Job {
    piece: Vec<u8>,
    done: SyncSender<io::Result<Vec<u8>>>,
}

fn gzip(input: &mut dyn Read, level: i32, out: &mut dyn FnMut(Vec<u8>) -> io::Result<()>) -> io::Result<()> {
    let threads = std::thread::available_parallelism().map_or(1, usize::from).min(THREADS_MAX);
    let level = CompressionLvl::new(level).map_err(|_| io::Error::other("no such compression level"))?;
    let (jobs, waiting) = sync_channel::<Job>(threads);
    let waiting = Mutex::new(waiting);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| work(&waiting, level));
        }
        // Moved in, so that the threads end with it whatever happens.
        let jobs = jobs;
        let mut running: VecDeque<Receiver<io::Result<Vec<u8>>>> = VecDeque::new();
        let mut is_first = true;
        loop {
            let piece = read_piece(input)?;
            // A piece that is not full is the last one; nothing at all is an archive, too.
            let is_last = piece.len() < PIECE;
            if !piece.is_empty() || is_first {
                let (done, result) = sync_channel(1);
                jobs.send(Job { piece, done }).map_err(|_| stopped())?;
                running.push_back(result);
            }
            is_first = false;
            while running.len() > threads || (is_last && !running.is_empty()) {
                let result = running.pop_front().expect("it is not empty");
                out(result.recv().map_err(|_| stopped())??)?;
            }
            if is_last {
                return Ok(());
            }
        }
    })
}

fn stopped() -> io::Error {
    io::Error::other("the compression was given up")
}

fn work(waiting: &Mutex<Receiver<Job>>, level: CompressionLvl) {
    // It keeps nothing from one piece to the next.
    let mut compressor = Compressor::new(level);
    loop {
        let job = waiting.lock().unwrap_or_else(std::sync::PoisonError::into_inner).recv();
        let Ok(job) = job else { return };
        let mut member = vec![0; compressor.gzip_compress_bound(job.piece.len())];
        let size = compressor.gzip_compress(&job.piece, &mut member).map_err(io::Error::other);
        let member = size.map(|size| {
            member.truncate(size);
            member.shrink_to_fit();
            member
        });
        // Somebody who does not wait any more has given up.
        let _ = job.done.send(member);
    }
}

fn read_piece(input: &mut dyn Read) -> io::Result<Vec<u8>> {
    let mut piece = vec![0; PIECE];
    let count = fill(input, &mut piece)?;
    piece.truncate(count);
    Ok(piece)
}

/// Reads until the buffer is full or the input ends.
pub(super) fn fill(input: &mut dyn Read, buffer: &mut [u8]) -> io::Result<usize> {
    let mut filled = 0;
    while filled < buffer.len() {
        match input.read(&mut buffer[filled..]) {
            Ok(0) => break,
            Ok(count) => filled += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Bytes that compress a little.
    fn sample(size: usize) -> Vec<u8> {
        let mut state = 1_u32;
        let mut next = || {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 28) as u8
        };
        (0..size).map(|_| next()).collect()
    }

    fn compressed(bytes: &[u8], settings: Settings) -> Vec<u8> {
        let mut all = Vec::new();
        compress(&mut &*bytes, settings, &mut |piece| {
            all.extend(piece);
            Ok(())
        })
        .unwrap();
        all
    }

    #[test]
    fn what_is_compressed_comes_back() {
        for size in [0, 1, PIECE - 1, PIECE, PIECE + 1, 3 * PIECE, 5 * PIECE + 17] {
            let bytes = sample(size);
            for level in [1, 5, 9] {
                let settings = Settings { algorithm: Algorithm::Gzip, level: Some(level) };
                let gzip = compressed(&bytes, settings);
                assert_eq!(gzip, compressed(&bytes, settings), "the same bytes each time");
                let mut back = Vec::new();
                flate2::read::MultiGzDecoder::new(&*gzip).read_to_end(&mut back).unwrap();
                assert!(back == bytes, "gzip of {size}");
                assert!(size < 1000 || gzip.len() < size * 9 / 10, "{size}: {}", gzip.len());
            }
            let zstd = compressed(&bytes, Settings { algorithm: Algorithm::Zstd, level: None });
            assert!(zstd::decode_all(&*zstd).unwrap() == bytes, "zstd of {size}");
        }
    }

    #[test]
    fn an_output_that_fails_ends_it() {
        let bytes = sample(9 * PIECE);
        for algorithm in [Algorithm::Gzip, Algorithm::Zstd] {
            let mut left = 2;
            let outcome = compress(&mut &*bytes, Settings { algorithm, level: None }, &mut |_| {
                left -= 1;
                if left == 0 { Err(io::Error::other("full")) } else { Ok(()) }
            });
            assert_eq!(outcome.unwrap_err().to_string(), "full");
        }
    }

    #[test]
    fn settings() {
        assert_eq!(Settings::parse("gzip", Some(9)).unwrap().level(), 9);
        for (format, level) in [
            ("gzip", Some(10)),
            ("zstd", Some(21)),
            ("zstd", Some(0)),
            ("lz4", None),
            ("xz", None),
            ("zstd:chunked", Some(21)),
        ] {
            assert!(Settings::parse(format, level).is_err(), "{format} {level:?}");
        }
    }
}
