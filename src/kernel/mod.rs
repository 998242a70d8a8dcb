//! System call wrappers, and all `unsafe` code of the crate.
//!
//! Nothing here knows what a container or an image is. Each wrapper makes one
//! system call and fails with an error that carries its operands.

pub mod bpf;
pub mod cap;
pub mod cred;
pub mod descriptor;
pub mod disk;
pub mod errno;
pub mod error;
pub mod file;
pub mod idmap;
pub mod interface;
pub mod journal;
pub mod keyring;
pub mod landlock;
pub mod lines;
pub mod memory;
pub mod mount;
pub mod netlink;
pub mod ns;
pub mod numa;
pub mod path;
pub mod poll;
pub mod prctl;
pub mod process;
pub mod remove;
pub mod rlimit;
pub mod schedule;
#[cfg(test)]
pub(crate) mod scratch;
pub mod seccomp;
pub mod selinux;
pub mod signal;
pub mod socket;
pub mod tty;
pub mod walk;
pub mod watch;
pub mod xattr;

pub use error::{Error, Result};
