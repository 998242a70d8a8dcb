//! D-Bus messages: what is needed to call a method of systemd, and to understand its answer.
//!
//! ```text
//! 'l' kind flags 1 | body length u32 | serial u32 | fields a(yv), padded to 8 | body
//! ```
//!
//! Everything is aligned to its size from the beginning of the message (the body begins at a multiple of 8), arrays
//! have their length in bytes in front, which counts no padding before the first element. Answers come from a service of
//! the user's own, and are checked all the same: a bad length is an error, never a panic.

/// Larger messages are none of ours: systemd's answers have a few hundred bytes.
pub(super) const MAX_MESSAGE: usize = 1 << 20;

/// Kinds of messages.
const CALL: u8 = 1;
const RETURN: u8 = 2;
const ERROR: u8 = 3;
const SIGNAL: u8 = 4;

/// Writes values one after the other.
#[derive(Debug, Default)]
pub(super) struct Writer {
    bytes: Vec<u8>,
}

impl Writer {
    fn align(&mut self, to: usize) {
        self.bytes.resize(self.bytes.len().next_multiple_of(to), 0);
    }

    pub(super) fn byte(&mut self, value: u8) {
        self.bytes.push(value);
    }

    pub(super) fn number(&mut self, value: u32) {
        self.align(4);
        self.bytes.extend(value.to_le_bytes());
    }

    pub(super) fn boolean(&mut self, value: bool) {
        self.number(value.into());
    }

    pub(super) fn string(&mut self, text: &str) {
        self.number(length(text.len()));
        self.bytes.extend(text.as_bytes());
        self.byte(0);
    }

    pub(super) fn signature(&mut self, text: &str) {
        self.byte(u8::try_from(text.len()).expect("signatures are short literals"));
        self.bytes.extend(text.as_bytes());
        self.byte(0);
    }

    /// An array whose elements are aligned to `to`.
    pub(super) fn array(&mut self, to: usize, elements: impl FnOnce(&mut Self)) {
        self.number(0);
        let at = self.bytes.len() - 4;
        self.align(to);
        let begin = self.bytes.len();
        elements(self);
        let count = length(self.bytes.len() - begin);
        self.bytes[at..at + 4].copy_from_slice(&count.to_le_bytes());
    }

    /// A name and a value of the type `signature`, as in `a(sv)`.
    pub(super) fn property(&mut self, name: &str, signature: &str, value: impl FnOnce(&mut Self)) {
        self.align(8);
        self.string(name);
        self.signature(signature);
        value(self);
    }
}

fn length(bytes: usize) -> u32 {
    u32::try_from(bytes).expect("calls have a few hundred bytes")
}

/// A method of an object.
#[derive(Debug, Clone, Copy)]
pub(super) struct Method {
    pub(super) destination: &'static str,
    pub(super) path: &'static str,
    pub(super) interface: &'static str,
    pub(super) name: &'static str,
}

/// The call of a method whose arguments have the types `signature`.
pub(super) fn call(
    serial: u32,
    method: Method,
    signature: &str,
    arguments: impl FnOnce(&mut Writer),
) -> Vec<u8> {
    let mut body = Writer::default();
    arguments(&mut body);
    let mut message = Writer::default();
    for byte in [b'l', CALL, 0, 1] {
        message.byte(byte);
    }
    message.number(length(body.bytes.len()));
    message.number(serial);
    message.array(8, |fields| {
        let texts = [
            (1, "o", method.path),
            (2, "s", method.interface),
            (3, "s", method.name),
            (6, "s", method.destination),
        ];
        for (code, kind, text) in texts {
            fields.align(8);
            fields.byte(code);
            fields.signature(kind);
            fields.string(text);
        }
        if !signature.is_empty() {
            fields.align(8);
            fields.byte(8);
            fields.signature("g");
            fields.signature(signature);
        }
    });
    message.align(8);
    message.bytes.extend(body.bytes);
    message.bytes
}

/// A message from the other side.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Message {
    /// The answer to the call with this serial.
    Return { to: u32, body: Vec<u8> },
    /// The call with this serial has failed.
    Error { to: u32, name: String, body: Vec<u8> },
    /// Something has happened.
    Signal { member: String, body: Vec<u8> },
    /// A call, or something newer.
    Else,
}

