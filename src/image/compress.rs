//! Compression of layers on their way out.
//!
//! The same input gives the same bytes whatever the number of processors: the digest of a layer that was pushed once is
//! known for ever. Gzip is cut into pieces that are compressed side by side, each with the end of the one before as its
//! dictionary, and joined to one ordinary member (RFC 1952).

use std::collections::VecDeque;
use std::io::{self, Read, Write as _};
use std::sync::Mutex;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

use flate2::{Compress, Compression, FlushCompress, Status};

/// How much of the input one piece has.
const PIECE: usize = 1 << 20;
/// As far back as deflate can refer.
const WINDOW: usize = 32 << 10;
/// Deflate member without name and time; written on an unknown system.
const GZIP_HEADER: [u8; 10] = [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 0xff];
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
    #[error("unknown compression format {0:?}: use gzip or zstd")]
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
            "zstd:chunked" | "bzip2" | "xz" => return Err(SettingsError::Unsupported(format.to_owned())),
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
            Algorithm::Gzip => 5,
            Algorithm::Zstd => 3,
        })
    }
}

/// Compresses all of `input`; `out` takes the result in order.
///
/// # Errors
/// When reading, compressing or `out` fails.
pub fn compress(
    input: &mut dyn Read,
    settings: Settings,
    out: &mut dyn FnMut(Vec<u8>) -> io::Result<()>,
) -> io::Result<()> {
    match settings.algorithm {
        Algorithm::Gzip => gzip(input, settings.level().unsigned_abs(), out),
        Algorithm::Zstd => zstd(input, settings.level(), out),
    }
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
    /// The end of the piece before.
    dictionary: Vec<u8>,
    piece: Vec<u8>,
    is_last: bool,
    done: SyncSender<io::Result<Vec<u8>>>,
}

fn gzip(input: &mut dyn Read, level: u32, out: &mut dyn FnMut(Vec<u8>) -> io::Result<()>) -> io::Result<()> {
    let threads = std::thread::available_parallelism().map_or(1, usize::from).min(THREADS_MAX);
    let (jobs, waiting) = sync_channel::<Job>(threads);
    let waiting = Mutex::new(waiting);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| work(&waiting, level));
        }
        // Moved in, so that the threads end with it whatever happens.
        let jobs = jobs;
        let mut crc = crc32fast::Hasher::new();
        let mut size: u64 = 0;
        let mut running: VecDeque<Receiver<io::Result<Vec<u8>>>> = VecDeque::new();
        let mut dictionary = Vec::new();
        out(GZIP_HEADER.to_vec())?;
        let mut next = read_piece(input)?;
        loop {
            let piece = next;
            // A piece that is not full is the last one; a full one may be followed by nothing.
            next = if piece.len() == PIECE { read_piece(input)? } else { Vec::new() };
            let is_last = next.is_empty();
            crc.update(&piece);
            size += piece.len() as u64;
            let end = piece[piece.len().saturating_sub(WINDOW)..].to_vec();
            let (done, result) = sync_channel(1);
            let job = Job { dictionary: std::mem::replace(&mut dictionary, end), piece, is_last, done };
            jobs.send(job).map_err(|_| stopped())?;
            running.push_back(result);
            while running.len() > threads || (is_last && !running.is_empty()) {
                let result = running.pop_front().expect("it is not empty");
                out(result.recv().map_err(|_| stopped())??)?;
            }
            if is_last {
                break;
            }
        }
        let mut trailer = crc.finalize().to_le_bytes().to_vec();
        trailer.extend(((size & 0xffff_ffff) as u32).to_le_bytes());
        out(trailer)
    })
}

fn stopped() -> io::Error {
    io::Error::other("the compression was given up")
}

fn work(waiting: &Mutex<Receiver<Job>>, level: u32) {
    loop {
        let job = waiting.lock().unwrap_or_else(std::sync::PoisonError::into_inner).recv();
        let Ok(job) = job else { return };
        // Somebody who does not wait any more has given up.
        let _ = job.done.send(deflate_piece(level, &job));
    }
}

/// One piece as deflate blocks that end at a byte.
fn deflate_piece(level: u32, job: &Job) -> io::Result<Vec<u8>> {
    // A new one each time: one that was reset does not always give the same bytes as a new one.
    let mut deflate = Compress::new(Compression::new(level), false);
    if !job.dictionary.is_empty() {
        deflate.set_dictionary(&job.dictionary).map_err(io::Error::other)?;
    }
    let flush = if job.is_last { FlushCompress::Finish } else { FlushCompress::Sync };
    let mut output = Vec::with_capacity(job.piece.len() / 2 + 1024);
    let mut read = 0;
    loop {
        let before = deflate.total_in();
        let status =
            deflate.compress_vec(&job.piece[read..], &mut output, flush).map_err(io::Error::other)?;
        read += usize::try_from(deflate.total_in() - before).unwrap_or(usize::MAX);
        // With room left there is nothing more to come out.
        let is_done = match status {
            Status::StreamEnd => true,
            Status::Ok | Status::BufError => {
                !job.is_last && read == job.piece.len() && output.len() < output.capacity()
            }
        };
        if is_done {
            return Ok(output);
        }
        output.reserve(job.piece.len() / 2 + 1024);
    }
}

fn read_piece(input: &mut dyn Read) -> io::Result<Vec<u8>> {
    let mut piece = vec![0; PIECE];
    let count = fill(input, &mut piece)?;
    piece.truncate(count);
    Ok(piece)
}

/// Reads until the buffer is full or the input ends.
fn fill(input: &mut dyn Read, buffer: &mut [u8]) -> io::Result<usize> {
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
                flate2::read::GzDecoder::new(&*gzip).read_to_end(&mut back).unwrap();
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
        for (format, level) in
            [("gzip", Some(10)), ("zstd", Some(21)), ("zstd", Some(0)), ("lz4", None), ("zstd:chunked", None)]
        {
            assert!(Settings::parse(format, level).is_err(), "{format} {level:?}");
        }
    }
}
