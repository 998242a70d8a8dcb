//! The keys that detach a client from a container's terminal.

/// A sequence of bytes that is looked for in what the user types.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DetachKeys {
    keys: Vec<u8>,
    /// How many of them have been typed.
    matched: usize,
}

/// A text that names no keys.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("invalid detach keys: unknown character '{0}'")]
pub struct BadKeys(String);

impl DetachKeys {
    /// Parses `ctrl-p,ctrl-q`, `a,b`, or nothing for no keys at all.
    ///
    /// # Errors
    /// When a part is neither one character nor `ctrl-` and one of `a-z @ [ \ ] ^ _`.
    pub fn parse(text: &str) -> Result<Self, BadKeys> {
        let key = |part: &str| match part.strip_prefix("ctrl-").map(str::as_bytes) {
            Some([key @ (b'a'..=b'z')]) => Some(key - b'a' + 1),
            Some([b'@']) => Some(0),
            Some([key @ (b'[' | b'\\' | b']' | b'^' | b'_')]) => Some(key - b'@'),
            Some(_) => None,
            None => <[u8; 1]>::try_from(part.as_bytes()).ok().map(|[key]| key),
        };
        if text.is_empty() {
            return Ok(Self::default());
        }
        let keys = text.split(',').map(|part| key(part).ok_or_else(|| BadKeys(part.to_owned())));
        Ok(Self { keys: keys.collect::<Result<_, _>>()?, matched: 0 })
    }

    /// Takes typed bytes; gives those that are for the container, and whether the sequence is complete.
    pub fn filter(&mut self, typed: &[u8]) -> (Vec<u8>, bool) {
        let mut pass = Vec::with_capacity(typed.len());
        for &byte in typed {
            if self.keys.get(self.matched) == Some(&byte) {
                self.matched += 1;
                if self.matched == self.keys.len() {
                    self.matched = 0;
                    return (pass, true);
                }
                continue;
            }
            // What was held back turned out to be ordinary typing; the byte may begin the sequence again.
            pass.extend_from_slice(&self.keys[..self.matched]);
            self.matched = 0;
            if self.keys.first() == Some(&byte) && self.keys.len() > 1 {
                self.matched = 1;
            } else {
                pass.push(byte);
            }
        }
        (pass, false)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sequences_parse() {
        let table: [(&str, Option<&[u8]>); 7] = [
            ("ctrl-p,ctrl-q", Some(&[16, 17])),
            ("", Some(&[])),
            ("a,Z", Some(b"aZ")),
            ("ctrl-@,ctrl-\\", Some(&[0, 28])),
            ("ctrl-", None),
            ("ctrl-P", None),
            ("ab", None),
        ];
        for (text, keys) in table {
            assert_eq!(DetachKeys::parse(text).ok().map(|k| k.keys).as_deref(), keys, "{text}");
        }
    }

    #[test]
    fn typing_passes_and_the_sequence_detaches() {
        let mut keys = DetachKeys::parse("ctrl-p,ctrl-q").unwrap();
        assert_eq!(keys.filter(b"ab"), (b"ab".to_vec(), false));
        assert_eq!(keys.filter(b"x\x10"), (b"x".to_vec(), false));
        assert_eq!(keys.filter(b"y"), (b"\x10y".to_vec(), false));
        assert_eq!(keys.filter(b"\x10\x10\x11z"), (b"\x10".to_vec(), true));
        let mut none = DetachKeys::parse("").unwrap();
        assert_eq!(none.filter(b"\x10\x11"), (b"\x10\x11".to_vec(), false));
    }
}
