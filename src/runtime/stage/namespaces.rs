//! The child's way into its namespaces.

use std::os::fd::AsFd;

use rustix::fs::{Mode, OFlags};

use crate::kernel::idmap::{IdMaps, to_outside};
use crate::kernel::ns::{self, Namespace, NamespaceSet};
use crate::kernel::{self, cred, interface, keyring, prctl};

use super::super::error::{Error, Result};
use super::super::plan::{Membership, TimeOffsets};
use super::super::protocol::{self, Command};
use super::Stage;

impl Stage<'_> {
    /// Until here the process is dumpable: the parent could not open its
    /// uid_map otherwise, which would belong to the host's root.
    pub(super) fn wait_for_maps(&mut self) -> Result<()> {
        protocol::wait_command(self.channel(), Command::MapsWritten)?;
        prctl::set_dumpable(false)?;
        // The procfs in sight is still the parent's, so this is the pid that the parent knows.
        let own = rustix::fs::readlink(c"/proc/self", Vec::new()).ok();
        self.outer_pid = own.and_then(|link| link.to_str().ok()?.parse().ok()).unwrap_or(0);
        Ok(())
    }

    pub(super) fn new_keyring(&self) -> Result<()> {
        if self.plan.is_some_and(|plan| !plan.new_keyring) {
            return Ok(());
        }
        self.label_keys()?;
        match keyring::join_new_session() {
            // The user's quota (200 keys by default) is used up. The parent has put the process
            // into a keyring of rbox that holds nothing, so the host's is out of reach anyway.
            Err(error) if error.errno() == Some(libc::EDQUOT) => Ok(()),
            // No keyrings in this kernel, or an outer container's filter denies them.
            Err(error) if matches!(error.errno(), Some(libc::ENOSYS | libc::EPERM)) => Ok(()),
            result => Ok(result?),
        }
    }

    pub(super) fn new_time_namespace(&self) -> Result<()> {
        let namespaces = &self.plan().namespaces;
        if namespaces.time != Membership::New {
            return Ok(());
        }
        ns::unshare(NamespaceSet::EMPTY.with(Namespace::Time))?;
        let Some(TimeOffsets { monotonic, boot }) = namespaces.time_offsets else { return Ok(()) };
        let text = format!("monotonic {} {}\nboottime {} {}\n", monotonic.0, monotonic.1, boot.0, boot.1);
        // Files of a process that is not dumpable belong to the host's root.
        prctl::set_dumpable(true)?;
        let result = write_proc("/proc/self/timens_offsets", &text);
        prctl::set_dumpable(false)?;
        result
    }

    pub(super) fn new_cgroup_namespace(&self) -> Result<()> {
        if self.plan().namespaces.cgroup == Membership::New {
            ns::unshare(NamespaceSet::EMPTY.with(Namespace::Cgroup))?;
        }
        Ok(())
    }

    pub(super) fn loopback_up(&self) -> Result<()> {
        if self.plan().namespaces.network == Membership::New {
            interface::bring_loopback_up()?;
            self.devices.restore()?;
        }
        Ok(())
    }

    pub(super) fn set_host_name(&self) -> Result<()> {
        let plan = self.plan();
        if let Some(name) = &plan.host_name {
            prctl::set_host_name(name)?;
        }
        if let Some(name) = &plan.domain_name {
            prctl::set_domain_name(name)?;
        }
        Ok(())
    }
}

/// Takes the ids 0, where the user namespace has them. Files made from here on
/// belong to the container's root.
pub(super) fn become_root(maps: Option<&IdMaps>) -> Result<()> {
    let mapped = maps.is_none_or(|maps| to_outside(&maps.uid, 0).and(to_outside(&maps.gid, 0)).is_some());
    if mapped && cred::effective_gid() != 0 {
        cred::set_gid(0)?;
    }
    if mapped && cred::effective_uid() != 0 {
        cred::set_uid(0)?;
        // A change of ids makes the process what fs.suid_dumpable says.
        prctl::set_dumpable(false)?;
    }
    // The caller's mask must not decide who may enter what is made here; the program's comes with its ids.
    rustix::process::umask(Mode::from_raw_mode(0o022));
    Ok(())
}

pub(super) fn new_session() -> Result<()> {
    match rustix::process::setsid() {
        // Already the leader of a session: an init of its own pid namespace may be.
        Ok(_) | Err(rustix::io::Errno::PERM) => Ok(()),
        Err(errno) => Err(kernel::Error::call("setsid", "", errno).into()),
    }
}

fn write_proc(path: &'static str, text: &str) -> Result<()> {
    let error = |call| move |errno| Error::from(kernel::Error::path(call, path, std::io::Error::from(errno)));
    let file =
        rustix::fs::open(path, OFlags::WRONLY | OFlags::CLOEXEC, Mode::empty()).map_err(error("open"))?;
    rustix::io::write(file.as_fd(), text.as_bytes()).map_err(error("write"))?;
    Ok(())
}
