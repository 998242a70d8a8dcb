//! `rbox manifest create|add|annotate|remove|rm`.

use std::path::PathBuf;

use super::{AskArgs, annotations, find};
use crate::cli::args::registry::credentials;
use crate::cli::commands::image::tag::local_name;
use crate::cli::error::{CommandError, Result};
use crate::cli::exit::ExitStatus;
use crate::cli::ui::Ui;
use crate::engine::Engine;
use crate::image::attach::{AttachRequest, attach};
use crate::image::list::{self, Overrides};
use crate::image::registries::Registries;
use crate::image::transport::Transport;
use crate::image::{Error, RegistryOptions};
use crate::kernel::file::Flock;
use crate::store::{self, Digest, ImageRecord};

/// What an entry says about itself.
#[derive(Debug, Clone, Default, clap::Args)]
pub struct EntryArgs {
    /// set an annotation for the specified image
    #[arg(long, value_name = "annotation")]
    annotation: Vec<String>,
    /// override the architecture of the specified image
    #[arg(long, value_name = "architecture")]
    arch: Option<String>,
    /// override the features of the specified image
    #[arg(long, value_name = "features", value_delimiter = ',')]
    features: Vec<String>,
    /// override the OS of the specified image
    #[arg(long, value_name = "OS")]
    os: Option<String>,
    /// override the OS features of the specified image
    #[arg(long, value_name = "features", value_delimiter = ',')]
    os_features: Vec<String>,
    /// override the OS version of the specified image
    #[arg(long, value_name = "version")]
    os_version: Option<String>,
    /// override the Variant of the specified image
    #[arg(long, value_name = "Variant")]
    variant: Option<String>,
}

impl EntryArgs {
    fn into_overrides(self) -> Result<Overrides> {
        let given = |text: Option<String>| text.filter(|text| !text.is_empty());
        Ok(Overrides {
            annotations: annotations(&self.annotation)?,
            architecture: given(self.arch),
            os: given(self.os),
            os_version: given(self.os_version),
            os_features: self.os_features,
            variant: given(self.variant),
            features: self.features,
        })
    }
}

/// Files instead of images.
#[derive(Debug, Clone, Default, clap::Args)]
pub struct ArtifactArgs {
    /// add all arguments as artifact files rather than as images
    #[arg(long)]
    artifact: bool,
    /// artifact configuration file
    #[arg(long, value_name = "string")]
    artifact_config: Option<String>,
    /// artifact configuration media type
    #[arg(long, value_name = "string")]
    artifact_config_type: Option<String>,
    /// refrain from setting "org.opencontainers.image.title" annotations on "layers"
    #[arg(long)]
    artifact_exclude_titles: bool,
    /// artifact layer media type
    #[arg(long, value_name = "string")]
    artifact_layer_type: Option<String>,
    /// artifact subject reference
    #[arg(long, value_name = "string")]
    artifact_subject: Option<String>,
    /// override the artifactType value
    #[arg(long, value_name = "string")]
    artifact_type: Option<String>,
}

impl ArtifactArgs {
    /// Refuses what says something of an artifact where there is none.
    fn check(&self) -> Result<()> {
        let given = [
            ("--artifact-type", self.artifact_type.is_some()),
            ("--artifact-config", self.artifact_config.is_some()),
            ("--artifact-config-type", self.artifact_config_type.is_some()),
            ("--artifact-layer-type", self.artifact_layer_type.is_some()),
            ("--artifact-subject", self.artifact_subject.is_some()),
            ("--artifact-exclude-titles", self.artifact_exclude_titles),
        ];
        let given: Vec<&str> = given.into_iter().filter(|(_, given)| *given).map(|(flag, _)| flag).collect();
        match given.as_slice() {
            _ if self.artifact => Ok(()),
            [] => Ok(()),
            [one] => Err(CommandError::new(format!("{one} requires --artifact"))),
            several => Err(CommandError::new(format!("{} require --artifact", several.join("/")))),
        }
    }

    fn into_request(self, engine: &Engine, files: Vec<String>) -> Result<AttachRequest> {
        let given = |text: Option<String>| text.filter(|text| !text.is_empty());
        let subject = given(self.artifact_subject);
        let subject = subject.map(|name| engine.store()?.find_any(&name).map_err(CommandError::from));
        Ok(AttachRequest {
            files: files.into_iter().map(PathBuf::from).collect(),
            artifact_type: self.artifact_type,
            config: given(self.artifact_config).map(PathBuf::from),
            config_type: given(self.artifact_config_type),
            layer_type: given(self.artifact_layer_type),
            exclude_titles: self.artifact_exclude_titles,
            subject: subject.transpose()?.map(|found| found.record),
        })
    }
}

/// Finds a list and keeps others from changing it meanwhile.
fn find_locked(engine: &Engine, name: &str) -> Result<(ImageRecord, Flock)> {
    let lock = engine.store()?.lock_list(&find(engine, name)?.id)?;
    // As whoever had the lock left it.
    Ok((find(engine, name)?, lock))
}

