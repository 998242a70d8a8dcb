//! `rbox internals generate`: man pages and completion scripts, from the same
//! definitions as `--help`, and the seccomp filter that is compiled ahead.

use std::path::{Path, PathBuf};

use rustix::fs::Mode;

use crate::cli::complete::{Shell, script};
use crate::cli::error::{CommandError, Result};
use crate::cli::exit::ExitStatus;
use crate::cli::manual;
use crate::cli::ui::Ui;
use crate::config::containers::DEFAULT_CAPABILITIES;
use crate::engine::Engine;
use crate::kernel::cap::{Capability, CapabilitySet};
use crate::kernel::file::{self, Durability};
use crate::runtime::seccomp;

/// Write man pages, completion scripts or the default seccomp filter to a directory
#[derive(Debug, clap::Args)]
pub struct Args {
    /// What to write
    what: What,
    /// An existing directory
    dir: PathBuf,
}

#[derive(Debug, Clone, Copy, clap::ValueEnum)]
enum What {
    Man,
    Completions,
    Seccomp,
}

/// The program's name in generated files.
const PROGRAM: &str = "rbox";

/// Writes the files.
pub fn exec(_ui: &mut Ui, _engine: &Engine, args: Args) -> Result<ExitStatus> {
    let Args { what, dir } = args;
    match what {
        What::Man => {
            for page in manual::pages(PROGRAM) {
                write(&dir, &page.name, page.text.as_bytes())?;
            }
        }
        What::Completions => {
            for shell in Shell::ALL {
                write(&dir, &shell.file_name(PROGRAM), script(shell, PROGRAM, true).as_bytes())?;
            }
        }
        What::Seccomp => {
            let name = format!("prepared.{}", std::env::consts::ARCH);
            write(&dir, &name, &seccomp::prepare(default_capabilities())?)?;
        }
    }
    Ok(ExitStatus::SUCCESS)
}

fn default_capabilities() -> CapabilitySet {
    DEFAULT_CAPABILITIES.iter().filter_map(|name| Capability::from_name(name)).collect()
}

fn write(dir: &Path, name: &str, text: &[u8]) -> Result<()> {
    file::write_atomic(dir, name.as_ref(), text, Mode::from(0o644), Durability::None)
        .map_err(CommandError::from)
}

#[cfg(test)]
#[cfg(target_arch = "x86_64")]
mod tests {
    use super::*;

    #[test]
    fn the_filter_made_ahead_is_what_the_compiler_makes() {
        let written = include_bytes!("../../../runtime/seccomp/prepared.x86_64");
        assert!(seccomp::prepare(default_capabilities()).unwrap() == written, "run `make generate`");
    }
}
