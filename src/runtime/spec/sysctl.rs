//! Kernel parameters: only those that belong to a namespace of the container's own.
//!
//! A name becomes a path below /proc/sys and a value one line written there, so
//! both have a strict grammar: CVE-2022-0811 smuggled a second parameter in a value.

use oci_spec::runtime::{Linux, Spec};

use super::super::error::{Error, Result};
use super::super::plan::{Membership, Namespaces};

/// The parameters of the IPC namespace that engines let a user set.
pub const IPC_PARAMETERS: [&str; 8] = [
    "kernel.msgmax",
    "kernel.msgmnb",
    "kernel.msgmni",
    "kernel.sem",
    "kernel.shmall",
    "kernel.shmmax",
    "kernel.shmmni",
    "kernel.shm_rmid_forced",
];

pub(super) fn sysctls(linux: &Linux, namespaces: &Namespaces, spec: &Spec) -> Result<Vec<(String, String)>> {
    let given = |name: &Option<String>| name.as_ref().is_some_and(|name| !name.is_empty());
    let taken = Taken { host_name: given(spec.hostname()), domain_name: given(spec.domainname()) };
    let mut sysctls = Vec::new();
    for (name, value) in linux.sysctl().iter().flatten() {
        let dotted = dotted(name);
        check(&dotted, value, namespaces, taken)
            .map_err(|why| Error::invalid("sysctl", format!("`{}`: {why}", name.escape_debug())))?;
        sysctls.push((dotted, value.clone()));
    }
    sysctls.sort();
    Ok(sysctls)
}

/// Names that the spec sets elsewhere.
#[derive(Debug, Clone, Copy, Default)]
struct Taken {
    host_name: bool,
    domain_name: bool,
}

/// `net/ipv4/conf/eth0.1/x` and `net.ipv4.conf.eth0/1.x` name the same parameter:
/// whichever separator comes first is the separator, the other one stands for it in names.
fn dotted(name: &str) -> String {
    match name.find(['.', '/']) {
        Some(at) if name[at..].starts_with('/') => name
            .chars()
            .map(|c| {
                if c == '/' {
                    '.'
                } else if c == '.' {
                    '/'
                } else {
                    c
                }
            })
            .collect(),
        _ => name.to_owned(),
    }
}

fn check(name: &str, value: &str, namespaces: &Namespaces, taken: Taken) -> Result<(), &'static str> {
    let fine = |c: char| c.is_ascii_alphanumeric() || "._-/".contains(c);
    if !name.chars().all(fine) {
        return Err("it is not the name of a kernel parameter");
    }
    // '/' stands for a dot inside one component, such as an interface eth0.1.
    if name.split('.').any(|part| part.is_empty() || part.replace('/', ".").chars().all(|c| c == '.')) {
        return Err("it has an empty or a `..` component");
    }
    if value.bytes().any(|byte| byte == b'\n' || byte == 0) || value.len() > 4096 {
        return Err("its value is not one line");
    }
    let own = |membership: &Membership| *membership != Membership::Host;
    if name.starts_with("net.") {
        return if own(&namespaces.network) {
            Ok(())
        } else {
            Err("it needs a network namespace of its own")
        };
    }
    if IPC_PARAMETERS.contains(&name) || name == "kernel.msg_next_id" || name.starts_with("fs.mqueue.") {
        return if own(&namespaces.ipc) { Ok(()) } else { Err("it needs an IPC namespace of its own") };
    }
    match name {
        "kernel.domainname" | "kernel.hostname" if !own(&namespaces.uts) => {
            Err("it needs a UTS namespace of its own")
        }
        "kernel.hostname" if taken.host_name => Err("the spec's hostname sets it already"),
        "kernel.domainname" if taken.domain_name => Err("the spec's domainname sets it already"),
        "kernel.hostname" | "kernel.domainname" => Ok(()),
        _ => Err("it belongs to the whole machine, not to a container"),
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::namespaces_of;
    use super::*;

    #[test]
    fn s21_only_parameters_of_own_namespaces_pass() {
        let own = namespaces_of(Membership::New);
        let host = namespaces_of(Membership::Host);
        let table = [
            ("net.ipv4.ip_unprivileged_port_start", "0", true),
            ("net/ipv4/ip_unprivileged_port_start", "0", true),
            ("kernel.shm_rmid_forced", "1", true),
            ("kernel.sem", "250 32000 32 128", true),
            ("fs.mqueue.msg_max", "10", true),
            ("kernel.domainname", "example", true),
            ("kernel.core_pattern", "x", false),
            ("kernel.shm_rmid_forced", "1\nkernel.core_pattern=|/x", false),
            ("kernel.shm_rmid_forced=1+kernel.core_pattern", "|/x", false),
            ("net.a/../../kernel/x", "1", false),
            ("net/../kernel/core_pattern", "1", false),
            ("net..x", "1", false),
            ("vm.swappiness", "1", false),
            ("kernel.shm_rmid_forced", "1\0", false),
        ];
        for (name, value, allowed) in table {
            assert_eq!(
                check(&dotted(name), value, &own, Taken::default()).is_ok(),
                allowed,
                "{name}={value:?}"
            );
            assert!(
                check(&dotted(name), value, &host, Taken::default()).is_err(),
                "{name} without namespaces"
            );
        }
    }
}
