//! Devices by name: the specifications that `--device VENDOR/CLASS=NAME` and `--gpus` look at.

use std::path::{Path, PathBuf};

use super::{Finding, id};
use crate::config::cdi::{Problem, Registry};
use crate::engine::Engine;

const BREAKS: &str = "--device VENDOR/CLASS=NAME and --gpus";

/// Where the driver of NVIDIA's cards says that it is there.
const NVIDIA: &str = "/proc/driver/nvidia/version";

pub(super) fn check(engine: &Engine) -> Finding {
    // What is wrong with the configuration is another check's finding.
    let directories = engine.cdi_directories().unwrap_or_default();
    let registry = Registry::load(&directories);
    let names: Vec<&str> = registry.names().collect();
    judge(&directories, &names, registry.file_count(), &registry.problems, Path::new(NVIDIA).exists())
}

fn judge(
    directories: &[PathBuf],
    names: &[&str],
    files: usize,
    problems: &[Problem],
    nvidia: bool,
) -> Finding {
    if let Some(Problem { path, reason }) = problems.first() {
        let more = match problems.len() {
            1 => String::new(),
            count => format!(", and {} more", count - 1),
        };
        let found = format!("{} is left out: {reason}{more}", path.display());
        return Finding::warning(id::CDI, found, "the devices that it describes");
    }
    if nvidia && !names.iter().any(|name| name.starts_with("nvidia.com/gpu=")) {
        let found = "there is a driver of NVIDIA's, and no specification of its devices";
        return Finding::warning(id::CDI, found, BREAKS)
            .fix("sudo nvidia-ctk cdi generate --output=/etc/cdi/nvidia.yaml");
    }
    if names.is_empty() {
        let places: Vec<String> = directories.iter().map(|dir| dir.display().to_string()).collect();
        return Finding::ok(id::CDI, format!("no devices are described in {}", places.join(", ")));
    }
    Finding::ok(id::CDI, format!("{} devices in {files} specifications", names.len()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::Status;

    #[test]
    fn specifications_are_judged() {
        let directories = [PathBuf::from("/etc/cdi"), PathBuf::from("/var/run/cdi")];
        let none = judge(&directories, &[], 0, &[], false);
        assert_eq!(
            (none.status, none.found.as_str()),
            (Status::Ok, "no devices are described in /etc/cdi, /var/run/cdi")
        );
        assert!(judge(&directories, &[], 0, &[], true).fix.contains("nvidia-ctk"));
        assert_eq!(judge(&directories, &["nvidia.com/gpu=0"], 1, &[], true).status, Status::Ok);
        let broken = [Problem { path: "/etc/cdi/a.json".into(), reason: "it is empty".into() }];
        let found = judge(&directories, &["a/b=c"], 1, &broken, false);
        assert_eq!(
            (found.status, found.found.as_str()),
            (Status::Warning, "/etc/cdi/a.json is left out: it is empty")
        );
    }
}
