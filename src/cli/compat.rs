//! What rbox says it is compatible with, where scripts ask for podman's versions.

/// The podman whose command line, output and API rbox follows.
pub const PODMAN: &str = "5.8.2";
/// The buildah whose build language rbox follows.
pub const BUILDAH: &str = "1.43.0";
