//! The OCI runtime: from a spec to a running process in its own namespaces.
//!
//! | file | owns |
//! |---|---|
//! | `plan` | the plan: plain data that says everything |
//! | `spec` | OCI runtime spec to plan |
//! | `launch` | the parent's side: clone, id maps, hooks, start, exec |

mod error;
mod launch;
pub mod plan;
mod spec;

pub use error::{Error, HostError, Result};
pub use launch::{Created, ExecPlan, Host, Io, NoHost, Running, Streams, create, exec};
pub use plan::{Plan, RootSource};
