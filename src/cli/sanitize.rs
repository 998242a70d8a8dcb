//! Makes text from hostile sources harmless on a terminal.
//!
//! Names, labels, history and error texts come from images and registries. On a
//! terminal, control characters could move the cursor or change the title, and
//! bidirectional overrides could make one name look like another. They are shown
//! as `\u{1b}` there. In pipes and files, text stays as it is.

use std::borrow::Cow;
use std::fmt::Write as _;

/// The text with harmful characters escaped.
#[must_use]
pub fn sanitize(text: &str) -> Cow<'_, str> {
    if !text.chars().any(is_harmful) {
        return Cow::Borrowed(text);
    }
    let mut safe = String::with_capacity(text.len() + 8);
    for c in text.chars() {
        if is_harmful(c) {
            let _ = write!(safe, "\\u{{{:x}}}", u32::from(c));
        } else {
            safe.push(c);
        }
    }
    Cow::Owned(safe)
}

fn is_harmful(c: char) -> bool {
    match c {
        '\n' | '\t' => false,
        // Unicode's bidirectional formatting characters.
        '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => true,
        c => c.is_control(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escapes_what_moves_the_cursor_or_the_reading_direction() {
        let cases = [
            ("plain äöü 日本\t\n", "plain äöü 日本\t\n"),
            ("\u{1b}]0;x\u{7}", "\\u{1b}]0;x\\u{7}"),
            ("a\rb\u{9b}2J", "a\\u{d}b\\u{9b}2J"),
            ("exe\u{202e}gpj", "exe\\u{202e}gpj"),
        ];
        for (text, expected) in cases {
            assert_eq!(sanitize(text), expected);
        }
    }
}
