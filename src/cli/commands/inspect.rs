//! `rbox inspect` and `rbox container inspect`.

use serde::Serialize;

use crate::cli::error::{CommandError, Result};
use crate::cli::exit::ExitStatus;
use crate::cli::format::{self, Value};
use crate::cli::ui::Ui;
use crate::container::inspect::Inspection;
use crate::container::list::Selection;
use crate::container::{self, Containers, Record};
use crate::engine::Engine;
use crate::image::local::Inspection as ImageInspection;

/// Display the configuration of object denoted by ID
///
/// Displays the low-level information on an object identified by name or ID.
/// For more inspection options, see:
///
///     rbox container inspect
///     rbox image inspect
///     rbox network inspect
#[derive(Debug, clap::Args)]
#[command(
    override_usage = "[options] {CONTAINER|IMAGE|POD|NETWORK|VOLUME} [...]",
    after_help = "rbox inspect fedora\n  rbox inspect --type image fedora\n  rbox inspect CtrID ImgID\n  rbox inspect --format \"imageId: {{.Id}} size: {{.Size}}\" fedora"
)]
pub struct Args {
    /// Format the output to a Go template or json
    #[arg(long, short, value_name = "string", default_value = "json")]
    format: String,
    /// Act on the latest container podman is aware of
    #[arg(long, short)]
    latest: bool,
    /// Display total file size
    #[arg(long, short)]
    size: bool,
    /// Specify inspect-object type
    #[arg(long, short = 't', value_name = "string", default_value = "all")]
    r#type: String,
    names: Vec<String>,
}

/// Of containers only.
pub mod container_only {
    use super::{CommandError, Engine, ExitStatus, Ui};

    /// Display the configuration of a container
    ///
    /// Displays the low-level information on a container identified by name or ID.
    #[derive(Debug, clap::Args)]
    #[command(
        override_usage = "[options] CONTAINER [CONTAINER...]",
        after_help = "rbox container inspect myCtr\n  rbox container inspect -l --format '{{.Id}} {{.Config.Labels}}'"
    )]
    pub struct Args {
        /// Format the output to a Go template or json
        #[arg(long, short, value_name = "string", default_value = "json")]
        format: String,
        /// Act on the latest container podman is aware of
        #[arg(long, short)]
        latest: bool,
        /// Display total file size
        #[arg(long, short)]
        size: bool,
        containers: Vec<String>,
    }

    /// Prints everything about containers.
    ///
    /// # Errors
    /// When one does not exist.
    pub fn exec(ui: &mut Ui, engine: &Engine, args: Args) -> Result<ExitStatus, CommandError> {
        let Args { format, latest, size, containers } = args;
        let r#type = "container".to_owned();
        super::exec(ui, engine, super::Args { format, latest, size, r#type, names: containers })
    }
}

/// What templates can name, for completion: the fields of the named object, or of the latest container.
pub(in crate::cli) fn fields(engine: &Engine, name: Option<&str>) -> Option<Value> {
    let containers = engine.containers().ok()?;
    let finder = Finder { engine, containers: &containers, size: false };
    let object = match name {
        Some(name) => finder.find(Kind::All, name),
        None => finder.latest(),
    };
    object.ok().map(|object| Value::of(&object))
}

/// An object of any kind.
#[derive(Serialize)]
#[serde(untagged)]
enum Object {
    Container(Box<Inspection>),
    Image(Box<ImageInspection>),
    Network(Box<super::network::inspect::Inspected>),
    Volume(Box<super::volume::View>),
}

/// Prints everything about objects.
///
/// # Errors
/// When one does not exist; the others are printed all the same.
pub fn exec(ui: &mut Ui, engine: &Engine, args: Args) -> Result<ExitStatus> {
    let kind = Kind::parse(&args)?;
    let Args { format, latest, size, r#type: _, names } = args;
    if names.is_empty() && !latest {
        return Err(CommandError::new("no names or ids specified"));
    }
    if latest && !names.is_empty() {
        return Err(CommandError::new("--latest and arguments cannot be used together"));
    }
    if size {
        crate::cli::enter_user_namespace(ui, engine)?;
    }
    let containers = engine.containers()?;
    let finder = Finder { engine, containers: &containers, size };
    let (mut objects, mut errors) = (Vec::new(), Vec::new());
    if latest {
        objects.push(finder.latest()?);
    }
    for name in &names {
        match finder.find(kind, name) {
            Ok(object) => objects.push(object),
            Err(error) => errors.push(error),
        }
    }
    format::objects(ui, "inspect", &objects, Some(&format))?;
    let mut errors = errors.into_iter();
    let Some(first) = errors.next() else { return Ok(ExitStatus::SUCCESS) };
    // podman prints the others bare, and ends with the first.
    for error in errors {
        ui.status(error.message());
    }
    Err(first)
}

/// The kinds of objects.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    All,
    Container,
    Image,
    Network,
    Volume,
}

impl Kind {
    fn parse(args: &Args) -> Result<Self> {
        Ok(match args.r#type.as_str() {
            "all" => Self::All,
            "container" => Self::Container,
            "image" if args.latest => {
                return Err(CommandError::new("latest is not supported for type \"image\""));
            }
            "image" if args.size => {
                return Err(CommandError::new("size is not supported for type \"image\""));
            }
            "image" => Self::Image,
            "network" => Self::Network,
            "volume" => Self::Volume,
            kind @ ("pod" | "artifact") => {
                return Err(CommandError::new(format!("not supported yet: --type={kind}")));
            }
            other => {
                return Err(CommandError::new(format!(
                    "invalid type {other:?}: must be \"image\", \"container\", \"pod\", \"network\", \"volume\", \"artifact\", or \"all\""
                )));
            }
        })
    }
}

