//! `$NAME`, `${NAME}`, `${NAME:-WORD}` and `${NAME:+WORD}` in a text, with quotes and
//! backslashes as in a Dockerfile.

/// Replaces the variables of `text`; an unknown one is empty.
///
/// # Errors
/// When a quote or a brace does not end, or a modifier is unknown.
pub(super) fn expand(text: &str, lookup: impl Fn(&str) -> Option<String>) -> Result<String, &'static str> {
    let mut reader = Reader { rest: text, lookup: &lookup };
    let out = reader.words(None)?;
    if reader.rest.is_empty() { Ok(out) } else { Err("unexpected closing brace") }
}

struct Reader<'a, F> {
    rest: &'a str,
    lookup: &'a F,
}

impl<F: Fn(&str) -> Option<String>> Reader<'_, F> {
    fn next(&mut self) -> Option<char> {
        let c = self.rest.chars().next()?;
        self.rest = &self.rest[c.len_utf8()..];
        Some(c)
    }

    /// Reads up to `end`, which is left out.
    fn words(&mut self, end: Option<char>) -> Result<String, &'static str> {
        let mut out = String::new();
        while let Some(c) = self.next() {
            match c {
                _ if Some(c) == end => return Ok(out),
                '\'' => {
                    let at = self
                        .rest
                        .find('\'')
                        .ok_or("unexpected end of statement while looking for matching single-quote")?;
                    out.push_str(&self.rest[..at]);
                    self.rest = &self.rest[at + 1..];
                }
                '"' => self.double_quoted(&mut out)?,
                '\\' => out.extend(self.next()),
                '$' => self.variable(&mut out)?,
                _ => out.push(c),
            }
        }
        if end.is_some() { Err("syntax error: missing '}'") } else { Ok(out) }
    }

    fn double_quoted(&mut self, out: &mut String) -> Result<(), &'static str> {
        while let Some(c) = self.next() {
            match c {
                '"' => return Ok(()),
                '$' => self.variable(out)?,
                '\\' => match self.next() {
                    Some(c @ ('"' | '$' | '\\')) => out.push(c),
                    other => {
                        out.push('\\');
                        out.extend(other);
                    }
                },
                _ => out.push(c),
            }
        }
        Err("unexpected end of statement while looking for matching double-quote")
    }

    fn variable(&mut self, out: &mut String) -> Result<(), &'static str> {
        let Some(braced) = self.rest.strip_prefix('{') else {
            let name = self.name();
            if name.is_empty() {
                out.push('$');
            }
            out.push_str(&(self.lookup)(&name).unwrap_or_default());
            return Ok(());
        };
        self.rest = braced;
        let name = self.name();
        let value = (self.lookup)(&name).filter(|value| !value.is_empty());
        match self.next() {
            Some('}') => out.push_str(&value.unwrap_or_default()),
            Some(':') => {
                let modifier = self.next();
                let word = self.words(Some('}'))?;
                match modifier {
                    Some('-') => out.push_str(&value.unwrap_or(word)),
                    Some('+') => out.push_str(value.map_or("", |_| &word)),
                    _ => return Err("unsupported modifier in substitution"),
                }
            }
            _ => return Err("missing ':' in substitution"),
        }
        Ok(())
    }

    fn name(&mut self) -> String {
        let end = self.rest.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(self.rest.len());
        let name = self.rest[..end].to_owned();
        self.rest = &self.rest[end..];
        name
    }
}

#[cfg(test)]
mod tests {
    use super::expand;

    #[test]
    fn variables_are_replaced() {
        let lookup = |name: &str| (name == "A").then(|| "x".to_owned());
        for (text, expected) in [
            ("plain", "plain"),
            ("$A-${A}", "x-x"),
            ("${B}", ""),
            ("${B:-d}${A:-d}", "dx"),
            ("${A:+y}${B:+y}", "y"),
            ("${B:-$A}", "x"),
            (r"\$A", "$A"),
            ("'$A'", "$A"),
            ("\"$A b\"", "x b"),
            ("$", "$"),
        ] {
            assert_eq!(expand(text, lookup).as_deref(), Ok(expected), "{text}");
        }
        for text in ["${A", "'a", "\"a", "${A?b}", "${A:?b}"] {
            assert!(expand(text, lookup).is_err(), "{text}");
        }
    }
}
