//! `rbox container clone`.

use crate::cli::args::create::CreateArgs;
use crate::cli::args::limits::LimitArgs;
use crate::cli::ensure;
use crate::cli::error::{CommandError, Result};
use crate::cli::exit::ExitStatus;
use crate::cli::secrets;
use crate::cli::session::{self, Inheritance};
use crate::cli::ui::Ui;
use crate::container::create::{self, CreateRequest, Created, RootFs};
use crate::container::{Containers, Record};
use crate::engine::Engine;
use crate::monitor::client::Wanted;

/// Clone an existing container
///
/// Creates a container from what another one was created from, under another name and optionally from another image. What the other one wrote to its root file system is not copied; volumes are shared.
#[derive(Debug, clap::Args)]
#[command(
    override_usage = "[options] CONTAINER [NAME [IMAGE]]",
    after_help = "rbox container clone container_name new_name image_name"
)]
pub struct Args {
    /// Destroy the original container
    #[arg(long)]
    destroy: bool,
    /// Force the existing container to be destroyed
    #[arg(long, short)]
    force: bool,
    #[command(flatten)]
    limits: LimitArgs,
    /// Assign a name to the container
    #[arg(long, value_name = "string")]
    name: Option<String>,
    /// Run container in an existing pod
    #[arg(long, value_name = "string")]
    pod: Option<String>,
    /// Run the new container
    #[arg(long)]
    run: bool,
    container: String,
    new_name: Option<String>,
    image: Option<String>,
}

/// Creates the new container and prints its id.
///
/// # Errors
/// When there is no such container, or the new one cannot be made.
pub fn exec(ui: &mut Ui, engine: &Engine, args: Args) -> Result<ExitStatus> {
    if args.force && !args.destroy {
        return Err(CommandError::new("cannot set --force without --destroy: invalid argument"));
    }
    if args.pod.is_some() {
        return Err(CommandError::new("not supported yet: --pod"));
    }
    let resources = args.limits.resources()?;
    for warning in args.limits.warnings() {
        ui.warn(warning);
    }
    let containers = engine.containers()?;
    let record = containers.lookup(args.container.strip_prefix('/').unwrap_or(&args.container))?;
    let name = match args.new_name.or(args.name).filter(|name| !name.is_empty()) {
        Some(name) => name,
        None => free_name(&containers, &record)?,
    };
    let mut request = request(&containers, &record, name)?;
    request.resources.update(&resources);
    if let Some(image) = args.image {
        request.rootfs = RootFs::Image { reference: image, id: None };
        ensure::image(ui, engine, &CreateArgs::default(), &mut request)?;
    }
    let created = create::create(engine, request)?;
    for warning in &created.warnings {
        ui.warn(warning);
    }
    let Created { record: clone, lock, blueprint, .. } = created;
    if args.destroy {
        destroy(ui, engine, &record, args.force)?;
    }
    if args.run {
        let inheritance = Inheritance { blueprint: Some(blueprint), ..Inheritance::default() };
        session::start(ui, engine, &clone, lock, Wanted::NOTHING, inheritance)?;
    }
    ui.data(&clone.id)?;
    Ok(ExitStatus::SUCCESS)
}

/// What the other container was made from, with what was changed since.
fn request(containers: &Containers, record: &Record, name: String) -> Result<CreateRequest> {
    let found = containers.request(&record.id)?;
    let mut request = found.ok_or_else(|| {
        CommandError::new(format!("container {} does not know any more what it was made from", record.id))
    })?;
    let identity = &mut request.identity;
    identity.name = Some(name);
    identity.replace = false;
    // These say where the other one is to be found.
    identity.cid_file = None;
    identity.pid_file = None;
    identity.monitor_pid_file = None;
    request.restart = Some(record.lifecycle.restart);
    request.health.clone_from(&record.health);
    request.create_command = secrets::command_line();
    request.extras = create::Extras::default();
    Ok(request)
}

/// `NAME-clone`, then `NAME-clone1` and so on.
fn free_name(containers: &Containers, record: &Record) -> Result<String> {
    let base = format!("{}-clone", record.name);
    let mut name = base.clone();
    for number in 1_u32.. {
        if containers.by_name(&name)?.is_none() {
            break;
        }
        name = format!("{base}{number}");
    }
    Ok(name)
}

/// Removes the other container, in a process of its own: this one stays outside of the user's namespace.
fn destroy(ui: &Ui, engine: &Engine, record: &Record, force: bool) -> Result<()> {
    let mut child = ensure::own_program(ui, engine);
    child.args(["rm", &format!("--force={force}"), "--", record.id.as_str()]);
    ensure::run(child).map(drop)
}
