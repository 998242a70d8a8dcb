//! Which cgroup a new container gets, and whether its limits can be kept: checked before anything is written.

use std::path::{Path, PathBuf};

use oci_spec::runtime::LinuxResources;

use super::resources::Machine;
use super::{CgroupMode, CreateRequest};
use crate::config::{Env, env};
use crate::container::record::{Cgroup, CgroupManager};
use crate::container::{Error, Result};
use crate::engine::Engine;
use crate::runtime::cgroup::{self, Address};

/// Finds out who makes the cgroup of a container and where, and puts its limits in the words of the spec.
///
/// # Errors
/// When limits make no sense, or nothing here can keep them.
pub(super) fn resolve(engine: &Engine, request: &CreateRequest) -> Result<(Cgroup, Option<LinuxResources>)> {
    let manager = manager(engine)?;
    let parent = request.cgroup_parent.clone().unwrap_or_default();
    check_parent(manager, &parent)?;
    check_mode(request.cgroups, &parent)?;
    let resources = request.resources.to_spec()?;
    if let Some(resources) = &resources {
        request.resources.check(&Machine::read())?;
        check_available(engine.env().uid(), manager, request.cgroups, resources)?;
    }
    Ok((Cgroup { manager, parent }, resources))
}

/// Who makes cgroups: by flag, by configuration, or whoever is there.
///
/// # Errors
/// When the configuration cannot be read, or names nobody.
pub fn manager(engine: &Engine) -> Result<CgroupManager> {
    let config = engine.config()?;
    let given = engine.options.cgroup_manager.as_ref().or(config.engine.cgroup_manager.as_ref());
    match given.map(String::as_str) {
        Some("systemd") => Ok(CgroupManager::Systemd),
        Some("cgroupfs") => Ok(CgroupManager::Cgroupfs),
        None | Some("") if cgroup::is_version_2() && address(engine.env()).is_there() => {
            Ok(CgroupManager::Systemd)
        }
        None | Some("") => Ok(CgroupManager::Cgroupfs),
        Some(other) => Err(Error::Invalid {
            what: format!("invalid cgroup manager {other:?}: it is cgroupfs or systemd"),
        }),
    }
}

/// Where the user's service manager listens.
#[must_use]
pub fn address(variables: &Env) -> Address {
    let text = |name| variables.get(name).and_then(|value| value.to_str()).map(str::to_owned);
    let runtime = text(env::name::XDG_RUNTIME_DIR).filter(|path| !path.is_empty()).map(PathBuf::from);
    Address {
        runtime: runtime.or_else(|| Some(PathBuf::from(format!("/run/user/{}", variables.uid())))),
        bus: text(env::name::DBUS_SESSION_BUS_ADDRESS),
    }
}

/// podman's rule: systemd's names belong to systemd.
fn check_parent(manager: CgroupManager, parent: &str) -> Result<()> {
    let fail = |what: &str| Err(Error::Invalid { what: what.to_owned() });
    let slice = Path::new(parent).extension().is_some_and(|extension| extension == "slice");
    match manager {
        _ if parent.is_empty() => Ok(()),
        CgroupManager::Systemd if !slice => fail(
            "did not receive systemd slice as cgroup parent when using systemd to manage cgroups: invalid argument",
        ),
        CgroupManager::Cgroupfs if slice => {
            fail("systemd slice received as cgroup parent when using cgroupfs: invalid argument")
        }
        CgroupManager::Systemd | CgroupManager::Cgroupfs => Ok(()),
    }
}

/// A parent is for a cgroup that is made for the container alone.
fn check_mode(mode: CgroupMode, parent: &str) -> Result<()> {
    let what = match mode {
        CgroupMode::Split if !parent.is_empty() => "cannot specify --cgroup-mode=split with a cgroup-parent",
        CgroupMode::Disabled if !parent.is_empty() => "cannot set cgroup parent if not creating cgroups",
        _ => return Ok(()),
    };
    Err(Error::Invalid { what: format!("{what}: invalid argument") })
}

/// Checks that limits can be kept, as far as it can be told before there is a cgroup.
pub(in crate::container) fn check_available(
    uid: u32,
    manager: CgroupManager,
    mode: CgroupMode,
    resources: &LinuxResources,
) -> Result<()> {
    if mode == CgroupMode::Disabled {
        return Err(Error::Invalid {
            what: "resource limits need a cgroup, and --cgroups=disabled makes none".to_owned(),
        });
    }
    let service = PathBuf::from(format!("/user.slice/user-{uid}.slice/user@{uid}.service"));
    let below = (manager == CgroupManager::Systemd && mode == CgroupMode::Enabled).then_some(service);
    for (file, value) in cgroup::settings(resources)? {
        // What asks for no limit needs nobody who keeps it.
        if value != "max" {
            cgroup::available(&file, &value, below.as_deref())?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parents_fit_their_manager() {
        use CgroupManager::{Cgroupfs, Systemd};
        for (manager, parent, fits) in [
            (Systemd, "", true),
            (Systemd, "my.slice", true),
            (Systemd, "/my", false),
            (Cgroupfs, "/my", true),
            (Cgroupfs, "my.slice", false),
        ] {
            assert_eq!(check_parent(manager, parent).is_ok(), fits, "{manager:?} {parent}");
        }
    }
}
