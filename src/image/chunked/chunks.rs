//! Where files are cut into chunks: by their content, so that a change in the middle moves no cut behind it.
//!
//! The same cuts as those of containers/storage, or chunks that both wrote would never be the same ones: a rolling sum
//! over 64 bytes (that of bup, by way of rsync) whose lower 16 bits are all set ends a chunk, which happens every 64 KiB
//! on average; and at least 1,024 zeros are a chunk of their own.

const WINDOW: usize = 64;
const CHAR_OFFSET: u32 = 31;
const SPLIT_MASK: u32 = (1 << 16) - 1;
/// So many zeros are a hole.
const HOLE: u64 = 1024;

/// Takes what a file is cut into.
pub(super) trait Pieces {
    /// Why it takes no more.
    type Error;
    /// The next bytes of the chunk.
    fn data(&mut self, bytes: &[u8]) -> Result<(), Self::Error>;
    /// The chunk ends, if it has any bytes; it consists of zeros only because it is a hole.
    fn cut(&mut self, is_hole: bool) -> Result<(), Self::Error>;
}

/// Cuts one file.
#[derive(Debug)]
pub(super) struct Cutter {
    sum: RollingSum,
    /// Zeros that were seen and not yet passed on.
    zeros: u64,
}

impl Cutter {
    pub(super) fn new() -> Self {
        Self { sum: RollingSum::new(), zeros: 0 }
    }

    /// Takes the next bytes of the file.
    pub(super) fn push<P: Pieces>(&mut self, bytes: &[u8], out: &mut P) -> Result<(), P::Error> {
        let mut at = 0;
        while at < bytes.len() {
            let rest = &bytes[at..];
            let zeros = rest.iter().position(|byte| *byte != 0).unwrap_or(rest.len());
            if zeros > 0 {
                self.zeros += zeros as u64;
                at += zeros;
                continue;
            }
            self.pass_zeros(out)?;
            let data = &rest[..memchr::memchr(0, rest).unwrap_or(rest.len())];
            self.pass(data, out)?;
            at += data.len();
        }
        Ok(())
    }

    /// Ends the file and its last chunk.
    pub(super) fn finish<P: Pieces>(mut self, out: &mut P) -> Result<(), P::Error> {
        self.pass_zeros(out)?;
        out.cut(false)
    }

    fn pass<P: Pieces>(&mut self, data: &[u8], out: &mut P) -> Result<(), P::Error> {
        let mut start = 0;
        for (at, byte) in data.iter().enumerate() {
            if self.sum.roll(*byte) {
                out.data(&data[start..=at])?;
                out.cut(false)?;
                start = at + 1;
            }
        }
        out.data(&data[start..])
    }

    fn pass_zeros<P: Pieces>(&mut self, out: &mut P) -> Result<(), P::Error> {
        const ZEROS: [u8; 4096] = [0; 4096];
        let mut left = std::mem::take(&mut self.zeros);
        if left < HOLE {
            return self.pass(&ZEROS[..usize::try_from(left).expect("fewer than a hole has")], out);
        }
        out.cut(false)?;
        self.sum.roll_zeros(left);
        while left > 0 {
            let count = usize::try_from(left).unwrap_or(usize::MAX).min(ZEROS.len());
            out.data(&ZEROS[..count])?;
            left -= count as u64;
        }
        out.cut(true)
    }
}

#[derive(Debug)]
struct RollingSum {
    low: u32,
    high: u32,
    window: [u8; WINDOW],
    at: usize,
}

impl RollingSum {
    fn new() -> Self {
        let window = u32::try_from(WINDOW).expect("it is small");
        Self {
            low: window * CHAR_OFFSET,
            high: window * (window - 1) * CHAR_OFFSET,
            window: [0; WINDOW],
            at: 0,
        }
    }

