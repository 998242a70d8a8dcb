//! Splits a template into tokens, with the rules of Go's `text/template`.

use std::iter::Peekable;
use std::str::CharIndices;

/// One token and where it begins.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Token {
    /// Byte offset in the template.
    pub at: usize,
    /// What it is.
    pub kind: Kind,
    /// Its text.
    pub text: String,
}

/// The kinds of token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// Text outside of `{{ }}`.
    Text,
    /// `{{`
    Open,
    /// `}}`
    Close,
    /// White space inside of `{{ }}`.
    Space,
    /// `if`, `end` and so on.
    Keyword,
    /// A function's name.
    Identifier,
    /// `true` or `false`.
    Bool,
    /// `nil`
    Nil,
    /// `.`
    Dot,
    /// `.Name`
    Field,
    /// `$` or `$name`
    Variable,
    /// A number or character constant.
    Number,
    /// A quoted string, with its quotes.
    Quoted,
    /// `|`
    Pipe,
    /// `:=`
    Declare,
    /// `=`
    Assign,
    /// `(`
    OpenParen,
    /// `)`
    CloseParen,
    /// `,`
    Comma,
    /// Another character.
    Char,
    /// The end; also what is wrong, as text.
    Error,
    /// The end of the template.
    Eof,
}

const KEYWORDS: &[&str] =
    &["block", "break", "continue", "define", "else", "end", "if", "range", "template", "with"];

/// Splits `text`. The last token is [`Kind::Eof`] or [`Kind::Error`].
#[must_use]
pub(super) fn tokens(text: &str) -> Vec<Token> {
    let mut lexer = Lexer { text, at: 0, tokens: Vec::new() };
    if let Err((at, message)) = lexer.run() {
        lexer.tokens.push(Token { at, kind: Kind::Error, text: message });
    }
    lexer.tokens
}

struct Lexer<'a> {
    text: &'a str,
    at: usize,
    tokens: Vec<Token>,
}

type Failure = (usize, String);

impl<'a> Lexer<'a> {
    fn run(&mut self) -> Result<(), Failure> {
        loop {
            let rest = self.rest();
            let Some(open) = rest.find("{{") else {
                self.push_text(rest);
                self.at = self.text.len();
                self.push(Kind::Eof, 0);
                return Ok(());
            };
            let before = &rest[..open];
            let trims = trims_left(&rest[open + 2..]);
            self.push_text(if trims { before.trim_end_matches(is_space) } else { before });
            self.at += open;
            let after = &rest[open + 2 + if trims { 2 } else { 0 }..];
            if after.starts_with("/*") {
                self.at = self.text.len() - after.len();
                self.comment()?;
                continue;
            }
            self.push(Kind::Open, 2 + if trims { 1 } else { 0 });
            self.action()?;
        }
    }

    fn rest(&self) -> &'a str {
        &self.text[self.at..]
    }

    fn push(&mut self, kind: Kind, len: usize) {
        let text = self.text[self.at..self.at + len].to_owned();
        self.tokens.push(Token { at: self.at, kind, text });
        self.at += len;
    }

    fn push_text(&mut self, text: &str) {
        if !text.is_empty() {
            self.tokens.push(Token { at: self.at, kind: Kind::Text, text: text.to_owned() });
        }
    }

    fn fail(&self, message: impl Into<String>) -> Failure {
        (self.at, message.into())
    }

    fn comment(&mut self) -> Result<(), Failure> {
        let Some(end) = self.rest().find("*/") else { return Err(self.fail("unclosed comment")) };
        self.at += end + 2;
        match closing(self.rest()) {
            Some((len, trims)) => self.close(len, trims),
            None => return Err(self.fail("comment ends before closing delimiter")),
        }
        Ok(())
    }

    /// Goes past `}}`, and past white space after ` -}}`.
    fn close(&mut self, len: usize, trims: bool) {
        self.at += len;
        if trims {
            self.at = self.text.len() - self.rest().trim_start_matches(is_space).len();
        }
    }

    /// Reads up to and with `}}`.
    fn action(&mut self) -> Result<(), Failure> {
        let mut depth = 0_usize;
        loop {
            let rest = self.rest();
            if let Some((len, trims)) = closing(rest) {
                if depth > 0 {
                    return Err(self.fail("unclosed left paren"));
                }
                self.tokens.push(Token { at: self.at, kind: Kind::Close, text: "}}".to_owned() });
                self.close(len, trims);
                return Ok(());
            }
            let mut chars = rest.char_indices().peekable();
            let Some((_, first)) = chars.next() else { return Err(self.fail("unclosed action")) };
            let (kind, len) = match first {
                c if is_space(c) => (Kind::Space, rest.len() - rest.trim_start_matches(is_space).len()),
                '=' => (Kind::Assign, 1),
                ':' if rest.starts_with(":=") => (Kind::Declare, 2),
                ':' => return Err(self.fail("expected :=")),
                '|' => (Kind::Pipe, 1),
                ',' => (Kind::Comma, 1),
                '(' => {
                    depth += 1;
                    (Kind::OpenParen, 1)
                }
                ')' => {
                    depth = depth.checked_sub(1).ok_or_else(|| self.fail("unexpected right paren"))?;
                    (Kind::CloseParen, 1)
                }
                '"' => {
                    (Kind::Quoted, quoted(rest, '"').ok_or_else(|| self.fail("unterminated quoted string"))?)
                }
                '`' => (Kind::Quoted, raw(rest).ok_or_else(|| self.fail("unterminated raw quoted string"))?),
                '\'' => (
                    Kind::Number,
                    quoted(rest, '\'').ok_or_else(|| self.fail("unterminated character constant"))?,
                ),
                '$' => (Kind::Variable, self.word(1)?),
                '.' if !chars.next().is_some_and(|(_, c)| c.is_ascii_digit()) => {
                    let len = self.word(1)?;
                    (if len == 1 { Kind::Dot } else { Kind::Field }, len)
                }
                c if c == '.' || c == '+' || c == '-' || c.is_ascii_digit() => (Kind::Number, self.number()?),
                c if is_word(c) => {
                    let len = self.word(0)?;
                    (kind_of_word(&rest[..len]), len)
                }
                c if c.is_ascii_graphic() => (Kind::Char, 1),
                c => return Err(self.fail(format!("unrecognized character in action: {}", code_point(c)))),
            };
            self.push(kind, len);
        }
    }

    /// The length of a word that begins after `skip` bytes; what follows must end it.
    fn word(&self, skip: usize) -> Result<usize, Failure> {
        let rest = &self.rest()[skip..];
        let len = rest.len() - rest.trim_start_matches(is_word).len();
        match rest[len..].chars().next() {
            Some(c) if !is_space(c) && !".,|:)(=".contains(c) && closing(&rest[len..]).is_none() => {
                Err((self.at + skip + len, format!("bad character {}", code_point(c))))
            }
            _ => Ok(skip + len),
        }
    }

    fn number(&self) -> Result<usize, Failure> {
        let rest = self.rest();
        let len = number_len(&mut rest.char_indices().peekable(), rest.len());
        match rest[len..].chars().next() {
            Some(c) if is_word(c) => {
                Err(self.fail(format!("bad number syntax: {:?}", &rest[..len + c.len_utf8()])))
            }
            _ => Ok(len),
        }
    }
}

