//! Flags of file systems and devices.

use crate::cli::values::go_bool;

/// Flags of file systems and devices.
#[derive(Debug, Clone, Default, clap::Args)]
pub struct StorageArgs {
    /// Chroot directories inside the container
    #[arg(long, value_name = "stringArray")]
    pub chrootdirs: Vec<String>,
    /// Add a host device to the container
    #[arg(long, value_name = "stringArray")]
    pub device: Vec<String>,
    /// Add a rule to the cgroup allowed devices list
    #[arg(long, value_name = "strings")]
    pub device_cgroup_rule: Vec<String>,
    /// GPU devices to add to the container ('all' to pass all GPUs)
    #[arg(long, value_name = "strings")]
    pub gpus: Vec<String>,
    /// How to handle the builtin image volumes ("bind"|"tmpfs"|"ignore")
    #[arg(long, value_name = "string")]
    pub image_volume: Option<String>,
    /// Attach a filesystem mount to the container
    #[arg(long, value_name = "stringArray")]
    pub mount: Vec<String>,
    /// Make containers root filesystem read-only
    #[arg(long, num_args = 0..=1, default_missing_value = "true", value_parser = go_bool)]
    pub read_only: Option<bool>,
    /// When running --read-only containers mount read-write tmpfs on /dev, /dev/shm, /run, /tmp and /var/tmp
    #[arg(long, num_args = 0..=1, default_missing_value = "true", value_parser = go_bool)]
    pub read_only_tmpfs: Option<bool>,
    /// Add secret to container
    #[arg(long, value_name = "stringArray")]
    pub secret: Vec<String>,
    /// Size of /dev/shm (format: `<number>[<unit>]`, where unit = b (bytes), k (kibibytes), m (mebibytes), or g (gibibytes))
    #[arg(long, value_name = "string")]
    pub shm_size: Option<String>,
    /// Size of systemd specific tmpfs mounts (/run, /run/lock) (format: `<number>[<unit>]`, where unit = b (bytes), k (kibibytes), m (mebibytes), or g (gibibytes))
    #[arg(long, value_name = "string")]
    pub shm_size_systemd: Option<String>,
    /// Storage driver options of the container
    #[arg(long, value_name = "stringArray", hide = true)]
    pub storage_opt: Vec<String>,
    /// Mount a temporary filesystem (`tmpfs`) into a container
    #[arg(long, value_name = "tmpfs")]
    pub tmpfs: Vec<String>,
    /// Bind mount a volume into the container
    #[arg(long, short, value_name = "stringArray")]
    pub volume: Vec<String>,
    /// Mount volumes from the specified container(s)
    #[arg(long, value_name = "stringArray")]
    pub volumes_from: Vec<String>,
}
