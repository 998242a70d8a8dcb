//! Lays the functions that common commands reach side by side, in release builds: see packaging/order/record.

#![expect(clippy::disallowed_methods, reason = "cargo talks to a build script by its environment")]

fn main() {
    const SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/packaging/order/hot.ld");
    println!("cargo::rerun-if-changed={SCRIPT}");
    if std::env::var("PROFILE").is_ok_and(|profile| profile == "release") {
        println!("cargo::rustc-link-arg-bin=rbox=-Wl,-T,{SCRIPT}");
    }
}
