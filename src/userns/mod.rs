//! The user's id maps and the user namespace that rbox works in.
