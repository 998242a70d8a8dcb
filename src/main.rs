//! The `rbox` executable: everything is in the library.

use std::process::ExitCode;

/// musl's own allocator maps and unmaps memory for each group of blocks: two hundred system calls in a short command.
#[global_allocator]
static ALLOCATOR: dlmalloc::GlobalDlmalloc = dlmalloc::GlobalDlmalloc;

fn main() -> ExitCode {
    // Never returns in the process that becomes a container's first one.
    rbox::runtime::resume();
    rbox::cli::main()
}
