//! Seccomp profiles of Docker's schema: rules that depend on the container's
//! capabilities, the machine and the kernel. Resolved, they are the
//! `linux.seccomp` section of a spec.

use oci_spec::runtime::{
    Arch, LinuxSeccomp, LinuxSeccompAction, LinuxSeccompArg, LinuxSeccompFilterFlag, LinuxSyscall,
};
use serde::Deserialize;

use crate::kernel::cap::{Capability, CapabilitySet};

use super::super::error::{Error, Result};
use super::table::Abi;

/// Profiles are small; a limit keeps a wrong file from being parsed for long.
const MAX_SIZE: usize = 4 << 20;

/// A profile as its file says it.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Profile {
    default_action: LinuxSeccompAction,
    #[serde(default)]
    default_errno_ret: Option<u32>,
    #[serde(default)]
    architectures: Option<Vec<Arch>>,
    #[serde(default)]
    arch_map: Option<Vec<ArchEntry>>,
    #[serde(default)]
    flags: Option<Vec<LinuxSeccompFilterFlag>>,
    #[serde(default)]
    listener_path: Option<String>,
    #[serde(default)]
    syscalls: Option<Vec<Entry>>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
struct ArchEntry {
    architecture: Arch,
    #[serde(default)]
    sub_architectures: Option<Vec<Arch>>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Entry {
    #[serde(default)]
    names: Vec<String>,
    /// The older form of `names`.
    #[serde(default)]
    name: Option<String>,
    action: LinuxSeccompAction,
    #[serde(default)]
    errno_ret: Option<u32>,
    #[serde(default)]
    args: Option<Vec<LinuxSeccompArg>>,
    #[serde(default)]
    includes: Filter,
    #[serde(default)]
    excludes: Filter,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Filter {
    #[serde(default)]
    caps: Option<Vec<String>>,
    #[serde(default)]
    arches: Option<Vec<String>>,
    #[serde(default)]
    min_kernel: Option<String>,
}

/// The built-in profile.
#[must_use]
pub fn default_profile() -> Profile {
    Profile::parse(include_bytes!("default.json")).expect("the built-in profile is tested")
}

impl Profile {
    /// Reads a profile.
    ///
    /// # Errors
    /// When it is not JSON of this schema.
    pub fn parse(json: &[u8]) -> Result<Self> {
        if json.len() > MAX_SIZE {
            return Err(Error::invalid("seccomp profile", format!("it is larger than {MAX_SIZE} bytes")));
        }
        let profile: Self = serde_json::from_slice(json)
            .map_err(|error| Error::invalid("seccomp profile", error.to_string()))?;
        if profile.architectures.is_some() && profile.arch_map.is_some() {
            return Err(Error::invalid("seccomp profile", "it has both `architectures` and `archMap`"));
        }
        Ok(profile)
    }

    /// The rules that hold for a container with the bounding set `capabilities` on this machine.
    #[must_use]
    pub fn resolve(mut self, capabilities: CapabilitySet) -> LinuxSeccomp {
        let kernel = kernel_version();
        let mut spec = LinuxSeccomp::default();
        spec.set_default_action(self.default_action)
            .set_default_errno_ret(self.default_errno_ret)
            .set_architectures(self.architectures())
            .set_flags(self.flags.take())
            .set_listener_path(self.listener_path.take().map(Into::into));
        let applies = |entry: &Entry| {
            entry.includes.includes(capabilities, kernel) && !entry.excludes.excludes(capabilities, kernel)
        };
        let syscalls = self.syscalls.into_iter().flatten().filter(applies).map(|entry| {
            let mut syscall = LinuxSyscall::default();
            syscall
                .set_names(entry.names.into_iter().chain(entry.name).collect())
                .set_action(entry.action)
                .set_errno_ret(entry.errno_ret)
                .set_args(entry.args.filter(|args| !args.is_empty()));
            syscall
        });
        spec.set_syscalls(Some(syscalls.collect()));
        spec
    }

    /// The machine's architecture with the ones that the profile adds to it.
    fn architectures(&self) -> Option<Vec<Arch>> {
        let native = match Abi::native() {
            Abi::Aarch64 => Arch::ScmpArchAarch64,
            Abi::X86_64 | Abi::X86 => Arch::ScmpArchX86_64,
        };
        let Some(map) = &self.arch_map else { return self.architectures.clone() };
        let entry = map.iter().find(|entry| entry.architecture == native)?;
        Some(std::iter::once(native).chain(entry.sub_architectures.iter().flatten().copied()).collect())
    }
}

impl Filter {
    /// Whether all that is named holds.
    fn includes(&self, capabilities: CapabilitySet, kernel: (u32, u32)) -> bool {
        let has = |name: &String| Capability::from_name(name).is_some_and(|c| capabilities.contains(c));
        self.caps.iter().flatten().all(has)
            && self
                .arches
                .as_ref()
                .is_none_or(|arches| arches.is_empty() || arches.iter().any(|a| is_native(a)))
            && self.min_kernel.as_deref().and_then(parse_version).is_none_or(|minimum| kernel >= minimum)
    }

    /// Whether anything that is named holds.
    fn excludes(&self, capabilities: CapabilitySet, kernel: (u32, u32)) -> bool {
        let has = |name: &String| Capability::from_name(name).is_some_and(|c| capabilities.contains(c));
        self.caps.iter().flatten().any(has)
            || self.arches.iter().flatten().any(|arch| is_native(arch))
            || self.min_kernel.as_deref().and_then(parse_version).is_some_and(|minimum| kernel >= minimum)
    }
}

fn is_native(arch: &str) -> bool {
    arch == Abi::native().go_name()
}

fn kernel_version() -> (u32, u32) {
    let release = rustix::system::uname();
    parse_version(&release.release().to_string_lossy()).unwrap_or((0, 0))
}

fn parse_version(text: &str) -> Option<(u32, u32)> {
    let mut numbers = text.split(|c: char| !c.is_ascii_digit());
    Some((numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?))
}
