//! `rbox import`.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use crate::cli::commands::image::tag::local_name;
use crate::cli::error::{CommandError, Result};
use crate::cli::exit::ExitStatus;
use crate::cli::ui::Ui;
use crate::container::Time;
use crate::engine::Engine;
use crate::events::Event;
use crate::image::change;
use crate::image::commit::{CommitRequest, commit};
use crate::image::config::RunConfig;
use crate::image::download::{download, is_url};
use crate::image::inflate::Inflated;
use crate::image::naming::give_name;
use crate::kernel;
use crate::store::tar::{Archive, Kind, Limits};

/// Import a tarball to create a filesystem image
///
/// Create a container image from the contents of the specified tarball (.tar, .tar.gz, .tgz, .tar.zst). The path may be a URL. Without a path, or with "-", it comes from standard input.
#[derive(Debug, clap::Args)]
#[command(
    override_usage = "[options] PATH [REFERENCE]",
    after_help = "rbox import ctr.tar example-image\n  cat ctr.tar | rbox -q import --message \"importing the ctr.tar tarball\" - image-imported\n  cat ctr.tar | rbox import -"
)]
pub struct Args {
    /// Set the architecture of the imported image
    #[arg(long, value_name = "string")]
    arch: Option<String>,
    /// Apply the following possible instructions to the created image (default []): CMD | ENTRYPOINT | ENV | EXPOSE | LABEL | ONBUILD | STOPSIGNAL | USER | VOLUME | WORKDIR
    #[arg(long, short, value_name = "stringArray")]
    change: Vec<String>,
    /// Set commit message for imported image
    #[arg(long, short, value_name = "string")]
    message: Option<String>,
    /// Set the OS of the imported image
    #[arg(long, value_name = "string")]
    os: Option<String>,
    /// Suppress output
    #[arg(long, short)]
    quiet: bool,
    /// Set the variant of the imported image
    #[arg(long, value_name = "string")]
    variant: Option<String>,
    path: String,
    reference: Option<String>,
}

/// Makes the image and prints its id.
pub fn exec(ui: &mut Ui, engine: &Engine, args: Args) -> Result<ExitStatus> {
    ui.set_quiet(args.quiet);
    let name = args.reference.as_deref().filter(|name| !name.is_empty()).map(local_name).transpose()?;
    let mut config = RunConfig::default();
    for text in &args.change {
        change::apply(&mut config, text).map_err(|error| CommandError::new(error.to_string()))?;
    }
    let input: Box<dyn Read> = match args.path.as_str() {
        "-" | "" => Box::new(io::stdin().lock()),
        url if is_url(url) => Box::new(download(engine.images()?, url)?),
        path => {
            let path = Path::new(path);
            Box::new(File::open(path).map_err(|e| kernel::Error::path("open", path, e))?)
        }
    };
    let store = engine.store()?;
    let unpack = engine.unpack();
    let limits = Limits { max_entries: unpack.max_entries, max_bytes: unpack.max_bytes };
    let mut archive = Archive::without_digest(Inflated::new(input), limits);
    let layer = store.commit_layer(unpack, |out| {
        while let Some(mut entry) = archive.next_entry()? {
            let mut header = entry.header.clone();
            // Holes are written out: the archive that is kept has none.
            header.sparse = false;
            let content: Option<&mut dyn Read> = (header.kind == Kind::File).then_some(&mut entry as _);
            out.entry(&header, content)?;
        }
        Ok(())
    })?;
    archive.finish().map_err(crate::store::Error::from)?;
    let source = if args.path == "-" { "standard input" } else { &args.path };
    let comment = args.message.unwrap_or_else(|| format!("imported from {source}"));
    let request = CommitRequest::of_layer(layer, Time::now().to_string(), comment);
    let (os, architecture, variant) = request.platform;
    let platform = (args.os.unwrap_or(os), args.arch.unwrap_or(architecture), args.variant.or(variant));
    let image = commit(store, CommitRequest { config, platform, ..request })?;
    if let Some(name) = name
        && let Some(text) = give_name(store, &name.to_string(), &image.id, None)?
    {
        ui.status(text);
    }
    engine.events()?.emit(&[Event::image("import", &image.id.to_string(), source)]);
    ui.data(format_args!("sha256:{}", image.id))?;
    Ok(ExitStatus::SUCCESS)
}