/// Why bytes are no message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Malformed;

/// Takes the first message from `bytes`, and says how long it was; `None` while it is not complete.
pub(super) fn take(bytes: &[u8]) -> Result<Option<(Message, usize)>, Malformed> {
    let Some(head) = bytes.get(..16) else { return Ok(None) };
    // Both sides are the same machine's, so nobody has a reason to use the other byte order.
    if head[0] != b'l' || head[3] != 1 {
        return Err(Malformed);
    }
    let word = |at: usize| {
        u32::from_le_bytes(head[at..at + 4].try_into().expect("four bytes are four bytes")) as usize
    };
    let (body, fields) = (word(4), word(12));
    if body > MAX_MESSAGE || fields > MAX_MESSAGE {
        return Err(Malformed);
    }
    let begin = (16 + fields).next_multiple_of(8);
    let end = begin + body;
    let Some(all) = bytes.get(..end) else { return Ok(None) };
    let found = Fields::read(&all[..16 + fields])?;
    let body = all[begin..].to_vec();
    let message = match head[1] {
        RETURN => Message::Return { to: found.reply.ok_or(Malformed)?, body },
        ERROR => Message::Error { to: found.reply.ok_or(Malformed)?, name: found.error, body },
        SIGNAL => Message::Signal { member: found.member, body },
        _ => Message::Else,
    };
    Ok(Some((message, end)))
}

/// The fields of a header that matter.
#[derive(Debug, Default)]
struct Fields {
    member: String,
    error: String,
    reply: Option<u32>,
}

impl Fields {
    /// `bytes` is the message up to the end of its fields, without padding.
    fn read(bytes: &[u8]) -> Result<Self, Malformed> {
        let mut reader = Reader { bytes, at: 16 };
        let mut found = Self::default();
        while reader.at < bytes.len() {
            reader.align(8)?;
            let code = reader.byte()?;
            let kind = reader.signature()?;
            match (code, kind) {
                (3, "s") => found.member = reader.string()?.to_owned(),
                (4, "s") => found.error = reader.string()?.to_owned(),
                (5, "u") => found.reply = Some(reader.number()?),
                (_, "s" | "o") => drop(reader.string()?),
                (_, "g") => drop(reader.signature()?),
                (_, "u") => drop(reader.number()?),
                // The protocol has no others.
                _ => return Err(Malformed),
            }
        }
        Ok(found)
    }
}

