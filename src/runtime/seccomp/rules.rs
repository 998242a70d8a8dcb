//! What is to happen to each system call: the spec's rules with names turned
//! into numbers and actions into the values that a filter returns.
//!
//! Rules for one call are tried in their order; the first whose conditions all
//! hold decides, then the call's unconditional rule, then the default.

use std::collections::BTreeMap;

use oci_spec::runtime::{
    Arch, LinuxSeccomp, LinuxSeccompAction, LinuxSeccompArg, LinuxSeccompFilterFlag, LinuxSeccompOperator,
    LinuxSyscall,
};

use crate::kernel::seccomp;

use super::super::error::{Error, Result};
use super::table::Abi;

/// What a filter returns for a call of an ABI that it does not know.
pub(super) const NO_SUCH_CALL: u32 = libc::SECCOMP_RET_ERRNO | libc::ENOSYS as u32;

/// All rules of a filter.
#[derive(Debug, Clone)]
pub(super) struct Rules {
    pub(super) default: u32,
    pub(super) abis: Vec<AbiRules>,
    pub(super) flags: u64,
}

/// The rules for the calls of one ABI.
#[derive(Debug, Clone)]
pub(super) struct AbiRules {
    pub(super) abi: Abi,
    pub(super) calls: BTreeMap<u32, Outcome>,
}

/// What happens to one call.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Outcome {
    /// Conditions that must all hold, and the value then returned.
    pub(super) conditional: Vec<(Vec<Condition>, u32)>,
    /// The value otherwise; `None` is the default.
    pub(super) otherwise: Option<u32>,
}

/// A comparison of one argument, over all its 64 bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Condition {
    pub(super) argument: u8,
    pub(super) comparison: Comparison,
    pub(super) value: u64,
    /// For [`Comparison::MaskedEqual`].
    pub(super) mask: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Comparison {
    NotEqual,
    Less,
    LessOrEqual,
    Equal,
    GreaterOrEqual,
    Greater,
    MaskedEqual,
}

impl Rules {
    pub(super) fn from_spec(spec: &LinuxSeccomp) -> Result<Self> {
        let default = action(spec.default_action(), spec.default_errno_ret())?;
        let syscalls = spec.syscalls().as_deref().unwrap_or_default();
        let abis = abis(spec)
            .into_iter()
            .map(|abi| Ok(AbiRules { abi, calls: calls(abi, syscalls, default)? }))
            .collect::<Result<_>>()?;
        Ok(Self { default, abis, flags: flags(spec) })
    }
}

/// The native ABI, and others only where the spec names them. An ABI that rbox
/// cannot filter is closed altogether instead of refused: every x86 profile names x32.
fn abis(spec: &LinuxSeccomp) -> Vec<Abi> {
    let mut abis = vec![Abi::native()];
    for arch in spec.architectures().iter().flatten() {
        if *arch == Arch::ScmpArchX86 && Abi::native() == Abi::X86_64 && !abis.contains(&Abi::X86) {
            abis.push(Abi::X86);
        }
    }
    abis
}

fn flags(spec: &LinuxSeccomp) -> u64 {
    spec.flags().iter().flatten().fold(0, |flags, flag| {
        flags
            | match flag {
                LinuxSeccompFilterFlag::SeccompFilterFlagLog => seccomp::FLAG_LOG,
                LinuxSeccompFilterFlag::SeccompFilterFlagSpecAllow => seccomp::FLAG_SPEC_ALLOW,
                // The filter is loaded by a process with one thread.
                LinuxSeccompFilterFlag::SeccompFilterFlagTsync => 0,
                LinuxSeccompFilterFlag::SeccompFilterFlagWaitKillableRecv => seccomp::FLAG_WAIT_KILLABLE_RECV,
            }
    })
}