/// Adds an image: one with a transport from there, else one that is here, else from a registry.
fn add_image(
    engine: &Engine,
    list: &ImageRecord,
    name: &str,
    all: bool,
    overrides: &Overrides,
    options: &RegistryOptions,
) -> Result<ImageRecord> {
    let context = engine.images()?;
    let reference = match Transport::parse(name)? {
        Some(Transport::Docker(reference)) => reference,
        // In a manifest list that name means the images that are here.
        Some(Transport::Storage { root: None, name }) => {
            let image = context.store.find_image(&name)?.record;
            return Ok(list::add_local(context.store, list, &image, overrides)?);
        }
        Some(_) => {
            return Err(CommandError::new(format!("not supported yet: adding {name} to a manifest list")));
        }
        None => match context.store.find_image(name) {
            Ok(found) => return Ok(list::add_local(context.store, list, &found.record, overrides)?),
            Err(store::Error::NotFound { .. }) => {
                let registries = Registries::load(context.env, context.paths).map_err(Error::from)?;
                let candidates = registries.candidates(name).map_err(Error::from)?;
                candidates.references.into_iter().next().expect("a name has a meaning")
            }
            Err(error) => return Err(error.into()),
        },
    };
    Ok(list::add_remote(context, list, &reference, all, overrides, options)?)
}

/// `rbox manifest create`.
pub mod create {
    use super::*;

    /// Create manifest list or image index
    ///
    /// Creates manifest lists or image indexes.
    #[derive(Debug, clap::Args)]
    #[command(
        override_usage = "[options] LIST [IMAGE...]",
        after_help = "rbox manifest create mylist:v1.11\n  rbox manifest create mylist:v1.11 arch-specific-image-to-add"
    )]
    pub struct Args {
        /// add all of the lists' images if the images to add are lists
        #[arg(long)]
        all: bool,
        /// modify an existing list if one with the desired name already exists
        #[arg(long, short)]
        amend: bool,
        /// set annotations on the new list
        #[arg(long, value_name = "annotation")]
        annotation: Vec<String>,
        #[command(flatten)]
        ask: AskArgs,
        list: String,
        image: Vec<String>,
    }

    /// Makes the list and prints its id.
    pub fn exec(ui: &mut Ui, engine: &Engine, args: Args) -> Result<ExitStatus> {
        let annotations = annotations(&args.annotation)?;
        let options = args.ask.into_options()?;
        let name = local_name(&args.list)?;
        let store = engine.store()?;
        let (mut list, _lock) = match store.resolve(&name.to_string())? {
            Some(_) if args.amend => find_locked(engine, &name.to_string())?,
            Some(_) => {
                let text = format!("image name {:?} is already in use", name.to_string());
                return Err(CommandError::new(text).with_hint("`--amend` adds to a list that is there"));
            }
            None => {
                let list = list::create(store, &name)?;
                let lock = store.lock_list(&list.id)?;
                (list, lock)
            }
        };
        if !annotations.is_empty() {
            let mut index = list::read(store, &list)?;
            index.annotations.extend(annotations);
            list = list::write(store, &list, index)?;
        }
        for image in &args.image {
            match add_image(engine, &list, image, args.all, &Overrides::default(), &options) {
                Ok(changed) => list = changed,
                Err(error) => {
                    // A list that was made for images which are not there is of no use.
                    if !args.amend {
                        store.remove_image(&list.id, None, |_| Vec::new())?;
                    }
                    return Err(error);
                }
            }
        }
        ui.data(&list.id)?;
        Ok(ExitStatus::SUCCESS)
    }
}

/// `rbox manifest add`.
pub mod add {
    use super::*;

    /// Add images or artifacts to a manifest list or image index
    ///
    /// Adds an image or artifact to a manifest list or image index.
    #[derive(Debug, clap::Args)]
    #[command(
        override_usage = "[options] LIST IMAGEORARTIFACT [IMAGEORARTIFACT...]",
        after_help = "rbox manifest add mylist:v1.11 image:v1.11-amd64\n  rbox manifest add mylist:v1.11 transport:imageName"
    )]
    pub struct Args {
        /// add all of the list's images if the image is a list
        #[arg(long)]
        all: bool,
        #[command(flatten)]
        artifact: ArtifactArgs,
        #[command(flatten)]
        ask: AskArgs,
        /// use [username[:password]] for accessing the registry
        #[arg(long, value_name = "[username[:password]]")]
        creds: Option<String>,
        #[command(flatten)]
        entry: EntryArgs,
        list: String,
        #[arg(required = true)]
        image: Vec<String>,
    }

    /// Adds each image and prints the list's id.
    pub fn exec(ui: &mut Ui, engine: &Engine, args: Args) -> Result<ExitStatus> {
        let (mut options, overrides) = (args.ask.into_options()?, args.entry.into_overrides()?);
        options.credentials = args.creds.as_deref().map(credentials).transpose()?;
        args.artifact.check()?;
        let (mut list, _lock) = find_locked(engine, &args.list)?;
        if args.artifact.artifact {
            let request = args.artifact.into_request(engine, args.image)?;
            ui.data(&attach(engine.store()?, &list, &request, &overrides)?.id)?;
            return Ok(ExitStatus::SUCCESS);
        }
        for image in &args.image {
            list = add_image(engine, &list, image, args.all, &overrides, &options)?;
        }
        ui.data(&list.id)?;
        Ok(ExitStatus::SUCCESS)
    }
}

