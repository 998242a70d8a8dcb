//! User namespaces: whether one can be made, and what it is good for.

use super::{Finding, chain, id, read};
use crate::userns::{self, Worth};

const BREAKS: &str = "every container";

pub(super) fn check() -> Finding {
    let restricted = read("/proc/sys/kernel/apparmor_restrict_unprivileged_userns").trim() == "1";
    let program =
        std::fs::read_link("/proc/self/exe").map(|path| path.display().to_string()).unwrap_or_default();
    match userns::try_out() {
        Ok(worth) => judge(worth, restricted, &program),
        Err(error) => {
            let finding = Finding::problem(id::USERNS, chain(&error), BREAKS);
            match error.hint() {
                _ if restricted => finding.fix(load_profile(&program)),
                Some(hint) => finding.fix(hint),
                None => finding,
            }
        }
    }
}

fn judge(worth: Worth, restricted: bool, program: &str) -> Finding {
    match worth {
        Worth::Whole => Finding::ok(id::USERNS, "user namespaces can be made and used"),
        Worth::Powerless if restricted => Finding::problem(
            id::USERNS,
            format!("AppArmor takes all rights in a user namespace from programs without a profile, and {program} has none"),
            BREAKS,
        )
        .fix(load_profile(program)),
        Worth::Powerless => Finding::problem(
            id::USERNS,
            "a user namespace can be made, but nothing mounted in it: something around this process (a seccomp filter, \
             a security module, a container) forbids it",
            BREAKS,
        ),
        Worth::NoProc => Finding::problem(
            id::USERNS,
            "no /proc can be mounted in a user namespace: parts of the one here are covered, as in a container",
            "every container that has its own process ids",
        )
        .fix("start the container around rbox with --security-opt unmask=ALL (podman) or systempaths=unconfined (docker)"),
    }
}

/// A profile that allows user namespaces and changes nothing else.
fn load_profile(program: &str) -> String {
    format!(
        "printf 'abi <abi/4.0>,\\nprofile rbox {program} flags=(unconfined) {{ userns, }}\\n' | \
         sudo tee /etc/apparmor.d/rbox && sudo apparmor_parser -r /etc/apparmor.d/rbox"
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::Status;

    #[test]
    fn the_fix_is_for_the_program_that_runs() {
        let finding = judge(Worth::Powerless, true, "/home/a/rbox");
        assert_eq!(finding.status, Status::Problem);
        assert!(finding.fix.contains("profile rbox /home/a/rbox flags=(unconfined)"), "{finding:?}");
        assert!(judge(Worth::Powerless, false, "/x").fix.is_empty());
        assert!(judge(Worth::NoProc, false, "/x").fix.contains("unmask=ALL"));
        assert_eq!(judge(Worth::Whole, true, "/x").status, Status::Ok);
    }
}
