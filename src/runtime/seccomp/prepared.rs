//! The filter of nearly every container, compiled ahead: the built-in profile for the default capabilities.
//!
//! A start would spend as long on reading eight hundred rules and making a program of them as on all its mounts.
//! `prepared.x86_64` holds 64-bit words, the lowest byte first: the bits of the bounding set, the flags, and the
//! instructions. `make generate` writes it; a test compares it with what the compiler makes.

use crate::kernel::cap::CapabilitySet;
use crate::kernel::seccomp::Instruction;
use crate::runtime::plan::Filter;

#[cfg(target_arch = "x86_64")]
const WORDS: &[u8] = include_bytes!("prepared.x86_64");
/// Other machines compile it.
#[cfg(not(target_arch = "x86_64"))]
const WORDS: &[u8] = &[];

/// The filter for a process that can have `bounding` at most, if it was made ahead for that set.
pub(super) fn filter(bounding: CapabilitySet) -> Option<Filter> {
    let (words, _) = WORDS.as_chunks::<8>();
    let mut words = words.iter().map(|word| u64::from_le_bytes(*word));
    if words.next()? != bounding.bits() {
        return None;
    }
    Some(Filter { flags: words.next()?, program: words.map(Instruction::from).collect(), notify: None })
}

/// What the file is to hold.
pub(super) fn words(bounding: CapabilitySet, filter: &Filter) -> Vec<u8> {
    let program = filter.program.iter().map(|instruction| u64::from(*instruction));
    [bounding.bits(), filter.flags].into_iter().chain(program).flat_map(u64::to_le_bytes).collect()
}
