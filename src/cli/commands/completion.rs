//! `rbox completion`.

use std::path::PathBuf;

use rustix::fs::Mode;

use crate::cli::complete::{Shell, script};
use crate::cli::error::{CommandError, Result};
use crate::cli::exit::ExitStatus;
use crate::cli::ui::Ui;
use crate::engine::Engine;
use crate::kernel::file::{self, Durability};

/// Generate shell autocompletions
///
/// Generate shell autocompletions.
/// Valid arguments are bash, zsh, fish, and powershell.
/// Please refer to the man page to see how you can load these completions.
#[derive(Debug, clap::Args)]
#[command(
    hide = true,
    override_usage = "[options] {bash|zsh|fish|powershell}",
    after_help = "rbox completion bash\n  rbox completion zsh -f _rbox\n  rbox completion fish --no-desc"
)]
pub struct Args {
    /// Output the completion to file rather than stdout
    #[arg(long, short, value_name = "string")]
    file: Option<PathBuf>,
    /// Don't include descriptions in the completion output
    #[arg(long)]
    no_desc: bool,
    /// The shell
    shell: Shell,
}

/// Prints or writes the script.
pub fn exec(ui: &mut Ui, _engine: &Engine, args: Args) -> Result<ExitStatus> {
    let text = script(args.shell, ui.program(), !args.no_desc);
    match args.file {
        None => ui.text(&text)?,
        Some(path) => {
            let dir = path.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or_else(|| ".".as_ref());
            let name = path
                .file_name()
                .ok_or_else(|| CommandError::new(format!("open {}: is a directory", path.display())))?;
            file::write_atomic(dir, name, text.as_bytes(), Mode::from(0o644), Durability::None)?;
        }
    }
    Ok(ExitStatus::SUCCESS)
}
