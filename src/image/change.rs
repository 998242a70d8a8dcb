//! Changes of an image's config as `commit` and `import` take them: instructions of a Dockerfile.

use super::config::{Empty, RunConfig};

/// The instructions that make sense without a build.
const KNOWN: [&str; 10] =
    ["CMD", "ENTRYPOINT", "ENV", "EXPOSE", "LABEL", "ONBUILD", "STOPSIGNAL", "USER", "VOLUME", "WORKDIR"];

/// An instruction that cannot be applied.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("applying changes: {text:?}: {problem}")]
pub struct ChangeError {
    text: String,
    problem: String,
}

/// Applies one instruction to `config`.
///
/// # Errors
/// When it is none of the known ones, or malformed.
pub fn apply(config: &mut RunConfig, text: &str) -> Result<(), ChangeError> {
    let fail = |problem: String| ChangeError { text: text.to_owned(), problem };
    let trimmed = text.trim();
    let end = trimmed.find([' ', '\t', '=']).unwrap_or(trimmed.len());
    let (name, value) = trimmed.split_at(end);
    let value = value.strip_prefix('=').unwrap_or(value).trim();
    let name = name.to_ascii_uppercase();
    if !KNOWN.contains(&name.as_str()) {
        return Err(fail(format!("invalid change, it must be one of {}", KNOWN.join(", "))));
    }
    if value.is_empty() && !matches!(name.as_str(), "CMD" | "ENTRYPOINT") {
        return Err(fail(format!("{name} needs an argument")));
    }
    match name.as_str() {
        "CMD" => config.cmd = command(value),
        "ENTRYPOINT" => {
            config.entrypoint = command(value);
        }
        "ENV" => {
            for (key, value) in pairs(value).map_err(fail)? {
                set_env(&mut config.env, &key, &value);
            }
        }
        "EXPOSE" => {
            for port in value.split_whitespace() {
                let (number, protocol) = port.split_once('/').unwrap_or((port, "tcp"));
                let valid = number.split('-').all(|number| number.parse::<u16>().is_ok_and(|port| port > 0));
                if !valid || !matches!(protocol, "tcp" | "udp" | "sctp") {
                    return Err(fail(format!("{port:?} is no port")));
                }
                config.exposed_ports.insert(format!("{number}/{protocol}"), Empty);
            }
        }
        "LABEL" => config.labels.extend(pairs(value).map_err(fail)?),
        "ONBUILD" => config.on_build.push(value.to_owned()),
        "STOPSIGNAL" => value.clone_into(&mut config.stop_signal),
        "USER" => value.clone_into(&mut config.user),
        "VOLUME" => match json_list(value) {
            Some(paths) => config.volumes.extend(paths.into_iter().map(|path| (path, Empty))),
            None => {
                config.volumes.extend(value.split_whitespace().map(|path| (path.to_owned(), Empty)));
            }
        },
        _ if value.starts_with('/') => value.clone_into(&mut config.working_dir),
        _ => {
            let base = if config.working_dir.is_empty() { "/" } else { &config.working_dir };
            config.working_dir = format!("{}/{value}", base.trim_end_matches('/'));
        }
    }
    Ok(())
}

/// Sets a variable, in place of one of the same name.
pub fn set_env(env: &mut Vec<String>, key: &str, value: &str) {
    let entry = format!("{key}={value}");
    let known = |entry: &&mut String| entry.split_once('=').is_some_and(|(name, _)| name == key);
    match env.iter_mut().find(known) {
        Some(old) => *old = entry,
        None => env.push(entry),
    }
}

fn json_list(text: &str) -> Option<Vec<String>> {
    if text.starts_with('[') { serde_json::from_str(text).ok() } else { None }
}

/// The JSON form as it is, anything else for a shell.
fn command(text: &str) -> Vec<String> {
    match json_list(text) {
        Some(words) => words,
        None if text.is_empty() => Vec::new(),
        None => vec!["/bin/sh".to_owned(), "-c".to_owned(), text.to_owned()],
    }
}

/// `KEY=VALUE ...` with quotes, or the old form `KEY VALUE`.
fn pairs(text: &str) -> Result<Vec<(String, String)>, String> {
    let first = text.split_whitespace().next().unwrap_or_default();
    if !first.contains('=') {
        let (key, value) =
            text.split_once(char::is_whitespace).ok_or_else(|| format!("{text:?} has no value"))?;
        return Ok(vec![(key.to_owned(), value.trim().to_owned())]);
    }
    let words = shlex::split(text).ok_or("a quote is not closed")?;
    let split = |word: String| {
        let (key, value) = word.split_once('=').ok_or_else(|| format!("{word:?} has no value"))?;
        if key.is_empty() {
            Err(format!("{word:?} has no name"))
        } else {
            Ok((key.to_owned(), value.to_owned()))
        }
    };
    words.into_iter().map(split).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn instructions_change_the_config() {
        let mut config = RunConfig { env: vec!["A=1".to_owned()], ..RunConfig::default() };
        for text in [
            "CMD [\"a\", \"b\"]",
            "entrypoint echo hi",
            "ENV A=2 B=\"x y\"",
            "ENV=C=3",
            "ENV D old form",
            "EXPOSE 80 53/udp",
            "LABEL l=\"m n\" o=p",
            "ONBUILD RUN true",
            "STOPSIGNAL SIGINT",
            "USER 5:6",
            "VOLUME [\"/v\"]",
            "VOLUME /w /x",
            "WORKDIR /a",
            "WORKDIR b",
        ] {
            apply(&mut config, text).unwrap();
        }
        assert_eq!(config.cmd, ["a", "b"]);
        assert_eq!(config.entrypoint, ["/bin/sh", "-c", "echo hi"]);
        assert_eq!(config.env, ["A=2", "B=x y", "C=3", "D=old form"]);
        assert_eq!(config.exposed_ports.keys().collect::<Vec<_>>(), ["53/udp", "80/tcp"]);
        assert_eq!(config.labels["l"], "m n");
        assert_eq!(config.volumes.keys().collect::<Vec<_>>(), ["/v", "/w", "/x"]);
        assert_eq!((config.user.as_str(), config.working_dir.as_str()), ("5:6", "/a/b"));
        assert_eq!(
            (config.stop_signal.as_str(), config.on_build.as_slice()),
            ("SIGINT", &["RUN true".to_owned()][..])
        );
    }

    #[test]
    fn bad_instructions_are_refused() {
        for text in ["RUN true", "", "ENV", "ENV x", "EXPOSE web", "EXPOSE 80/icmp", "LABEL a=\"b", "ENV =x"]
        {
            assert!(apply(&mut RunConfig::default(), text).is_err(), "{text:?}");
        }
    }
}
