//! From rules to a classic BPF program.
//!
//! A program is: load the ABI; for each known one, load the call's number and
//! walk a binary tree over ranges of numbers whose outcome is the same. Some
//! 360 allowed calls make about 40 ranges, so six comparisons decide instead of
//! hundreds, and loading takes a tenth of the time of a linear list. Every leaf
//! without conditions is a constant, which the kernel caches per call number.
//!
//! Arguments are 64 bits wide, a BPF word 32: both halves are compared.

use crate::kernel::seccomp::Instruction;

use super::super::error::{Error, Result};
use super::rules::{AbiRules, Comparison, Condition, NO_SUCH_CALL, Outcome, Rules};
use super::table::Abi;

const LOAD: u16 = 0x20;
const JUMP: u16 = 0x05;
const JUMP_EQUAL: u16 = 0x15;
const JUMP_GREATER: u16 = 0x25;
const JUMP_GREATER_OR_EQUAL: u16 = 0x35;
const AND: u16 = 0x54;
const RETURN: u16 = 0x06;

/// Offsets in `struct seccomp_data`.
const NUMBER: u32 = 0;
const ARCHITECTURE: u32 = 4;
const ARGUMENTS: u32 = 16;

/// Numbers from here on are x32 calls on x86_64.
const X32: u32 = 0x4000_0000;

/// The kernel's limit of instructions.
const MAX_LENGTH: usize = 4096;

type Code = Vec<Instruction>;

fn plain(code: u16, operand: u32) -> Instruction {
    Instruction { code, jump_true: 0, jump_false: 0, operand }
}

pub(super) fn compile(rules: &Rules) -> Result<Code> {
    let mut code = vec![plain(LOAD, ARCHITECTURE)];
    for abi in &rules.abis {
        let block = abi_block(abi, rules.default);
        // The block may be longer than the 255 that a conditional jump reaches.
        code.push(Instruction {
            code: JUMP_EQUAL,
            jump_true: 1,
            jump_false: 0,
            operand: abi.abi.audit_number(),
        });
        code.push(plain(JUMP, block.len() as u32));
        code.extend(block);
    }
    code.push(plain(RETURN, NO_SUCH_CALL));
    if code.len() > MAX_LENGTH {
        return Err(Error::invalid(
            "seccomp",
            format!("the filter has {} instructions, {MAX_LENGTH} fit", code.len()),
        ));
    }
    Ok(code)
}

fn abi_block(rules: &AbiRules, default: u32) -> Code {
    let mut ranges = ranges(rules, default);
    if rules.abi == Abi::X86_64 {
        ranges.retain(|(start, _)| *start < X32);
        ranges.push((X32, Outcome { conditional: Vec::new(), otherwise: Some(NO_SUCH_CALL) }));
    }
    let mut code = vec![plain(LOAD, NUMBER)];
    code.extend(tree(&ranges));
    code
}

/// First numbers of ranges with the same outcome, from 0 on.
fn ranges(rules: &AbiRules, default: u32) -> Vec<(u32, Outcome)> {
    let fallback = Outcome { conditional: Vec::new(), otherwise: Some(default) };
    let mut ranges: Vec<(u32, Outcome)> = vec![(0, fallback.clone())];
    let mut push = |start: u32, outcome: &Outcome| {
        if ranges.last().is_some_and(|(last, _)| *last == start) {
            ranges.pop();
        }
        if ranges.last().is_none_or(|(_, last)| last != outcome) {
            ranges.push((start, outcome.clone()));
        }
    };
    for (number, outcome) in &rules.calls {
        push(*number, outcome);
        push(number + 1, &fallback);
    }
    ranges
}

/// Finds the range of the loaded number and returns its outcome.
fn tree(ranges: &[(u32, Outcome)]) -> Code {
    if let [(_, outcome)] = ranges {
        return leaf(outcome);
    }
    let (low, high) = ranges.split_at(ranges.len() / 2);
    let (low, high, bound) = (tree(low), tree(high), high[0].0);
    let mut code = Code::with_capacity(low.len() + high.len() + 2);
    match u8::try_from(low.len()) {
        Ok(distance) => code.push(Instruction {
            code: JUMP_GREATER_OR_EQUAL,
            jump_true: distance,
            jump_false: 0,
            operand: bound,
        }),
        Err(_) => {
            code.push(Instruction {
                code: JUMP_GREATER_OR_EQUAL,
                jump_true: 0,
                jump_false: 1,
                operand: bound,
            });
            code.push(plain(JUMP, low.len() as u32));
        }
    }
    code.extend(low);
    code.extend(high);
    code
}

