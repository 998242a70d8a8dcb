//! `rbox save`.

use std::fs::File;
use std::os::fd::AsFd as _;
use std::path::PathBuf;

use super::tag::local_name;
use crate::cli::error::{CommandError, Result};
use crate::cli::exit::ExitStatus;
use crate::cli::progress::PullProgress;
use crate::cli::ui::Ui;
use crate::engine::Engine;
use crate::events::Event;
use crate::image::archive::{SaveFormat, SaveImage, SaveLayers, SaveRequest, SaveTarget, save};
use crate::image::compress::Settings;
use crate::image::encryption::EncryptionKeys;
use crate::image::policy::Policy;
use crate::image::{Error, Reference};
use crate::store::Store;

/// Save image(s) to an archive
///
/// Save an image to docker-archive or oci-archive on the local machine. Default is docker-archive.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "rbox save --quiet -o myimage.tar imageID\n  rbox save --format docker-dir -o ubuntu-dir ubuntu\n  \
                  rbox save > alpine-all.tar alpine:latest"
)]
pub struct Args {
    /// Compress tarball image layers when saving to a directory using the 'dir' transport
    #[arg(long)]
    compress: bool,
    /// Save image to oci-archive, oci-dir (directory with oci manifest type), docker-archive, docker-dir (directory with v2s2 manifest type)
    #[arg(long, value_name = "string", default_value = "docker-archive")]
    format: String,
    /// Interpret additional arguments as images not tags and create a multi-image-archive (only for docker-archive)
    #[arg(long, short)]
    multi_image_archive: bool,
    /// Write to a specified file (default: stdout, which must be redirected)
    #[arg(long, short, value_name = "string")]
    output: Option<PathBuf>,
    /// Suppress the output
    #[arg(long, short)]
    quiet: bool,
    /// Path to a signature-policy file
    #[arg(long, value_name = "string", hide = true)]
    signature_policy: Option<PathBuf>,
    /// Accept uncompressed layers when copying OCI images
    #[arg(long)]
    uncompressed: bool,
    #[arg(required = true)]
    image: Vec<String>,
}

/// Writes the images.
pub fn exec(ui: &mut Ui, engine: &Engine, args: Args) -> Result<ExitStatus> {
    if args.compress && args.format != "docker-dir" {
        return Err(CommandError::new("--compress can only be set when --format is 'docker-dir'"));
    }
    let format: SaveFormat = args.format.parse().map_err(CommandError::new)?;
    let store = engine.store()?;
    let images = if args.multi_image_archive {
        several(store, &args.image, format)?
    } else {
        vec![one(store, &args.image)?]
    };
    if let Some(policy) = &args.signature_policy {
        let policy = Policy::given(policy).map_err(Error::from)?;
        args.image.iter().try_for_each(|name| policy.check_stored(name)).map_err(Error::from)?;
    }
    let output = args.output.as_ref().map_or_else(String::new, |path| path.display().to_string());
    let events: Vec<Event> =
        images.iter().map(|image| Event::image("save", &image.record.id.to_string(), &output)).collect();
    let target = match args.output {
        Some(path) => SaveTarget::Path(path),
        None if ui.stdout_is_terminal() => {
            return Err(CommandError::new("refusing to save to terminal. Use -o flag or redirect"));
        }
        None => {
            ui.set_quiet(true);
            SaveTarget::File(File::from(std::io::stdout().as_fd().try_clone_to_owned()?))
        }
    };
    if args.quiet {
        ui.set_quiet(true);
    }
    ui.flush()?;
    let mut progress = PullProgress::new(ui);
    let layers = match (args.uncompressed, args.compress) {
        (true, _) => SaveLayers::Plain,
        (false, true) => SaveLayers::Compressed(Settings::DEFAULT, false),
        (false, false) => SaveLayers::Usual,
    };
    let encryption = EncryptionKeys::default();
    save(engine.images()?, SaveRequest { images, format, layers, encryption, target }, &mut progress)?;
    engine.events()?.emit(&events);
    Ok(ExitStatus::SUCCESS)
}

/// The first argument is the image, the others are more names for it.
fn one(store: &Store, arguments: &[String]) -> Result<SaveImage> {
    let found = store.find_image(&arguments[0])?;
    let mut names: Vec<String> = found.name.as_deref().and_then(tagged).into_iter().collect();
    for name in &arguments[1..] {
        names.push(local_name(name)?.to_string());
    }
    Ok(SaveImage { record: found.record, names })
}

/// Each argument is an image; two names of one image are saved as one.
fn several(store: &Store, arguments: &[String], format: SaveFormat) -> Result<Vec<SaveImage>> {
    let mut images: Vec<SaveImage> = Vec::new();
    for argument in arguments {
        let found = store.find_image(argument)?;
        let name = found.name.as_deref().and_then(tagged);
        match images.iter_mut().find(|image| image.record.id == found.record.id) {
            Some(known) => known.names.extend(name),
            None => images.push(SaveImage { record: found.record, names: name.into_iter().collect() }),
        }
    }
    if images.len() > 1 && format != SaveFormat::DockerArchive {
        return Err(CommandError::new("unsupported format for saving multiple images (only docker-archive)"));
    }
    Ok(images)
}

/// A name with a tag; one with a digest cannot be in an archive.
fn tagged(name: &str) -> Option<String> {
    let reference = Reference::parse(name).ok()?;
    (reference.tag().is_some() && reference.digest().is_none()).then(|| reference.to_string())
}
