//! `WWW-Authenticate`: which proof of identity a registry wants (RFC 9110 section 11).
//!
//! The header comes from the network, so the parser is total: what it does not understand it leaves out.

/// A challenge that rbox can answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Challenge {
    /// User name and password with every request.
    Basic,
    /// A token from `realm`.
    Bearer(Bearer),
}

/// The parameters of a bearer challenge.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Bearer {
    /// URL of the token server.
    pub(super) realm: String,
    /// Name of the registry at the token server.
    pub(super) service: Option<String>,
    /// What the token must allow.
    pub(super) scopes: Vec<String>,
    /// Why the last token was refused.
    pub(super) error: Option<String>,
}

/// The first challenge of all header values that can be answered; bearer wins over basic.
pub(super) fn choose<'a>(headers: impl IntoIterator<Item = &'a str>) -> Option<Challenge> {
    let mut basic = None;
    for (scheme, parameters) in headers.into_iter().flat_map(parse) {
        if scheme.eq_ignore_ascii_case("basic") {
            basic = Some(Challenge::Basic);
        } else if scheme.eq_ignore_ascii_case("bearer") {
            let mut bearer = Bearer::default();
            for (name, value) in parameters {
                match name.to_ascii_lowercase().as_str() {
                    "realm" => bearer.realm = value,
                    "service" => bearer.service = Some(value).filter(|service| !service.is_empty()),
                    "scope" => {
                        bearer.scopes = value.split_ascii_whitespace().map(ToOwned::to_owned).collect();
                    }
                    "error" => bearer.error = Some(value),
                    _ => {}
                }
            }
            if !bearer.realm.is_empty() {
                return Some(Challenge::Bearer(bearer));
            }
        }
    }
    basic
}

type Parameters = Vec<(String, String)>;

/// Splits one header value into its challenges. A challenge is a scheme word followed by `name=value` pairs with
/// commas between them; a comma also separates challenges, so a word without `=` begins the next one.
fn parse(header: &str) -> Vec<(String, Parameters)> {
    let mut challenges: Vec<(String, Parameters)> = Vec::new();
    let mut rest = header;
    loop {
        rest = rest.trim_start_matches([' ', '\t', ',']);
        if rest.is_empty() {
            return challenges;
        }
        let end = rest.find(|c: char| !is_token(c)).unwrap_or(rest.len());
        if end == 0 {
            // Not a word: the rest of the header cannot be understood.
            return challenges;
        }
        let (word, after) = rest.split_at(end);
        let value_text = after.trim_start_matches([' ', '\t']).strip_prefix('=');
        rest = match (value_text, challenges.last_mut()) {
            (Some(text), Some((_, parameters))) => {
                let (value, after) = value(text.trim_start_matches([' ', '\t']));
                parameters.push((word.to_owned(), value));
                after
            }
            (Some(_), None) => return challenges,
            (None, _) => {
                challenges.push((word.to_owned(), Vec::new()));
                after
            }
        };
    }
}

/// A token or a quoted string, and what follows it.
fn value(text: &str) -> (String, &str) {
    let Some(quoted) = text.strip_prefix('"') else {
        let end = text.find([',', ' ', '\t']).unwrap_or(text.len());
        return (text[..end].to_owned(), &text[end..]);
    };
    let mut value = String::new();
    let mut chars = quoted.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            '"' => return (value, &quoted[at + 1..]),
            '\\' => value.extend(chars.next().map(|(_, escaped)| escaped)),
            _ => value.push(c),
        }
    }
    (value, "")
}

fn is_token(c: char) -> bool {
    c.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~".contains(c)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn bearer(realm: &str, service: Option<&str>, scopes: &[&str]) -> Challenge {
        Challenge::Bearer(Bearer {
            realm: realm.into(),
            service: service.map(Into::into),
            scopes: scopes.iter().map(|&s| s.into()).collect(),
            error: None,
        })
    }

    #[test]
    fn reads_what_registries_send() {
        for (headers, challenge) in [
            (vec![r#"Basic realm="Registry""#], Some(Challenge::Basic)),
            (vec!["basic"], Some(Challenge::Basic)),
            (
                vec![
                    r#"Bearer realm="https://auth.docker.io/token",service="registry.docker.io",scope="repository:library/alpine:pull""#,
                ],
                Some(bearer(
                    "https://auth.docker.io/token",
                    Some("registry.docker.io"),
                    &["repository:library/alpine:pull"],
                )),
            ),
            (
                vec![r#"bearer realm = "https://a/t" , scope="repository:a:pull,push repository:b:pull""#],
                Some(bearer("https://a/t", None, &["repository:a:pull,push", "repository:b:pull"])),
            ),
            (vec![r#"Basic realm="x", Bearer realm="https://a/t""#], Some(bearer("https://a/t", None, &[]))),
            (vec![r#"Negotiate, Basic realm="a\"b,c""#], Some(Challenge::Basic)),
            (vec!["Negotiate", "Basic realm=x"], Some(Challenge::Basic)),
            (vec![r#"Bearer realm=https://a/t,service=s"#], Some(bearer("https://a/t", Some("s"), &[]))),
            (vec!["Bearer scope=x"], None),
            (vec!["Digest realm=\"x\""], None),
            (vec![""], None),
            (vec!["=\"\""], None),
            (vec![r#"Bearer realm="https://a/unclosed"#], Some(bearer("https://a/unclosed", None, &[]))),
        ] {
            assert_eq!(choose(headers.iter().copied()), challenge, "{headers:?}");
        }
        let failed = choose([r#"Bearer realm="r",error="insufficient_scope""#]);
        assert!(
            matches!(failed, Some(Challenge::Bearer(b)) if b.error.as_deref() == Some("insufficient_scope"))
        );
    }

    proptest! {
        #[test]
        fn never_panics_or_hangs(text in r#"[Bb]?(earer|asic)?[a-z="\\, \t=é]{0,60}"#) {
            let _ = choose([text.as_str()]);
        }
    }
}
