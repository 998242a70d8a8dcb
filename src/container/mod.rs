//! Container records, state, OCI spec generation and lifecycle verbs.

pub mod create;
