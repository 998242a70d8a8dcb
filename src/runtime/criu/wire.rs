//! Protocol buffers, as far as CRIU's requests and answers need them: numbers and byte strings with a field number.
//!
//! A field is `number << 3 | kind` as a variable-length number, then its value: kind 0 a variable-length number,
//! kind 2 a length and so many bytes (texts and messages). What is of another kind or cut off ends the reading.

/// A message that is being written.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(super) struct Message(Vec<u8>);

impl Message {
    pub(super) fn number(&mut self, field: u32, value: u64) -> &mut Self {
        self.variable(u64::from(field) << 3);
        self.variable(value);
        self
    }

    pub(super) fn flag(&mut self, field: u32, value: bool) -> &mut Self {
        self.number(field, value.into())
    }

    pub(super) fn text(&mut self, field: u32, value: &str) -> &mut Self {
        self.bytes(field, value.as_bytes())
    }

    pub(super) fn message(&mut self, field: u32, value: &Self) -> &mut Self {
        self.bytes(field, &value.0)
    }

    pub(super) fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    fn bytes(&mut self, field: u32, value: &[u8]) -> &mut Self {
        self.variable(u64::from(field) << 3 | 2);
        self.variable(value.len() as u64);
        self.0.extend_from_slice(value);
        self
    }

    fn variable(&mut self, mut value: u64) {
        while value >= 0x80 {
            self.0.push((value & 0x7f) as u8 | 0x80);
            value >>= 7;
        }
        self.0.push(value as u8);
    }
}

/// The value of a field.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Value<'a> {
    Number(u64),
    Bytes(&'a [u8]),
}

/// A message that was received.
#[derive(Debug, Clone, Copy)]
pub(super) struct Fields<'a>(pub(super) &'a [u8]);

impl<'a> Fields<'a> {
    pub(super) fn number(self, field: u32) -> Option<u64> {
        self.into_iter().find_map(|(found, value)| match value {
            Value::Number(number) if found == field => Some(number),
            _ => None,
        })
    }

    pub(super) fn message(self, field: u32) -> Option<Self> {
        self.into_iter().find_map(|(found, value)| match value {
            Value::Bytes(bytes) if found == field => Some(Fields(bytes)),
            _ => None,
        })
    }

    pub(super) fn text(self, field: u32) -> Option<String> {
        self.message(field).map(|Fields(bytes)| String::from_utf8_lossy(bytes).into_owned())
    }
}

impl<'a> IntoIterator for Fields<'a> {
    type Item = (u32, Value<'a>);
    type IntoIter = Reader<'a>;

    fn into_iter(self) -> Reader<'a> {
        Reader(self.0)
    }
}

/// Goes through the fields of a message.
#[derive(Debug)]
pub(super) struct Reader<'a>(&'a [u8]);

impl<'a> Iterator for Reader<'a> {
    type Item = (u32, Value<'a>);

    fn next(&mut self) -> Option<Self::Item> {
        let head = self.variable()?;
        let value = match head & 7 {
            0 => Value::Number(self.variable()?),
            2 => {
                let length = usize::try_from(self.variable()?).ok()?;
                let (bytes, rest) = self.0.split_at_checked(length)?;
                self.0 = rest;
                Value::Bytes(bytes)
            }
            _ => return None,
        };
        Some((u32::try_from(head >> 3).ok()?, value))
    }
}

impl Reader<'_> {
    fn variable(&mut self) -> Option<u64> {
        let mut value = 0;
        for shift in (0..64).step_by(7) {
            let (&byte, rest) = self.0.split_first()?;
            self.0 = rest;
            value |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Some(value);
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_encoded_as_protobuf_has_it() {
        let mut inner = Message::default();
        inner.text(1, "pipe:[1]").number(2, 300);
        let mut message = Message::default();
        message.number(1, 2).message(27, &inner).flag(3, true);
        let expected = b"\x08\x02\xda\x01\x0d\x0a\x08pipe:[1]\x10\xac\x02\x18\x01";
        assert_eq!(message.as_bytes(), expected);
        let fields = Fields(message.as_bytes());
        assert_eq!((fields.number(1), fields.number(3), fields.number(9)), (Some(2), Some(1), None));
        let inner = fields.message(27).unwrap();
        assert_eq!((inner.text(1).as_deref(), inner.number(2)), (Some("pipe:[1]"), Some(300)));
    }

    #[test]
    fn what_is_cut_off_or_strange_ends_the_reading() {
        for bytes in [
            &b"\x08"[..],
            b"\x0a\x05abc",
            b"\x0d\x00\x00\x00\x00",
            b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01",
        ] {
            assert_eq!(Fields(bytes).into_iter().count(), 0, "{bytes:?}");
        }
    }
}
