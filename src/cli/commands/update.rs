//! `rbox update`.

use std::os::unix::fs::FileTypeExt as _;

use crate::cli::args::containers::Named;
use crate::cli::args::create::HealthArgs;
use crate::cli::args::create::process::restart_policy;
use crate::cli::args::csv;
use crate::cli::error::{CommandError, Result};
use crate::cli::exit::ExitStatus;
use crate::cli::ui::Ui;
use crate::container::create::{env, limits};
use crate::container::health::Health;
use crate::container::update::ProcessChanges;
use crate::container::{Containers, Record};
use crate::engine::Engine;

/// Update an existing container
///
/// Updates the configuration of an existing container: its restart policy and health checks at once, its environment and ulimits from the next start on.
#[derive(Debug, clap::Args)]
#[command(
    override_usage = "[options] CONTAINER",
    after_help = "rbox update --restart always web\n  rbox update --health-interval 5s web"
)]
pub struct Args {
    #[command(flatten)]
    limits: LimitArgs,
    #[command(flatten)]
    health: HealthArgs,
    /// Set environment variables in container
    #[arg(long, short, value_name = "stringArray")]
    env: Vec<String>,
    /// Act on the latest container podman is aware of
    #[arg(long, short)]
    latest: bool,
    /// Restart policy to apply when a container exits ("always"|"no"|"never"|"on-failure"|"unless-stopped")
    #[arg(long, value_name = "string")]
    restart: Option<String>,
    /// Ulimit options
    #[arg(long, value_name = "strings")]
    ulimit: Vec<String>,
    /// Unset environment default variables in container
    #[arg(long, value_name = "stringArray")]
    unsetenv: Vec<String>,
    container: Option<String>,
}

/// Limits that cgroups keep.
#[derive(Debug, Default, clap::Args)]
pub(super) struct LimitArgs {
    /// Block IO weight (relative weight) accepts a weight value between 10 and 1000
    #[arg(long, value_name = "string")]
    blkio_weight: Option<String>,
    /// Block IO weight (relative device weight, format: `DEVICE_NAME:WEIGHT`)
    #[arg(long, value_name = "DEVICE_NAME:WEIGHT")]
    blkio_weight_device: Vec<String>,
    /// Limit the CPU CFS (Completely Fair Scheduler) period
    #[arg(long, value_name = "uint")]
    cpu_period: Option<String>,
    /// Limit the CPU CFS (Completely Fair Scheduler) quota
    #[arg(long, value_name = "int")]
    cpu_quota: Option<String>,
    /// Limit the CPU real-time period in microseconds
    #[arg(long, value_name = "uint")]
    cpu_rt_period: Option<String>,
    /// Limit the CPU real-time runtime in microseconds
    #[arg(long, value_name = "int")]
    cpu_rt_runtime: Option<String>,
    /// CPU shares (relative weight)
    #[arg(long, short = 'c', value_name = "uint")]
    cpu_shares: Option<String>,
    /// Number of CPUs. The default is 0.000 which means no limit
    #[arg(long, value_name = "float")]
    cpus: Option<String>,
    /// CPUs in which to allow execution (0-3, 0,1)
    #[arg(long, value_name = "string")]
    cpuset_cpus: Option<String>,
    /// Memory nodes (MEMs) in which to allow execution (0-3, 0,1). Only effective on NUMA systems
    #[arg(long, value_name = "string")]
    cpuset_mems: Option<String>,
    /// Limit read rate (bytes per second) from a device (e.g. --device-read-bps=/dev/sda:1mb)
    #[arg(long, value_name = "stringArray")]
    device_read_bps: Vec<String>,
    /// Limit read rate (IO per second) from a device (e.g. --device-read-iops=/dev/sda:1000)
    #[arg(long, value_name = "stringArray")]
    device_read_iops: Vec<String>,
    /// Limit write rate (bytes per second) to a device (e.g. --device-write-bps=/dev/sda:1mb)
    #[arg(long, value_name = "stringArray")]
    device_write_bps: Vec<String>,
    /// Limit write rate (IO per second) to a device (e.g. --device-write-iops=/dev/sda:1000)
    #[arg(long, value_name = "stringArray")]
    device_write_iops: Vec<String>,
    /// Memory limit (format: `<number>[<unit>]`, where unit = b (bytes), k (kibibytes), m (mebibytes), or g (gibibytes))
    #[arg(long, short, value_name = "string")]
    memory: Option<String>,
    /// Memory soft limit (format: `<number>[<unit>]`, where unit = b (bytes), k (kibibytes), m (mebibytes), or g (gibibytes))
    #[arg(long, value_name = "string")]
    memory_reservation: Option<String>,
    /// Swap limit equal to memory plus swap: '-1' to enable unlimited swap
    #[arg(long, value_name = "string")]
    memory_swap: Option<String>,
    /// Tune container memory swappiness (0 to 100, or -1 for system default)
    #[arg(long, value_name = "int")]
    memory_swappiness: Option<String>,
    /// Tune container pids limit (set -1 for unlimited)
    #[arg(long, value_name = "int")]
    pids_limit: Option<String>,
}

