//! SELinux: whether its policy has a place for containers, and lets this user's in.

use super::{Finding, id};
use crate::config::selinux::{ContainerContexts, container_contexts};
use crate::kernel::selinux::{self, Context};

#[derive(Debug)]
struct Facts {
    own: Option<Context>,
    policy: Option<ContainerContexts>,
    permissive: bool,
    /// Whether a process of the caller may become one of a container.
    enters: bool,
    /// Whether a container may write to pipes of the caller, or those may become the container's.
    writes: bool,
}

/// Nothing where the kernel has no SELinux.
pub(super) fn check() -> Option<Finding> {
    if !selinux::is_enabled() {
        return None;
    }
    let (own, policy) = (selinux::current(), container_contexts());
    let allows = |source: &Context, target: &Context, class, permission| {
        // What cannot be asked is taken for allowed: nobody is to be sent after a fault that may not be there.
        selinux::allows(&source.to_string(), &target.to_string(), class, permission).unwrap_or(true)
    };
    let both = own.as_ref().zip(policy.as_ref().map(|policy| &policy.process));
    Some(judge(&Facts {
        permissive: selinux::is_permissive(),
        enters: both.is_none_or(|(own, process)| allows(own, process, "process", "transition")),
        writes: both.is_none_or(|(own, process)| {
            // With categories, as every container has them.
            let process = process.level.as_ref().map_or(process.clone(), |_| process.with_level("s0:c0,c1"));
            allows(&process, own, "fifo_file", "write") || allows(own, own, "fifo_file", "relabelfrom")
        }),
        own,
        policy,
    }))
}

fn judge(facts: &Facts) -> Finding {
    let Facts { own, policy, permissive, enters, writes } = facts;
    let Some(policy) = policy else {
        let found = "SELinux is on, but its policy has nothing for containers";
        return Finding::warning(id::SELINUX, found, "SELinux labels: containers run under the caller's")
            .fix("install container-selinux (Fedora) or a newer selinux-policy-default (Debian)");
    };
    let kind = |context: &Context| context.kind.clone();
    let (container, own) = (kind(&policy.process), own.as_ref().map(kind).unwrap_or_default());
    if *permissive {
        return Finding::ok(id::SELINUX, format!("SELinux is permissive; containers run as {container}"));
    }
    if !enters {
        let found = format!("the policy of SELinux does not let {own} start {container}");
        let breaks = "every container, except with --security-opt label=disable";
        return Finding::problem(id::SELINUX, found, breaks)
            .fix(module(&format!("(allow {own} {container} (process (transition)))")));
    }
    if !writes {
        let found = format!("the policy of SELinux does not let {container} write to pipes of {own}");
        let breaks = "the output of containers without a terminal, except with --security-opt label=disable";
        // So that they can be given to the container.
        return Finding::problem(id::SELINUX, found, breaks)
            .fix(module(&format!("(allow {own} self (fifo_file (relabelfrom)))")));
    }
    Finding::ok(id::SELINUX, format!("SELinux is enforcing; containers run as {container}"))
}

/// Adds a rule to the policy.
fn module(rule: &str) -> String {
    format!("echo '{rule}' > rbox.cil && sudo semodule -i rbox.cil")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::Status;

    #[test]
    fn what_the_policy_forbids_is_told_with_its_rule() {
        let context = |text: &str| text.parse::<Context>().unwrap();
        let good = || Facts {
            own: Some(context("unconfined_u:unconfined_r:unconfined_t:s0")),
            policy: Some(ContainerContexts {
                process: context("system_u:system_r:container_t:s0"),
                init_process: context("system_u:system_r:container_init_t:s0"),
                file: context("system_u:object_r:container_file_t:s0"),
                read_only_file: context("system_u:object_r:container_ro_file_t:s0"),
            }),
            permissive: false,
            enters: true,
            writes: true,
        };
        let cases = [
            (good(), Status::Ok, "enforcing", ""),
            (Facts { permissive: true, enters: false, ..good() }, Status::Ok, "permissive", ""),
            (
                Facts { policy: None, ..good() },
                Status::Warning,
                "nothing for containers",
                "container-selinux",
            ),
            (
                Facts { enters: false, ..good() },
                Status::Problem,
                "unconfined_t start container_t",
                "(transition)",
            ),
            (
                Facts { writes: false, ..good() },
                Status::Problem,
                "container_t write to pipes of unconfined_t",
                "(allow unconfined_t self (fifo_file (relabelfrom)))",
            ),
        ];
        for (facts, status, found, fix) in cases {
            let finding = judge(&facts);
            assert_eq!(finding.status, status, "{finding:?}");
            assert!(finding.found.contains(found) && finding.fix.contains(fix), "{finding:?}");
        }
    }
}
