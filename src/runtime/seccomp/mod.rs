//! System call filters: from profiles and specs to BPF programs.
//!
//! | file | owns |
//! |---|---|
//! | `profile` | profiles of Docker's schema; the built-in one is `default.json` |
//! | `rules` | what is to happen to each call, by number |
//! | `bpf` | the program: a binary tree over ranges of numbers |
//! | `table` | names and numbers, from `syscalls.txt` |

mod bpf;
mod profile;
mod rules;
mod table;

use oci_spec::runtime::LinuxSeccomp;

pub use profile::{Profile, default_profile};
pub use table::Abi;

use super::error::Result;
use super::plan::Filter;

/// Compiles the `linux.seccomp` section of a spec.
///
/// # Errors
/// When it asks for an action or a system call ABI that rbox cannot filter.
pub fn compile_spec(spec: &LinuxSeccomp) -> Result<Filter> {
    let rules = rules::Rules::from_spec(spec)?;
    Ok(Filter { program: bpf::compile(&rules)?, flags: rules.flags })
}

#[cfg(test)]
mod tests;
