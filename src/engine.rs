//! Opens the handles that commands work with.
