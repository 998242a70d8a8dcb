//! List flags that split at commas, by the rules of Go's `encoding/csv`.

/// Splits the values of a list flag; each value is one CSV record.
///
/// # Errors
/// Go's text for a stray quote.
pub fn split(values: &[String]) -> Result<Vec<String>, String> {
    let mut all = Vec::new();
    for value in values {
        // pflag: an empty value adds nothing.
        if !value.is_empty() {
            record(value, &mut all)?;
        }
    }
    Ok(all)
}

/// Splits one record. Only its first line counts, as pflag reads a single record.
fn record(text: &str, fields: &mut Vec<String>) -> Result<(), String> {
    let mut rest = text;
    loop {
        if let Some(quoted) = rest.strip_prefix('"') {
            let (field, after) = quoted_field(quoted).ok_or_else(|| {
                format!(
                    "parse error on line 1, column {}: extraneous or missing \" in quoted-field",
                    text.len() + 1
                )
            })?;
            fields.push(field);
            match after.strip_prefix(',') {
                Some(more) => rest = more,
                None => return Ok(()),
            }
            continue;
        }
        let line_end = rest.find('\n').unwrap_or(rest.len());
        let end = rest.find(',').filter(|at| *at < line_end).unwrap_or(line_end);
        if let Some(at) = rest[..end].find('"') {
            let column = text.len() - rest.len() + at + 1;
            return Err(format!("parse error on line 1, column {column}: bare \" in non-quoted-field"));
        }
        fields.push(rest[..end].to_owned());
        if end == line_end {
            return Ok(());
        }
        rest = &rest[end + 1..];
    }
}

/// The content up to the closing quote and what follows it; a doubled quote stands for one.
fn quoted_field(text: &str) -> Option<(String, &str)> {
    let mut field = String::new();
    let mut rest = text;
    loop {
        let at = rest.find('"')?;
        field.push_str(&rest[..at]);
        rest = &rest[at + 1..];
        if let Some(more) = rest.strip_prefix('"') {
            field.push('"');
            rest = more;
        } else if rest.is_empty() || rest.starts_with([',', '\n']) {
            return Some((field, rest));
        } else {
            return None;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::split;

    fn of(values: &[&str]) -> Result<Vec<String>, String> {
        split(&values.iter().map(|v| (*v).to_owned()).collect::<Vec<_>>())
    }

    #[test]
    fn values_split_as_csv() {
        for (values, expected) in [
            (&[][..], &[][..]),
            (&["a,b", "c"], &["a", "b", "c"]),
            (&["", "a,,b"], &["a", "", "b"]),
            (&[r#""a,b",c"#], &["a,b", "c"]),
            (&[r#""a""b""#], &[r#"a"b"#]),
            (&["a\nb,c"], &["a"]),
        ] {
            assert_eq!(of(values).unwrap(), expected, "{values:?}");
        }
    }

    #[test]
    fn stray_quotes_are_errors() {
        assert!(of(&[r#"a"b"#]).unwrap_err().contains("column 2: bare"));
        assert!(of(&[r#""a"#]).is_err());
        assert!(of(&[r#""a"b"#]).is_err());
    }
}
