//! The rules of the house that no compiler checks.
//!
//! | rule | why |
//! |---|---|
//! | imports follow the matrix below | layers stay layers |
//! | `tokio` only in `src/image` | a process that clones has one thread |
//! | `unsafe` only in `src/kernel` | one place to review |
//! | no print macros outside `cli/ui.rs` | one place decides about streams |
//! | files and functions have a size limit | they stay readable |
//! | no `#[allow]`, no variant `Other`, no `util` | each hides a decision |
//! | every file says what it owns | so that the next reader finds it |
//! | what an option is set to is read somewhere | no flag that parses and does nothing |
//! | man pages and completions are the generated ones | they tell the truth |
//!
//! The checks read source text without comments and strings; they do not parse Rust.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Which modules of the crate a module may name. Downwards only.
const MATRIX: &[(&str, &[&str])] = &[
    ("kernel", &[]),
    ("config", &["kernel"]),
    ("events", &["config", "kernel"]),
    ("store", &["config", "kernel"]),
    ("userns", &["config", "kernel"]),
    ("image", &["store", "config", "kernel"]),
    ("network", &["config", "kernel"]),
    ("volume", &["store", "config", "kernel"]),
    ("runtime", &["kernel"]),
    ("monitor", &["runtime", "config", "kernel"]),
    ("engine", &["events", "image", "store", "userns", "config", "kernel"]),
    (
        "container",
        &[
            "engine", "events", "image", "monitor", "network", "runtime", "store", "userns", "volume",
            "config", "kernel",
        ],
    ),
    ("doctor", &["engine", "network", "runtime", "store", "userns", "config", "kernel"]),
    (
        "cli",
        &[
            "container",
            "doctor",
            "engine",
            "events",
            "image",
            "monitor",
            "network",
            "runtime",
            "store",
            "userns",
            "volume",
            "config",
            "kernel",
        ],
    ),
];

/// Single names that cross a border of the matrix, and why.
const EXCEPTIONS: &[(&str, &str)] = &[
    // Every error says what kind it is, and the kinds are config's.
    ("runtime", "config::ErrorKind"),
    // The engine hands out the table of containers; their verbs take the engine.
    ("engine", "container::Containers"),
];

/// Options that say what is the case here anyway: file and field, or all of the file.
const IDLE_OPTIONS: &[(&str, &str)] = &[
    // docker's own trust: a no-op in podman too.
    ("src/cli/args/create/identity.rs", "disable_content_trust"),
    ("src/cli/commands/pull.rs", "disable_content_trust"),
    ("src/cli/commands/push.rs", "disable_content_trust"),
    // Signatures of others are never sent along.
    ("src/cli/commands/push.rs", "remove_signatures"),
    // Orphans are never given to the runtime.
    ("src/cli/commands/oci/create.rs", "no_subreaper"),
    // There are no pods that could be listed, so far.
    ("src/cli/commands/pod/list.rs", "*"),
    // Containers of other programs are not in the store.
    ("src/cli/commands/ps/mod.rs", "external"),
    ("src/cli/commands/image/prune.rs", "external"),
    // What is known of a container is always looked up.
    ("src/cli/commands/ps/mod.rs", "sync"),
    // A no-op in podman too.
    ("src/cli/commands/manifest/inspect.rs", "verbose"),
    // Only errors are written, and those always.
    ("src/cli/commands/oci/mod.rs", "log_level"),
    ("src/cli/commands/oci/mod.rs", "debug"),
    // Addresses cannot be chosen.
    ("src/cli/commands/container/restore.rs", "ignore_static_ip"),
    ("src/cli/commands/container/restore.rs", "ignore_static_mac"),
];

/// Lines of a file before its tests.
const MAX_FILE: usize = 600;
/// Lines of a function.
const MAX_FUNCTION: usize = 100;

struct Source {
    path: PathBuf,
    /// The text as it is.
    text: String,
    /// The text with comments and the content of literals blanked out; lines stay lines.
    code: String,
}

impl Source {
    /// The top folder (or file) below `src`.
    fn module(&self) -> &str {
        let first =
            self.path.components().nth(1).and_then(|part| part.as_os_str().to_str()).unwrap_or_default();
        first.strip_suffix(".rs").unwrap_or(first)
    }

