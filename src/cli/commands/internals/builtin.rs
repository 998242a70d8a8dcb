//! `rbox internals builtin`: makes the image `builtin:hello`.

use crate::cli::error::{CommandError, Result};
use crate::cli::exit::ExitStatus;
use crate::cli::ui::Ui;
use crate::engine::Engine;

/// Make the image builtin:hello
///
/// Makes the image of this program, if it is not there, and prints its id.
#[derive(Debug, clap::Args)]
pub struct Args {}

/// Makes the image.
///
/// # Errors
/// When the store cannot be written.
pub fn exec(ui: &mut Ui, engine: &Engine, _args: Args) -> Result<ExitStatus> {
    let program = std::env::current_exe()
        .map_err(|error| CommandError::new(format!("cannot find the running program: {error}")))?;
    let containers = engine.containers()?;
    let users = |image: &crate::store::ImageId| {
        let ids = containers.ids().unwrap_or_default();
        let of_image = |id: &crate::container::ContainerId| {
            // A damaged record may be of this image: it keeps it.
            containers
                .record(id)
                .map_or(true, |record| record.is_some_and(|r| r.root.image_id == image.as_str()))
        };
        ids.iter().filter(|id| of_image(id)).map(ToString::to_string).collect()
    };
    let record = engine.store()?.builtin_image(&program, engine.unpack(), users)?;
    ui.data(record.id)?;
    Ok(ExitStatus::SUCCESS)
}
