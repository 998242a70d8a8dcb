//! Image references, manifests, registries, pull and load.
