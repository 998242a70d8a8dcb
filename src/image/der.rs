//! Reads DER: tag, length, value; only the short forms that keys and certificates have.

/// The rest of a run of values.
#[derive(Debug, Clone, Copy)]
pub(in crate::image) struct Der<'a>(pub(super) &'a [u8]);

pub(in crate::image) const INTEGER: u8 = 0x02;
pub(in crate::image) const BIT_STRING: u8 = 0x03;
pub(in crate::image) const OCTET_STRING: u8 = 0x04;
pub(in crate::image) const OID: u8 = 0x06;
pub(in crate::image) const UTF8_STRING: u8 = 0x0c;
pub(in crate::image) const SEQUENCE: u8 = 0x30;
/// `[0]` and `[3]`, constructed.
pub(in crate::image) const CONTEXT_0: u8 = 0xa0;
pub(in crate::image) const CONTEXT_3: u8 = 0xa3;

impl<'a> Der<'a> {
    /// The next value with its tag; nothing at the end and where it is malformed.
    pub(in crate::image) fn next(&mut self) -> Option<(u8, &'a [u8])> {
        let (&tag, rest) = self.0.split_first()?;
        let (&first, rest) = rest.split_first()?;
        let (length, rest) = match first {
            0..=0x7f => (usize::from(first), rest),
            0x81..=0x83 => {
                let (bytes, rest) = rest.split_at_checked(usize::from(first & 0x0f))?;
                (bytes.iter().fold(0, |sum, byte| sum << 8 | usize::from(*byte)), rest)
            }
            _ => return None,
        };
        let (value, rest) = rest.split_at_checked(length)?;
        self.0 = rest;
        Some((tag, value))
    }

    /// The next value, which must have that tag.
    pub(in crate::image) fn expect(&mut self, tag: u8) -> Option<&'a [u8]> {
        let (actual, value) = self.next()?;
        (actual == tag).then_some(value)
    }

    /// The next value, which must be a number that is not negative: its bytes without zeros in front.
    pub(in crate::image) fn number(&mut self) -> Option<&'a [u8]> {
        let bytes = self.expect(INTEGER)?;
        if bytes.first().is_none_or(|first| first & 0x80 != 0) {
            return None;
        }
        let zeros = bytes.iter().take_while(|byte| **byte == 0).count();
        Some(&bytes[zeros..])
    }

    /// The next value, if it has that tag.
    pub(in crate::image) fn optional(&mut self, tag: u8) -> Option<&'a [u8]> {
        if self.0.first() == Some(&tag) { self.expect(tag) } else { None }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values() {
        let mut der = Der(&[0x30, 3, 2, 1, 5, 4, 0x81, 1, 9]);
        assert_eq!(der.optional(OID), None);
        assert_eq!(der.expect(SEQUENCE), Some(&[2, 1, 5][..]));
        assert_eq!(der.expect(OCTET_STRING), Some(&[9][..]));
        assert_eq!(der.next(), None);
        assert_eq!(Der(&[2, 2, 0, 0x80]).number(), Some(&[0x80][..]));
        assert_eq!(Der(&[2, 1, 0]).number(), Some(&[][..]));
        assert_eq!(Der(&[2, 1, 0x80]).number(), None);
        for broken in [&[2][..], &[2, 5, 1], &[2, 0x80, 0], &[2, 0x84, 0, 0, 0, 0], &[2, 0x82, 1]] {
            assert_eq!(Der(broken).next(), None, "{broken:?}");
        }
    }
}
