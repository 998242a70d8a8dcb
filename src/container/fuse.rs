//! Overlays by fuse-overlayfs, for hosts whose kernel has none for users.
//!
//! The program is a process that serves a mount. The monitor makes itself a mount namespace, lets the program
//! mount there, and hands the runtime plain directories. When the container has ended, the monitor flushes
//! the mount and ends the program.
//!
//! ```text
//! DATA/containers/ID/merged           the root file system
//! DATA/containers/ID/merged-N         the overlay of the mount of number N
//! RUN/containers/ID/fuse.log          what the programs said
//! ```

use std::fs::{self, DirBuilder, File};
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use super::state::ProcessRef;
use super::{Error, Result};
use crate::kernel::ns::{self, Namespace, NamespaceSet};
use crate::kernel::process::{self, Pid};
use crate::kernel::{self, file, mount, poll};
use crate::runtime::RootSource;
use crate::runtime::plan::{MountSource, Overlay, Plan};

/// How long a program may take to mount.
const PATIENCE: Duration = Duration::from_secs(10);

/// How long a program may take to notice that its last mount is gone.
const FAREWELL: Duration = Duration::from_millis(500);

const FUSE_SUPER_MAGIC: u64 = 0x6573_5546;

/// The most of a program's output that is told.
const MAX_OUTPUT: u64 = 4096;

/// The overlays of one run. Dropping them ends their programs.
#[derive(Debug, Default)]
pub(super) struct FuseMounts(Vec<Served>);

/// A mount and the process that serves it.
#[derive(Debug)]
struct Served {
    at: PathBuf,
    process: ProcessRef,
    pidfd: OwnedFd,
    /// The mount, to flush it.
    mounted: Option<File>,
}

impl FuseMounts {
    /// Mounts every overlay of `plan` by `program`, and puts plain directories into the plan.
    /// `dir` is the container's directory, `run` the one for volatile state.
    pub(super) fn replace(program: &Path, plan: &mut Plan, dir: &Path, run: &Path) -> Result<Self> {
        let mut mounts = Self::default();
        let served = |overlay: &Overlay, at: &Path, mounts: &mut Self| -> Result<()> {
            if mounts.0.is_empty() {
                // What the program mounts shall be seen here and below only.
                ns::unshare(NamespaceSet::EMPTY.with(Namespace::Mount))?;
                mount::make_all(mount::SLAVE)?;
            }
            mounts.0.push(serve(program, overlay, at, &run.join("fuse.log"))?);
            Ok(())
        };
        if let RootSource::Overlay(overlay) = &plan.root {
            let at = dir.join("merged");
            served(overlay, &at, &mut mounts)?;
            plan.root = RootSource::Bind(at);
        }
        for (number, mount) in plan.mounts.iter_mut().enumerate() {
            if let MountSource::Overlay(overlay) = &mount.source {
                let at = dir.join(format!("merged-{number}"));
                served(overlay, &at, &mut mounts)?;
                mount.source = MountSource::Bind { path: at, below: None, recursive: false };
            }
        }
        Ok(mounts)
    }

    /// The processes, for the case that this one is killed.
    pub(super) fn processes(&self) -> Vec<ProcessRef> {
        self.0.iter().map(|served| served.process).collect()
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        if let Some(mounted) = self.mounted.take() {
            // What the container wrote last may still be in the page cache. A program that has died
            // has lost it, and nothing can be done about that.
            let _ = file::sync_fs(&mounted, &self.at);
        }
        if let Ok(at) = std::ffi::CString::new(self.at.as_os_str().as_bytes()) {
            let _ = mount::detach_at(&at);
        }
        // It has the monitor's signal mask, so only SIGKILL is sure; after the flush that costs nothing.
        if !poll::readable(self.pidfd.as_fd(), Some(FAREWELL)).unwrap_or(false) {
            let _ = process::pidfd_send_signal(&self.pidfd, libc::SIGKILL);
        }
        // The monitor's loop may have been faster.
        let _ = process::wait_pidfd(&self.pidfd);
    }
}

