//! `rbox image prune`.

use super::list::parse_filters;
use crate::cli::args::containers::report_earlier;
use crate::cli::confirm;
use crate::cli::error::{CommandError, Result};
use crate::cli::exit::ExitStatus;
use crate::cli::ui::Ui;
use crate::config::ErrorKind;
use crate::engine::Engine;
use crate::events::Event;
use crate::image::filter::{Filter, passes};
use crate::image::local;
use crate::store::Partials;

/// Remove unused images
///
/// Removes dangling or unused images from local storage. The filter unused-for=720h takes those of which no container was made or removed, and which were not pulled, for that long.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "rbox image prune\n  rbox image prune --all --filter until=240h\n  rbox image prune --all --filter unused-for=720h"
)]
pub struct Args {
    /// Remove all images not in use by containers, not just dangling ones
    #[arg(long, short)]
    all: bool,
    /// Remove persistent build cache created by --mount=type=cache
    #[arg(long)]
    build_cache: bool,
    /// Remove images even when they are used by external containers (e.g., by build containers)
    #[arg(long)]
    external: bool,
    /// Provide filter values (e.g. 'label=<key>=<value>')
    #[arg(long, value_name = "stringArray")]
    filter: Vec<String>,
    /// Do not prompt for confirmation
    #[arg(long, short)]
    force: bool,
}

/// Removes what no container uses and prints the ids.
pub fn exec(ui: &mut Ui, engine: &Engine, args: Args) -> Result<ExitStatus> {
    if args.build_cache {
        return Err(CommandError::new("not supported yet: --build-cache"));
    }
    let store = engine.store()?;
    // A wrong filter is told before anything is asked.
    let filters = parse_filters(&args.filter, store)?;
    let warning = match args.all {
        true => {
            "WARNING! This command removes all images without at least one container associated with them."
        }
        false => "WARNING! This command removes all dangling images.",
    };
    if !args.force && !confirm::ask(ui, warning)? {
        return Ok(ExitStatus::SUCCESS);
    }
    let (removed, last) = prune(ui, engine, args.all, &filters)?;
    removed.iter().try_for_each(|id| ui.data(id))?;
    last.map_or(Ok(ExitStatus::SUCCESS), Err)
}

/// Removes images; what one was based on may be left without a use then, and goes too.
fn prune(
    ui: &mut Ui,
    engine: &Engine,
    all: bool,
    filters: &[Filter],
) -> Result<(Vec<String>, Option<CommandError>)> {
    let store = engine.store()?;
    let (mut removed, mut last) = (Vec::new(), None);
    loop {
        let users = super::users(engine)?;
        let before = removed.len();
        for image in local::list(store)? {
            let id = &image.record.id;
            // A list of images has a name as long as somebody wants it.
            let is_wanted = all && (!image.record.list || image.tags.is_empty());
            let is_unused = !users.contains_key(id.as_str()) && !image.has_children;
            if !is_unused || !(is_wanted || image.is_dangling()) || !passes(&image, filters, &users, store) {
                continue;
            }
            // Asked again while nobody can begin to use it; without an answer nothing is removed.
            let asked = |id: &crate::store::ImageId| {
                super::users(engine).map_or_else(
                    |_| vec!["?".to_owned()],
                    |users| users.get(id.as_str()).cloned().unwrap_or_default(),
                )
            };
            match store.remove_image(id, None, asked) {
                Ok(_) => {
                    engine.events()?.emit(&[Event::image("remove", &id.to_string(), &id.to_string())]);
                    removed.push(id.to_string());
                }
                // Somebody was faster: he uses it, or has removed it.
                Err(error) if matches!(error.kind(), ErrorKind::Conflict | ErrorKind::NotFound) => {}
                Err(error) => report_earlier(ui, &mut last, error.into()),
            }
        }
        if removed.len() == before {
            break;
        }
    }
    store.gc(Partials::Keep)?;
    Ok((removed, last))
}
