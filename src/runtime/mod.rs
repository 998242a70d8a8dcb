//! The OCI runtime.