    fn line_of(&self, at: usize) -> String {
        format!("{}:{}", self.path.display(), 1 + self.code[..at].matches('\n').count())
    }
}

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn files_below(dir: &Path, found: &mut Vec<PathBuf>) {
    let entries = fs::read_dir(dir).unwrap_or_else(|error| panic!("{}: {error}", dir.display()));
    for entry in entries {
        let path = entry.expect("readable directory").path();
        if path.is_dir() {
            files_below(&path, found);
        } else {
            found.push(path);
        }
    }
    found.sort();
}

fn sources() -> Vec<Source> {
    let mut paths = Vec::new();
    files_below(&root().join("src"), &mut paths);
    let rust = paths.into_iter().filter(|path| path.extension().is_some_and(|extension| extension == "rs"));
    rust.map(|path| {
        let text = fs::read_to_string(&path).expect("readable source");
        let code = blank(&text);
        Source { path: path.strip_prefix(root()).expect("below the root").to_owned(), text, code }
    })
    .collect()
}

/// Replaces comments and the content of literals by spaces.
fn blank(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut code = bytes.to_vec();
    let mut at = 0;
    let wipe = |code: &mut Vec<u8>, from: usize, to: usize| {
        for byte in &mut code[from..to.min(bytes.len())] {
            if *byte != b'\n' {
                *byte = b' ';
            }
        }
    };
    while at < bytes.len() {
        let rest = &text.as_bytes()[at..];
        let end = match rest {
            [b'/', b'/', ..] => at + rest.iter().position(|&b| b == b'\n').unwrap_or(rest.len()),
            [b'/', b'*', ..] => at + find(rest, b"*/").map_or(rest.len(), |end| end + 2),
            [b'r', b'"' | b'#', ..] if at == 0 || !is_word(bytes[at - 1]) => match raw_string(rest) {
                Some(len) => at + len,
                None => at,
            },
            [b'"', ..] => at + string(rest),
            [b'\'', b'\\', ..] => {
                at + 2 + rest[2..].iter().skip(1).position(|&b| b == b'\'').map_or(2, |end| end + 2)
            }
            // A character, not a lifetime; characters may have several bytes.
            [b'\'', ..] => match text[at + 1..].chars().next() {
                Some(c) if text[at + 1 + c.len_utf8()..].starts_with('\'') => at + 2 + c.len_utf8(),
                _ => at,
            },
            _ => at,
        };
        if end > at {
            wipe(&mut code, at, end);
            at = end;
        } else {
            at += 1;
        }
    }
    String::from_utf8(code).expect("only whole characters are blanked")
}

fn find(bytes: &[u8], what: &[u8]) -> Option<usize> {
    bytes.windows(what.len()).position(|window| window == what)
}

fn string(rest: &[u8]) -> usize {
    let mut at = 1;
    while at < rest.len() {
        match rest[at] {
            b'\\' => at += 2,
            b'"' => return at + 1,
            _ => at += 1,
        }
    }
    rest.len()
}

fn raw_string(rest: &[u8]) -> Option<usize> {
    let hashes = rest[1..].iter().take_while(|&&b| b == b'#').count();
    if rest.get(1 + hashes) != Some(&b'"') {
        return None;
    }
    let mut close = vec![b'"'];
    close.extend(std::iter::repeat_n(b'#', hashes));
    Some(find(&rest[2 + hashes..], &close).map_or(rest.len(), |end| 2 + hashes + end + close.len()))
}

fn is_word(byte: u8) -> bool {
    byte == b'_' || byte.is_ascii_alphanumeric()
}

/// Where `word` stands as a word of its own.
fn words(code: &str, word: &str) -> Vec<usize> {
    let bytes = code.as_bytes();
    code.match_indices(word)
        .map(|(at, _)| at)
        .filter(|&at| {
            let after = bytes.get(at + word.len());
            (at == 0 || !is_word(bytes[at - 1])) && !after.is_some_and(|&byte| is_word(byte))
        })
        .collect()
}