fn leaf(outcome: &Outcome) -> Code {
    let mut code = Code::new();
    for (conditions, value) in &outcome.conditional {
        code.extend(rule(conditions, *value));
    }
    code.push(plain(RETURN, outcome.otherwise.expect("every outcome has been given its default")));
    code
}

/// Returns `value` if all conditions hold, else goes on behind the rule.
fn rule(conditions: &[Condition], value: u32) -> Code {
    // Built from the end, so that the distance to the end is known: six
    // conditions of at most six instructions are far below 255.
    let mut code = vec![plain(RETURN, value)];
    for condition in conditions.iter().rev() {
        let mut block = comparison(condition, code.len() as u8);
        block.extend(code);
        code = block;
    }
    code
}

/// Where a comparison goes: on to the next instruction, to the code behind the
/// block (it holds), or over that code (it does not hold).
#[derive(Clone, Copy)]
enum Target {
    Next,
    Holds,
    Fails,
}

/// Compares one argument; `rest` is the length of the code that follows if it holds.
fn comparison(condition: &Condition, rest: u8) -> Code {
    use Target::{Fails, Holds, Next};
    let offset = ARGUMENTS + 8 * u32::from(condition.argument);
    let (high, low) = ((condition.value >> 32) as u32, condition.value as u32);
    let (mask_high, mask_low) = ((condition.mask >> 32) as u32, condition.mask as u32);
    let load = |half: u32| (plain(LOAD, offset + half), None);
    let jump = |code, operand, yes, no| (plain(code, operand), Some((yes, no)));
    // Both supported architectures are little-endian: the high half is the second word.
    let list: Vec<(Instruction, Option<(Target, Target)>)> = match condition.comparison {
        Comparison::Equal => {
            vec![load(4), jump(JUMP_EQUAL, high, Next, Fails), load(0), jump(JUMP_EQUAL, low, Holds, Fails)]
        }
        Comparison::NotEqual => {
            vec![load(4), jump(JUMP_EQUAL, high, Next, Holds), load(0), jump(JUMP_EQUAL, low, Fails, Holds)]
        }
        Comparison::MaskedEqual => vec![
            load(4),
            (plain(AND, mask_high), None),
            jump(JUMP_EQUAL, high, Next, Fails),
            load(0),
            (plain(AND, mask_low), None),
            jump(JUMP_EQUAL, low, Holds, Fails),
        ],
        Comparison::Greater | Comparison::GreaterOrEqual => {
            let last = if condition.comparison == Comparison::Greater {
                JUMP_GREATER
            } else {
                JUMP_GREATER_OR_EQUAL
            };
            vec![
                load(4),
                jump(JUMP_GREATER, high, Holds, Next),
                jump(JUMP_EQUAL, high, Next, Fails),
                load(0),
                jump(last, low, Holds, Fails),
            ]
        }
        Comparison::Less | Comparison::LessOrEqual => {
            let last =
                if condition.comparison == Comparison::Less { JUMP_GREATER_OR_EQUAL } else { JUMP_GREATER };
            vec![
                load(4),
                jump(JUMP_GREATER, high, Fails, Next),
                jump(JUMP_EQUAL, high, Next, Holds),
                load(0),
                jump(last, low, Fails, Holds),
            ]
        }
    };
    let length = list.len() as u8;
    let resolve = |(index, (instruction, targets)): (usize, (Instruction, Option<(Target, Target)>))| {
        let behind = length - 1 - index as u8;
        let distance = |target| match target {
            Next => 0,
            Holds => behind,
            Fails => behind + rest,
        };
        let (jump_true, jump_false) = targets.map_or((0, 0), |(yes, no)| (distance(yes), distance(no)));
        Instruction { jump_true, jump_false, ..instruction }
    };
    list.into_iter().enumerate().map(resolve).collect()
}