fn action(action: LinuxSeccompAction, errno: Option<u32>) -> Result<u32> {
    let errno = errno.unwrap_or(libc::EPERM as u32);
    if errno > 0xffff {
        return Err(Error::invalid("seccomp", format!("{errno} is not an error number")));
    }
    Ok(match action {
        LinuxSeccompAction::ScmpActKill | LinuxSeccompAction::ScmpActKillThread => {
            libc::SECCOMP_RET_KILL_THREAD
        }
        LinuxSeccompAction::ScmpActKillProcess => libc::SECCOMP_RET_KILL_PROCESS,
        LinuxSeccompAction::ScmpActTrap => libc::SECCOMP_RET_TRAP,
        LinuxSeccompAction::ScmpActErrno => libc::SECCOMP_RET_ERRNO | errno,
        LinuxSeccompAction::ScmpActTrace => libc::SECCOMP_RET_TRACE | errno,
        LinuxSeccompAction::ScmpActLog => libc::SECCOMP_RET_LOG,
        LinuxSeccompAction::ScmpActAllow => libc::SECCOMP_RET_ALLOW,
        LinuxSeccompAction::ScmpActNotify => libc::SECCOMP_RET_USER_NOTIF,
    })
}

fn calls(abi: Abi, syscalls: &[LinuxSyscall], default: u32) -> Result<BTreeMap<u32, Outcome>> {
    let mut calls: BTreeMap<u32, Outcome> = BTreeMap::new();
    for syscall in syscalls {
        let value = action(syscall.action(), syscall.errno_ret())?;
        let conditions = conditions(syscall.args().as_deref().unwrap_or_default())?;
        // A name that this ABI lacks is for another one, or for a newer kernel.
        for number in syscall.names().iter().filter_map(|name| abi.number(name)) {
            let outcome = calls.entry(number).or_default();
            if conditions.is_empty() {
                outcome.otherwise.get_or_insert(value);
            } else if outcome.otherwise.is_none() {
                outcome.conditional.extend(conditions.iter().map(|all| (all.clone(), value)));
            }
        }
    }
    for outcome in calls.values_mut() {
        let otherwise = outcome.otherwise.unwrap_or(default);
        outcome.otherwise = Some(otherwise);
        // Conditions at the end that change nothing cost only time.
        while outcome.conditional.last().is_some_and(|(_, value)| *value == otherwise) {
            outcome.conditional.pop();
        }
    }
    calls.retain(|_, outcome| !(outcome.conditional.is_empty() && outcome.otherwise == Some(default)));
    Ok(calls)
}

/// Conditions on different arguments must all hold. Several on one argument are
/// alternatives: specs have meant it so since before a rule could name both.
fn conditions(args: &[LinuxSeccompArg]) -> Result<Vec<Vec<Condition>>> {
    let list: Vec<Condition> = args.iter().map(condition).collect::<Result<_>>()?;
    let mut seen = [false; 6];
    let repeated = list.iter().any(|c| std::mem::replace(&mut seen[usize::from(c.argument)], true));
    Ok(match (list.is_empty(), repeated) {
        (true, _) => Vec::new(),
        (false, true) => list.into_iter().map(|condition| vec![condition]).collect(),
        (false, false) => vec![list],
    })
}

fn condition(arg: &LinuxSeccompArg) -> Result<Condition> {
    let argument = u8::try_from(arg.index()).ok().filter(|index| *index < 6);
    let argument = argument
        .ok_or_else(|| Error::invalid("seccomp", format!("calls have no argument {}", arg.index())))?;
    let comparison = match arg.op() {
        LinuxSeccompOperator::ScmpCmpNe => Comparison::NotEqual,
        LinuxSeccompOperator::ScmpCmpLt => Comparison::Less,
        LinuxSeccompOperator::ScmpCmpLe => Comparison::LessOrEqual,
        LinuxSeccompOperator::ScmpCmpEq => Comparison::Equal,
        LinuxSeccompOperator::ScmpCmpGe => Comparison::GreaterOrEqual,
        LinuxSeccompOperator::ScmpCmpGt => Comparison::Greater,
        LinuxSeccompOperator::ScmpCmpMaskedEq => {
            let value = arg.value_two().unwrap_or(0);
            return Ok(Condition { argument, comparison: Comparison::MaskedEqual, value, mask: arg.value() });
        }
    };
    Ok(Condition { argument, comparison, value: arg.value(), mask: u64::MAX })
}
