//! Who the program runs as, with which limits and capabilities.

use std::os::fd::AsFd;

use rustix::fs::{FileType, Mode};

use crate::kernel::cap::{self, Capability, CapabilitySet};
use crate::kernel::path::{RootDir, set_owner_fd};
use crate::kernel::{self, cred, numa, prctl, rlimit, schedule, walk};

use super::super::error::{Error, Result};
use super::super::plan::Processors;
use super::super::user;
use super::Stage;
use super::mounts::tree_root;
use super::rootfs::open_root;

impl Stage<'_> {
    pub(super) fn find_user(&mut self) -> Result<()> {
        let lookup = self.process.lookup.take();
        if lookup.is_none() && self.process.variable("HOME").is_some() {
            return Ok(());
        }
        if self.root.is_none() {
            self.root = Some(open_root()?);
        }
        let root = self.root.as_ref().expect("set above");
        match lookup {
            Some(lookup) => user::apply(&lookup, root, self.maps.as_ref(), &mut self.process),
            None => user::add_home(root, &mut self.process),
        }
    }

    /// Gives volumes to the program's user, unless they are hers already.
    pub(super) fn change_owners(&mut self) -> Result<()> {
        let (uid, gid) = (self.process.uid, self.process.gid);
        for tree in std::mem::take(&mut self.chown) {
            let stat = rustix::fs::fstat(&tree).map_err(|errno| kernel::Error::call("fstat", "", errno))?;
            if (stat.st_uid, stat.st_gid) == (uid, gid) {
                continue;
            }
            if FileType::from_raw_mode(stat.st_mode) == FileType::Directory {
                change_owner_below(&tree_root(tree.as_fd())?, uid, gid)?;
            }
            set_owner_fd(tree.as_fd(), uid, gid)
                .map_err(|errno| kernel::Error::call("fchownat", "", errno))?;
        }
        Ok(())
    }

    pub(super) fn set_limits(&self) -> Result<()> {
        for (resource, soft, hard) in &self.process.limits {
            rlimit::set(*resource, *soft, *hard)?;
        }
        match &self.process.processors {
            Processors::Callers => {}
            // What a filter around all of rbox forbids is left as it is.
            Processors::All => drop(schedule::set_processors(&[])),
            Processors::Given { inside, .. } if inside.is_empty() => {}
            Processors::Given { inside, .. } => schedule::set_processors(inside)?,
        }
        if let Some(scheduling) = &self.process.scheduling {
            schedule::set(scheduling)?;
        }
        if let Some(priority) = self.process.io_priority {
            schedule::set_io_priority(priority)?;
        }
        if let Some(policy) = &self.process.memory_policy {
            numa::set_memory_policy(policy.mode, &policy.nodes)?;
        }
        Ok(())
    }

    pub(super) fn limit_bounding(&self) -> Result<()> {
        Ok(cap::limit_bounding(self.process.capabilities.bounding)?)
    }

    pub(super) fn change_ids(&self) -> Result<()> {
        // The groups are exactly the asked ones: a group of the caller that is left would
        // open her files, a missing primary group would defeat denials by group (CVE-2022-2989).
        let process = &self.process;
        let groups = if process.keep_groups { Ok(()) } else { cred::set_groups(&process.groups) };
        match groups {
            // Root may always do this, but not in a namespace whose maker had no right to drop groups.
            Err(error) if error.errno() == Some(libc::EPERM) => {
                if process.groups.iter().any(|gid| *gid != process.gid) {
                    return Err(Error::unsupported(
                        "supplementary groups in a user namespace with a single id: the user has no sub-ids",
                    ));
                }
            }
            result => result?,
        }
        cred::set_keep_capabilities(true)?;
        cred::set_gid(process.gid)?;
        cred::set_uid(process.uid)?;
        prctl::set_dumpable(false)?;
        rustix::process::umask(Mode::from_raw_mode(process.umask.unwrap_or(0o022)));
        Ok(())
    }

    /// Takes the asked sets. Loading a filter or an enclosure without no_new_privs needs
    /// CAP_SYS_ADMIN until then; see [`Self::drop_last_capabilities`].
    pub(super) fn set_capabilities(&self) -> Result<()> {
        let asked = &self.process.capabilities;
        let (_, available) = cap::current()?;
        let mut permitted = asked.permitted.intersection(available);
        let mut effective = asked.effective.intersection(permitted);
        if self.needs_admin_to_confine() && available.contains(Capability::SYS_ADMIN) {
            permitted = permitted.with(Capability::SYS_ADMIN);
            effective = effective.with(Capability::SYS_ADMIN);
        }
        cap::set(effective, permitted, asked.inheritable.intersection(available))?;
        // The kernel refuses others, and the specification lets a container have fewer than it asks for.
        let ambient = asked.ambient.intersection(asked.inheritable).intersection(asked.permitted);
        Ok(cap::set_ambient(ambient.intersection(available))?)
    }

    /// Whether the filter is loaded, and the enclosure made, by right of a capability.
    pub(super) fn needs_admin_to_confine(&self) -> bool {
        let process = &self.process;
        (process.seccomp.is_some() || process.enclosure.is_some()) && !process.no_new_privileges
    }

    pub(super) fn drop_last_capabilities(&self) -> Result<()> {
        let asked = &self.process.capabilities;
        let (_, available) = cap::current()?;
        let permitted: CapabilitySet = asked.permitted.intersection(available);
        let effective = asked.effective.intersection(permitted);
        Ok(cap::set(effective, permitted, asked.inheritable.intersection(available))?)
    }
}

pub(super) fn change_owner_below(directory: &RootDir, uid: u32, gid: u32) -> Result<()> {
    walk::below(directory, &mut |directory, name| Ok(directory.set_owner(name, uid, gid)?))
}
