//! `rbox internals generate`: man pages and completion scripts, from the same
//! definitions as `--help`.

use std::path::{Path, PathBuf};

use rustix::fs::Mode;

use crate::cli::complete::{Shell, script};
use crate::cli::error::{CommandError, Result};
use crate::cli::exit::ExitStatus;
use crate::cli::manual;
use crate::cli::ui::Ui;
use crate::engine::Engine;
use crate::kernel::file::{self, Durability};

/// Write man pages or completion scripts to a directory
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
    }
    Ok(ExitStatus::SUCCESS)
}

fn write(dir: &Path, name: &str, text: &[u8]) -> Result<()> {
    file::write_atomic(dir, name.as_ref(), text, Mode::from(0o644), Durability::None)
        .map_err(CommandError::from)
}
