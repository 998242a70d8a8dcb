//! Image references, manifests, registries, pull and load.

pub mod archive;
pub mod auth;
pub mod change;
pub mod check;
pub mod commit;
pub mod compress;
pub mod config;
pub mod decompress;
pub mod download;
pub mod error;
pub mod filter;
pub mod inflate;
pub mod list;
pub mod local;
pub mod manifest;
pub(crate) mod outgoing;
pub(crate) mod place;
pub mod platform;
pub mod policy;
pub mod progress;
pub mod pull;
pub mod push;
pub mod reference;
pub mod registries;
pub mod registry;
pub mod request;
pub mod search;
pub mod transport;

pub use config::ImageConfig;
pub use error::{Error, Result};
pub use manifest::{Descriptor, Document, Index, Manifest, ManifestError};
pub use platform::Platform;
pub use progress::{Event, Progress};
pub use pull::{Context, pull};
pub use reference::{Reference, ReferenceError};
pub use request::{Credentials, PullPolicy, PullPolicyError, PullRequest, RegistryOptions};
