//! `rbox tag`.

use crate::cli::error::CommandError;
use crate::cli::exit::ExitStatus;
use crate::cli::ui::Ui;
use crate::engine::Engine;
use crate::events::Event;
use crate::image::Reference;

/// Add an additional name to a local image
///
/// Adds one or more additional names to locally-stored image.
#[derive(Debug, clap::Args)]
#[command(after_help = "rbox tag 0e3bbc2 fedora:latest\n  rbox tag imageID:latest myNewImage:newTag\n  \
                  rbox tag httpd myregistryhost:5000/fedora/httpd:v2")]
pub struct Args {
    image: String,
    #[arg(required = true)]
    target_name: Vec<String>,
}

/// Gives an image more names.
pub fn exec(_ui: &mut Ui, engine: &Engine, args: Args) -> Result<ExitStatus, CommandError> {
    let store = engine.store()?;
    let found = store.find_any(&args.image)?;
    for name in args.target_name {
        let reference = local_name(&name)?;
        if reference.digest().is_some() {
            return Err(CommandError::new(format!("{name}: tag by digest not supported")));
        }
        // What the image was pulled as, it still is under another name.
        let manifest = found.record.manifest.clone();
        store.tag(&reference.to_string(), &found.record.id, manifest)?;
        engine.events()?.emit(&[Event::image("tag", &found.record.id.to_string(), &name)]);
    }
    Ok(ExitStatus::SUCCESS)
}

/// The full name that a user's name for a local image stands for.
pub(in crate::cli) fn local_name(name: &str) -> Result<Reference, CommandError> {
    if name.starts_with("sha256:") {
        return Err(CommandError::new(format!("{name}: tag by digest not supported")));
    }
    Reference::parse_local(name)
        .map(Reference::with_default_tag)
        .map_err(|error| CommandError::new(format!("normalizing name {name:?}: {error}")))
}
