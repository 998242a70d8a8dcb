//! The `rbox` executable: everything is in the library.

use std::process::ExitCode;

#[global_allocator]
static ALLOCATOR: rbox::kernel::memory::Allocator = rbox::kernel::memory::Allocator::new();

fn main() -> ExitCode {
    // Never returns in the process that becomes a container's first one.
    rbox::runtime::resume();
    rbox::cli::main()
}
