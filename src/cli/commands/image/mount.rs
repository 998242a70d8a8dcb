//! `rbox image mount` and `unmount`: an image's root on a path of the host, for the commands of one `rbox unshare`.

use serde::Serialize;

use crate::cli::args::containers::report_earlier;
use crate::cli::commands::mount::require_unshare;
use crate::cli::error::{CommandError, Result};
use crate::cli::exit::ExitStatus;
use crate::cli::format::{Layout, is_json, print_json};
use crate::cli::ui::Ui;
use crate::engine::Engine;
use crate::store::ImageRecord;

/// Mount an image's root filesystem
///
/// Mounts the root file system of images read-only and prints where, or lists what is mounted. A user's mounts are seen in the session of `rbox unshare` that made them only.
#[derive(Debug, clap::Args)]
#[command(
    override_usage = "[options] [IMAGE...]",
    after_help = "rbox unshare sh -c 'ls $(rbox image mount imgID)'\n  rbox image mount --all"
)]
pub struct Args {
    /// Mount all images
    #[arg(long, short)]
    all: bool,
    /// Print the mounted images in specified format (json)
    #[arg(long, value_name = "string")]
    format: Option<String>,
    images: Vec<String>,
}

#[derive(Debug, Serialize)]
struct Mounted {
    id: String,
    #[serde(rename = "Names")]
    names: Vec<String>,
    #[serde(rename = "Repositories")]
    repositories: Vec<String>,
    mountpoint: String,
}

/// Mounts, or lists mounts.
pub fn exec(ui: &mut Ui, engine: &Engine, args: Args) -> Result<ExitStatus> {
    let Args { all, format, images } = args;
    let format = format.unwrap_or_default();
    if all && !images.is_empty() {
        return Err(CommandError::new(
            "when using the --all switch, you may not pass any image names or IDs",
        ));
    }
    if !format.is_empty() && !is_json(&format) {
        return Err(CommandError::new(format!("unknown --format argument: {format:?}")));
    }
    require_unshare("image mount")?;
    let (store, containers) = (engine.store()?, engine.containers()?);
    let chosen = selected(engine, &images, all || images.is_empty())?;
    let mut found = Vec::new();
    for image in chosen {
        let path = if all || !images.is_empty() {
            Some(containers.mount_image(store, &image.id, &image.mount_layers())?)
        } else {
            containers.mounted_image(&image.id)?
        };
        let Some(path) = path else { continue };
        let repositories: Vec<String> = store.names_of(&image.id)?.into_iter().map(|tag| tag.name).collect();
        found.push(Mounted {
            id: image.id.to_string(),
            names: repositories.clone(),
            repositories,
            mountpoint: path.display().to_string(),
        });
    }
    if !format.is_empty() {
        print_json(ui, &found, Layout::marshal(1))?;
    } else if let ([mounted], [_]) = (found.as_slice(), images.as_slice()) {
        ui.data(&mounted.mountpoint)?;
    } else {
        for Mounted { id, repositories, mountpoint, .. } in found {
            ui.data(format_args!("{}  {mountpoint}", repositories.first().unwrap_or(&id)))?;
        }
    }
    Ok(ExitStatus::SUCCESS)
}

fn selected(engine: &Engine, names: &[String], all: bool) -> Result<Vec<ImageRecord>> {
    let store = engine.store()?;
    if all {
        return Ok(store.images()?);
    }
    names.iter().map(|name| Ok(store.find_image(name)?.record)).collect()
}

/// The other way round.
pub mod unmount {
    use super::{CommandError, Engine, ExitStatus, Result, Ui, report_earlier, require_unshare, selected};

    /// Unmount an image's root filesystem
    ///
    /// Takes off what `rbox image mount` mounted in the same session of `rbox unshare`.
    #[derive(Debug, clap::Args)]
    #[command(
        override_usage = "[options] IMAGE [IMAGE...]",
        after_help = "rbox image unmount imgID\n  rbox image unmount --all"
    )]
    pub struct Args {
        /// Unmount all of the currently mounted images
        #[arg(long, short)]
        all: bool,
        /// Force the complete unmount of the specified mounted images
        #[arg(long, short)]
        force: bool,
        images: Vec<String>,
    }

    /// Unmounts, and prints the ids.
    ///
    /// # Errors
    /// When one is not mounted.
    pub fn exec(ui: &mut Ui, engine: &Engine, args: Args) -> Result<ExitStatus> {
        // One mount is made at most, and taken off as a whole: there is nothing to force.
        let Args { all, force: _, images } = args;
        if images.is_empty() && !all {
            return Err(CommandError::new("image name or ID must be specified"));
        }
        if all && !images.is_empty() {
            return Err(CommandError::new(
                "when using the --all switch, you may not pass any image names or IDs",
            ));
        }
        require_unshare("image unmount")?;
        let containers = engine.containers()?;
        let mut last = None;
        for image in selected(engine, &images, all)? {
            match containers.unmount_image(&image.id) {
                Ok(true) => ui.data(&image.id)?,
                Ok(false) if all => {}
                Ok(false) => {
                    let text = format!("image {} is not mounted", image.id);
                    report_earlier(ui, &mut last, CommandError::new(text));
                }
                Err(error) => report_earlier(ui, &mut last, error.into()),
            }
        }
        last.map_or(Ok(ExitStatus::SUCCESS), Err)
    }
}
