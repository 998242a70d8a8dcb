//! Pull: from a name to an image in the store.
//!
//! The manifest decides the config, the config the layers; each is checked against the digest that named it before it
//! is read. Layers come in parallel ([`network`]). The image's record and name are written last: before that, an
//! interrupted pull has left nothing that looks like an image.

pub(crate) mod layer;
mod network;
mod pieces;
pub(in crate::image) mod pipe;
mod policy;
mod registry;
mod resolve;
pub(crate) mod sealed;
pub(crate) mod write;

pub(in crate::image) use policy::again;
pub use policy::pull;

use std::path::Path;

use crate::config::{Config, Env, Paths};
use crate::image::policy::{Policy, PolicyError};
use crate::store::{Store, UnpackOptions};

/// What every operation on images works with.
#[derive(Debug, Clone, Copy)]
pub struct Context<'e> {
    /// The store; writing to it needs the user's namespace.
    pub store: &'e Store,
    /// containers.conf.
    pub config: &'e Config,
    /// The environment.
    pub env: &'e Env,
    /// Directories.
    pub paths: &'e Paths,
    /// How layers are unpacked.
    pub unpack: &'e UnpackOptions,
    /// `--signature-policy`: the policy.json that counts instead of the user's or the system's.
    pub policy_file: Option<&'e Path>,
}

impl Context<'_> {
    /// Which images may be brought here.
    ///
    /// # Errors
    /// When policy.json cannot be understood.
    pub(crate) fn policy(&self) -> Result<Policy, PolicyError> {
        match self.policy_file {
            Some(path) => Policy::given(path),
            None => Policy::load(self.paths),
        }
    }

    /// How many layers are brought at the same time.
    pub(crate) fn parallel(&self) -> usize {
        match self.config.engine.image_parallel_copies {
            0 => 6,
            count => usize::try_from(count).unwrap_or(6).min(64),
        }
    }
}
