//! Rules that another process decides (`SCMP_ACT_NOTIFY`): a filter of their own.
//!
//! The descriptor that reports calls exists once the filter is loaded, and has to be sent from under it. So these
//! rules are a filter that lets every other call pass. It comes first, the descriptor is sent, and the filter with the
//! rest of the rules follows. Of several filters the strictest answer counts, and to notify is laxer than to refuse
//! and stricter than to allow, so that both together are what one filter would have been.

use oci_spec::runtime::LinuxSeccomp;

use super::super::error::{Error, Result};
use super::super::plan::{Agent, Notify};
use super::bpf;
use super::rules::{Outcome, Rules};
use super::table::Abi;
use crate::kernel::seccomp::{FLAG_NEW_LISTENER, FLAG_WAIT_KILLABLE_RECV};

const WHAT: &str = "seccomp";
const NOTIFY: u32 = libc::SECCOMP_RET_USER_NOTIF;
const ALLOW: u32 = libc::SECCOMP_RET_ALLOW;

/// What the process itself calls before all of its filters are loaded: nobody could answer yet.
const NEEDED: [&str; 2] = ["sendmsg", "seccomp"];

/// Splits off what another process decides, if the spec names one.
pub(super) fn notify(spec: &LinuxSeccomp, rules: &mut Rules) -> Result<Option<Notify>> {
    let flags = rules.flags;
    // Without a descriptor to wait at, the kernel refuses it.
    rules.flags &= !FLAG_WAIT_KILLABLE_RECV;
    let needed = any(rules, |value| value == NOTIFY);
    let path = spec.listener_path().clone().filter(|path| !path.as_os_str().is_empty());
    let Some(path) = path else {
        return if needed {
            Err(Error::invalid(WHAT, "the action SCMP_ACT_NOTIFY needs a listenerPath"))
        } else {
            Ok(None)
        };
    };
    if !path.is_absolute() {
        return Err(Error::invalid(WHAT, format!("listenerPath `{}` is not absolute", path.display())));
    }
    if let Some(name) = NEEDED.iter().find(|name| notifies(rules, name)) {
        return Err(Error::invalid(
            WHAT,
            format!("SCMP_ACT_NOTIFY cannot be used for the {name} syscall, which rbox itself makes"),
        ));
    }
    let part =
        map(rules, |value| if matches!(value, NOTIFY | super::rules::NO_SUCH_CALL) { value } else { ALLOW });
    let program = bpf::compile(&part)?;
    *rules = map(rules, |value| if value == NOTIFY { ALLOW } else { value });
    let metadata = spec.listener_metadata().clone().unwrap_or_default();
    let agent = Agent { path, metadata, needed };
    Ok(Some(Notify { program, flags: flags | FLAG_NEW_LISTENER, agent }))
}

fn notifies(rules: &Rules, name: &str) -> bool {
    let native = rules.abis.iter().find(|abi| abi.abi == Abi::native());
    let outcome = native.and_then(|abi| abi.calls.get(&abi.abi.number(name)?));
    match outcome {
        Some(outcome) => values(outcome).any(|value| value == NOTIFY),
        None => rules.default == NOTIFY,
    }
}

fn values(outcome: &Outcome) -> impl Iterator<Item = u32> {
    outcome.conditional.iter().map(|(_, value)| *value).chain(outcome.otherwise)
}

fn any(rules: &Rules, holds: impl Fn(u32) -> bool) -> bool {
    let calls = rules.abis.iter().flat_map(|abi| abi.calls.values());
    holds(rules.default) || calls.flat_map(values).any(holds)
}

/// The same rules with other answers.
fn map(rules: &Rules, answer: impl Fn(u32) -> u32) -> Rules {
    let mut rules = rules.clone();
    rules.default = answer(rules.default);
    for outcome in rules.abis.iter_mut().flat_map(|abi| abi.calls.values_mut()) {
        outcome.otherwise = outcome.otherwise.map(&answer);
        for (_, value) in &mut outcome.conditional {
            *value = answer(*value);
        }
    }
    rules
}
