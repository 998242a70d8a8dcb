//! System call filters: from profiles and specs to BPF programs.
//!
//! | file | owns |
//! |---|---|
//! | `profile` | profiles of Docker's schema; the built-in one is `default.json` |
//! | `rules` | what is to happen to each call, by number |
//! | `prepared` | the program of the built-in profile, made ahead |
//! | `notify` | the part of the rules that another process decides |
//! | `bpf` | the program: a binary tree over ranges of numbers |
//! | `table` | names and numbers, from `syscalls.txt` |

mod bpf;
mod notify;
mod prepared;
mod profile;
mod rules;
mod table;

use oci_spec::runtime::{LinuxSeccomp, LinuxSyscall};

pub use profile::{Profile, default_profile};
pub use table::Abi;

use super::error::{Error, Result};
use super::plan::Filter;
use crate::kernel::cap::CapabilitySet;

/// Compiles the `linux.seccomp` section of a spec.
///
/// # Errors
/// When it asks for an action or a system call ABI that rbox cannot filter.
pub fn compile_spec(spec: &LinuxSeccomp) -> Result<Filter> {
    let mut rules = rules::Rules::from_spec(spec)?;
    let notify = notify::notify(spec, &mut rules)?.map(Box::new);
    Ok(Filter { program: bpf::compile(&rules)?, flags: rules.flags, notify })
}

/// As [`compile_spec`], but names of calls that no ABI has are errors instead of calls of other kernels.
///
/// # Errors
/// As [`compile_spec`], and for such names.
pub fn compile_strictly(spec: &LinuxSeccomp) -> Result<Filter> {
    let mut names = spec.syscalls().iter().flatten().flat_map(LinuxSyscall::names);
    if let Some(name) =
        names.find(|name| ![Abi::X86_64, Abi::X86, Abi::Aarch64].iter().any(|abi| abi.number(name).is_some()))
    {
        return Err(Error::invalid("seccomp", format!("`{}` is no system call", name.escape_debug())));
    }
    compile_spec(spec)
}

/// The filter of the built-in profile, for a process that can have `bounding` at most.
///
/// # Errors
/// None that a test would not show.
pub fn default_filter(bounding: CapabilitySet) -> Result<Filter> {
    prepared::filter(bounding).map_or_else(|| compile_default(bounding), Ok)
}

/// The bytes of the filter that is made ahead for `bounding`.
///
/// # Errors
/// None that a test would not show.
pub fn prepare(bounding: CapabilitySet) -> Result<Vec<u8>> {
    Ok(prepared::words(bounding, &compile_default(bounding)?))
}

fn compile_default(bounding: CapabilitySet) -> Result<Filter> {
    compile_spec(&default_profile().resolve(bounding))
}

#[cfg(test)]
mod tests;
