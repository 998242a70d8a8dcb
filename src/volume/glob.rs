//! Shell patterns of `--mount type=glob`, with the rules of Go's `filepath.Glob`.

use std::path::{Path, PathBuf};

use super::error::{Error, Result};
use super::mount::{Mount, Source};

/// Replaces a pattern by one bind mount for each match; other mounts stay as they are.
///
/// # Errors
/// When nothing matches.
pub(super) fn expand(mount: Mount) -> Result<Vec<Mount>> {
    let Source::Glob { pattern, keep_paths } = &mount.source else {
        return Ok(vec![mount]);
    };
    let paths = matches(pattern);
    if paths.is_empty() {
        return Err(Error::NoMatch { pattern: pattern.clone() });
    }
    let bind = |path: PathBuf| {
        let destination = match path.file_name() {
            Some(name) if !keep_paths => mount.destination.join(name),
            _ => path.clone(),
        };
        Mount { destination, source: Source::Bind { path }, options: mount.options.clone() }
    };
    Ok(paths.into_iter().map(bind).collect())
}

/// Whether the whole of `path` matches; a star does not match slashes.
pub(crate) fn path_matches(pattern: &str, path: &str) -> bool {
    let chars = |text: &str| text.chars().collect::<Vec<_>>();
    pattern.split('/').count() == path.split('/').count()
        && pattern.split('/').zip(path.split('/')).all(|(pattern, name)| fits(&chars(pattern), &chars(name)))
}

/// The existing paths that match, sorted.
fn matches(pattern: &str) -> Vec<PathBuf> {
    let mut found = vec![PathBuf::from("/")];
    for part in pattern.split('/').filter(|part| !part.is_empty()) {
        found = found.iter().flat_map(|dir| step(dir, part)).collect();
    }
    found
}

/// The entries of `dir` that one component of the pattern matches.
fn step(dir: &Path, part: &str) -> Vec<PathBuf> {
    if !part.contains(['*', '?', '[', '\\']) {
        let path = dir.join(part);
        return if path.symlink_metadata().is_ok() { vec![path] } else { Vec::new() };
    }
    let Ok(entries) = std::fs::read_dir(dir) else { return Vec::new() };
    let pattern: Vec<char> = part.chars().collect();
    let mut names: Vec<_> = entries
        .filter_map(|entry| entry.ok().map(|entry| entry.file_name()))
        .filter(|name| name.to_str().is_some_and(|name| fits(&pattern, &name.chars().collect::<Vec<_>>())))
        .collect();
    names.sort();
    names.into_iter().map(|name| dir.join(name)).collect()
}

/// Whether `name` fits `pattern`: `*`, `?`, `[a-z]`, `[^a-z]` and backslash escapes.
fn fits(pattern: &[char], name: &[char]) -> bool {
    // Where to go on when a later character does not fit: one character more for the last star.
    let (mut p, mut n) = (0, 0);
    let mut star: Option<(usize, usize)> = None;
    loop {
        if p < pattern.len() && pattern[p] == '*' {
            star = Some((p + 1, n));
            p += 1;
            continue;
        }
        if p == pattern.len() && n == name.len() {
            return true;
        }
        if let Some(width) = name.get(n).and_then(|c| single(&pattern[p..], *c)) {
            p += width;
            n += 1;
            continue;
        }
        match star {
            Some((after, from)) if from < name.len() => {
                star = Some((after, from + 1));
                (p, n) = (after, from + 1);
            }
            _ => return false,
        }
    }
}

/// How many pattern characters the element that matches `c` takes, if it does.
fn single(pattern: &[char], c: char) -> Option<usize> {
    match pattern {
        ['?', ..] => Some(1),
        ['\\', escaped, ..] => (*escaped == c).then_some(2),
        ['[', rest @ ..] => class(rest, c).map(|width| width + 1),
        [plain, ..] => (*plain == c).then_some(1),
        [] => None,
    }
}

/// Reads a class up to its bracket; `None` when `c` is not in it or it does not end.
fn class(pattern: &[char], c: char) -> Option<usize> {
    let negated = pattern.first() == Some(&'^');
    let mut at = usize::from(negated);
    let first = at;
    let mut inside = false;
    loop {
        match *pattern.get(at)? {
            ']' if at > first => return (inside != negated).then_some(at + 1),
            low => {
                let high = match (pattern.get(at + 1), pattern.get(at + 2)) {
                    (Some('-'), Some(high)) if *high != ']' => {
                        at += 2;
                        *high
                    }
                    _ => low,
                };
                inside |= low <= c && c <= high;
                at += 1;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_match_as_in_go() {
        for (pattern, name, expected) in [
            ("*", "", true),
            ("*", ".hidden", true),
            ("v1*", "v1a", true),
            ("v1*", "v2a", false),
            ("*a*b", "xaab", true),
            ("*a*b", "xaac", false),
            ("ba?", "bar", true),
            ("ba?", "ba", false),
            ("[a-c]x", "bx", true),
            ("[^a-c]x", "bx", false),
            ("[abc", "a", false),
            ("\\*", "*", true),
            ("\\*", "a", false),
            ("a", "a", true),
            ("a", "ab", false),
        ] {
            let chars = |text: &str| text.chars().collect::<Vec<_>>();
            assert_eq!(fits(&chars(pattern), &chars(name)), expected, "{pattern} {name}");
        }
    }

    #[test]
    fn patterns_find_files() {
        let found = matches("/proc/self/stat*");
        assert!(found.contains(&PathBuf::from("/proc/self/status")), "{found:?}");
        assert!(matches("/no-such-*/x").is_empty());
    }
}