/// The modules that follow `crate::`, also in `crate::{a, b::c}`.
fn named_modules(code: &str, at: usize) -> Vec<String> {
    let rest = code[at..].trim_start();
    let ident =
        |text: &str| text.chars().take_while(|c| *c == '_' || c.is_alphanumeric()).collect::<String>();
    let Some(group) = rest.strip_prefix('{') else { return vec![ident(rest)] };
    let (mut depth, mut names, mut expects_name) = (1_usize, Vec::new(), true);
    for (at, c) in group.char_indices() {
        match c {
            '{' => depth += 1,
            '}' => depth -= 1,
            ',' if depth == 1 => expects_name = true,
            c if expects_name && !c.is_whitespace() => {
                names.push(ident(&group[at..]));
                expects_name = false;
            }
            _ => {}
        }
        if depth == 0 {
            break;
        }
    }
    names
}

fn report(rule: &str, found: &[String]) {
    assert!(found.is_empty(), "{rule}:\n  {}", found.join("\n  "));
}

#[test]
fn imports_point_down() {
    let matrix: BTreeMap<_, _> = MATRIX.iter().copied().collect();
    let mut wrong = Vec::new();
    for source in sources() {
        let module = source.module();
        if matches!(module, "lib" | "main") {
            continue;
        }
        let Some(allowed) = matrix.get(module) else {
            wrong.push(format!("{}: module `{module}` is not in the matrix", source.path.display()));
            continue;
        };
        for at in words(&source.code, "crate") {
            let Some(after) = source.code[at + "crate".len()..].strip_prefix("::") else { continue };
            let begin = source.code.len() - after.len();
            if EXCEPTIONS.iter().any(|(from, name)| *from == module && after.starts_with(name)) {
                continue;
            }
            for name in named_modules(&source.code, begin) {
                if name != module && !allowed.contains(&name.as_str()) {
                    wrong.push(format!("{}: {module} imports {name}", source.line_of(at)));
                }
            }
        }
    }
    report("imports that the matrix forbids", &wrong);
}

#[test]
fn modules_are_left_by_crate_paths_only() {
    let mut wrong = Vec::new();
    for source in sources() {
        // `src/a/b.rs` is two below the crate: `super::super` is the crate, which hides an import.
        let depth = source.path.components().count() - 1 - usize::from(source.path.ends_with("mod.rs"));
        let climb = "super::".repeat(depth);
        for (at, _) in source.code.match_indices(&climb) {
            wrong.push(source.line_of(at));
        }
    }
    report("paths that climb out of their module with super::", &wrong);
}

#[test]
fn some_words_have_their_place() {
    let rules: &[(&str, &[&str])] = &[("tokio", &["src/image/"]), ("unsafe", &["src/kernel/"])];
    let macros = ["print", "println", "eprint", "eprintln"];
    let mut wrong = Vec::new();
    for source in sources() {
        let path = source.path.to_string_lossy().into_owned();
        for (word, places) in rules {
            if places.iter().any(|place| path.starts_with(place)) {
                continue;
            }
            wrong.extend(
                words(&source.code, word).into_iter().map(|at| format!("{}: {word}", source.line_of(at))),
            );
        }
        if path == "src/cli/ui.rs" {
            continue;
        }
        for name in macros {
            for at in words(&source.code, name) {
                if source.code[at + name.len()..].starts_with('!') {
                    wrong.push(format!("{}: {name}!", source.line_of(at)));
                }
            }
        }
    }
    report("words outside of their place", &wrong);
}