/// `rbox manifest annotate`.
pub mod annotate {
    use super::*;

    /// Add or update information about an entry in a manifest list or image index
    ///
    /// Adds or updates information about an entry in a manifest list or image index.
    #[derive(Debug, clap::Args)]
    #[command(
        override_usage = "[options] LIST IMAGEORARTIFACT",
        after_help = "rbox manifest annotate --annotation left=right mylist:v1.11 sha256:15352d97781ffdf357bf3459c037be3efac4133dc9070c2dce7eca7c05c3e736"
    )]
    pub struct Args {
        #[command(flatten)]
        entry: EntryArgs,
        /// apply --annotation values to the image index itself
        #[arg(long)]
        index: bool,
        list: String,
        image: Option<String>,
    }

    /// Changes the entry and prints the list's id.
    pub fn exec(ui: &mut Ui, engine: &Engine, args: Args) -> Result<ExitStatus> {
        let (store, (list, _lock)) = (engine.store()?, find_locked(engine, &args.list)?);
        let overrides = args.entry.into_overrides()?;
        let changed = match (args.index, args.image) {
            (true, Some(_)) => {
                return Err(CommandError::new("--index applies to the list itself: name no image"));
            }
            (true, None) => {
                let only = Overrides { annotations: overrides.annotations.clone(), ..Overrides::default() };
                if only != overrides {
                    return Err(CommandError::new("--index goes with --annotation only"));
                }
                let mut index = list::read(store, &list)?;
                index.annotations.extend(only.annotations);
                list::write(store, &list, index)?
            }
            (false, None) => return Err(CommandError::new("an image of the list must be named")),
            (false, Some(image)) => list::annotate(store, &list, &digest_of(engine, &image)?, &overrides)?,
        };
        ui.data(&changed.id)?;
        Ok(ExitStatus::SUCCESS)
    }

    /// A digest, or that of an image that is here.
    fn digest_of(engine: &Engine, text: &str) -> Result<Digest> {
        if let Ok(digest) = text.parse() {
            return Ok(digest);
        }
        let record = engine.store()?.find_image(text)?.record;
        record.manifest.ok_or_else(|| Error::NotKnown(text.to_owned()).into())
    }
}

/// `rbox manifest remove`.
pub mod remove {
    use super::*;

    /// Remove an item from a manifest list or image index
    ///
    /// Removes an item from a manifest list or image index.
    #[derive(Debug, clap::Args)]
    #[command(
        after_help = "rbox manifest remove mylist:v1.11 sha256:15352d97781ffdf357bf3459c037be3efac4133dc9070c2dce7eca7c05c3e736"
    )]
    pub struct Args {
        list: String,
        digest: String,
    }

    /// Takes the entry out and prints the list's id.
    pub fn exec(ui: &mut Ui, engine: &Engine, args: Args) -> Result<ExitStatus> {
        let digest: Digest = args
            .digest
            .parse()
            .map_err(|error| CommandError::new(format!("invalid image digest {:?}: {error}", args.digest)))?;
        let (list, _lock) = find_locked(engine, &args.list)?;
        let list = list::remove(engine.store()?, &list, &digest)?;
        ui.data(&list.id)?;
        Ok(ExitStatus::SUCCESS)
    }
}

/// `rbox manifest rm`.
pub mod rm {
    use super::*;
    use crate::cli::commands::image::rm::remove_lists;

    /// Remove manifest list or image index from local storage
    ///
    /// Remove manifest list or image index from local storage.
    #[derive(Debug, clap::Args)]
    #[command(override_usage = "[options] LIST [LIST...]", after_help = "rbox manifest rm mylist:v1.11")]
    pub struct Args {
        /// Ignore errors when a specified manifest is missing
        #[arg(long, short)]
        ignore: bool,
        #[arg(required = true)]
        list: Vec<String>,
    }

    /// Removes the lists, not their images.
    pub fn exec(ui: &mut Ui, engine: &Engine, args: Args) -> Result<ExitStatus> {
        for name in &args.list {
            match engine.store()?.find_any(name) {
                Ok(found) if !found.record.list => {
                    return Err(CommandError::new(format!("{name}: image is not a manifest list")));
                }
                _ => {}
            }
        }
        remove_lists(ui, engine, args.list, args.ignore)
    }
}
