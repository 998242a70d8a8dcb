//! Small files that the engine puts into a root file system once it is mounted.

use std::io::{self, Write as _};
use std::path::Path;

use rustix::fs::Mode;
use serde::{Deserialize, Serialize};

use super::error::Result;
use crate::kernel::{self, path::RootDir};

/// Files to make.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct RootFiles {
    /// `/etc/mtab` leads to `/proc/mounts`, unless there is one.
    pub mtab: bool,
    /// `/etc/localtime` is this zone.
    pub time_zone: Option<TimeZone>,
}

/// A time zone.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TimeZone {
    /// Its name below `/usr/share/zoneinfo`; empty for the host's local time.
    pub name: String,
    /// The zone file of the host, for images without zone files.
    pub data: Vec<u8>,
}

/// Makes the files.
///
/// # Errors
/// When the zone cannot be set; a missing `/etc/mtab` is no failure of the container.
pub fn write(files: &RootFiles, root: &RootDir) -> Result<()> {
    if files.mtab && root.lstat("etc/mtab").is_err_and(|e| e.io().kind() == io::ErrorKind::NotFound) {
        let _ = root.symlink("/proc/mounts", "etc/mtab");
    }
    if let Some(zone) = &files.time_zone {
        set_time_zone(zone, root)?;
    }
    Ok(())
}

fn set_time_zone(zone: &TimeZone, root: &RootDir) -> Result<()> {
    const LOCALTIME: &str = "etc/localtime";
    root.create_dir_all("etc", Mode::from_raw_mode(0o755))?;
    match root.remove_file(LOCALTIME) {
        Err(e) if e.io().kind() != io::ErrorKind::NotFound => return Err(e.into()),
        _ => {}
    }
    let own = Path::new("usr/share/zoneinfo").join(&zone.name);
    // The image's own file is preferred: its programs look for the zone's name in the link.
    if !zone.name.is_empty() && root.exists(&own)? {
        return Ok(root.symlink(Path::new("..").join(own), LOCALTIME)?);
    }
    let mut file = root.create_new(LOCALTIME, Mode::from_raw_mode(0o644))?;
    file.write_all(&zone.data).map_err(|e| kernel::Error::path("write", "/etc/localtime", e))?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_made_inside_of_the_root() {
        let dir = crate::kernel::scratch::path("files");
        std::fs::create_dir_all(dir.join("etc")).unwrap();
        let root = RootDir::open(&dir).unwrap();
        let zone = TimeZone { name: "Europe/Berlin".to_owned(), data: b"TZif2".to_vec() };
        let files = RootFiles { mtab: true, time_zone: Some(zone) };
        write(&files, &root).unwrap();
        assert_eq!(std::fs::read_link(dir.join("etc/mtab")).unwrap(), Path::new("/proc/mounts"));
        assert_eq!(std::fs::read(dir.join("etc/localtime")).unwrap(), b"TZif2");
        std::fs::create_dir_all(dir.join("usr/share/zoneinfo/Europe")).unwrap();
        std::fs::File::create(dir.join("usr/share/zoneinfo/Europe/Berlin")).unwrap();
        write(&files, &root).unwrap();
        let link = std::fs::read_link(dir.join("etc/localtime")).unwrap();
        assert_eq!(link, Path::new("../usr/share/zoneinfo/Europe/Berlin"));
        std::fs::remove_dir_all(dir).unwrap();
    }
}
