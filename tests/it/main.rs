//! Integration tests: the built `rbox`, run as an unprivileged user on the real kernel.
//!
//! One module a subject. Every test makes a sealed [`support::TestEnv`] of its own.
//! What a test needs of the host is a requirement: where it is missing the test fails.

#![expect(
    clippy::disallowed_methods,
    reason = "the harness prepares files and environments for the program under test"
)]
#![expect(unreachable_pub, reason = "the support modules are shared by the test modules only")]

mod support;

mod run_basic;
