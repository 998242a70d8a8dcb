//! Which devices a container may use (`linux.resources.devices`): rules become a program that the kernel asks.
//!
//! It matters to containers of the host's root that share its user namespace: elsewhere nobody can make a device node,
//! and the kernel lets nobody attach such a program. The program is given the kind of use and device in one word
//! (`access << 16 | kind`), and the numbers of the device behind it; it answers 1 for yes.

use crate::kernel;
use crate::kernel::bpf::{Instruction, attach_to_cgroup};
use crate::runtime::error::{Error, Result};
use crate::runtime::plan::{DeviceKind, DeviceRule, Plan, UserNamespace};

use super::Cgroup;

const MAKE: u8 = 1;
const READ: u8 = 2;
const WRITE: u8 = 4;
const ALL: u8 = MAKE | READ | WRITE;

const BLOCK: i32 = 1;
const CHARACTER: i32 = 2;

/// What every container may use, whatever its rules say, as runc and crun have it: nodes may be made, and used those
/// that are in each /dev, the terminals and /dev/net/tun.
const ALWAYS: [(u32, Option<u32>); 9] = [
    (1, Some(3)),
    (1, Some(5)),
    (1, Some(7)),
    (1, Some(8)),
    (1, Some(9)),
    (5, Some(0)),
    (5, Some(1)),
    (5, Some(2)),
    (136, None),
];
const TUN: (u32, Option<u32>) = (10, Some(200));

/// Lets the kernel enforce the rules of `plan` in its cgroup.
///
/// # Errors
/// Where they cannot be enforced and are needed.
pub(super) fn enforce(plan: &Plan, cgroup: &Cgroup) -> Result<()> {
    if plan.cgroup.devices.is_empty() {
        return Ok(());
    }
    match attach_to_cgroup(&program(&plan.cgroup.devices), cgroup) {
        Err(error) if are_needed(plan) => Err(error.into()),
        _ => Ok(()),
    }
}

/// Whether the container could do harm without its rules: only the host's root makes device nodes that work. Elsewhere
/// devices are bound, and are those that the caller has chosen.
pub(super) fn are_needed(plan: &Plan) -> bool {
    plan.cgroup.devices.iter().any(|rule| !rule.allow)
        && plan.namespaces.user == UserNamespace::Host
        && kernel::ns::in_initial_user_namespace()
}

/// Reads what a rule allows or forbids: letters of `rwm`.
pub(in crate::runtime) fn access(letters: &str) -> Result<u8> {
    letters.chars().try_fold(0, |access, letter| match letter {
        'r' => Ok(access | READ),
        'w' => Ok(access | WRITE),
        'm' => Ok(access | MAKE),
        _ => Err(Error::invalid(
            "linux.resources.devices",
            format!("`{}` is not of rwm", letters.escape_debug()),
        )),
    })
}

/// Of several rules about a device the last one holds, so they are asked from the last to the first.
fn program(rules: &[DeviceRule]) -> Vec<Instruction> {
    let always = ALWAYS.into_iter().chain([TUN]).map(|(major, minor)| DeviceRule {
        allow: true,
        kind: Some(DeviceKind::Character),
        major: Some(major),
        minor,
        access: ALL,
    });
    let make = [DeviceKind::Character, DeviceKind::Block].map(|kind| DeviceRule {
        allow: true,
        kind: Some(kind),
        major: None,
        minor: None,
        access: MAKE,
    });
    let mut program = vec![
        // r2: kind, r3: access, r4 and r5: numbers.
        op(0x61, 2, 1, 0, 0),
        op(0x54, 2, 0, 0, 0xffff),
        op(0x61, 3, 1, 0, 0),
        op(0x74, 3, 0, 0, 16),
        op(0x61, 4, 1, 4, 0),
        op(0x61, 5, 1, 8, 0),
    ];
    for rule in make.into_iter().chain(always).chain(rules.iter().rev().copied()) {
        let block = block(&rule);
        let is_last = block.len() == answer(true).len();
        program.extend(block);
        if is_last {
            // About everything: the kernel takes no instruction that is never reached.
            return program;
        }
    }
    program.extend(answer(false));
    program
}

/// Answers if the rule is about the use in question, or else goes on behind itself.
fn block(rule: &DeviceRule) -> Vec<Instruction> {
    const NOT_EQUAL: u8 = 0x55;
    let mut tests: Vec<Instruction> = Vec::new();
    if let Some(kind) = rule.kind {
        tests.push(op(NOT_EQUAL, 2, 0, 0, if kind == DeviceKind::Block { BLOCK } else { CHARACTER }));
    }
    if rule.access != ALL {
        tests.push(op(0xbc, 1, 3, 0, 0));
        tests.push(op(0x54, 1, 0, 0, rule.access.into()));
        // Allowed is a use all of which is named, forbidden one of which anything is.
        tests.push(if rule.allow { op(0x5d, 1, 3, 0, 0) } else { op(0x15, 1, 0, 0, 0) });
    }
    for (register, number) in [(4, rule.major), (5, rule.minor)] {
        tests.extend(number.map(|number| op(NOT_EQUAL, register, 0, 0, number as i32)));
    }
    tests.extend(answer(rule.allow));
    let end = tests.len();
    for (index, test) in tests.iter_mut().enumerate() {
        // Jumps, which are all of this class but the exit.
        if test.code & 7 == 5 && test.code != EXIT {
            test.offset = (end - index - 1) as i16;
        }
    }
    tests
}

