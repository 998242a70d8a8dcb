//! Resource limits of the calling process.

use std::io;

use super::{Error, Result};

/// A resource that can be limited. The type of its number differs between C libraries.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
pub struct Resource(u32);

/// Names in the order of their numbers.
const NAMES: [&str; 16] = [
    "CPU",
    "FSIZE",
    "DATA",
    "STACK",
    "CORE",
    "RSS",
    "NPROC",
    "NOFILE",
    "MEMLOCK",
    "AS",
    "LOCKS",
    "SIGPENDING",
    "MSGQUEUE",
    "NICE",
    "RTPRIO",
    "RTTIME",
];

impl Resource {
    /// Finds a resource by name: `RLIMIT_NOFILE`, `nofile`.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        let name = name.to_ascii_uppercase();
        let name = name.strip_prefix("RLIMIT_").unwrap_or(&name);
        NAMES.iter().position(|known| *known == name).map(|number| Self(number as u32))
    }

    /// The name with its `RLIMIT_` prefix.
    #[must_use]
    pub fn name(self) -> String {
        format!("RLIMIT_{}", NAMES[self.0 as usize])
    }
}

/// Sets the soft and hard limit; `u64::MAX` is unlimited.
pub fn set(resource: Resource, soft: u64, hard: u64) -> Result<()> {
    let limit = libc::rlimit { rlim_cur: soft, rlim_max: hard };
    // SAFETY: the struct outlives the call.
    if unsafe { libc::setrlimit(resource.0 as _, &raw const limit) } != 0 {
        let detail = format!("{}={soft}:{hard}", resource.name());
        return Err(Error::call("setrlimit", detail, io::Error::last_os_error()));
    }
    Ok(())
}

/// The soft and hard limit.
pub fn get(resource: Resource) -> Result<(u64, u64)> {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: the struct outlives the call.
    if unsafe { libc::getrlimit(resource.0 as _, &raw mut limit) } != 0 {
        return Err(Error::call("getrlimit", resource.name(), io::Error::last_os_error()));
    }
    Ok((limit.rlim_cur, limit.rlim_max))
}
