//! Network devices of the caller's that become the container's (`linux.netDevices`).
//!
//! A move takes a device's addresses away, so they are read before the clone. The parent moves the device once the
//! container's network namespace is there, by right of its own one; who is inside gives it its addresses back: the
//! child, or where a namespace is joined, the process in between, which still has the caller's rights.
//! When the namespace ends, hardware comes back to the host, and what is only virtual is gone: the kernel does both.

use std::os::fd::AsFd;

use serde::{Deserialize, Serialize};

use crate::kernel::netlink::{Device, Netlink};
use crate::kernel::ns;
use crate::kernel::process::Pid;

use super::error::Result;
use super::plan::{Membership, Plan};

/// The devices of a container that is being made, each with its name inside.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct NetworkDevices(Vec<(Device, String)>);

impl NetworkDevices {
    /// Finds the devices of `plan` in the caller's network namespace.
    pub(super) fn find(plan: &Plan) -> Result<Self> {
        if plan.network_devices.is_empty() {
            return Ok(Self::default());
        }
        let mut netlink = Netlink::open()?;
        let devices = plan.network_devices.iter();
        let found = devices.map(|(name, inside)| Ok((netlink.device(name)?, inside.clone())));
        Ok(Self(found.collect::<Result<_>>()?))
    }

    /// Moves them to a network namespace that exists already.
    pub(super) fn move_to(&self, namespace: impl AsFd) -> Result<()> {
        if self.0.is_empty() {
            return Ok(());
        }
        let mut netlink = Netlink::open()?;
        for (device, inside) in &self.0 {
            netlink.move_to(device, namespace.as_fd(), inside)?;
        }
        Ok(())
    }

    /// Moves them to the new network namespace of `init`, if it has one.
    pub(super) fn move_to_new(&self, plan: &Plan, init: Pid) -> Result<()> {
        if self.0.is_empty() || plan.namespaces.network != Membership::New {
            return Ok(());
        }
        self.move_to(ns::open_path(format!("/proc/{}/ns/net", init.as_raw_nonzero()))?)
    }

    /// Gives them back what they had, in the network namespace that this process is in.
    pub(super) fn restore(&self) -> Result<()> {
        if self.0.is_empty() {
            return Ok(());
        }
        let mut netlink = Netlink::open()?;
        for (device, inside) in &self.0 {
            netlink.restore(device, inside)?;
        }
        Ok(())
    }
}
