//! `--security-opt`, and the paths that are hidden or write-protected in a container.

use std::path::PathBuf;

use super::{SeccompChoice, Security, labels};
use crate::container::{Error, Result};

/// Paths that show nothing: those of docker and podman together, and what else tells
/// about the host's kernel or offers knobs of it.
const MASKED: [&str; 26] = [
    "/proc/acpi",
    "/proc/config.gz",
    "/proc/interrupts",
    "/proc/kallsyms",
    "/proc/kcore",
    "/proc/keys",
    "/proc/kmsg",
    "/proc/latency_stats",
    "/proc/modules",
    "/proc/pagetypeinfo",
    "/proc/sched_debug",
    "/proc/scsi",
    "/proc/slabinfo",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/proc/vmallocinfo",
    "/proc/zoneinfo",
    "/sys/dev",
    "/sys/devices/virtual/powercap",
    "/sys/firmware",
    "/sys/fs/bpf",
    "/sys/fs/pstore",
    "/sys/fs/selinux",
    "/sys/kernel/debug",
    "/sys/kernel/security",
    "/sys/kernel/tracing",
];

/// Paths that cannot be written.
const READ_ONLY: [&str; 7] = [
    "/proc/asound",
    "/proc/bus",
    "/proc/fs",
    "/proc/irq",
    "/proc/pressure",
    "/proc/sys",
    "/proc/sysrq-trigger",
];

/// Applies one value of `--security-opt`; docker's old `KEY:VALUE` form works too.
///
/// # Errors
/// In podman's words.
pub fn parse_option(option: &str, security: &mut Security) -> Result<()> {
    let (key, value) = match option.split_once(if option.contains('=') { '=' } else { ':' }) {
        Some((key, value)) => (key, Some(value)),
        None => (option, None),
    };
    let invalid = |which: u8| Error::Invalid { what: format!("invalid --security-opt {which}: {option:?}") };
    if key == "no-new-privileges" {
        let on = value.map_or(Ok(true), |value| parse_bool(value).ok_or_else(|| invalid(2)))?;
        security.no_new_privileges = Some(on);
        return Ok(());
    }
    let value = value.ok_or_else(|| invalid(1))?;
    if key == "landlock" {
        security.landlock = Some(parse_bool(value).ok_or_else(|| invalid(2))?);
        return Ok(());
    }
    let paths = || value.split(':').map(str::to_owned);
    match key {
        "apparmor" => security.apparmor = Some(value.to_owned()),
        "label" => {
            labels::check_option(value)?;
            security.label.push(value.to_owned());
        }
        "mask" => security.mask.extend(paths()),
        "unmask" => security.unmask.extend(paths()),
        "systempaths" if value == "unconfined" => security.unmask.push("ALL".to_owned()),
        "systempaths" => {
            let what = format!("invalid systempaths option {value:?}, only `unconfined` is supported");
            return Err(Error::Invalid { what });
        }
        "proc-opts" => security.proc_opts = value.split(',').map(str::to_owned).collect(),
        "seccomp" if value == "unconfined" => security.seccomp = SeccompChoice::Unconfined,
        "seccomp" => security.seccomp = SeccompChoice::File(PathBuf::from(value)),
        _ => return Err(invalid(2)),
    }
    Ok(())
}

fn parse_bool(text: &str) -> Option<bool> {
    match text {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Some(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Some(false),
        _ => None,
    }
}

/// Masked and read-only paths after `mask=` and `unmask=`; nothing is protected by default
/// in a privileged container.
#[must_use]
pub fn paths(security: &Security) -> (Vec<String>, Vec<String>) {
    let kept = |list: &[&str]| -> Vec<String> {
        if security.privileged {
            return Vec::new();
        }
        list.iter().filter(|path| !unmasked(path, security)).map(|path| (*path).to_owned()).collect()
    };
    let mut masked = kept(&MASKED);
    masked.extend(security.mask.iter().filter(|path| path.starts_with('/')).cloned());
    (masked, kept(&READ_ONLY))
}

fn unmasked(path: &str, security: &Security) -> bool {
    let asked =
        |pattern: &String| pattern.eq_ignore_ascii_case("all") || crate::volume::path_matches(pattern, path);
    security.unmask.iter().any(asked) || security.nests_labels() && path == "/sys/fs/selinux"
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(options: &[&str]) -> Result<Security> {
        let mut security = Security::default();
        options.iter().try_for_each(|option| parse_option(option, &mut security))?;
        Ok(security)
    }

    #[test]
    fn options_are_read() {
        for (option, expected) in [
            ("no-new-privileges", Some(true)),
            ("no-new-privileges=true", Some(true)),
            ("no-new-privileges:true", Some(true)),
            ("no-new-privileges=false", Some(false)),
        ] {
            assert_eq!(parsed(&[option]).unwrap().no_new_privileges, expected, "{option}");
        }
        assert_eq!(parsed(&["seccomp=unconfined"]).unwrap().seccomp, SeccompChoice::Unconfined);
        assert_eq!(parsed(&["seccomp:/p.json"]).unwrap().seccomp, SeccompChoice::File("/p.json".into()));
        assert_eq!(parsed(&["label=disable", "label:type:x"]).unwrap().label, ["disable", "type:x"]);
        for option in ["bogus", "bogus=1", "no-new-privileges=maybe", "label", "label=x", "systempaths=x", ""]
        {
            assert!(parsed(&[option]).is_err(), "{option}");
        }
        assert_eq!(parsed(&["bogus"]).unwrap_err().to_string(), "invalid --security-opt 1: \"bogus\"");
    }

    #[test]
    fn s32_paths_are_hidden_unless_unmasked() {
        let (masked, read_only) = paths(&Security::default());
        assert!(masked.contains(&"/proc/kcore".to_owned()) && read_only.contains(&"/proc/sys".to_owned()));
        for (option, path, hidden) in [
            ("unmask=/proc/kcore", "/proc/kcore", false),
            ("unmask=/proc/*", "/proc/keys", false),
            ("unmask=/proc/*", "/sys/firmware", true),
            ("unmask=/sys/firmware:/proc/acpi", "/proc/acpi", false),
            ("systempaths=unconfined", "/proc/kcore", false),
            ("mask=/etc/x", "/etc/x", true),
            ("label=nested", "/sys/fs/selinux", false),
            ("label=disable", "/sys/fs/selinux", true),
        ] {
            let (masked, _) = paths(&parsed(&[option]).unwrap());
            assert_eq!(masked.contains(&path.to_owned()), hidden, "{option}");
        }
        assert!(paths(&parsed(&["unmask=ALL"]).unwrap()).1.is_empty());
        assert_eq!(paths(&Security { privileged: true, ..Security::default() }), (vec![], vec![]));
    }
}
