//! The OCI runtime: from a spec to a running process in its own namespaces.
//!
//! | file | owns |
//! |---|---|
//! | `plan` | the plan: plain data that says everything |
//! | `spec` | OCI runtime spec to plan |
//! | `launch`, `created`, `exec` | the parent's side: clone, id maps, hooks, start, exec |
//! | `streams` | the descriptors that a process gets |
//! | `stage` | the child's side: the steps of `steps`, from the clone to the exec |
//! | `foreign` | other OCI runtimes, driven by their command line |
//! | `network_devices` | network devices that move into a container |
//! | `agent` | who decides system calls for a container |
//! | `cgroup` | cgroup v2 |
//! | `seccomp` | profiles to filters |
//! | `criu` | checkpoint and restore |
//! | `instance` | containers of the OCI command line, which other engines drive |
//! | `files` | small files that the engine puts into the root |
//! | `user` | users and groups by name, from the container's own files |

mod agent;
pub mod cgroup;
mod created;
pub mod criu;
mod error;
mod exec;
pub mod files;
pub mod foreign;
mod hooks;
pub mod instance;
mod launch;
mod maps;
mod network_devices;
pub mod plan;
mod protocol;
pub mod seccomp;
mod spec;
mod stage;
mod steps;
mod streams;
pub mod user;

pub use cgroup::{Cgroup, ExecCgroup};
pub use created::{Created, Running};
pub use error::{Error, HostError, NoController, Result};
pub use exec::{ExecPlan, exec};
pub use foreign::Foreign;
pub use hooks::run_post_stop;
pub use launch::{Host, NoHost, create, create_by, create_detached, run, run_by, start_at};
pub use plan::{Plan, RootSource};
pub use spec::{
    IPC_PARAMETERS, KEEP_GROUPS, MOUNT_CONTEXT_TYPE, SPEC_VERSION, complete_process, exec_processors,
    id_mappings, keeps_groups, process_from_spec,
};
pub use stage::{can_enclose, has_apparmor, is_preparing, mount_root, resume};
pub use streams::{Io, Passed, Streams};
pub use user::UserLookup;

#[cfg(test)]
use spec::tests::plan as spec_for_tests;
