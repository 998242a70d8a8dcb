//! The program's terminal: a pair made on the container's own devpts.
//!
//! The slave is opened from the master (TIOCGPTPEER) and never by its path,
//! which the container could have replaced (CVE-2025-52565). It becomes the
//! controlling terminal, so the caller's terminal is not reachable at all.

use std::os::fd::{AsFd, OwnedFd};

use rustix::fs::{FileType, Mode, OFlags};
use rustix::pty::OpenptFlags;

use crate::kernel::mount;
use crate::kernel::tty::{self, WindowSize};
use crate::kernel::{self, process};

use super::super::error::{Error, Result};
use super::super::protocol::{self, Kind};
use super::super::streams::Streams;
use super::Stage;
use super::rootfs::open_root;

const DEVPTS_SUPER_MAGIC: u64 = 0x1cd1;

impl Stage<'_> {
    pub(super) fn open_terminal(&mut self) -> Result<()> {
        let Streams::Terminal { size } = self.streams else { return Ok(()) };
        if self.root.is_none() {
            self.root = Some(open_root()?);
        }
        let master = self.open_master()?;
        let fail =
            |call| move |errno| Error::from(kernel::Error::call(call, "", std::io::Error::from(errno)));
        rustix::pty::unlockpt(&master).map_err(fail("ioctl(TIOCSPTLCK)"))?;
        let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
        let slave = rustix::pty::ioctl_tiocgptpeer(&master, flags).map_err(fail("ioctl(TIOCGPTPEER)"))?;
        if let Some((columns, rows)) = size {
            tty::set_window_size(&slave, WindowSize { columns, rows })?;
        }
        if self.process.plain_line_ends {
            tty::keep_line_ends(&slave)?;
        }
        // Its user may open it again by name. The group stays tty.
        let uid = rustix::fs::Uid::from_raw(self.process.uid);
        rustix::fs::fchown(&slave, Some(uid), None).map_err(fail("fchown"))?;
        if self.plan.is_some() {
            self.bind_console(&slave)?;
        }
        rustix::process::ioctl_tiocsctty(&slave).map_err(fail("ioctl(TIOCSCTTY)"))?;
        for target in 0..3 {
            process::duplicate_to(&slave, target)?;
        }
        protocol::send(self.channel(), Kind::Terminal, 0, &[master.as_fd()])
    }

    fn open_master(&self) -> Result<OwnedFd> {
        let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC;
        let master = self.root().open_file("dev/pts/ptmx", flags, Mode::empty())?;
        let stat = rustix::fs::fstat(&master).map_err(|errno| kernel::Error::call("fstat", "", errno))?;
        let system =
            rustix::fs::fstatfs(&master).map_err(|errno| kernel::Error::call("fstatfs", "", errno))?;
        let is_master = FileType::from_raw_mode(stat.st_mode) == FileType::CharacterDevice
            && stat.st_rdev == rustix::fs::makedev(5, 2)
            && system.f_type as u64 == DEVPTS_SUPER_MAGIC;
        if !is_master {
            return Err(Error::invalid("terminal", "/dev/pts/ptmx is not that of a devpts file system"));
        }
        Ok(master.into())
    }

    /// Shows the slave as /dev/console, by its handle.
    fn bind_console(&self, slave: &OwnedFd) -> Result<()> {
        let tree = mount::clone_tree(slave.as_fd(), c"", false)?;
        let target = self.root().create_file("dev/console", Mode::from_raw_mode(0o600))?;
        Ok(mount::attach(&tree, &target)?)
    }
}
