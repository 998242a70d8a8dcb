//! The command line itself: help, usage errors, completion, streams.
//!
//! Scripts and podman's own tests read all of this, so every command is walked.

use std::fs;
use std::io::Read as _;
use std::process::Stdio;

use super::support::TestEnv;

/// A command as the help shows it: the words that lead to it, and its usage line without them.
struct Entry {
    path: Vec<String>,
    usage: String,
    help: String,
}

/// Every command, found as scripts find them: by the lists in the help.
fn entries(env: &TestEnv, path: &[String], found: &mut Vec<Entry>) {
    let help = env.ok([&["help".to_owned()], path].concat());
    let listed = help.lines().skip_while(|line| *line != "Available Commands:").skip(1);
    let names = listed.map_while(|line| line.strip_prefix("  ")?.split(' ').next());
    for name in names.filter(|name| *name != "help") {
        let path = [path, &[name.to_owned()]].concat();
        let help = env.ok([path.as_slice(), &["--help".to_owned()]].concat());
        let usage = help.lines().skip_while(|line| *line != "Usage:").nth(1).expect("a usage line").trim();
        let words = format!("rbox {}", path.join(" "));
        let usage = usage
            .strip_prefix(&words)
            .unwrap_or_else(|| panic!("{words}: usage is {usage}"))
            .trim()
            .to_owned();
        if usage == "[command]" {
            entries(env, &path, found);
        }
        found.push(Entry { path, usage, help });
    }
}

fn all(env: &TestEnv) -> Vec<Entry> {
    let mut found = Vec::new();
    entries(env, &[], &mut found);
    assert!(found.len() > 10, "the lists of commands were not understood");
    found
}

#[test]
fn every_command_explains_itself() {
    let env = TestEnv::new("help");
    for Entry { path, usage, help } in all(&env) {
        let name = path.join(" ");
        if usage == "[command]" {
            continue;
        }
        let arguments = usage.strip_prefix("[options]").map_or(usage.as_str(), str::trim);
        assert_eq!(
            usage.contains("[options]"),
            help.contains("\nOptions:\n"),
            "{name}: [options] and Options: differ"
        );
        assert!(!arguments.contains("[options]"), "{name}: options stand after arguments in {usage}");
        let lower = arguments.starts_with('{') || !arguments.contains(char::is_lowercase);
        assert!(lower, "{name}: argument names are upper case: {usage}");
        assert!(help.lines().all(|line| line.trim_end() == line), "{name}: trailing space");
        assert!(help.contains("\nDescription:\n  "), "{name}: no description");
    }
}

#[test]
fn arguments_are_counted() {
    let env = TestEnv::new("arguments");
    for Entry { path, usage, .. } in all(&env) {
        let name = path.join(" ");
        let with = |more: &[&str]| {
            let more = more.iter().map(|word| (*word).to_owned());
            env.run(path.iter().cloned().chain(more).collect::<Vec<_>>())
        };
        if usage == "[command]" {
            let outcome = with(&[]);
            assert_eq!(outcome.code, 125, "{name} without a command");
            assert!(
                outcome.stderr.contains(&format!("Error: missing command 'rbox {name} COMMAND'")),
                "{outcome:#?}"
            );
            let outcome = with(&["NoSuchCommand"]);
            assert!(
                outcome
                    .stderr
                    .starts_with(&format!("Error: unrecognized command `rbox {name} NoSuchCommand`")),
                "{outcome:#?}"
            );
            continue;
        }
        let arguments: Vec<&str> = usage.split_whitespace().filter(|word| *word != "[options]").collect();
        if arguments.is_empty() {
            let outcome = with(&["invalid-arg"]);
            assert_eq!((outcome.code, outcome.stdout.as_str()), (125, ""), "{name} invalid-arg");
            assert_eq!(outcome.stderr.trim(), format!("Error: `rbox {name}` takes no arguments"));
        }
        if arguments.first().is_some_and(|word| !word.starts_with('[')) {
            let outcome = with(&[]);
            assert_eq!(outcome.code, 125, "{name} without arguments: {outcome:#?}");
            let says_why = ["require", "specif", "must", "provide", "need", "choose", "accepts"];
            assert!(says_why.iter().any(|word| outcome.stderr.contains(word)), "{name}: {}", outcome.stderr);
        }
        if !usage.contains("...") {
            let many: Vec<String> = (0..=arguments.len()).map(|number| format!("x{number}")).collect();
            let outcome = with(&many.iter().map(String::as_str).collect::<Vec<_>>());
            assert_eq!(outcome.code, 125, "{name} with too many arguments: {outcome:#?}");
            let says_why = ["takes no arguments", "requires exactly", "accepts", "too many arguments"];
            assert!(says_why.iter().any(|word| outcome.stderr.contains(word)), "{name}: {}", outcome.stderr);
        }
    }
}

