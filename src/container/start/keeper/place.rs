//! Where the cgroup of a container goes: a scope of systemd's, a half of the caller's cgroup, or below that.
//!
//! A scope is asked for as early as there is a monitor, which is put into it, and waited for when the container is about
//! to be cloned: what systemd does takes place beside the making of namespace and plan.

use super::Keeper;
use crate::container::create::CgroupMode;
use crate::container::create::cgroup::address;
use crate::container::create::namespace::parse_cgroups;
use crate::container::record::CgroupManager;
use crate::container::{Error, Result};
use crate::runtime::cgroup::{self, Asked, SLICE, Scope, Split};
use crate::runtime::{self, Plan};

/// What a monitor has of its container's cgroup.
#[derive(Debug, Default)]
pub(super) enum Place {
    /// Nothing yet, or nothing to keep.
    #[default]
    Nowhere,
    /// systemd is at it.
    Asked(Box<Asked>),
    /// It was asked in vain.
    Refused(runtime::Error),
    /// A scope with this process in it.
    Scope(Scope),
    /// With `--cgroups=split`.
    Split(Split),
}

impl Keeper {
    /// Asks systemd for a scope, where the container is to have one.
    pub(super) fn ask_for_scope(&mut self) -> Result<()> {
        let mode = parse_cgroups(&self.record.namespaces.cgroups)?;
        // A service's main process must stay in the service.
        let wanted = mode == CgroupMode::Enabled
            && self.record.cgroup.manager == CgroupManager::Systemd
            && !self.notifier.is_active();
        if !wanted || !matches!(self.place, Place::Nowhere) || !cgroup::is_version_2() {
            return Ok(());
        }
        let parent = self.record.cgroup.parent.as_str();
        let slice = if parent.is_empty() { SLICE } else { parent.rsplit('/').next().unwrap_or(parent) };
        let id = self.record.id.as_str();
        let name = format!("libpod-{id}");
        self.place = match Scope::ask(&address(&self.settings.env), &name, slice, id) {
            Ok(asked) => Place::Asked(Box::new(asked)),
            Err(error) => Place::Refused(error),
        };
        Ok(())
    }

    /// Chooses the cgroup.
    pub(super) fn place(&mut self, plan: &mut Plan) -> Result<()> {
        let mode = parse_cgroups(&self.record.namespaces.cgroups)?;
        self.place = match (std::mem::take(&mut self.place), mode) {
            (_, CgroupMode::Disabled) => {
                plan.cgroup.disabled = true;
                Place::Nowhere
            }
            (Place::Nowhere, CgroupMode::Split) => Place::Split(Split::enter(self.record.id.as_str())?),
            (Place::Asked(asked), _) => match asked.wait() {
                Ok(scope) => Place::Scope(scope),
                Err(error) => Place::Refused(error),
            },
            (place, _) => place,
        };
        match &self.place {
            Place::Scope(scope) => plan.cgroup.path = Some(scope.container()),
            Place::Split(split) => {
                plan.cgroup.path = Some(split.payload().to_owned());
                plan.cgroup.required = true;
            }
            _ => self.place_below(plan),
        }
        // Without a scope limits can be had only where the caller's cgroup is delegated.
        if let (Place::Refused(_), Some((file, value))) = (&self.place, plan.cgroup.settings.first())
            && cgroup::available(file, value, None).is_err()
            && let Place::Refused(error) = std::mem::take(&mut self.place)
        {
            return Err(Error::Runtime(error));
        }
        Ok(())
    }

    /// Below the caller's cgroup, or the one that she has named.
    fn place_below(&self, plan: &mut Plan) {
        let parent = &self.record.cgroup.parent;
        if self.record.cgroup.manager == CgroupManager::Cgroupfs && !parent.is_empty() {
            plan.cgroup.path = Some(std::path::Path::new(parent).join(format!("libpod-{}", self.record.id)));
            plan.cgroup.required = true;
        }
    }
}
