//! Mount specifications and named volumes.
