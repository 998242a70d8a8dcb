//! `rbox volume mount` and `volume unmount`: a volume is a directory that is always there, so the one prints its
//! path and the other has nothing to do.

use crate::cli::error::{CommandError, Result};
use crate::cli::exit::ExitStatus;
use crate::cli::ui::Ui;
use crate::engine::Engine;
use crate::userns;
use crate::volume::Backing;

/// Mount volume
///
/// Mount a volume and return the mountpoint
#[derive(Debug, clap::Args)]
#[command(after_help = "rbox unshare rbox volume mount myvol")]
pub struct Args {
    name: String,
}

/// Prints where the volume is.
pub fn exec(ui: &mut Ui, engine: &Engine, args: Args) -> Result<ExitStatus> {
    if !userns::inside() {
        return Err(CommandError::new(
            "cannot run command \"podman volume mount\" in rootless mode, must execute `podman unshare` first",
        ));
    }
    let table = engine.containers()?.volumes();
    let volume = table.find(&args.name)?;
    if let Backing::Tmpfs { .. } = volume.backing() {
        return Err(CommandError::new(format!(
            "volume {} is a tmpfs, which only the containers that use it can see",
            volume.name
        )));
    }
    ui.data(table.content(&volume).display())?;
    Ok(ExitStatus::SUCCESS)
}

/// The other way round.
pub mod unmount {
    use super::{Engine, ExitStatus, Result, Ui};

    /// Unmount a volume
    ///
    /// Unmount a volume
    #[derive(Debug, clap::Args)]
    #[command(after_help = "rbox volume unmount myvol")]
    pub struct Args {
        name: String,
    }

    /// Prints the name of the volume.
    ///
    /// # Errors
    /// When there is no such volume.
    pub fn exec(ui: &mut Ui, engine: &Engine, args: Args) -> Result<ExitStatus> {
        let volume = engine.containers()?.volumes().find(&args.name)?;
        ui.data(volume.name)?;
        Ok(ExitStatus::SUCCESS)
    }
}