#[test]
fn latest_excludes_names_and_all() {
    let env = TestEnv::new("latest");
    let takes_both = ["exec", "list", "ls", "port", "ps", "top"];
    for Entry { path, help, .. } in all(&env) {
        let name = path.join(" ");
        if !help.contains("\n  -l, --latest")
            || path.last().is_some_and(|word| takes_both.contains(&word.as_str()))
        {
            continue;
        }
        let with = |more: [&str; 2]| {
            let words: Vec<&str> = path.iter().map(String::as_str).chain(more).collect();
            env.fails(125, words)
        };
        let text = with(["-l", "nonexistent-container"]);
        assert!(
            text.contains("--latest and ") && text.contains(" cannot be used together"),
            "{name}: {text}"
        );
        let text = with(["--all", "--latest"]);
        assert!(text.contains("unknown flag") || text.contains(" cannot be used together"), "{name}: {text}");
    }
}

#[test]
fn every_command_completes() {
    let env = TestEnv::new("complete");
    for Entry { path, usage, .. } in all(&env) {
        let ask = |last: &str| {
            let words =
                ["__complete".to_owned()].into_iter().chain(path.iter().cloned()).chain([last.to_owned()]);
            env.ok(words.collect::<Vec<_>>())
        };
        let name = path.join(" ");
        if usage == "[command]" {
            assert!(ask("").lines().count() > 1, "{name}: no commands are suggested");
            continue;
        }
        let flags = ask("--");
        assert!(flags.lines().any(|line| line.starts_with("--help")), "{name}: {flags}");
        assert_eq!(usage.contains("[options]"), flags.lines().count() > 2, "{name}: {flags}");
        assert!(flags.ends_with(":4"), "{name}: files are offered for flags");
    }
}

#[test]
fn usage_errors_are_podmans() {
    let env = TestEnv::new("usage");
    let cases: &[(&[&str], i32, &str)] = &[
        (&["bad", "--invalid"], 125, "Error: unknown flag: --invalid\nSee 'rbox --help'"),
        (
            &["version", "--remote=x"],
            125,
            "Error: invalid argument \"x\" for \"-r, --remote\" flag: strconv.ParseBool: parsing \"x\": invalid syntax\nSee 'rbox version --help'",
        ),
        (&["version", "--nope"], 125, "Error: unknown flag: --nope\nSee 'rbox version --help'"),
        (&["version", "-qx"], 125, "Error: unknown shorthand flag: 'q' in -qx\nSee 'rbox version --help'"),
        (&["version", "--format"], 125, "Error: flag needs an argument: --format\nSee 'rbox version --help'"),
        (&["kube", "play", "x"], 125, "Error: not supported yet: `rbox kube`"),
        (&["system", "dial-stdio", "x"], 125, "Error: not supported yet: `rbox system dial-stdio`"),
        (
            &["verson"],
            125,
            "Error: unrecognized command `rbox verson`\n\nDid you mean this?\n\tversion\n\nTry 'rbox --help' for more information",
        ),
        (
            &["--log-level=telepathic", "version"],
            1,
            "Log Level \"telepathic\" is not supported, choose from: trace, debug, info, warn, warning, error, fatal, panic",
        ),
        (&["--debug", "--log-level=panic", "version"], 1, "Setting --log-level and --debug is not allowed"),
        (&["version", "extra"], 125, "Error: `rbox version` takes no arguments"),
    ];
    for (words, code, text) in cases {
        let outcome = env.run(*words);
        assert_eq!(
            (outcome.code, outcome.stdout.as_str(), outcome.stderr.trim_end()),
            (*code, "", *text),
            "{words:?}"
        );
    }
}

#[test]
fn log_lines_have_the_form_of_logrus() {
    let env = TestEnv::new("log");
    let levels = [
        ("trace", "trace debug info"),
        ("debug", "debug info"),
        ("info", "info"),
        ("warn", ""),
        ("error", ""),
    ];
    for (level, shown) in levels {
        let outcome = env.run(["--log-level", level, "version"]);
        assert_eq!(outcome.code, 0);
        for name in ["trace", "debug", "info", "warning", "error"] {
            let is_shown = outcome.stderr.contains(&format!(" level={name} msg=\""));
            assert_eq!(
                is_shown,
                shown.split(' ').any(|word| word == name),
                "{level}: {name}: {}",
                outcome.stderr
            );
        }
    }
}

#[test]
fn standard_output_can_be_sent_elsewhere() {
    let env = TestEnv::new("out");
    let file = env.work().join("out");
    let outcome = env.run(["--out", file.to_str().expect("text"), "version", "--format", "{{.Version}}"]);
    assert_eq!((outcome.code, outcome.stdout.as_str()), (0, ""), "{outcome:#?}");
    assert_eq!(fs::read_to_string(&file).expect("the file is written").trim(), env!("CARGO_PKG_VERSION"));
    assert_eq!(env.run(["--noout", "version"]).stdout, "");
    let outcome = env.run(["--out", "/no/such/dir/out", "version"]);
    assert_eq!(outcome.code, 1);
    assert!(outcome.stderr.starts_with("unable to open file for standard output: open /no/such/dir/out: "));
}

#[test]
fn a_reader_that_goes_away_ends_the_command_quietly() {
    let env = TestEnv::new("pipe");
    let mut child =
        env.command(["--help"]).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("rbox runs");
    drop(child.stdout.take());
    let mut errors = String::new();
    child.stderr.take().expect("piped").read_to_string(&mut errors).expect("text");
    let status = child.wait().expect("rbox ends");
    assert_eq!((status.code(), errors.as_str()), (Some(0), ""));
}
