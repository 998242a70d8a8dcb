//! rbox: a daemonless, rootless container tool.
//!
//! # Map of modules
//!
//! Imports point down only; `tests/style.rs` holds that.
//!
//! | module | owns |
//! |---|---|
//! | [`cli`] | arguments, one file a command, terminal output, `--format`, exit codes |
//! | [`doctor`] | what rbox needs of the host, looked at piece by piece |
//! | [`engine`] | opens the handles (`config`, `store`, containers) and nothing else |
//! | [`container`] | container records, state, OCI spec generation, every lifecycle verb |
//! | [`image`] | references, manifests, registries, pull, load |
//! | [`monitor`] | the one process that stays beside a container: reaping, terminal, logs, attach |
//! | [`network`] | network drivers (pasta, none, host, joined), published ports, hosts and resolv.conf |
//! | [`events`] | the log of what happened, and reading it |
//! | [`volume`] | `-v`, `--mount`, `--tmpfs` parsed to typed mounts; named volumes |
//! | [`runtime`] | the OCI runtime: plan, clone, child steps, mounts, cgroups, seccomp, exec |
//! | [`userns`] | the user's id maps and how a process enters the user namespace |
//! | [`store`] | blobs, layers, images, tags, locks, garbage collection |
//! | [`config`] | environment, XDG paths, containers.conf, /etc/subuid |
//! | [`kernel`] | every system call wrapper and all `unsafe` |

#![deny(unsafe_code)]

pub mod cli;
pub mod config;
pub mod container;
pub mod doctor;
pub mod engine;
pub mod events;
pub mod image;
#[expect(unsafe_code, reason = "the kernel layer is the one place for unsafe code")]
pub mod kernel;
pub mod monitor;
pub mod network;
pub mod runtime;
pub mod store;
pub mod userns;
pub mod volume;
