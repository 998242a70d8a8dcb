//! The contexts that the host's SELinux policy has for containers.
//!
//! `KEY = "CONTEXT"` lines in `/usr/share/containers/selinux/contexts`, which distributions of the Fedora family have,
//! or else in `/etc/selinux/TYPE/contexts/lxc_contexts`, where TYPE is the policy of `/etc/selinux/config`.

use std::path::Path;

use crate::kernel::file;
use crate::kernel::selinux::Context;

const OWN_FILE: &str = "/usr/share/containers/selinux/contexts";

/// The kernel's place for policies, by libselinux's rule.
const ROOT: &str = "/etc/selinux";

/// Files of a few lines; nothing larger is read.
const MAX_FILE: u64 = 64 << 10;

/// What the policy has for containers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ContainerContexts {
    /// Of a container's processes.
    pub process: Context,
    /// Of a container's processes where the first is a systemd.
    pub init_process: Context,
    /// Of its files.
    pub file: Context,
    /// Of files that every container may read.
    pub read_only_file: Context,
}

/// The contexts for containers; nothing where the policy has none, so that containers run as their caller does.
#[must_use]
pub fn container_contexts() -> Option<ContainerContexts> {
    let read = |path: &Path| {
        let bytes = file::read_limited(path, MAX_FILE).ok()?;
        String::from_utf8(bytes).ok()
    };
    let of_policy = || {
        let config = read(&Path::new(ROOT).join("config")).unwrap_or_default();
        read(&Path::new(ROOT).join(policy_name(&config)).join("contexts/lxc_contexts"))
    };
    parse(&read(Path::new(OWN_FILE)).or_else(of_policy)?)
}

/// The name of the policy that is loaded at boot; libselinux's default without one.
fn policy_name(config: &str) -> &str {
    value(config, "SELINUXTYPE").filter(|name| !name.contains('/')).unwrap_or("targeted")
}

fn parse(text: &str) -> Option<ContainerContexts> {
    let context = |key: &str| value(text, key)?.parse::<Context>().ok();
    let process = context("process")?;
    let init_process = context("init_process").unwrap_or_else(|| process.clone());
    let file = context("file")?;
    let read_only_file = context("ro_file").unwrap_or_else(|| file.clone());
    Some(ContainerContexts { process, init_process, file, read_only_file })
}

/// The value of a `KEY = VALUE` line, without quotes.
fn value<'a>(text: &'a str, key: &str) -> Option<&'a str> {
    let entries = text.lines().map(str::trim).filter(|line| !line.starts_with('#'));
    let mut entries = entries.filter_map(|line| line.split_once('='));
    let (_, value) = entries.find(|(name, _)| name.trim() == key)?;
    Some(value.trim().trim_matches('"')).filter(|value| !value.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn contexts_of_policies_are_read() {
        let fedora = "process = \"system_u:system_r:container_t:s0\"\n\
                      file = \"system_u:object_r:container_file_t:s0\"\n\
                      ro_file=\"system_u:object_r:container_ro_file_t:s0\"\n\
                      init_process = \"system_u:system_r:container_init_t:s0\"\n";
        let read = parse(fedora).unwrap();
        assert_eq!(read.process.to_string(), "system_u:system_r:container_t:s0");
        assert_eq!(read.init_process.kind, "container_init_t");
        assert_eq!(read.file.kind, "container_file_t");
        assert_eq!(read.read_only_file.kind, "container_ro_file_t");
        let reference = "process = \"system_u:system_r:container_t:s0\"\nfile = \"u:object_r:f_t:s0\"\n";
        let read = parse(reference).unwrap();
        assert_eq!((read.init_process, read.read_only_file), (read.process, read.file));
        for bad in
            ["", "process = \"x\"\nfile = \"u:r:t\"", "process = \"u:r:t\"", "#process=u:r:t\nfile=u:r:t"]
        {
            assert_eq!(parse(bad), None, "{bad}");
        }
    }

    #[test]
    fn the_policy_has_a_name() {
        for (config, expected) in [
            ("SELINUX=permissive\nSELINUXTYPE=default\n", "default"),
            ("# SELINUXTYPE=mls\nSELINUXTYPE = mcs \n", "mcs"),
            ("", "targeted"),
            ("SELINUXTYPE=../../x", "targeted"),
        ] {
            assert_eq!(policy_name(config), expected, "{config}");
        }
    }
}