/// Changes the container and prints its id.
///
/// # Errors
/// When a value makes no sense, or something cannot be changed.
pub fn exec(ui: &mut Ui, engine: &Engine, args: Args) -> Result<ExitStatus> {
    let containers = engine.containers()?;
    let record = find(&containers, args.container, args.latest)?;
    args.limits.check(&containers, &record)?;
    let restart = args.restart.as_deref().map(restart_policy).transpose()?;
    let ulimits = csv::split(&args.ulimit).map_err(CommandError::new)?;
    let mut process = ProcessChanges { unset_env: args.unsetenv, ..ProcessChanges::default() };
    for entry in &args.env {
        process.env.extend(env::parse_entry(entry, engine.env())?);
    }
    if !ulimits.is_empty() {
        process.ulimits = Some(limits::parse(&ulimits)?);
    }
    containers.update(&record, &process, |record| {
        if let Some(restart) = restart {
            if record.lifecycle.auto_remove && restart != crate::container::create::RestartPolicy::No {
                return Err(CommandError::new(
                    "cannot set restart policy: the container is removed when it ends (--rm)",
                ));
            }
            record.lifecycle.restart = restart;
        }
        if args.health.is_given() {
            let mut health = record.health.take().unwrap_or_default();
            args.health.update(&mut health)?;
            health.validate()?;
            record.health = Some(health).filter(|health| *health != Health::default());
        }
        Ok(())
    })?;
    ui.data(&record.id)?;
    Ok(ExitStatus::SUCCESS)
}

fn find(containers: &Containers, name: Option<String>, latest: bool) -> Result<Record> {
    match (&name, latest) {
        (None, false) => {
            return Err(CommandError::new("update requires a name, id, or the \"--latest\" flag"));
        }
        (Some(_), true) => return Err(CommandError::new("--latest and containers cannot be used together")),
        _ => {}
    }
    let named = Named { references: name.into_iter().collect(), latest, ..Named::default() };
    let selected = named.find(containers)?.into_iter().find_map(|selected| selected.record);
    selected.ok_or_else(|| CommandError::new("no container to update"))
}

impl LimitArgs {
    fn devices(&self) -> [&Vec<String>; 5] {
        [
            &self.blkio_weight_device,
            &self.device_read_bps,
            &self.device_read_iops,
            &self.device_write_bps,
            &self.device_write_iops,
        ]
    }

    /// The first limit that is given.
    pub(super) fn first(&self) -> Option<&'static str> {
        self.needed().map(|(_, flag)| flag)
    }

    /// The first limit that is given, and the controller that it takes.
    fn needed(&self) -> Option<(&'static str, &'static str)> {
        let texts = [
            ("cpu", "--cpu-period", &self.cpu_period),
            ("cpu", "--cpu-quota", &self.cpu_quota),
            ("cpu", "--cpu-rt-period", &self.cpu_rt_period),
            ("cpu", "--cpu-rt-runtime", &self.cpu_rt_runtime),
            ("cpu", "--cpu-shares", &self.cpu_shares),
            ("cpu", "--cpus", &self.cpus),
            ("cpuset", "--cpuset-cpus", &self.cpuset_cpus),
            ("cpuset", "--cpuset-mems", &self.cpuset_mems),
            ("memory", "--memory", &self.memory),
            ("memory", "--memory-reservation", &self.memory_reservation),
            ("memory", "--memory-swap", &self.memory_swap),
            ("memory", "--memory-swappiness", &self.memory_swappiness),
            ("pids", "--pids-limit", &self.pids_limit),
            ("io", "--blkio-weight", &self.blkio_weight),
        ];
        let text = texts.into_iter().find(|(_, _, value)| value.is_some());
        let of_device =
            self.devices().iter().any(|list| !list.is_empty()).then_some(("io", "limits of devices"));
        text.map(|(controller, flag, _)| (controller, flag)).or(of_device)
    }

    /// Refuses what cannot be changed, with the controller that it would take.
    fn check(&self, containers: &Containers, record: &Record) -> Result<()> {
        for value in self.devices().into_iter().flatten() {
            check_device(value)?;
        }
        let Some((controller, flag)) = self.needed() else { return Ok(()) };
        let cgroup = containers.state(&record.id)?.stored.map(|stored| stored.cgroup).unwrap_or_default();
        let controllers = std::fs::read_to_string(format!("{cgroup}/cgroup.controllers")).unwrap_or_default();
        if !cgroup.is_empty() && controllers.split_whitespace().any(|known| known == controller) {
            return Err(CommandError::new(format!("not supported yet: {flag} of a container that exists")));
        }
        Err(CommandError::new(format!(
            "cannot change {flag}: the container has no cgroup with the controller {controller:?}"
        ))
        .with_hint(format!(
            "controllers are delegated to users by systemd: `systemctl edit user@.service`, [Service] Delegate={controller}"
        )))
    }
}

/// `DEVICE:VALUE` must name a block device.
fn check_device(value: &str) -> Result<()> {
    let path = value.rsplit_once(':').map_or(value, |(path, _)| path);
    match std::fs::metadata(path) {
        Ok(metadata) if metadata.file_type().is_block_device() => Ok(()),
        Ok(_) => Err(CommandError::new(format!("{path}: not a block device"))),
        Err(error) => Err(CommandError::new(format!("stat {path}: {}", CommandError::from(error).message()))),
    }
}