/// Starts the program and waits for its mount.
fn serve(program: &Path, overlay: &Overlay, at: &Path, log: &Path) -> Result<Served> {
    match DirBuilder::new().mode(0o700).create(at) {
        Err(error) if error.kind() != std::io::ErrorKind::AlreadyExists => {
            return Err(kernel::Error::path("mkdir", at, error).into());
        }
        _ => {}
    }
    let output = File::create(log).map_err(|error| kernel::Error::path("open", log, error))?;
    let spawned = Command::new(program)
        .arg("-f")
        .arg("-o")
        .arg(options(overlay)?)
        .arg(at)
        .env_clear()
        .current_dir(&overlay.lower_base)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(output)
        .spawn();
    let failed = |what: String| Error::Fuse { program: program.to_owned(), what };
    let mut child = spawned.map_err(|error| failed(error.to_string()))?;
    let deadline = Instant::now() + PATIENCE;
    let mut wait = Duration::from_micros(500);
    while !is_mounted(at) {
        let ended = child.try_wait().ok().flatten();
        if ended.is_some() || Instant::now() > deadline {
            end(&mut child);
            let said = file::read_limited(log, MAX_OUTPUT).unwrap_or_default();
            let how = ended.map_or_else(|| "it does not mount".to_owned(), |status| status.to_string());
            return Err(failed(format!("{} ({how})", String::from_utf8_lossy(&said).trim())));
        }
        std::thread::sleep(wait);
        wait = (wait * 2).min(Duration::from_millis(20));
    }
    let served = (|| {
        let pid = Pid::from_child(&child);
        let mounted = Some(File::open(at).map_err(|error| kernel::Error::path("open", at, error))?);
        let pidfd = process::pidfd_open(pid)?;
        Ok(Served { at: at.to_owned(), process: ProcessRef::of(pid)?, pidfd, mounted })
    })();
    if served.is_err() {
        end(&mut child);
    }
    served
}

fn end(child: &mut Child) {
    let _ = child.kill();
    let _ = child.wait();
}

fn is_mounted(at: &Path) -> bool {
    rustix::fs::statfs(at).is_ok_and(|stat| stat.f_type as u64 == FUSE_SUPER_MAGIC)
}

/// The program's options. Directories are relative to the lower base where they can be.
fn options(overlay: &Overlay) -> Result<String> {
    let text = |path: &Path| -> Result<String> {
        let text = path.to_str().filter(|text| !text.contains([',', ':', '\\', '\n']));
        text.map(str::to_owned).ok_or_else(|| Error::Invalid {
            what: format!(
                "fuse-overlayfs cannot use the directory {}: its name has a , : or \\",
                path.display()
            ),
        })
    };
    let lowers = overlay.lowers.iter().map(|lower| text(lower)).collect::<Result<Vec<_>>>()?;
    let mut options = format!("lowerdir={}", lowers.join(":"));
    if let (Some(upper), Some(work)) = (&overlay.upper, &overlay.work) {
        for (key, path) in [("upperdir", upper), ("workdir", work)] {
            options.push_str(&format!(",{key}={}", text(&overlay.upper_base.join(path))?));
        }
        if overlay.volatile {
            options.push_str(",volatile");
        }
    }
    Ok(options)
}

/// Ends the processes of a container whose monitor is gone; `dir` is the container's directory. Their mounts are
/// seen in their own mount namespace only.
pub(super) fn end_all(processes: &[ProcessRef], dir: &Path) {
    for process in processes {
        let Ok(Some(pidfd)) = process.open() else { continue };
        let view = PathBuf::from(format!("/proc/{}/root", process.pid));
        for place in fs::read_dir(dir).into_iter().flatten().flatten() {
            if place.file_name().as_bytes().starts_with(b"merged") {
                let place = place.path();
                let seen = view.join(place.strip_prefix("/").unwrap_or(&place));
                let _ = File::open(&seen).map(|mounted| file::sync_fs(&mounted, &seen));
            }
        }
        let _ = process::pidfd_send_signal(&pidfd, libc::SIGKILL);
        let _ = poll::readable(pidfd.as_fd(), Some(FAREWELL));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_name_directories_from_the_base() {
        let overlay = Overlay {
            lower_base: "/s".into(),
            lowers: vec!["layers/b/diff".into(), "layers/a/diff".into()],
            upper_base: "/s".into(),
            upper: Some("containers/c/upper".into()),
            work: Some("containers/c/work".into()),
            volatile: true,
            ..Overlay::default()
        };
        assert_eq!(
            options(&overlay).unwrap(),
            "lowerdir=layers/b/diff:layers/a/diff,upperdir=/s/containers/c/upper,\
             workdir=/s/containers/c/work,volatile"
        );
        let read_only = Overlay { upper: None, ..overlay.clone() };
        assert_eq!(options(&read_only).unwrap(), "lowerdir=layers/b/diff:layers/a/diff");
        for name in ["a:b", "a,b", "a\\b"] {
            let odd = Overlay { lowers: vec![name.into()], ..overlay.clone() };
            assert!(options(&odd).is_err(), "{name}");
        }
    }
}
