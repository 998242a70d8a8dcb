//! Flags of resource limits and pods.
//!
//! They parse as podman's, so that a script gets one clear answer about what is not
//! supported yet instead of "unknown flag"; [`ResourceArgs::unsupported`] is that answer.

/// Flags of resource limits and pods.
#[derive(Debug, Clone, Default, clap::Args)]
pub struct ResourceArgs {
    /// Block IO weight (relative weight) accepts a weight value between 10 and 1000
    #[arg(long, value_name = "string")]
    pub blkio_weight: Option<String>,
    /// Block IO weight (relative device weight, format: `DEVICE_NAME:WEIGHT`)
    #[arg(long, value_name = "DEVICE_NAME:WEIGHT")]
    pub blkio_weight_device: Vec<String>,
    /// Configure cgroup v2 (key=value)
    #[arg(long, value_name = "strings")]
    pub cgroup_conf: Vec<String>,
    /// Optional parent cgroup for the container
    #[arg(long, value_name = "string")]
    pub cgroup_parent: Option<String>,
    /// Control container cgroup configuration ("enabled"|"disabled"|"no-conmon"|"split")
    #[arg(long, value_name = "string")]
    pub cgroups: Option<String>,
    /// Limit the CPU CFS (Completely Fair Scheduler) period
    #[arg(long, value_name = "uint")]
    pub cpu_period: Option<String>,
    /// Limit the CPU CFS (Completely Fair Scheduler) quota
    #[arg(long, value_name = "int")]
    pub cpu_quota: Option<String>,
    /// Limit the CPU real-time period in microseconds
    #[arg(long, value_name = "uint")]
    pub cpu_rt_period: Option<String>,
    /// Limit the CPU real-time runtime in microseconds
    #[arg(long, value_name = "int")]
    pub cpu_rt_runtime: Option<String>,
    /// CPU shares (relative weight)
    #[arg(long, short = 'c', value_name = "uint")]
    pub cpu_shares: Option<String>,
    /// Number of CPUs. The default is 0.000 which means no limit
    #[arg(long, value_name = "float")]
    pub cpus: Option<String>,
    /// CPUs in which to allow execution (0-3, 0,1)
    #[arg(long, value_name = "string")]
    pub cpuset_cpus: Option<String>,
    /// Memory nodes (MEMs) in which to allow execution (0-3, 0,1). Only effective on NUMA systems
    #[arg(long, value_name = "string")]
    pub cpuset_mems: Option<String>,
    /// Limit read rate (bytes per second) from a device (e.g. --device-read-bps=/dev/sda:1mb)
    #[arg(long, value_name = "stringArray")]
    pub device_read_bps: Vec<String>,
    /// Limit read rate (IO per second) from a device (e.g. --device-read-iops=/dev/sda:1000)
    #[arg(long, value_name = "stringArray")]
    pub device_read_iops: Vec<String>,
    /// Limit write rate (bytes per second) to a device (e.g. --device-write-bps=/dev/sda:1mb)
    #[arg(long, value_name = "stringArray")]
    pub device_write_bps: Vec<String>,
    /// Limit write rate (IO per second) to a device (e.g. --device-write-iops=/dev/sda:1000)
    #[arg(long, value_name = "stringArray")]
    pub device_write_iops: Vec<String>,
    /// DEPRECATED: only here for compatibility with Docker
    #[arg(long, value_name = "string", hide = true)]
    pub kernel_memory: Option<String>,
    /// Memory limit (format: `<number>[<unit>]`, where unit = b (bytes), k (kibibytes), m (mebibytes), or g (gibibytes))
    #[arg(long, short, value_name = "string")]
    pub memory: Option<String>,
    /// Memory soft limit (format: `<number>[<unit>]`, where unit = b (bytes), k (kibibytes), m (mebibytes), or g (gibibytes))
    #[arg(long, value_name = "string")]
    pub memory_reservation: Option<String>,
    /// Swap limit equal to memory plus swap: '-1' to enable unlimited swap
    #[arg(long, value_name = "string")]
    pub memory_swap: Option<String>,
    /// Tune container memory swappiness (0 to 100, or -1 for system default)
    #[arg(long, value_name = "int")]
    pub memory_swappiness: Option<String>,
    /// Disable OOM Killer
    #[arg(long)]
    pub oom_kill_disable: bool,
    /// Tune container pids limit (set -1 for unlimited)
    #[arg(long, value_name = "int")]
    pub pids_limit: Option<String>,
    /// Class of Service (COS) that the container should be assigned to
    #[arg(long, value_name = "string")]
    pub rdt_class: Option<String>,

    /// Run container in an existing pod
    #[arg(long, value_name = "string")]
    pub pod: Option<String>,
    /// Read the pod ID from the file
    #[arg(long, value_name = "string")]
    pub pod_id_file: Option<String>,
    /// Control sd-notify behavior ("container"|"conmon"|"healthy"|"ignore")
    #[arg(long, value_name = "string")]
    pub sdnotify: Option<String>,
}

impl ResourceArgs {
    /// The first flag that this version cannot honour.
    ///
    /// A value that asks for nothing (`--memory=0`, `--pids-limit=-1`) is no such flag.
    #[must_use]
    pub fn unsupported(&self) -> Option<&'static str> {
        let texts: [(&Option<String>, &'static str); 17] = [
            (&self.blkio_weight, "--blkio-weight"),
            (&self.cpu_period, "--cpu-period"),
            (&self.cpu_quota, "--cpu-quota"),
            (&self.cpu_rt_period, "--cpu-rt-period"),
            (&self.cpu_rt_runtime, "--cpu-rt-runtime"),
            (&self.cpu_shares, "--cpu-shares"),
            (&self.cpus, "--cpus"),
            (&self.cpuset_cpus, "--cpuset-cpus"),
            (&self.cpuset_mems, "--cpuset-mems"),
            (&self.memory, "--memory"),
            (&self.memory_reservation, "--memory-reservation"),
            (&self.memory_swap, "--memory-swap"),
            (&self.memory_swappiness, "--memory-swappiness"),
            (&self.pids_limit, "--pids-limit"),
            (&self.rdt_class, "--rdt-class"),
            (&self.pod, "--pod"),
            (&self.pod_id_file, "--pod-id-file"),
        ];
        let lists = [
            (&self.blkio_weight_device, "--blkio-weight-device"),
            (&self.cgroup_conf, "--cgroup-conf"),
            (&self.device_read_bps, "--device-read-bps"),
            (&self.device_read_iops, "--device-read-iops"),
            (&self.device_write_bps, "--device-write-bps"),
            (&self.device_write_iops, "--device-write-iops"),
        ];
        let asks = |value: &str| !matches!(value, "" | "0" | "-1" | "0.0" | "none");
        let text = texts.iter().find(|(value, _)| value.as_deref().is_some_and(asks)).map(|(_, flag)| *flag);
        let list = lists.iter().find(|(values, _)| !values.is_empty()).map(|(_, flag)| *flag);
        text.or(list).or(self.oom_kill_disable.then_some("--oom-kill-disable"))
    }
}
