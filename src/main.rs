//! The `rbox` executable: everything is in the library.

use std::process::ExitCode;

fn main() -> ExitCode {
    rbox::cli::main()
}
