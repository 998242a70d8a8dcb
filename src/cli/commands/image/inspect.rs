//! `rbox image inspect`.

use crate::cli::args::containers::report_earlier;
use crate::cli::error::CommandError;
use crate::cli::exit::ExitStatus;
use crate::cli::format::{self, Value};
use crate::cli::ui::Ui;
use crate::engine::Engine;
use crate::image::Error;
use crate::image::local::{Inspection, inspect};

/// Display the configuration of an image
///
/// Displays the low-level information of an image identified by name or ID.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "rbox image inspect alpine\n  rbox image inspect --format \"imageId: {{.Id}} size: {{.Size}}\" alpine"
)]
pub struct Args {
    /// Format the output to a Go template or json
    #[arg(long, short, value_name = "string", default_value = "json")]
    format: String,
    #[arg(required = true)]
    image: Vec<String>,
}

/// Prints everything about each image.
pub fn exec(ui: &mut Ui, engine: &Engine, args: Args) -> Result<ExitStatus, CommandError> {
    let mut found = Vec::new();
    let mut last = None;
    for name in &args.image {
        match find(engine, name) {
            Ok(inspection) => found.push(inspection),
            Err(error) => report_earlier(ui, &mut last, error),
        }
    }
    format::objects(ui, "inspect", &found, Some(&args.format))?;
    last.map_or(Ok(ExitStatus::SUCCESS), Err)
}

/// What templates can name, for completion: the fields of any image there is.
pub(in crate::cli) fn fields(engine: &Engine) -> Option<Value> {
    let image = engine.store().ok()?.images().ok()?.into_iter().next()?;
    Some(Value::of(&find(engine, image.id.as_str()).ok()?))
}

/// What is known about the image of a name.
pub(in crate::cli) fn find(engine: &Engine, name: &str) -> Result<Inspection, CommandError> {
    let store = engine.store()?;
    let found = store.find_image(name).map_err(Error::from)?;
    Ok(inspect(store, found.record)?)
}
