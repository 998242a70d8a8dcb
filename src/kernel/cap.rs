//! Capabilities: names, sets and the five sets of a process.

use std::fmt;

use rustix::thread::{CapabilitySet as Bits, CapabilitySets};

use super::{Error, Result};

/// Names in the order of their numbers, without `CAP_`.
const NAMES: [&str; 41] = [
    "CHOWN",
    "DAC_OVERRIDE",
    "DAC_READ_SEARCH",
    "FOWNER",
    "FSETID",
    "KILL",
    "SETGID",
    "SETUID",
    "SETPCAP",
    "LINUX_IMMUTABLE",
    "NET_BIND_SERVICE",
    "NET_BROADCAST",
    "NET_ADMIN",
    "NET_RAW",
    "IPC_LOCK",
    "IPC_OWNER",
    "SYS_MODULE",
    "SYS_RAWIO",
    "SYS_CHROOT",
    "SYS_PTRACE",
    "SYS_PACCT",
    "SYS_ADMIN",
    "SYS_BOOT",
    "SYS_NICE",
    "SYS_RESOURCE",
    "SYS_TIME",
    "SYS_TTY_CONFIG",
    "MKNOD",
    "LEASE",
    "AUDIT_WRITE",
    "AUDIT_CONTROL",
    "SETFCAP",
    "MAC_OVERRIDE",
    "MAC_ADMIN",
    "SYSLOG",
    "WAKE_ALARM",
    "BLOCK_SUSPEND",
    "AUDIT_READ",
    "PERFMON",
    "BPF",
    "CHECKPOINT_RESTORE",
];

/// One capability by its number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Capability(u8);

impl Capability {
    /// `CAP_SYS_ADMIN`.
    pub const SYS_ADMIN: Self = Self(21);
    /// `CAP_SETUID`.
    pub const SETUID: Self = Self(7);
    /// `CAP_SETGID`.
    pub const SETGID: Self = Self(6);

    /// Finds a capability by name, with or without `CAP_`, in any case.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        let name = name.to_ascii_uppercase();
        let name = name.strip_prefix("CAP_").unwrap_or(&name);
        NAMES.iter().position(|known| *known == name).map(|number| Self(number as u8))
    }

    /// The name with its `CAP_` prefix.
    #[must_use]
    pub fn name(self) -> String {
        format!("CAP_{}", NAMES[usize::from(self.0)])
    }

    /// Every capability that rbox knows by name.
    pub fn all() -> impl Iterator<Item = Self> {
        (0..NAMES.len() as u8).map(Self)
    }
}

/// A set of capabilities.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
pub struct CapabilitySet(u64);

impl CapabilitySet {
    /// No capability.
    pub const EMPTY: Self = Self(0);

    /// Every capability that this kernel has.
    #[must_use]
    pub fn all_of_kernel() -> Self {
        (0..64)
            .take_while(|number| bounding_contains(*number).is_some())
            .fold(Self::EMPTY, |set, number| Self(set.0 | 1 << number))
    }

    /// Whether `capability` is in the set.
    #[must_use]
    pub const fn contains(self, capability: Capability) -> bool {
        self.0 & 1 << capability.0 != 0
    }

    /// This set and `capability`.
    #[must_use]
    pub const fn with(self, capability: Capability) -> Self {
        Self(self.0 | 1 << capability.0)
    }

    /// What is in both sets.
    #[must_use]
    pub const fn intersection(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }

    /// Whether the set is empty.
    #[must_use]
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// The bit mask, as `/proc/PID/status` shows it.
    #[must_use]
    pub const fn bits(self) -> u64 {
        self.0
    }

    /// The capabilities in the order of their numbers.
    pub fn iter(self) -> impl Iterator<Item = Capability> {
        Capability::all().filter(move |capability| self.contains(*capability))
    }
}

impl FromIterator<Capability> for CapabilitySet {
    fn from_iter<T: IntoIterator<Item = Capability>>(capabilities: T) -> Self {
        capabilities.into_iter().fold(Self::EMPTY, Self::with)
    }
}

impl fmt::Display for CapabilitySet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<String> = self.iter().map(Capability::name).collect();
        f.write_str(&names.join(","))
    }
}

/// Whether the bounding set holds a capability; `None` where the kernel does not know it.
fn bounding_contains(number: u32) -> Option<bool> {
    rustix::thread::capability_is_in_bounding_set(Bits::from_bits_retain(1 << number)).ok()
}

/// Removes everything but `keep` from the bounding set: what no exec can give back.
pub fn limit_bounding(keep: CapabilitySet) -> Result<()> {
    for number in 0..64 {
        match bounding_contains(number) {
            None => break,
            Some(true) if keep.0 & 1 << number == 0 => {
                rustix::thread::remove_capability_from_bounding_set(Bits::from_bits_retain(1 << number))
                    .map_err(|errno| Error::call("prctl(PR_CAPBSET_DROP)", number.to_string(), errno))?;
            }
            Some(_) => {}
        }
    }
    Ok(())
}

/// Sets the effective, permitted and inheritable sets.
pub fn set(effective: CapabilitySet, permitted: CapabilitySet, inheritable: CapabilitySet) -> Result<()> {
    let sets = CapabilitySets {
        effective: Bits::from_bits_retain(effective.0),
        permitted: Bits::from_bits_retain(permitted.0),
        inheritable: Bits::from_bits_retain(inheritable.0),
    };
    rustix::thread::set_capabilities(None, sets)
        .map_err(|errno| Error::call("capset", format!("permitted {:#x}", permitted.0), errno))
}

/// The effective and permitted set of this process.
pub fn current() -> Result<(CapabilitySet, CapabilitySet)> {
    rustix::thread::capabilities(None)
        .map(|sets| (CapabilitySet(sets.effective.bits()), CapabilitySet(sets.permitted.bits())))
        .map_err(|errno| Error::call("capget", "", errno))
}

/// Makes the ambient set exactly `ambient`; each must be permitted and inheritable.
pub fn set_ambient(ambient: CapabilitySet) -> Result<()> {
    rustix::thread::clear_ambient_capability_set()
        .map_err(|errno| Error::call("prctl(PR_CAP_AMBIENT_CLEAR_ALL)", "", errno))?;
    for capability in ambient.iter() {
        let bits = Bits::from_bits_retain(1 << capability.0);
        rustix::thread::configure_capability_in_ambient_set(bits, true)
            .map_err(|errno| Error::call("prctl(PR_CAP_AMBIENT_RAISE)", capability.name(), errno))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_found_with_and_without_prefix() {
        let chown = Capability::from_name("CAP_CHOWN").unwrap();
        assert_eq!(Capability::from_name("chown"), Some(chown));
        assert_eq!(Capability::from_name("cap_sys_admin"), Some(Capability::SYS_ADMIN));
        assert_eq!(Capability::from_name("NOSUCH"), None);
        assert_eq!(Capability::from_name("CHECKPOINT_RESTORE").unwrap().name(), "CAP_CHECKPOINT_RESTORE");
    }

    #[test]
    fn sets_print_in_order() {
        let set: CapabilitySet =
            ["SETUID", "CHOWN"].iter().filter_map(|n| Capability::from_name(n)).collect();
        assert_eq!(set.to_string(), "CAP_CHOWN,CAP_SETUID");
        assert_eq!(set.bits(), 0x81);
    }
}
