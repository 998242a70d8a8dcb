//! `update`.

use std::path::PathBuf;

use oci_spec::runtime::{LinuxBlockIo, LinuxCpu, LinuxMemory, LinuxPids, LinuxResources};

use super::Context;
use super::bundle::read_part;
use crate::cli::error::{CommandError, Result};
use crate::cli::exit::ExitStatus;
use crate::cli::units::parse_binary_size;

/// Arguments of `update`.
#[derive(Debug, clap::Args)]
pub(super) struct UpdateArgs {
    /// File with the `linux.resources` section of a spec that says what changes; - is stdin
    #[arg(long, short, value_name = "FILE", conflicts_with = "limits")]
    resources: Option<PathBuf>,
    #[command(flatten)]
    limits: Limits,
    /// Id of the container
    id: String,
}

/// Limits as options.
#[derive(Debug, clap::Args)]
#[group(id = "limits", multiple = true)]
struct Limits {
    /// Relative weight of the input and output, 10 to 1000
    #[arg(long, value_name = "WEIGHT")]
    blkio_weight: Option<u16>,
    /// Period of the processor quota in microseconds
    #[arg(long, value_name = "MICROSECONDS")]
    cpu_period: Option<u64>,
    /// Processor time in a period in microseconds; -1 for no limit
    #[arg(long, value_name = "MICROSECONDS", allow_negative_numbers = true)]
    cpu_quota: Option<i64>,
    /// Processor time that is saved up at most, in microseconds
    #[arg(long, value_name = "MICROSECONDS")]
    cpu_burst: Option<u64>,
    /// Relative share of processor time
    #[arg(long, alias = "cpu-shares", value_name = "SHARES")]
    cpu_share: Option<u64>,
    /// 1: run only where nothing else wants to, 0: as everything else
    #[arg(long, value_name = "0|1", value_parser = clap::value_parser!(i64).range(0..=1))]
    cpu_idle: Option<i64>,
    /// Exists in cgroup v1 only
    #[arg(long, value_name = "MICROSECONDS", hide = true)]
    cpu_rt_period: Option<u64>,
    /// Exists in cgroup v1 only
    #[arg(long, value_name = "MICROSECONDS", hide = true, allow_negative_numbers = true)]
    cpu_rt_runtime: Option<i64>,
    /// Processors that may be used, such as 0-2,5
    #[arg(long, value_name = "LIST")]
    cpuset_cpus: Option<String>,
    /// Memory nodes that may be used
    #[arg(long, value_name = "LIST")]
    cpuset_mems: Option<String>,
    /// Ignored with a warning: kernels have no such limit any more
    #[arg(long, value_name = "SIZE", hide = true, allow_hyphen_values = true)]
    kernel_memory: Option<String>,
    /// Ignored with a warning: kernels have no such limit any more
    #[arg(long, value_name = "SIZE", hide = true, allow_hyphen_values = true)]
    kernel_memory_tcp: Option<String>,
    /// Most memory, as 1048576 or 1m; -1 for no limit
    #[arg(long, value_name = "SIZE", value_parser = size, allow_hyphen_values = true)]
    memory: Option<i64>,
    /// Memory that is taken last when others need it
    #[arg(long, value_name = "SIZE", value_parser = size, allow_hyphen_values = true)]
    memory_reservation: Option<i64>,
    /// Most memory and swap together; -1 for no limit of swap
    #[arg(long, value_name = "SIZE", value_parser = size, allow_hyphen_values = true)]
    memory_swap: Option<i64>,
    /// Most processes; -1 for no limit
    #[arg(long, value_name = "NUMBER", allow_negative_numbers = true)]
    pids_limit: Option<i64>,
    /// Intel's cache allocation
    #[arg(long, value_name = "SCHEMA", hide = true)]
    l3_cache_schema: Option<String>,
    /// Intel's memory bandwidth allocation
    #[arg(long, value_name = "SCHEMA", hide = true)]
    mem_bw_schema: Option<String>,
}

fn size(text: &str) -> std::result::Result<i64, String> {
    if text == "-1" {
        return Ok(-1);
    }
    let size = parse_binary_size(text).map_err(|error| error.to_string())?;
    i64::try_from(size).map_err(|_| "it is too large".to_owned())
}

pub(super) fn update(context: &mut Context, args: &UpdateArgs) -> Result<ExitStatus> {
    let resources = match &args.resources {
        Some(path) => read_part(path, |_| None)?,
        None => args.limits.resources(context)?,
    };
    context.instances()?.update(&args.id, &resources)?;
    Ok(ExitStatus::SUCCESS)
}

impl Limits {
    fn resources(&self, context: &mut Context) -> Result<LinuxResources> {
        if self.l3_cache_schema.is_some() || self.mem_bw_schema.is_some() {
            return Err(CommandError::new("not supported yet: --l3-cache-schema and --mem-bw-schema"));
        }
        let gone = [("kernel-memory", &self.kernel_memory), ("kernel-memory-tcp", &self.kernel_memory_tcp)];
        for (name, _) in gone.into_iter().filter(|(_, value)| value.is_some()) {
            context.ui.warn(format_args!("--{name} is ignored: kernels have no such limit any more"));
        }
        let (mut cpu, mut memory) = (LinuxCpu::default(), LinuxMemory::default());
        cpu.set_shares(self.cpu_share)
            .set_quota(self.cpu_quota)
            .set_period(self.cpu_period)
            .set_burst(self.cpu_burst)
            .set_idle(self.cpu_idle)
            .set_realtime_period(self.cpu_rt_period)
            .set_realtime_runtime(self.cpu_rt_runtime)
            .set_cpus(self.cpuset_cpus.clone())
            .set_mems(self.cpuset_mems.clone());
        memory.set_limit(self.memory).set_reservation(self.memory_reservation).set_swap(self.memory_swap);
        let (mut pids, mut block_io) = (LinuxPids::default(), LinuxBlockIo::default());
        pids.set_limit(self.pids_limit.unwrap_or(0));
        block_io.set_weight(self.blkio_weight);
        let mut resources = LinuxResources::default();
        resources
            .set_cpu(Some(cpu))
            .set_memory(Some(memory))
            .set_pids(Some(pids))
            .set_block_io(Some(block_io));
        // `default` has a rule for devices, which nobody has asked for.
        resources.set_devices(None);
        Ok(resources)
    }
}
