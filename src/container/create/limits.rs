//! `--ulimit` and the limits of a container that asks for none.

use oci_spec::runtime::{PosixRlimitBuilder, Spec};

use super::Ulimit;
use crate::container::{Error, Result};
use crate::kernel::rlimit::{self, Resource};

/// What podman gives a container that asks for nothing.
const DEFAULT_FILES: u64 = 1_048_576;
const DEFAULT_PROCESSES: u64 = 1_048_576;

/// Parses the values of `--ulimit`; `None` means the caller's own (`host`).
///
/// # Errors
/// In podman's words.
pub fn parse(values: &[String]) -> Result<Option<Vec<Ulimit>>> {
    if values.iter().any(|value| value == "host") {
        return Ok(None);
    }
    values.iter().map(|value| one(value)).collect::<Result<_>>().map(Some)
}

fn one(value: &str) -> Result<Ulimit> {
    let lower = value.to_ascii_lowercase();
    let text = lower.strip_prefix("rlimit_").unwrap_or(&lower);
    let fail = |why: String| Error::Invalid {
        what: format!("ulimit option {text:?} requires name=SOFT:HARD, failed to be parsed: {why}"),
    };
    let (name, limits) =
        text.split_once('=').ok_or_else(|| fail(format!("invalid ulimit argument: {text}")))?;
    if Resource::from_name(name).is_none() {
        return Err(fail(format!("invalid ulimit type: {name}")));
    }
    let (soft_text, hard_text) = limits.split_once(':').unwrap_or((limits, limits));
    let number = |text: &str| match text.parse::<i64>() {
        Ok(-1) => Ok(u64::MAX),
        Ok(value) if value >= 0 => Ok(value.unsigned_abs()),
        _ => Err(fail(format!("strconv.ParseInt: parsing {text:?}: invalid syntax"))),
    };
    let (soft, hard) = (number(soft_text)?, number(hard_text)?);
    if soft > hard {
        let shown = |text: &str| if text == "-1" { "-1 (unlimited)".to_owned() } else { text.to_owned() };
        let (soft, hard) = (shown(soft_text), shown(hard_text));
        return Err(fail(format!(
            "ulimit soft limit must be less than or equal to hard limit: soft: {soft}, hard: {hard}"
        )));
    }
    Ok(Ulimit { name: name.to_owned(), soft, hard })
}

/// The limits that the container gets: those asked for, defaults for the rest, and all of
/// them within what the caller may have (only root can raise a hard limit).
#[must_use]
pub fn effective(asked: &[Ulimit], caller: impl Fn(&str) -> Option<u64>) -> Vec<Ulimit> {
    let default = |name: &str, value: u64| Ulimit { name: name.to_owned(), soft: value, hard: value };
    let mut all = vec![
        default("nofile", DEFAULT_FILES),
        default("nproc", DEFAULT_PROCESSES),
        // A crash must not feed a core file to the host's handler.
        default("core", 0),
    ];
    for limit in asked {
        all.retain(|other| other.name != limit.name);
        all.push(limit.clone());
    }
    for limit in &mut all {
        if let Some(most) = caller(&limit.name) {
            limit.hard = limit.hard.min(most);
            limit.soft = limit.soft.min(most);
        }
    }
    all
}

/// Takes limits of `spec` down to what the caller may have now; whether one was above is returned.
pub fn clamp(spec: &mut Spec) -> bool {
    let Some(process) = spec.process_mut() else { return false };
    let Some(mut limits) = process.rlimits().clone() else { return false };
    let mut changed = false;
    for limit in &mut limits {
        let name = limit.typ().to_string();
        let resource =
            name.strip_prefix("RLIMIT_").and_then(|name| Resource::from_name(&name.to_lowercase()));
        let Some(Ok((_, most))) = resource.map(rlimit::get) else { continue };
        let lower = PosixRlimitBuilder::default().typ(limit.typ()).hard(most).soft(limit.soft().min(most));
        if limit.hard() > most
            && let Ok(lower) = lower.build()
        {
            *limit = lower;
            changed = true;
        }
    }
    process.set_rlimits(Some(limits));
    changed
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limit(name: &str, soft: u64, hard: u64) -> Ulimit {
        Ulimit { name: name.to_owned(), soft, hard }
    }

    #[test]
    fn values_parse_as_podmans() {
        for (value, expected) in [
            ("nofile=10:20", limit("nofile", 10, 20)),
            ("nofile=10", limit("nofile", 10, 10)),
            ("RLIMIT_NOFILE=10", limit("nofile", 10, 10)),
            ("core=-1:-1", limit("core", u64::MAX, u64::MAX)),
            ("core=1000:-1", limit("core", 1000, u64::MAX)),
        ] {
            assert_eq!(parse(&[value.to_owned()]).unwrap(), Some(vec![expected]));
        }
        assert_eq!(parse(&["host".to_owned()]).unwrap(), None);
        let text = |value: &str| parse(&[value.to_owned()]).unwrap_err().to_string();
        assert_eq!(
            text("core=-1:1000"),
            "ulimit option \"core=-1:1000\" requires name=SOFT:HARD, failed to be parsed: ulimit soft limit must be less than or equal to hard limit: soft: -1 (unlimited), hard: 1000"
        );
        for value in ["nofile", "bogus=1", "nofile=a", "nofile=-2", "nofile=1:2:3", "nofile="] {
            assert!(parse(&[value.to_owned()]).is_err(), "{value}");
        }
    }

    #[test]
    fn the_callers_hard_limit_is_the_ceiling() {
        let caller = |name: &str| (name == "nofile").then_some(4096);
        let limits = effective(&[limit("core", 5, u64::MAX)], caller);
        assert_eq!(
            limits,
            [
                limit("nofile", 4096, 4096),
                limit("nproc", DEFAULT_PROCESSES, DEFAULT_PROCESSES),
                limit("core", 5, u64::MAX)
            ]
        );
    }
}
