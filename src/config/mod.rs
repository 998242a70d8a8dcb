//! Environment, XDG paths, containers.conf, sub-id ranges.
