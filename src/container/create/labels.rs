//! The SELinux contexts of a new container.
//!
//! Each container gets two categories of its own: what one has written no other may read, whoever owns the files.
//! They are drawn at random, as podman draws them: there are 523,776 pairs, and it takes an escape to profit from one
//! that is the same.

use std::path::Path;

use rustix::rand::{GetRandomFlags, getrandom};
use serde::Deserialize;

use super::joins::Joined;
use super::request::{CreateRequest, IpcMode, NamespaceMode};
use crate::config::containers;
use crate::config::selinux::{ContainerContexts, container_contexts};
use crate::container::lookup::read_json;
use crate::container::{Containers, Error, Result};
use crate::kernel;
use crate::kernel::selinux::{self, Context};

/// Categories of the policies for multi-category security.
const CATEGORIES: u16 = 1024;

/// The level of files of containers without a label: no other container has these categories.
const PRIVILEGED_LEVEL: &str = "s0:c1022,c1023";

/// The SELinux contexts of a container; all are absent where there is no SELinux, or no policy for containers.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Labels {
    /// Of its processes; nothing where they run as their caller does.
    pub process: Option<String>,
    /// Of its processes where the first is a systemd.
    pub init_process: Option<String>,
    /// Of its files.
    pub mount: Option<String>,
}

/// Refuses a value of `--security-opt label=` that means nothing.
pub(super) fn check_option(option: &str) -> Result<()> {
    let known = match option.split_once(':') {
        Some((key, value)) => {
            matches!(key, "user" | "role" | "type" | "level" | "filetype") && !value.is_empty()
        }
        None => matches!(option, "disable" | "nested"),
    };
    if known {
        return Ok(());
    }
    let what = format!(
        "bad label option {option:?}, valid options are 'disable', 'nested', or 'user', 'role', 'type', 'level', \
         'filetype' followed by ':' and a value"
    );
    Err(Error::Invalid { what })
}

/// The contexts of the container that `request` asks for.
pub(super) fn of_request(
    containers: &Containers,
    request: &CreateRequest,
    joined: &Joined,
    config: &containers::Containers,
) -> Result<Labels> {
    let Some(policy) = Some(()).filter(|()| selinux::is_enabled()).and_then(|()| container_contexts()) else {
        return Ok(Labels::default());
    };
    // What sees the host's processes or memory is told apart from the host by nothing.
    let shares = request.pid == NamespaceMode::Host || request.ipc == IpcMode::Host;
    let mut options = Vec::new();
    if !config.label || request.security.privileged || shares {
        options.push("disable".to_owned());
    }
    if let Some(own) = selinux::current().filter(|_| config.label_users) {
        options.extend([format!("user:{}", own.user), format!("role:{}", own.role)]);
    }
    options.extend(request.security.label.iter().cloned());
    for id in &joined.shares_context_with {
        options.extend(options_of(&containers.dir(id))?);
    }
    Ok(choose(&policy, &options, &random_level()?))
}

/// The options that give another container's context, whose processes or memory are shared.
fn options_of(directory: &Path) -> Result<Vec<String>> {
    #[derive(Deserialize)]
    struct SpecPart {
        process: oci_spec::runtime::Process,
    }
    let spec: Option<SpecPart> = read_json(&directory.join("spec.json"), 1)?;
    let label = spec.and_then(|spec| spec.process.selinux_label().clone());
    let Some(context) = label.and_then(|label| label.parse::<Context>().ok()) else { return Ok(Vec::new()) };
    let Context { user, role, kind, level } = context;
    let parts = [("user", Some(user)), ("role", Some(role)), ("type", Some(kind)), ("level", level)];
    Ok(parts.into_iter().filter_map(|(key, value)| Some(format!("{key}:{}", value?))).collect())
}

/// The contexts of the policy with what `options` change; `level` where they name none.
fn choose(policy: &ContainerContexts, options: &[String], level: &str) -> Labels {
    let of_policy = |context: &Context, level: &str| match &context.level {
        Some(_) => context.with_level(level),
        // A policy without levels.
        None => context.clone(),
    };
    if options.iter().any(|option| option == "disable") {
        let mount = of_policy(&policy.file, PRIVILEGED_LEVEL);
        return Labels { mount: Some(mount.to_string()), ..Labels::default() };
    }
    let mut process = of_policy(&policy.process, level);
    let mut mount = of_policy(&policy.file, level);
    let mut init_kind = policy.init_process.kind.clone();
    for (key, value) in options.iter().filter_map(|option| option.split_once(':')) {
        let value = value.to_owned();
        match key {
            "user" => (process.user, mount.user) = (value.clone(), value),
            "role" => process.role = value,
            "type" => (process.kind, init_kind) = (value.clone(), value),
            "level" => (process.level, mount.level) = (Some(value.clone()), Some(value)),
            _ => mount.kind = value,
        }
    }
    let init = Context { kind: init_kind, ..process.clone() };
    Labels {
        process: Some(process.to_string()),
        init_process: Some(init.to_string()),
        mount: Some(mount.to_string()),
    }
}

