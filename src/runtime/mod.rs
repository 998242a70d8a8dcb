//! The OCI runtime: from a spec to a running process in its own namespaces.
//!
//! | file | owns |
//! |---|---|
//! | `plan` | the plan: plain data that says everything |
//! | `spec` | OCI runtime spec to plan |
//! | `launch` | the parent's side: clone, id maps, hooks, start, exec |
//! | `files` | small files that the engine puts into the root |
//! | `user` | users and groups by name, from the container's own files |

mod error;
pub mod files;
mod launch;
pub mod plan;
pub mod seccomp;
mod spec;
pub mod user;

pub use error::{Error, HostError, Result};
pub use launch::{Created, ExecPlan, Host, Io, NoHost, Running, Streams, create, exec};
pub use plan::{Plan, RootSource};
pub use spec::{SPEC_VERSION, process_from_spec};
pub use user::UserLookup;