const EXIT: u8 = 0x95;

fn answer(yes: bool) -> [Instruction; 2] {
    [op(0xb7, 0, 0, 0, yes.into()), op(EXIT, 0, 0, 0, 0)]
}

const fn op(code: u8, destination: u8, source: u8, offset: i16, immediate: i32) -> Instruction {
    Instruction { code, registers: destination | source << 4, offset, immediate }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What the kernel's machine would answer.
    fn ask(program: &[Instruction], kind: i32, access: u8, major: u32, minor: u32) -> bool {
        let context = [u64::from(access) << 16 | kind as u64, u64::from(major), u64::from(minor)];
        let mut registers = [0_u64; 6];
        let mut at = 0_usize;
        loop {
            let Instruction { code, registers: pair, offset, immediate } = program[at];
            let (to, from) = (usize::from(pair & 15), usize::from(pair >> 4));
            let constant = immediate as i64 as u64;
            at += 1;
            let jumps = match code {
                0x61 => {
                    registers[to] = context[offset as usize / 4];
                    false
                }
                0x54 => {
                    registers[to] &= constant;
                    false
                }
                0x74 => {
                    registers[to] >>= constant;
                    false
                }
                0xbc => {
                    registers[to] = registers[from];
                    false
                }
                0xb7 => {
                    registers[to] = constant;
                    false
                }
                0x55 => registers[to] != constant,
                0x15 => registers[to] == constant,
                0x5d => registers[to] != registers[from],
                EXIT => return registers[0] == 1,
                other => panic!("{other:#x}"),
            };
            if jumps {
                at += offset as usize;
            }
        }
    }

    fn rule(
        allow: bool,
        kind: Option<DeviceKind>,
        major: Option<u32>,
        minor: Option<u32>,
        of: &str,
    ) -> DeviceRule {
        DeviceRule { allow, kind, major, minor, access: access(of).unwrap() }
    }

    /// What the kernel checks before anything else.
    fn all_reached(program: &[Instruction]) -> bool {
        let mut reached = vec![false; program.len()];
        let mut next = vec![0];
        while let Some(at) = next.pop() {
            if std::mem::replace(&mut reached[at], true) || program[at].code == EXIT {
                continue;
            }
            next.push(at + 1);
            if program[at].code & 7 == 5 {
                next.push(at + 1 + program[at].offset as usize);
            }
        }
        reached.into_iter().all(|reached| reached)
    }

    #[test]
    fn the_last_rule_holds() {
        let character = Some(DeviceKind::Character);
        let rules = [
            rule(false, None, None, None, "rwm"),
            rule(true, character, Some(1), Some(11), "rwm"),
            rule(true, Some(DeviceKind::Block), Some(8), None, "r"),
            rule(false, character, Some(1), Some(11), "w"),
        ];
        let program = program(&rules);
        for (kind, use_of, major, minor, expected) in [
            // What each container has, and making nodes.
            (CHARACTER, READ | WRITE, 1, 3, true),
            (CHARACTER, READ | WRITE, 136, 77, true),
            (CHARACTER, MAKE, 99, 1, true),
            (BLOCK, MAKE, 99, 1, true),
            (BLOCK, READ, 1, 3, false),
            // The rules.
            (CHARACTER, READ, 1, 11, true),
            (CHARACTER, READ | WRITE, 1, 11, false),
            (CHARACTER, WRITE, 1, 11, false),
            (BLOCK, READ, 8, 5, true),
            (BLOCK, READ | WRITE, 8, 5, false),
            (CHARACTER, READ, 8, 5, false),
            (CHARACTER, READ, 10, 229, false),
        ] {
            assert_eq!(
                ask(&program, kind, use_of, major, minor),
                expected,
                "{kind} {use_of} {major}:{minor}"
            );
        }
        let open = program_of_all();
        assert!(all_reached(&program) && all_reached(&open));
        assert!(all_reached(&super::program(&[rule(true, None, Some(1), None, "r")])));
        assert!(ask(&open, BLOCK, READ | WRITE, 8, 0) && ask(&open, CHARACTER, READ, 10, 229));
        assert!(access("rx").is_err());
    }

    fn program_of_all() -> Vec<Instruction> {
        program(&[rule(false, None, None, None, "rwm"), rule(true, None, None, None, "rwm")])
    }
}
