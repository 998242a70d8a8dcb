//! PEM: blocks of base64 between lines with a label.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;

/// One block.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::image) struct Block {
    /// What the lines around it say that it is.
    pub(in crate::image) label: String,
    /// Headers before them, as old encrypted keys have.
    pub(in crate::image) headers: Vec<(String, String)>,
    /// Its bytes.
    pub(in crate::image) bytes: Vec<u8>,
}

/// All blocks of a text, in their order; nothing where one is malformed.
pub(in crate::image) fn blocks(text: &[u8]) -> Option<Vec<Block>> {
    let text = std::str::from_utf8(text).ok()?;
    let mut found = Vec::new();
    let mut lines = text.lines().map(str::trim_end);
    while let Some(line) = lines.next() {
        let Some(label) = line.strip_prefix("-----BEGIN ").and_then(|rest| rest.strip_suffix("-----")) else {
            continue;
        };
        let end = format!("-----END {label}-----");
        let (mut body, mut headers) = (String::new(), Vec::new());
        loop {
            match lines.next()? {
                line if line == end => break,
                line => match line.split_once(':') {
                    Some((name, value)) => headers.push((name.to_owned(), value.trim().to_owned())),
                    None => body.push_str(line.trim()),
                },
            }
        }
        found.push(Block { label: label.to_owned(), headers, bytes: BASE64.decode(body).ok()? });
    }
    Some(found)
}

/// The block of a text that has exactly one.
pub(in crate::image) fn one(text: &[u8]) -> Option<Block> {
    let mut found = blocks(text)?;
    let block = found.pop()?;
    found.is_empty().then_some(block)
}

/// A block as text.
#[cfg(test)]
fn encode(label: &str, bytes: &[u8]) -> String {
    let body = BASE64.encode(bytes);
    let lines: Vec<&str> =
        body.as_bytes().chunks(64).map(|line| std::str::from_utf8(line).expect("base64 is ASCII")).collect();
    format!("-----BEGIN {label}-----\n{}\n-----END {label}-----\n", lines.join("\n"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_come_back() {
        let text = format!("noise\n{}{}", encode("A B", &[1; 100]), encode("C", b"x"));
        let found = blocks(text.as_bytes()).unwrap();
        assert_eq!(found.len(), 2);
        assert_eq!((found[0].label.as_str(), found[0].bytes.as_slice()), ("A B", &[1; 100][..]));
        assert!(one(text.as_bytes()).is_none());
        assert!(blocks(b"-----BEGIN X-----\nAAAA\n").is_none(), "no end");
        assert!(blocks(b"-----BEGIN X-----\n!!\n-----END X-----\n").is_none());
        let headed = one(b"-----BEGIN X-----\nA-B: c:d\n\nAAAA\n-----END X-----\n").unwrap();
        assert_eq!(headed.headers, [("A-B".to_owned(), "c:d".to_owned())]);
        assert_eq!(headed.bytes, [0, 0, 0]);
        assert_eq!(blocks(b"nothing"), Some(Vec::new()));
    }
}