#[test]
fn nothing_is_hidden() {
    let mut wrong = Vec::new();
    for source in sources() {
        for attribute in ["#[allow", "#![allow"] {
            for (at, _) in source.code.match_indices(attribute) {
                wrong.push(format!("{}: {attribute}", source.line_of(at)));
            }
        }
        for at in words(&source.code, "Other") {
            let begins_line =
                source.code[..at].rsplit('\n').next().is_some_and(|before| before.trim().is_empty());
            let after = source.code[at + "Other".len()..].trim_start();
            if begins_line && after.starts_with(['(', ',', '{', '}', '=']) && !after.starts_with("=>") {
                wrong.push(format!("{}: variant Other", source.line_of(at)));
            }
        }
        let name = source.path.file_stem().and_then(|name| name.to_str()).unwrap_or_default();
        let folders = source.path.parent().into_iter().flat_map(Path::components);
        let is_drawer = |name: &str| matches!(name, "util" | "utils" | "common" | "helpers" | "misc");
        if is_drawer(name) || folders.filter_map(|part| part.as_os_str().to_str()).any(is_drawer) {
            wrong.push(format!("{}: a drawer for everything", source.path.display()));
        }
        if !source.text.starts_with("//!") {
            wrong.push(format!("{}: does not begin with what it owns (//!)", source.path.display()));
        }
    }
    report("what hides a decision", &wrong);
}

/// The fields that are options: where each is, its name, and whether others may read it.
fn options(code: &str) -> Vec<(usize, &str, bool)> {
    let mut found = Vec::new();
    for (begin, _) in code.match_indices("#[arg(") {
        let mut rest = &code[begin..];
        while rest.starts_with("#[") {
            let Some(end) = closing(rest) else { break };
            rest = rest[end..].trim_start();
        }
        let public = rest.starts_with("pub");
        let field = rest.split(':').next().unwrap_or_default().trim_end();
        let name = field.rsplit(|c: char| c != '_' && !c.is_alphanumeric()).next().unwrap_or_default();
        found.push((code.len() - rest.len(), name, public));
    }
    found
}

/// Behind the bracket that closes the attribute at the beginning.
fn closing(attribute: &str) -> Option<usize> {
    let mut depth = 0;
    attribute.char_indices().find_map(|(at, c)| {
        match c {
            '[' | '(' => depth += 1,
            ']' | ')' => depth -= 1,
            _ => return None,
        }
        (depth == 0).then_some(at + 1)
    })
}

/// Whether the word at `at` is not just the name of a field that is declared or set there.
fn is_used(code: &str, at: usize, name: &str) -> bool {
    let before = code[..at].rsplit('\n').next().unwrap_or_default().trim();
    let after = &code[at + name.len()..];
    !((before.is_empty() || before.starts_with("pub")) && after.starts_with(':') && !after.starts_with("::"))
}

#[test]
fn options_do_something() {
    let sources = sources();
    let mut idle = Vec::new();
    for source in sources.iter().filter(|source| source.module() == "cli") {
        let folder = source.path.with_extension("");
        let folder = if folder.ends_with("mod") { folder.parent().expect("a folder") } else { &folder };
        for (at, name, public) in options(&source.code) {
            let here = words(&source.code, name).into_iter().any(|at| is_used(&source.code, at, name));
            let there = |other: &Source| {
                (public || other.path.starts_with(folder))
                    && words(&other.code, name).into_iter().any(|at| other.code[..at].ends_with('.'))
            };
            let known = |(path, option): &(&str, &str)| {
                source.path == Path::new(path) && ["*", name].contains(option)
            };
            if !here && !sources.iter().any(there) && !IDLE_OPTIONS.iter().any(known) {
                idle.push(format!("{}: {name}", source.line_of(at)));
            }
        }
    }
    report("options that nobody reads", &idle);
}

#[test]
fn files_stay_short() {
    let mut long = Vec::new();
    for source in sources() {
        let tests = source.code.find("#[cfg(test)]\nmod ").unwrap_or(source.code.len());
        let lines = source.code[..tests].lines().count();
        if lines > MAX_FILE {
            long.push(format!("{}: {lines} lines", source.path.display()));
        }
    }
    report(&format!("files of more than {MAX_FILE} lines without tests"), &long);
}

#[test]
fn functions_stay_short() {
    let mut long = Vec::new();
    for source in sources() {
        let tests = source.code.find("#[cfg(test)]\nmod ").unwrap_or(source.code.len());
        for at in words(&source.code[..tests], "fn") {
            let Some(lines) = function_lines(&source.code[at..]) else { continue };
            if lines > MAX_FUNCTION {
                let name = source.code[at..].split(['(', '<', '{']).next().unwrap_or_default().trim();
                long.push(format!("{}: {name}: {lines} lines", source.line_of(at)));
            }
        }
    }
    report(&format!("functions of more than {MAX_FUNCTION} lines"), &long);
}

