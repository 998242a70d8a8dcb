//! `--filter` of lists of images.

use jiff::Timestamp;

use super::local::{Image, Users};
use super::reference::Reference;
use crate::store::{ImageId, Store};

/// One condition, or its opposite.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Filter {
    /// What must hold.
    pub condition: Condition,
    /// `key!=value`.
    pub negated: bool,
}

/// What an image can be asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Condition {
    /// Made after.
    Since(Timestamp),
    /// Made before.
    Before(Timestamp),
    /// Used last before.
    UnusedSince(Timestamp),
    /// Used by containers.
    Containers(bool),
    /// Without name, and nothing builds on it.
    Dangling(bool),
    /// Its id begins so.
    Id(String),
    /// One of its digests begins so.
    Digest(String),
    /// Without name, and something builds on it.
    Intermediate(bool),
    /// Has a label, with a value if one is given.
    Label(String, Option<String>),
    /// In a store that cannot be written.
    ReadOnly(bool),
    /// A list of images.
    Manifest(bool),
    /// One of its names fits the pattern.
    Reference(String),
}

/// Whether the image passes all filters. Of several names one is enough.
#[must_use]
pub fn passes(image: &Image, filters: &[Filter], users: &Users, store: &Store) -> bool {
    let holds = |filter: &Filter| matches(image, &filter.condition, users, store) != filter.negated;
    let is_name = |filter: &&Filter| matches!(filter.condition, Condition::Reference(_)) && !filter.negated;
    let mut names = filters.iter().filter(is_name).peekable();
    let name_fits = names.peek().is_none() || names.any(holds);
    name_fits && filters.iter().filter(|filter| !is_name(filter)).all(holds)
}

fn matches(image: &Image, condition: &Condition, users: &Users, store: &Store) -> bool {
    let record = &image.record;
    match condition {
        Condition::Since(time) => image.created() > *time,
        Condition::Before(time) => image.created() < *time,
        Condition::UnusedSince(time) => {
            let used = store.last_use(&record.id).and_then(|used| Timestamp::try_from(used).ok());
            used.is_some_and(|used| used < *time) && !users.contains_key(record.id.as_str())
        }
        Condition::Containers(wanted) => users.contains_key(record.id.as_str()) == *wanted,
        Condition::Dangling(wanted) => image.is_dangling() == *wanted,
        Condition::Id(prefix) => record.id.as_str().starts_with(prefix),
        Condition::Digest(prefix) => {
            let digests = record.manifest.iter().chain(&record.manifests);
            digests
                .chain(image.tags.iter().filter_map(|tag| tag.manifest.as_ref()))
                .any(|digest| digest.to_string().starts_with(prefix))
        }
        Condition::Intermediate(wanted) => (image.tags.is_empty() && image.has_children) == *wanted,
        Condition::Label(key, value) => {
            record.labels.get(key).is_some_and(|actual| value.as_ref().is_none_or(|value| value == actual))
        }
        Condition::ReadOnly(wanted) => !*wanted,
        Condition::Manifest(wanted) => record.list == *wanted,
        Condition::Reference(pattern) => {
            let looked_up: Option<ImageId> = store.find_any(pattern).ok().map(|found| found.record.id);
            looked_up.as_ref() == Some(&record.id)
                || image.tags.iter().any(|tag| name_fits(&tag.name, pattern))
        }
    }
}

/// A pattern may be for the whole name, the name without registry, or the last part, each with or without the tag.
fn name_fits(name: &str, pattern: &str) -> bool {
    let Ok(reference) = Reference::parse(name) else { return false };
    let repository = reference.repository();
    let version = &name[repository.len()..];
    let last = reference.path().rsplit('/').next().unwrap_or_default();
    [repository.as_str(), reference.path(), last]
        .iter()
        .any(|part| glob(pattern, part) || glob(pattern, &format!("{part}{version}")))
}

/// Go's `path.Match`: `*` and `?` do not cross a slash, `[a-z]` and `[^a-z]` are classes, `\` quotes.
fn glob(pattern: &str, text: &str) -> bool {
    let pattern: Vec<char> = pattern.chars().collect();
    let text: Vec<char> = text.chars().collect();
    glob_from(&pattern, &text)
}

fn glob_from(pattern: &[char], text: &[char]) -> bool {
    match pattern {
        [] => text.is_empty(),
        ['*', rest @ ..] => {
            let end = text.iter().position(|c| *c == '/').unwrap_or(text.len());
            (0..=end).any(|at| glob_from(rest, &text[at..]))
        }
        ['?', rest @ ..] => text.first().is_some_and(|c| *c != '/') && glob_from(rest, &text[1..]),
        ['[', rest @ ..] => {
            let (Some(c), Some(end)) = (text.first(), rest.iter().skip(1).position(|c| *c == ']')) else {
                return false;
            };
            let (class, after) = (&rest[..=end], &rest[end + 2..]);
            let (negated, class) = match class {
                ['^', class @ ..] => (true, class),
                class => (false, class),
            };
            in_class(class, *c) != negated && *c != '/' && glob_from(after, &text[1..])
        }
        ['\\', quoted, rest @ ..] => text.first() == Some(quoted) && glob_from(rest, &text[1..]),
        [c, rest @ ..] => text.first() == Some(c) && glob_from(rest, &text[1..]),
    }
}

fn in_class(class: &[char], c: char) -> bool {
    match class {
        [] => false,
        [low, '-', high, rest @ ..] => (*low <= c && c <= *high) || in_class(rest, c),
        [one, rest @ ..] => *one == c || in_class(rest, c),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_fit_in_all_their_forms() {
        let name = "quay.io/libpod/alpine:3";
        for pattern in [
            "quay.io/libpod/alpine:3",
            "quay.io/libpod/alpine",
            "libpod/alpine",
            "libpod/alpine:3",
            "alpine",
            "alpine:3",
            "al*",
            "*/*/alpine",
            "libpod/*",
            "alpine:[0-9]",
            "alpin?",
            "quay.io/libpod/al*:3",
        ] {
            assert!(name_fits(name, pattern), "{pattern}");
        }
        for pattern in ["alp", "quay.io/*", "*:4", "alpine:[^0-9]", "libpod", "[", "a[", "", "alpine:3:"] {
            assert!(!name_fits(name, pattern), "{pattern}");
        }
        assert!(glob("a\\*b", "a*b") && !glob("a\\*b", "axb"));
        assert!(!glob("*", "a/b") && glob("*/*", "a/b"));
    }
}
