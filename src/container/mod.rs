//! Containers: their records, their state, and every verb of their life.
//!
//! # On disk
//!
//! ```text
//! DATA/names/NAME                 the id; created exclusively, valid only while the record carries the name
//! DATA/containers/ID/lock         flock: taken for every transition, never by a reader
//! DATA/containers/ID/request.json what the user asked for, whole
//! DATA/containers/ID/spec.json    the OCI runtime spec, written before the record
//! DATA/containers/ID/record.json  the container exists from the moment this file does
//! DATA/containers/ID/state.json   what the monitor last said; judged against the kernel at each reading
//! DATA/containers/ID/exec/EXEC/exec_pid  a process of `exec` that runs
//! DATA/containers/ID/stop         present once a user asked for the stop: no restart after that
//! RUN/containers/ID/attach.sock   the monitor's socket
//! ```
//!
//! State lives beside the record and not in the run directory: that one may be wiped under
//! a running container (logout cleaners), and the boot id in the state makes it stale by itself.

pub mod brief;
pub mod cgroup;
pub mod change;
pub mod check;
pub mod checkpoint;
pub mod create;
pub mod damaged;
pub mod error;
pub mod events;
pub mod exec;
pub mod files;
pub mod filter;
mod fuse;
pub mod health;
pub mod id;
pub mod inspect;
pub mod leftovers;
pub mod list;
pub mod logs;
pub mod lookup;
pub mod names;
pub mod network;
pub mod notify;
mod reclaim;
pub mod record;
pub mod remove;
pub mod reserve;
mod root;
pub mod start;
pub mod state;
pub mod stats;
pub mod stop;
mod survey;
pub mod time;
pub mod top;
pub mod update;
pub mod views;
mod volumes;
pub mod wait;

pub use error::Error;
pub use id::ContainerId;
pub use lookup::Containers;
pub use record::Record;
pub use reserve::Reservation;
pub use state::{State, Status};
pub use time::Time;

/// Shorthand for results of this folder.
pub type Result<T, E = Error> = std::result::Result<T, E>;