/// Two categories, the smaller first.
fn random_level() -> Result<String> {
    loop {
        let mut bytes = [0_u8; 4];
        getrandom(&mut bytes, GetRandomFlags::empty())
            .map_err(|errno| kernel::Error::call("getrandom", "", errno))?;
        let [a, b, c, d] = bytes;
        let (one, other) = (u16::from_le_bytes([a, b]) % CATEGORIES, u16::from_le_bytes([c, d]) % CATEGORIES);
        let level = format!("s0:c{},c{}", one.min(other), one.max(other));
        if one != other && level != PRIVILEGED_LEVEL {
            return Ok(level);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chosen(options: &[&str]) -> [String; 3] {
        let policy = ContainerContexts {
            process: "system_u:system_r:container_t:s0".parse().unwrap(),
            init_process: "system_u:system_r:container_init_t:s0".parse().unwrap(),
            file: "system_u:object_r:container_file_t:s0".parse().unwrap(),
            read_only_file: "system_u:object_r:container_ro_file_t:s0".parse().unwrap(),
        };
        let options: Vec<String> = options.iter().map(|option| (*option).to_owned()).collect();
        let labels = choose(&policy, &options, "s0:c1,c2");
        [labels.process, labels.init_process, labels.mount].map(Option::unwrap_or_default)
    }

    #[test]
    fn options_change_the_contexts_of_the_policy() {
        let file = "system_u:object_r:container_file_t:s0:c1,c2";
        let table: [(&[&str], [&str; 3]); 7] = [
            (
                &[],
                [
                    "system_u:system_r:container_t:s0:c1,c2",
                    "system_u:system_r:container_init_t:s0:c1,c2",
                    file,
                ],
            ),
            (&["disable"], ["", "", "system_u:object_r:container_file_t:s0:c1022,c1023"]),
            (&["type:spc_t", "disable"], ["", "", "system_u:object_r:container_file_t:s0:c1022,c1023"]),
            (&["type:spc_t"], ["system_u:system_r:spc_t:s0:c1,c2", "system_u:system_r:spc_t:s0:c1,c2", file]),
            (
                &["level:s0:c3,c4"],
                [
                    "system_u:system_r:container_t:s0:c3,c4",
                    "system_u:system_r:container_init_t:s0:c3,c4",
                    "system_u:object_r:container_file_t:s0:c3,c4",
                ],
            ),
            (
                &["user:staff_u", "role:staff_r", "filetype:x_t"],
                [
                    "staff_u:staff_r:container_t:s0:c1,c2",
                    "staff_u:staff_r:container_init_t:s0:c1,c2",
                    "staff_u:object_r:x_t:s0:c1,c2",
                ],
            ),
            (
                &["nested"],
                [
                    "system_u:system_r:container_t:s0:c1,c2",
                    "system_u:system_r:container_init_t:s0:c1,c2",
                    file,
                ],
            ),
        ];
        for (options, expected) in table {
            assert_eq!(chosen(options), expected, "{options:?}");
        }
    }

    #[test]
    fn a_policy_without_levels_gets_none() {
        let policy = ContainerContexts {
            process: "u:r:p_t".parse().unwrap(),
            init_process: "u:r:i_t".parse().unwrap(),
            file: "u:r:f_t".parse().unwrap(),
            read_only_file: "u:r:f_t".parse().unwrap(),
        };
        assert_eq!(choose(&policy, &[], "s0:c1,c2").process.as_deref(), Some("u:r:p_t"));
    }

    #[test]
    fn categories_are_two_and_in_order() {
        for _ in 0..200 {
            let level = random_level().unwrap();
            let numbers = level.strip_prefix("s0:c").and_then(|rest| rest.split_once(",c")).unwrap();
            let (one, other): (u16, u16) = (numbers.0.parse().unwrap(), numbers.1.parse().unwrap());
            assert!(one < other && other < CATEGORIES, "{level}");
        }
    }

    #[test]
    fn options_that_mean_nothing_are_refused() {
        for option in ["disable", "nested", "user:u", "role:r", "type:t", "level:s0:c1,c2", "filetype:f"] {
            assert!(check_option(option).is_ok(), "{option}");
        }
        for option in ["", "x", "type", "type:", "kind:t", ":", "Disable"] {
            assert!(check_option(option).is_err(), "{option}");
        }
    }
}
