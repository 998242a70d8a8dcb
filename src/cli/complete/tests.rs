//! Requests as the shells make them.

use super::*;
use crate::engine::Options;

/// What is suggested for the last word, and the directive.
fn complete(line: &str) -> (Vec<String>, Directive) {
    let words: Vec<String> = line.split(' ').map(str::to_owned).collect();
    let (last, before) = words.split_last().expect("at least one word");
    let place = words::read(before);
    let (suggestions, prefix) = suggest(&place, last, &Engine::new(Options::default()));
    let fitting = suggestions.items.into_iter().map(|(word, _)| word).filter(|word| word.starts_with(prefix));
    (fitting.collect(), suggestions.directive)
}

#[test]
fn commands_and_nouns_are_suggested() {
    let (all, directive) = complete("");
    assert!(all.contains(&"help".to_owned()) && all.contains(&"version".to_owned()));
    assert!(!all.contains(&"internals".to_owned()) && !all.contains(&"completion".to_owned()));
    assert_eq!(directive, Directive::NO_FILES);
    assert_eq!(complete("vers").0, ["version"]);
    assert_eq!(complete("--log-level debug vers").0, ["version"]);
    assert_eq!(complete("help vers").0, ["version"]);
    assert_eq!(complete("nonsense ").0, [""; 0]);
}

#[test]
fn flags_and_their_values_are_suggested() {
    assert_eq!(complete("completion --").0, ["--file", "--help", "--no-desc"]);
    assert_eq!(complete("completion -").0, ["--file", "--help", "--no-desc", "-f"]);
    assert_eq!(complete("completion --no-desc --").0, ["--file", "--help"]);
    assert_eq!(complete("completion --file "), (Vec::new(), Directive::DEFAULT));
    assert_eq!(complete("--log-level de").0, ["debug"]);
    assert_eq!(complete("--log-level=de").0, ["debug"]);
    assert_eq!(complete("version --log-level=de").0, ["debug"]);
    assert_eq!(complete("--root "), (Vec::new(), Directive::DIRECTORIES));
}

#[test]
fn arguments_follow_the_usage_line() {
    assert_eq!(
        complete("completion "),
        (["bash", "zsh", "fish", "powershell"].map(str::to_owned).to_vec(), Directive::NO_FILES)
    );
    assert_eq!(complete("completion bash "), (Vec::new(), Directive::NO_FILES));
    assert_eq!(complete("unshare "), (Vec::new(), Directive::DEFAULT));
    assert_eq!(complete("unshare ls -"), (Vec::new(), Directive::DEFAULT));
    assert_eq!(complete("version "), (Vec::new(), Directive::NO_FILES));
}

#[test]
fn directives_have_cobras_names() {
    assert_eq!(Directive::DEFAULT.names(), "ShellCompDirectiveDefault");
    assert_eq!(
        Directive::NO_FILES.and(Directive::NO_SPACE).names(),
        "ShellCompDirectiveNoSpace, ShellCompDirectiveNoFileComp"
    );
}

#[test]
fn scripts_name_the_program_everywhere() {
    for shell in Shell::ALL {
        let text = script(shell, "my-box", true);
        assert!(!text.contains('%') || !text.contains("%PROGRAM%"), "{shell:?}");
        assert!(
            text.contains("my-box") && text.contains(REQUEST) && !text.contains(REQUEST_BARE),
            "{shell:?}"
        );
        assert!(script(shell, "my-box", false).contains(REQUEST_BARE));
    }
}
