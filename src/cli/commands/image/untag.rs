//! `rbox untag`.

use super::tag::local_name;
use crate::cli::error::CommandError;
use crate::cli::exit::ExitStatus;
use crate::cli::ui::Ui;
use crate::engine::Engine;
use crate::events::Event;

/// Remove a name from a local image
///
/// Removes one or more names from a locally-stored image.
#[derive(Debug, clap::Args)]
#[command(
    override_usage = "IMAGE [IMAGE...]",
    after_help = "rbox untag 0e3bbc2\n  rbox untag imageID:latest otherImageName:latest\n  \
                  rbox untag httpd myregistryhost:5000/fedora/httpd:v2"
)]
pub struct Args {
    image: String,
    names: Vec<String>,
}

/// Takes names from an image; all of them where none is given.
pub fn exec(_ui: &mut Ui, engine: &Engine, args: Args) -> Result<ExitStatus, CommandError> {
    let store = engine.store()?;
    let found = store.find_any(&args.image)?;
    let tags = store.names_of(&found.record.id)?;
    let event = |name: &str| Event::image("untag", &found.record.id.to_string(), name);
    if args.names.is_empty() {
        for tag in &tags {
            store.untag(&tag.name)?;
            engine.events()?.emit(&[event(&tag.name)]);
        }
        return Ok(ExitStatus::SUCCESS);
    }
    for name in args.names {
        let digest = name.rsplit_once('@').map(|(_, digest)| digest);
        if digest.is_some() && digest == found.record.manifest.as_ref().map(ToString::to_string).as_deref() {
            // A name with a digest follows from the image and is not kept.
            continue;
        }
        let full = local_name(&name)?.to_string();
        // A short name may also stand for one that was pulled.
        let resolved = store.find_any(&name).ok().filter(|other| other.record.id == found.record.id);
        let known = [Some(full.clone()), resolved.and_then(|other| other.name)];
        let Some(name) = known.into_iter().flatten().find(|name| tags.iter().any(|tag| tag.name == *name))
        else {
            return Err(CommandError::new(format!("{full}: tag not known")));
        };
        store.untag(&name)?;
        engine.events()?.emit(&[event(&name)]);
    }
    Ok(ExitStatus::SUCCESS)
}
