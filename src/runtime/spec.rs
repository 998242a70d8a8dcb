//! From the OCI runtime spec to a [`Plan`]: every default is applied and every
//! value checked here, before anything is made.

use std::path::Path;

use oci_spec::runtime::Spec;

use super::error::{Error, Result};
use super::plan::{Plan, RootSource};

impl Plan {
    /// Makes the plan of `spec`, whose relative paths are relative to `bundle`.
    /// `root` replaces the spec's own root directory, if given.
    ///
    /// # Errors
    /// When the spec is wrong, or asks for what rbox cannot do.
    pub fn from_spec(spec: &Spec, bundle: &Path, root: Option<RootSource>) -> Result<Self> {
        let _ = (spec, bundle, root);
        Err(Error::unsupported("runtime specs"))
    }
}
