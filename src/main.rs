//! The `rbox` executable: everything is in the library.

use std::process::ExitCode;

fn main() -> ExitCode {
    // Never returns in the process that becomes a container's first one.
    rbox::runtime::resume();
    rbox::cli::main()
}
