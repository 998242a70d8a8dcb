//! Integration tests: the built `rbox`, run as an unprivileged user on the real kernel.
//!
//! One module a subject. Every test makes a sealed [`support::TestEnv`] of its own.
//! What a test needs of the host is a requirement: where it is missing the test fails.

#![expect(
    clippy::disallowed_methods,
    clippy::unwrap_used,
    reason = "the harness prepares files and environments for the program under test"
)]
#![expect(unreachable_pub, reason = "the support modules are shared by the test modules only")]

mod support;

mod artifact_mounts;
mod artifacts;
mod attacks;
mod chunked;
mod command_line;
mod commit;
mod configuration;
mod copy;
mod damaged;
mod devices;
mod disk_usage;
mod doctor;
mod encryption;
mod events;
mod faults;
mod fetched_again;
mod health;
mod host_conditions;
mod hostile_chunked;
mod hostile_engine;
mod hostile_images;
mod hostile_registry;
mod hostile_roots;
mod housekeeping;
mod image_files;
mod image_scp;
mod image_upkeep;
mod lifecycle;
mod limits;
mod login;
mod logs;
mod manifest_lists;
mod many;
mod migrate;
mod oci;
mod output;
mod power_and_clock;
mod process_list;
mod pull;
mod push;
mod registries_conf;
mod registry_faults;
mod run_basic;
mod run_confinement;
mod run_files;
mod run_fuse;
mod run_identity;
mod run_namespaces;
mod run_network;
mod run_process;
mod run_runtime;
mod security_profile;
mod signatures;
mod stats;
mod store_check;
mod transports;
mod unshare;
mod update;
mod user_namespace;
mod volumes;
