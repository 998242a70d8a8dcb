//! Flags of file systems and devices.

use std::path::{Path, PathBuf};

use super::super::csv;
use super::CreateArgs;
use crate::cli::error::{CommandError, Result};
use crate::cli::values::go_bool;
use crate::config::{Config, cdi};
use crate::container::create::{CreateRequest, ImageVolumes, RootFs, size};
use crate::volume::{self, MountFlags};

/// Flags of file systems and devices.
#[derive(Debug, Clone, Default, clap::Args)]
pub struct StorageArgs {
    /// Chroot directories inside the container
    #[arg(long, value_name = "stringArray")]
    pub chrootdirs: Vec<String>,
    /// Add a host device to the container: a path, or a name (CDI) such as nvidia.com/gpu=all
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

/// Where the root file system comes from.
pub(super) fn rootfs(args: &CreateArgs) -> Result<RootFs> {
    if !args.image.rootfs {
        return Ok(RootFs::Image { reference: args.image_name.clone(), id: None });
    }
    let (path, option) = match args.image_name.rsplit_once(':') {
        Some((path, option)) if !Path::new(&args.image_name).exists() => (path, option),
        _ => (args.image_name.as_str(), ""),
    };
    let overlay = match option {
        "" => false,
        "O" => true,
        _ if option == "idmap" || option.starts_with("idmap=") => {
            return Err(CommandError::new("not supported yet: idmap of --rootfs"));
        }
        _ => return Err(CommandError::new(format!("unknown option {option:?} of --rootfs"))),
    };
    if path.is_empty() {
        return Err(CommandError::new("the root file system of --rootfs has no path"));
    }
    Ok(RootFs::Directory { path: absolute(Path::new(path))?, overlay })
}

/// A path of the command line, from the root on.
pub(super) fn absolute(path: &Path) -> Result<PathBuf> {
    Ok(volume::clean_path(&current_dir()?.join(path)))
}

fn current_dir() -> Result<PathBuf> {
    std::env::current_dir()
        .map_err(|error| CommandError::new(format!("cannot find the current directory: {error}")))
}

/// Puts these flags into `request`.
pub(super) fn request(args: &StorageArgs, config: &Config, request: &mut CreateRequest) -> Result<()> {
    let fields = |values: &[String]| -> Result<Vec<Vec<String>>> {
        let split = |value: &String| csv::split(std::slice::from_ref(value));
        values.iter().map(split).collect::<Result<_, String>>().map_err(CommandError::new)
    };
    let flags = MountFlags {
        mounts: &fields(&args.mount)?,
        volumes: &args.volume,
        tmpfs: &args.tmpfs,
        config_mounts: &fields(&config.containers.mounts)?,
        config_volumes: &config.containers.volumes,
    };
    request.mounts = volume::collect(flags, &current_dir()?)?;
    for value in &args.volumes_from {
        request.volumes_from.push(volumes_from(value)?);
    }
    let mode = args.image_volume.as_deref().unwrap_or(&config.engine.image_volume_mode);
    request.image_volumes = match mode.to_ascii_lowercase().as_str() {
        "" | "anonymous" | "bind" => ImageVolumes::Anonymous,
        "tmpfs" => ImageVolumes::Tmpfs,
        "ignore" => ImageVolumes::Ignore,
        _ => {
            return Err(CommandError::new(format!(
                "invalid config provided: invalid ImageVolumeMode {mode:?}, value must be one of ignore,tmpfs,anonymous"
            )));
        }
    };
    request.read_only = args.read_only.unwrap_or(config.containers.read_only);
    request.read_only_tmpfs = args.read_only_tmpfs.unwrap_or(true);
    let bytes = |text: &Option<String>, flag: &str| -> Result<Option<u64>> {
        let parse = |text: &str| {
            size::binary(text).map_err(|why| CommandError::new(format!("unable to translate {flag}: {why}")))
        };
        text.as_deref().filter(|text| !text.is_empty()).map(parse).transpose()
    };
    request.shm_size = bytes(&args.shm_size, "--shm-size")?;
    request.shm_size_systemd = bytes(&args.shm_size_systemd, "--shm-size-systemd")?;
    for device in config.containers.devices.iter().chain(&args.device) {
        let is_name = cdi::name::parse(device).is_ok();
        if is_name || (cdi::name::looks_like(device) && !Path::new(device).exists()) {
            request.cdi_devices.push(cdi_device(device)?);
        } else {
            device_entries(device, &mut request.devices)?;
        }
    }
    for value in csv::split(&args.gpus).map_err(CommandError::new)? {
        for word in value.split(',') {
            request.cdi_devices.push(cdi_device(&format!("{GPU}={}", gpu(word)?))?);
        }
    }
    request.chroot_dirs =
        args.chrootdirs.iter().map(|dir| volume::clean_path(&Path::new("/").join(dir))).collect();
    Ok(())
}

fn volumes_from(value: &str) -> Result<(String, Vec<String>)> {
    let (container, words) = value.split_once(':').unwrap_or((value, ""));
    let words: Vec<String> = words.split(',').filter(|word| !word.is_empty()).map(str::to_owned).collect();
    let fail = |text: String| Err(CommandError::new(text));
    if words.iter().filter(|word| matches!(word.as_str(), "ro" | "rw")).count() > 1 {
        return fail("cannot set ro or rw options more than once".to_owned());
    }
    if words.iter().filter(|word| word.as_str() == "z").count() > 1 {
        return fail("cannot set :z more than once in mount options".to_owned());
    }
    if let Some(word) = words.iter().find(|word| !matches!(word.as_str(), "ro" | "rw" | "z")) {
        return fail(format!(
            "invalid option {word:?} specified - volumes from another container can only use z,ro,rw options"
        ));
    }
    Ok((container.to_owned(), words))
}

/// A device by name.
fn cdi_device(name: &str) -> Result<String> {
    match cdi::name::parse(name) {
        Ok(_) => Ok(name.to_owned()),
        Err(why) => Err(CommandError::new(format!("invalid CDI device {name:?}: {why}"))),
    }
}

/// The kind of the devices of `--gpus`.
const GPU: &str = "nvidia.com/gpu";

/// The device that one word of `--gpus` means: its name, or in docker's words.
fn gpu(word: &str) -> Result<&str> {
    let fail = |why: &str| Err(CommandError::new(format!("invalid value {word:?} for --gpus: {why}")));
    match word.trim().split_once('=') {
        None if word.trim().is_empty() => fail("it names no device"),
        None => Ok(word.trim()),
        Some(("device", name)) => Ok(name),
        Some(("count", "all" | "-1")) => Ok("all"),
        Some(("count", _)) => fail("devices are chosen by name, as in --gpus device=0"),
        Some(("driver", "nvidia" | "cdi")) | Some(("capabilities", _)) => {
            fail("the specification of the device says which driver and which parts of it a container gets")
        }
        Some(_) => fail("it is all, a name, or device=NAME"),
    }
}

/// `SOURCE[:TARGET][:PERMISSIONS]`; a directory stands for all devices in it.
fn device_entries(device: &str, found: &mut Vec<(PathBuf, PathBuf, String)>) -> Result<()> {
    let parts: Vec<&str> = device.split(':').collect();
    let fail = |text: String| CommandError::new(text);
    let is_mode = |text: &str| !text.is_empty() && text.chars().all(|c| "rwm".contains(c)) && text.len() <= 3;
    let (source, target, mode) = match parts[..] {
        [source] => (source, source, "rwm"),
        [source, mode] if is_mode(mode) => (source, source, mode),
        [source, target] => (source, target, "rwm"),
        [source, target, mode] if is_mode(mode) => (source, target, mode),
        [_, _, mode] => return Err(fail(format!("invalid device mode {mode:?} in device {device:?}"))),
        _ => return Err(fail(format!("invalid device specification: {device}"))),
    };
    let target = if target.is_empty() { source } else { target };
    if !target.starts_with('/') {
        return Err(fail(format!("invalid device mode {target:?} in device {device:?}")));
    }
    let source = absolute(Path::new(source))?;
    let stat =
        rustix::fs::stat(&source).map_err(|errno| crate::kernel::Error::path("stat", &source, errno))?;
    let target = volume::clean_path(Path::new(target));
    match rustix::fs::FileType::from_raw_mode(stat.st_mode) {
        rustix::fs::FileType::Directory => devices_below(&source, &target, mode, device, found),
        rustix::fs::FileType::CharacterDevice
        | rustix::fs::FileType::BlockDevice
        | rustix::fs::FileType::Fifo => {
            found.push((source, target, mode.to_owned()));
            Ok(())
        }
        _ => Err(fail(format!("{} is not a valid device: not a device node", source.display()))),
    }
}

fn devices_below(
    source: &Path,
    target: &Path,
    mode: &str,
    device: &str,
    found: &mut Vec<(PathBuf, PathBuf, String)>,
) -> Result<()> {
    use std::os::unix::fs::FileTypeExt as _;
    let before = found.len();
    let mut todo = vec![PathBuf::new()];
    while let Some(dir) = todo.pop() {
        let Ok(entries) = std::fs::read_dir(source.join(&dir)) else { continue };
        for entry in entries.flatten() {
            let path = dir.join(entry.file_name());
            match entry.file_type() {
                Ok(kind) if kind.is_dir() => todo.push(path),
                Ok(kind) if kind.is_char_device() || kind.is_block_device() => {
                    found.push((source.join(&path), target.join(&path), mode.to_owned()));
                }
                _ => {}
            }
        }
    }
    if found.len() == before {
        return Err(CommandError::new(format!("no devices found in {device}: invalid argument")));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn devices_are_checked() {
        let parse = |text: &str| {
            let mut found = Vec::new();
            device_entries(text, &mut found).map(|()| found)
        };
        let entry =
            |source: &str, target: &str, mode: &str| vec![(source.into(), target.into(), mode.to_owned())];
        assert_eq!(parse("/dev/null").unwrap(), entry("/dev/null", "/dev/null", "rwm"));
        assert_eq!(parse("/dev/null:r").unwrap(), entry("/dev/null", "/dev/null", "r"));
        assert_eq!(parse("/dev/null:/dev/x:rw").unwrap(), entry("/dev/null", "/dev/x", "rw"));
        for text in ["/dev/no-such", "/etc/passwd", "/dev/null:x", "/dev/null:/a:x", "/dev/null:/a:r:b"] {
            assert!(parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn devices_by_name_are_told_from_paths() {
        let request = |args: &StorageArgs| {
            let mut request = CreateRequest::default();
            super::request(args, &Config::default(), &mut request).map(|()| request.cdi_devices)
        };
        let device =
            |name: &str| request(&StorageArgs { device: vec![name.to_owned()], ..StorageArgs::default() });
        assert_eq!(device("nvidia.com/gpu=all").unwrap(), ["nvidia.com/gpu=all"]);
        assert_eq!(device("/dev/null").unwrap(), Vec::<String>::new());
        for name in ["nvidia.com/gpu=", "nvidia.com/gpu=a b", "1/gpu=0"] {
            assert!(device(name).is_err_and(|e| e.message().starts_with("invalid CDI device")), "{name}");
        }
        let gpus =
            |word: &str| request(&StorageArgs { gpus: vec![word.to_owned()], ..StorageArgs::default() });
        for (word, names) in [
            ("all", &["nvidia.com/gpu=all"][..]),
            ("0", &["nvidia.com/gpu=0"]),
            ("0,GPU-1f", &["nvidia.com/gpu=0", "nvidia.com/gpu=GPU-1f"]),
            ("device=1", &["nvidia.com/gpu=1"]),
            ("\"device=0,1\"", &["nvidia.com/gpu=0", "nvidia.com/gpu=1"]),
            ("count=all", &["nvidia.com/gpu=all"]),
        ] {
            assert_eq!(gpus(word).unwrap(), names, "{word}");
        }
        for word in ["device=", "count=2", "capabilities=gpu", "x=y", "a b"] {
            assert!(gpus(word).is_err(), "{word}");
        }
    }
}