/// Lines from `fn` to the closing brace, or nothing for a type or a declaration.
fn function_lines(code: &str) -> Option<usize> {
    let body = code.find(['{', ';'])?;
    if code.as_bytes()[body] == b';'
        || !code[2..].trim_start().starts_with(|c: char| c == '_' || c.is_alphabetic())
    {
        return None;
    }
    let mut depth = 0_usize;
    for (at, c) in code[body..].char_indices() {
        match c {
            '{' => depth += 1,
            '}' => {
                depth = depth.checked_sub(1)?;
                if depth == 0 {
                    return Some(1 + code[..body + at].matches('\n').count());
                }
            }
            _ => {}
        }
    }
    None
}

#[test]
fn no_test_file_is_forgotten() {
    let dir = root().join("tests/it");
    let main = blank(&fs::read_to_string(dir.join("main.rs")).expect("tests/it/main.rs"));
    let mut forgotten = Vec::new();
    for entry in fs::read_dir(&dir).expect("tests/it") {
        let path = entry.expect("readable directory").path();
        let name = path.file_stem().and_then(|name| name.to_str()).unwrap_or_default().to_owned();
        if name != "main" && !main.contains(&format!("mod {name};")) {
            forgotten.push(path.display().to_string());
        }
    }
    report("test files that tests/it/main.rs does not name", &forgotten);
}

#[test]
fn generated_files_are_up_to_date() {
    for (what, dir) in [("man", "man"), ("completions", "completions")] {
        let fresh = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("generated-{what}"));
        let _ = fs::remove_dir_all(&fresh);
        fs::create_dir_all(&fresh).expect("a directory for generated files");
        let status = Command::new(env!("CARGO_BIN_EXE_rbox"))
            .args(["internals", "generate", what])
            .arg(&fresh)
            .status()
            .expect("rbox runs");
        assert!(status.success());
        let (new, old) = (texts(&fresh), texts(&root().join(dir)));
        let names: BTreeSet<_> = new.keys().chain(old.keys()).collect();
        let stale: Vec<String> = names
            .into_iter()
            .filter(|name| new.get(*name) != old.get(*name))
            .map(|name| format!("{dir}/{name}"))
            .collect();
        report("files that `make generate` would change", &stale);
    }
}

/// The files of a directory.
fn texts(dir: &Path) -> BTreeMap<String, String> {
    let mut paths = Vec::new();
    files_below(dir, &mut paths);
    paths
        .into_iter()
        .map(|path| {
            let name = path.file_name().expect("a file has a name").to_string_lossy().into_owned();
            (name, fs::read_to_string(&path).expect("readable file"))
        })
        .collect()
}

#[test]
fn the_checks_see_what_they_look_for() {
    let code = blank(
        "let a = \"unsafe // x\"; // tokio\nlet c = '\"'; /* unsafe */ let d = r#\"a\"b\"#; let l: &'static str;",
    );
    assert!(words(&code, "unsafe").is_empty() && words(&code, "tokio").is_empty());
    assert!(code.contains("let l: &'static str;") && code.lines().count() == 2);
    assert_eq!(named_modules("crate::{a::{x, y}, b, c::d};", 7), ["a", "b", "c"]);
    assert_eq!(named_modules("crate::a::b;", 7), ["a"]);
    assert_eq!(function_lines("fn x() {\n  if a {\n  }\n}\nfn y() {}"), Some(4));
    assert_eq!(function_lines("fn(u8) -> u8, x {"), None);
    let code = "#[arg(long, value_parser = x(1))]\n#[serde(skip)]\npub(super) all: bool,\n#[arg(short)]\nq: u8,\nx.q";
    let names: Vec<_> = options(code).into_iter().map(|(_, name, public)| (name, public)).collect();
    assert_eq!(names, [("all", true), ("q", false)]);
    assert_eq!(
        words(code, "q").into_iter().map(|at| is_used(code, at, "q")).collect::<Vec<_>>(),
        [false, true]
    );
}