/// The length of a number: sign, digits of the base, fraction, exponent.
fn number_len(chars: &mut Peekable<CharIndices<'_>>, end: usize) -> usize {
    chars.next_if(|(_, c)| matches!(c, '+' | '-'));
    let mut hex = false;
    if chars.next_if(|(_, c)| *c == '0').is_some() {
        hex = chars.next_if(|(_, c)| matches!(c, 'x' | 'X')).is_some();
        if !hex {
            chars.next_if(|(_, c)| matches!(c, 'o' | 'O' | 'b' | 'B'));
        }
    }
    let mut skip_digits = |hex: bool| {
        while chars.next_if(|(_, c)| *c == '_' || c.is_digit(if hex { 16 } else { 10 })).is_some() {}
    };
    skip_digits(hex);
    if chars.next_if(|(_, c)| *c == '.').is_some() {
        while chars.next_if(|(_, c)| *c == '_' || c.is_digit(if hex { 16 } else { 10 })).is_some() {}
    }
    if chars.next_if(|(_, c)| if hex { matches!(c, 'p' | 'P') } else { matches!(c, 'e' | 'E') }).is_some() {
        chars.next_if(|(_, c)| matches!(c, '+' | '-'));
        while chars.next_if(|(_, c)| *c == '_' || c.is_ascii_digit()).is_some() {}
    }
    chars.peek().map_or(end, |(at, _)| *at)
}

/// How Go prints `%#U`.
fn code_point(c: char) -> String {
    format!("U+{:04X} {c:?}", u32::from(c))
}

fn kind_of_word(word: &str) -> Kind {
    match word {
        "true" | "false" => Kind::Bool,
        "nil" => Kind::Nil,
        word if KEYWORDS.contains(&word) => Kind::Keyword,
        _ => Kind::Identifier,
    }
}

fn is_space(c: char) -> bool {
    matches!(c, ' ' | '\t' | '\r' | '\n')
}

fn is_word(c: char) -> bool {
    c == '_' || c.is_alphanumeric()
}

/// Whether `{{` is followed by `- `.
fn trims_left(after: &str) -> bool {
    after.strip_prefix('-').is_some_and(|rest| rest.starts_with(is_space))
}

/// The length of `}}` or ` -}}` at the beginning, and whether it trims.
fn closing(rest: &str) -> Option<(usize, bool)> {
    let mut chars = rest.chars();
    if chars.next().is_some_and(is_space) && chars.as_str().starts_with("-}}") {
        return Some((4, true));
    }
    rest.starts_with("}}").then_some((2, false))
}

/// The length of a string with escapes; it ends on its line.
fn quoted(rest: &str, quote: char) -> Option<usize> {
    let mut chars = rest.char_indices().skip(1);
    while let Some((at, c)) = chars.next() {
        match c {
            '\\' => match chars.next() {
                Some((_, '\n')) | None => return None,
                Some(_) => {}
            },
            '\n' => return None,
            c if c == quote => return Some(at + 1),
            _ => {}
        }
    }
    None
}

fn raw(rest: &str) -> Option<usize> {
    rest[1..].find('`').map(|end| end + 2)
}
