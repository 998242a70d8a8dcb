//! `rbox load`.

use std::fs::File;
use std::io::IsTerminal as _;
use std::os::fd::AsFd as _;
use std::path::PathBuf;

use crate::cli::error::{CommandError, Result};
use crate::cli::exit::ExitStatus;
use crate::cli::progress::PullProgress;
use crate::cli::ui::Ui;
use crate::engine::Engine;
use crate::events::Event;
use crate::image::Context;
use crate::image::archive::{LoadRequest, load};
use crate::image::download::{download, is_url};

/// Load image(s) from a tar archive
///
/// Loads an image from a locally stored archive (tar file) into container storage.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "rbox load -i image.tar\n  rbox load < image.tar.gz\n  rbox load -i https://example.com/image.tar.gz"
)]
pub struct Args {
    /// Read from specified archive file or URL (default: stdin)
    #[arg(long, short, value_name = "string")]
    input: Option<PathBuf>,
    /// Suppress the output
    #[arg(long, short)]
    quiet: bool,
    /// Pathname of signature policy file
    #[arg(long, value_name = "string", hide = true)]
    signature_policy: Option<PathBuf>,
}

/// Loads every image of the archive and prints its names.
pub fn exec(ui: &mut Ui, engine: &Engine, args: Args) -> Result<ExitStatus> {
    let source = args.input.as_ref().map_or_else(String::new, |path| path.display().to_string());
    let request = match args.input {
        Some(path) if path.to_str().is_some_and(is_url) => {
            LoadRequest::File(download(engine.images()?, &source)?)
        }
        Some(path) => LoadRequest::Path(path),
        None if std::io::stdin().is_terminal() => {
            return Err(CommandError::new(
                "cannot read from terminal, use command-line redirection or the --input flag",
            ));
        }
        None => LoadRequest::File(File::from(std::io::stdin().as_fd().try_clone_to_owned()?)),
    };
    if args.quiet {
        ui.set_quiet(true);
    }
    let images = {
        let mut progress = PullProgress::new(ui);
        let context = Context { policy_file: args.signature_policy.as_deref(), ..engine.images()? };
        load(context, request, &mut progress)?
    };
    let events: Vec<Event> =
        images.iter().map(|image| Event::image("loadfromarchive", &image.id.to_string(), &source)).collect();
    engine.events()?.emit(&events);
    for image in images {
        match image.names.as_slice() {
            [] => ui.data(format_args!("Loaded image: sha256:{}", image.id))?,
            names => names.iter().try_for_each(|name| ui.data(format_args!("Loaded image: {name}")))?,
        }
    }
    Ok(ExitStatus::SUCCESS)
}