/// Reads values one after the other.
#[derive(Debug)]
pub(super) struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    /// A reader of a message's body.
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0 }
    }

    fn take(&mut self, count: usize) -> Result<&'a [u8], Malformed> {
        let end = self.at.checked_add(count).ok_or(Malformed)?;
        let taken = self.bytes.get(self.at..end).ok_or(Malformed)?;
        self.at = end;
        Ok(taken)
    }

    fn align(&mut self, to: usize) -> Result<(), Malformed> {
        self.take(self.at.next_multiple_of(to) - self.at).map(drop)
    }

    fn byte(&mut self) -> Result<u8, Malformed> {
        self.take(1).map(|bytes| bytes[0])
    }

    pub(super) fn number(&mut self) -> Result<u32, Malformed> {
        self.align(4)?;
        Ok(u32::from_le_bytes(self.take(4)?.try_into().expect("four bytes were taken")))
    }

    /// A string, or the path of an object.
    pub(super) fn string(&mut self) -> Result<&'a str, Malformed> {
        let count = self.number()? as usize;
        self.text(count)
    }

    fn signature(&mut self) -> Result<&'a str, Malformed> {
        let count = self.byte()?.into();
        self.text(count)
    }

    fn text(&mut self, count: usize) -> Result<&'a str, Malformed> {
        let text = std::str::from_utf8(self.take(count)?).map_err(|_| Malformed)?;
        if self.byte()? == 0 { Ok(text) } else { Err(Malformed) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A message from the other side, made by hand.
    fn message(kind: u8, fields: impl FnOnce(&mut Writer), body: impl FnOnce(&mut Writer)) -> Vec<u8> {
        let mut content = Writer::default();
        body(&mut content);
        let mut message = Writer::default();
        for byte in [b'l', kind, 0, 1] {
            message.byte(byte);
        }
        message.number(content.bytes.len() as u32);
        message.number(7);
        message.array(8, fields);
        message.align(8);
        message.bytes.extend(content.bytes);
        message.bytes
    }

    fn field(fields: &mut Writer, code: u8, text: &str) {
        fields.align(8);
        fields.byte(code);
        fields.signature("s");
        fields.string(text);
    }

    #[test]
    fn a_call_has_the_bytes_of_the_specification() {
        let method = Method { destination: "d.d", path: "/p", interface: "i.i", name: "M" };
        let bytes = call(1, method, "sau", |body| {
            body.string("ab");
            body.array(4, |list| list.number(5));
        });
        let expected: &[u8] = &[
            b'l', 1, 0, 1, 16, 0, 0, 0, 1, 0, 0, 0, 76, 0, 0, 0, // head
            1, 1, b'o', 0, 2, 0, 0, 0, b'/', b'p', 0, 0, 0, 0, 0, 0, // path
            2, 1, b's', 0, 3, 0, 0, 0, b'i', b'.', b'i', 0, 0, 0, 0, 0, // interface
            3, 1, b's', 0, 1, 0, 0, 0, b'M', 0, 0, 0, 0, 0, 0, 0, // member
            6, 1, b's', 0, 3, 0, 0, 0, b'd', b'.', b'd', 0, 0, 0, 0, 0, // destination
            8, 1, b'g', 0, 3, b's', b'a', b'u', 0, 0, 0, 0, 0, 0, 0, 0, // signature, padding
            2, 0, 0, 0, b'a', b'b', 0, 0, 4, 0, 0, 0, 5, 0, 0, 0, // body
        ];
        // The fields end behind the signature, the padding to 8 does not count.
        let mut expected = expected.to_vec();
        expected[12] = 73;
        assert_eq!(bytes, expected);
    }

    #[test]
    fn answers_are_understood() {
        let reply = |fields: &mut Writer| {
            fields.align(8);
            fields.byte(5);
            fields.signature("u");
            fields.number(3);
        };
        let mut bytes = message(RETURN, reply, |body| body.string("/job/1"));
        let end = bytes.len();
        bytes.extend(b"l\x02");
        let (found, taken) = take(&bytes).unwrap().unwrap();
        assert_eq!(taken, end);
        let Message::Return { to: 3, body } = found else { panic!("{found:?}") };
        assert_eq!(Reader::new(&body).string(), Ok("/job/1"));

        let failed = |fields: &mut Writer| {
            field(fields, 4, "org.x.Exists");
            reply(fields);
        };
        let (found, _) = take(&message(ERROR, failed, |body| body.string("no"))).unwrap().unwrap();
        assert!(matches!(&found, Message::Error { to: 3, name, .. } if name == "org.x.Exists"), "{found:?}");

        let signal = |fields: &mut Writer| field(fields, 3, "JobRemoved");
        let (found, _) = take(&message(SIGNAL, signal, |body| body.number(1))).unwrap().unwrap();
        assert!(matches!(&found, Message::Signal { member, .. } if member == "JobRemoved"));
    }

    #[test]
    fn what_is_cut_off_or_wrong_is_no_panic() {
        let signal = |fields: &mut Writer| field(fields, 3, "JobRemoved");
        let whole = message(SIGNAL, signal, |body| body.string("x"));
        for end in 0..whole.len() {
            assert_eq!(take(&whole[..end]), Ok(None), "{end}");
        }
        for at in 0..whole.len() {
            for value in [0, 1, 0x7f, 0xff] {
                let mut bytes = whole.clone();
                bytes[at] = value;
                let _ = take(&bytes);
            }
        }
        let mut big = whole;
        big[7] = 0xff;
        assert_eq!(take(&big), Err(Malformed));
        assert_eq!(Reader::new(&[9, 0, 0, 0, b'a']).string(), Err(Malformed));
        assert_eq!(Reader::new(&[1, 0, 0, 0, b'a', b'b']).string(), Err(Malformed));
    }
}