    /// Adds a byte; true if a chunk ends behind it.
    fn roll(&mut self, byte: u8) -> bool {
        let old = u32::from(std::mem::replace(&mut self.window[self.at], byte));
        self.at = (self.at + 1) % WINDOW;
        self.low = self.low.wrapping_add(byte.into()).wrapping_sub(old);
        self.high = self.high.wrapping_add(self.low).wrapping_sub(64 * (old + CHAR_OFFSET));
        self.high & SPLIT_MASK == SPLIT_MASK
    }

    /// Adds many zeros at once.
    fn roll_zeros(&mut self, count: u64) {
        for _ in 0..count.min(WINDOW as u64) {
            self.roll(0);
        }
        let more = count.saturating_sub(WINDOW as u64);
        // By now the window holds nothing but zeros, and each further one adds the same. Sums are modulo 2^32.
        let step = self.low.wrapping_sub(64 * CHAR_OFFSET);
        let more_modulo = u32::try_from(more % (1 << 32)).expect("below 2^32");
        self.high = self.high.wrapping_add(step.wrapping_mul(more_modulo));
        self.at = (self.at + usize::try_from(more % WINDOW as u64).expect("it is small")) % WINDOW;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::convert::Infallible;

    /// Length and kind of each chunk.
    #[derive(Default)]
    struct Found {
        chunks: Vec<(u64, bool)>,
        length: u64,
        bytes: Vec<u8>,
    }

    impl Pieces for Found {
        type Error = Infallible;

        fn data(&mut self, bytes: &[u8]) -> Result<(), Infallible> {
            self.length += bytes.len() as u64;
            self.bytes.extend(bytes);
            Ok(())
        }

        fn cut(&mut self, is_hole: bool) -> Result<(), Infallible> {
            match std::mem::take(&mut self.length) {
                0 => {}
                length => self.chunks.push((length, is_hole)),
            }
            Ok(())
        }
    }

    fn cut(bytes: &[u8], piece: usize) -> Found {
        let (mut cutter, mut found) = (Cutter::new(), Found::default());
        for piece in bytes.chunks(piece) {
            let Ok(()) = cutter.push(piece, &mut found);
        }
        let Ok(()) = cutter.finish(&mut found);
        assert!(found.bytes == bytes);
        found
    }

    fn noise(size: usize, mut state: u32) -> Vec<u8> {
        let mut next = || {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 24) as u8
        };
        (0..size).map(|_| next()).collect()
    }

    #[test]
    fn holes_are_chunks() {
        let zeros = |count| vec![0; count];
        assert_eq!(cut(&zeros(1023), 100).chunks, [(1023, false)]);
        assert_eq!(cut(&zeros(1024), 100).chunks, [(1024, true)]);
        let mixed = [b"ab".to_vec(), zeros(5000), b"c".to_vec(), zeros(10), b"d".to_vec()].concat();
        for piece in [1, 7, 4096, 9000] {
            assert_eq!(cut(&mixed, piece).chunks, [(2, false), (5000, true), (12, false)]);
        }
        assert_eq!(cut(b"", 1).chunks, []);
    }

    #[test]
    fn cuts_follow_the_content() {
        let bytes = noise(2 << 20, 1);
        let whole = cut(&bytes, 1 << 20).chunks;
        assert!((12..100).contains(&whole.len()), "{whole:?}");
        assert_eq!(cut(&bytes, 777).chunks, whole, "not the pieces in which it comes");
        // Something new at the beginning moves the first cuts only.
        let longer = cut(&[noise(1000, 9), bytes].concat(), 1 << 20).chunks;
        assert_eq!(longer[longer.len() - 5..], whole[whole.len() - 5..]);
    }

    #[test]
    fn many_zeros_roll_like_one_after_the_other() {
        for count in [0, 1, 63, 64, 65, 1024, 70_001] {
            let (mut one, mut many) = (RollingSum::new(), RollingSum::new());
            for sum in [&mut one, &mut many] {
                noise(100, 3).iter().for_each(|byte| _ = sum.roll(*byte));
            }
            (0..count).for_each(|_| _ = one.roll(0));
            many.roll_zeros(count);
            assert_eq!((one.low, one.high, one.at), (many.low, many.high, many.at), "{count}");
        }
    }
}
