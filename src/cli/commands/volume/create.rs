//! `rbox volume create`.

use std::collections::BTreeMap;

use crate::cli::error::{CommandError, Result};
use crate::cli::exit::ExitStatus;
use crate::cli::ui::Ui;
use crate::container::{ContainerId, Time};
use crate::engine::Engine;
use crate::events::Event;
use crate::volume::{self, DriverOptions, Volume};

/// Create a new volume
///
/// If using the default driver, "local", the volume will be created on the host in the volumes directory under container storage.
#[derive(Debug, clap::Args)]
#[command(
    override_usage = "[options] [NAME]",
    after_help = "rbox volume create myvol\n  rbox volume create\n  rbox volume create --label foo=bar myvol\n  rbox volume create -o type=tmpfs -o o=size=64m scratch"
)]
pub struct Args {
    /// Specify volume driver name
    #[arg(long, short, value_name = "string", default_value = "local")]
    driver: String,
    /// Set the GID of the volume owner
    #[arg(long, value_name = "int")]
    gid: Option<u32>,
    /// Don't fail if volume already exists
    #[arg(long)]
    ignore: bool,
    /// Set metadata for a volume (default [])
    #[arg(long, short, value_name = "stringArray")]
    label: Vec<String>,
    /// Set driver specific options (default [])
    #[arg(long, short, value_name = "stringArray")]
    opt: Vec<String>,
    /// Set the UID of the volume owner
    #[arg(long, value_name = "int")]
    uid: Option<u32>,
    name: Option<String>,
}

/// Makes a volume and prints its name.
pub fn exec(ui: &mut Ui, engine: &Engine, args: Args) -> Result<ExitStatus> {
    let table = engine.containers()?.volumes();
    let volume = record(&args)?;
    let known = table.get(&volume.name)?;
    if known.is_some() && args.ignore {
        ui.data(&volume.name)?;
        return Ok(ExitStatus::SUCCESS);
    }
    let owned = volume.uid.is_some() || volume.gid.is_some();
    // Made first: it says whether this is a store at all.
    engine.store()?;
    if owned && known.is_none() {
        crate::cli::enter_user_namespace(ui, engine)?;
    }
    match table.create(&volume) {
        // Another process was faster.
        Err(volume::Error::Exists { .. }) if args.ignore => {}
        Ok(()) if owned => {
            if let Err(error) = table.give(&volume) {
                table.remove(&volume.name)?;
                return Err(error.into());
            }
        }
        other => other?,
    }
    engine.events()?.emit(&[Event::volume("create", &volume.name)]);
    ui.data(&volume.name)?;
    Ok(ExitStatus::SUCCESS)
}

fn record(args: &Args) -> Result<Volume> {
    let name = match &args.name {
        Some(name) if !name.is_empty() => name.clone(),
        _ => ContainerId::random()?.to_string(),
    };
    if !matches!(args.driver.as_str(), "local" | "") {
        let why = format!(
            "volume {name} uses volume plugin {} but it could not be retrieved: no volume plugin with name {} available: required plugin missing",
            args.driver, args.driver
        );
        return Err(CommandError::new(why));
    }
    let driver = DriverOptions::parse(&args.opt)?;
    let mut labels = BTreeMap::new();
    for label in &args.label {
        let (key, value) = label.split_once('=').unwrap_or((label, ""));
        if key.is_empty() {
            return Err(CommandError::new(format!(
                "unable to process labels: invalid label format: {label:?}"
            )));
        }
        labels.insert(key.to_owned(), value.to_owned());
    }
    Ok(Volume {
        labels,
        options: driver.options,
        uid: args.uid.or(driver.uid),
        gid: args.gid.or(driver.gid),
        timeout: driver.timeout,
        ..Volume::new(&name, Time::now().to_string())
    })
}