struct Finder<'a> {
    engine: &'a Engine,
    containers: &'a Containers,
    size: bool,
}

impl Finder<'_> {
    fn latest(&self) -> Result<Object> {
        let selection = Selection { latest: true, ..Selection::default() };
        let found = self.containers.select(&selection)?.into_iter().find_map(|selected| selected.record);
        self.container(found.ok_or_else(|| CommandError::new("no containers to inspect"))?)
    }

    fn find(&self, kind: Kind, name: &str) -> Result<Object> {
        let reference = name.strip_prefix('/').unwrap_or(name);
        match kind {
            Kind::Image => {
                super::image::inspect::find(self.engine, name).map(|found| Object::Image(Box::new(found)))
            }
            Kind::Container => match self.containers.lookup(reference) {
                Err(container::Error::NotFound { .. }) => {
                    Err(CommandError::new(format!("no such container {name:?}")))
                }
                record => self.container(record?),
            },
            Kind::Network => match super::network::inspect::named(self.engine, name) {
                Some(network) => Ok(Object::Network(Box::new(network))),
                None => Err(CommandError::new(format!("no such network {name:?}"))),
            },
            Kind::Volume => match super::volume::named(self.engine, name)? {
                Some(volume) => Ok(Object::Volume(Box::new(volume))),
                None => Err(CommandError::new(format!("no such volume {name:?}"))),
            },
            Kind::All => self.any(name, reference),
        }
    }

    /// Whatever has the name: a container, an image, a network, a volume.
    fn any(&self, name: &str, reference: &str) -> Result<Object> {
        match self.containers.lookup(reference) {
            Err(container::Error::NotFound { .. }) => {}
            record => return self.container(record?),
        }
        if let Ok(found) = super::image::inspect::find(self.engine, name) {
            return Ok(Object::Image(Box::new(found)));
        }
        if let Some(network) = super::network::inspect::named(self.engine, name) {
            return Ok(Object::Network(Box::new(network)));
        }
        if let Some(volume) = super::volume::named(self.engine, name)? {
            return Ok(Object::Volume(Box::new(volume)));
        }
        Err(CommandError::new(format!("no such object: {name:?}")))
    }

    fn container(&self, record: Record) -> Result<Object> {
        let inspection = self.containers.inspect(record, self.engine.config()?, self.size)?;
        Ok(Object::Container(Box::new(inspection)))
    }
}
