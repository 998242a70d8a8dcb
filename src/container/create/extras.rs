//! What a start needs beside the OCI spec: things that the spec has no words for.

use std::path::PathBuf;

use oci_spec::runtime::LinuxSeccomp;
use serde::{Deserialize, Serialize};

use super::SeccompChoice;
use crate::config::Paths;
use crate::container::{Error, Result};
use crate::image::artifact::{Artifacts, Selection};
use crate::kernel;
use crate::kernel::cap::CapabilitySet;
use crate::runtime::files::RootFiles;
use crate::runtime::plan::{Enclosure, Filter, Membership, MountSource, Plan};
use crate::runtime::{UserLookup, seccomp};
use crate::volume::{Mount, Source};

/// Seccomp profile files larger than this are refused.
const MAX_PROFILE: u64 = 4 << 20;

/// What the plan of a start gets beside the spec.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Extras {
    /// Who the first process runs as.
    pub lookup: UserLookup,
    /// The working directory is made where it is missing.
    pub create_cwd: bool,
    /// rbox's own init is pid 1.
    pub init: bool,
    /// Files made in the root file system.
    pub files: RootFiles,
    /// Which seccomp profile is loaded.
    pub seccomp: SeccompChoice,
    /// The limit of processes of a container that asks for none: it holds where there is such a limit.
    pub pids: Option<i64>,
    /// Processes can use nothing outside of the root.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub enclosed: bool,
    /// Devices by name (CDI), found anew at each start.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub cdi_devices: Vec<String>,
    /// Artifacts, whose files are looked up anew at each start.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub artifacts: Vec<ArtifactMount>,
    /// Targets of mounts whose source goes to the container's user (`U`).
    pub chown: Vec<PathBuf>,
    /// What gets an SELinux label of its own (`z`, `Z`).
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub relabel: Vec<Labelled>,
    /// Parts of volumes that are mounted.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub parts: Vec<Part>,
    /// Targets of volumes that are filled from the image while they are empty.
    pub fill: Vec<PathBuf>,
}

/// A part of a volume.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Part {
    /// Where it is mounted.
    pub destination: PathBuf,
    /// The volume's directory.
    pub volume: PathBuf,
    /// What of it is mounted.
    pub below: PathBuf,
}

/// A source of a mount and its SELinux label.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Labelled {
    /// The directory or file on the host.
    pub source: PathBuf,
    /// What of it, if not all.
    #[serde(default)]
    pub below: Option<PathBuf>,
    /// Its context.
    pub context: String,
}

/// An artifact that is mounted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ArtifactMount {
    /// As the user asked for it.
    pub asked: Mount,
    /// An empty directory of the container.
    pub empty: PathBuf,
}

/// The files of a mount of an artifact, as [`Artifacts::mounted`] tells; none for other mounts.
///
/// # Errors
/// When there is no such artifact, or none of its files is meant.
pub(in crate::container) fn artifact_files(paths: &Paths, mount: &Mount) -> Result<Vec<(String, String)>> {
    let Source::Artifact { reference, digest, title, .. } = &mount.source else { return Ok(Vec::new()) };
    let selection = Selection { digest: digest.clone(), title: title.clone() };
    Ok(Artifacts::of(paths).mounted(reference, &selection)?)
}

impl Extras {
    /// Puts everything into `plan`.
    ///
    /// # Errors
    /// When the seccomp profile cannot be used.
    pub fn apply(&self, plan: &mut Plan) -> Result<()> {
        for mount in &mut plan.mounts {
            mount.chown = self.chown.contains(&mount.destination);
            mount.copy_up |= self.fill.contains(&mount.destination);
            if let MountSource::Bind { path, below, .. } = &mut mount.source
                && let Some(part) = self.parts.iter().find(|part| part.destination == mount.destination)
            {
                (*path, *below) = (part.volume.clone(), Some(part.below.clone()));
            }
        }
        plan.process.lookup = Some(self.lookup.clone());
        plan.process.create_cwd = self.create_cwd;
        plan.init = self.init;
        plan.cgroup.optional.extend(self.pids.map(|limit| ("pids.max".to_owned(), limit.to_string())));
        plan.files = self.files.clone();
        plan.process.enclosure = self.enclosed.then(|| Enclosure {
            abstract_sockets: plan.namespaces.network != Membership::New,
            signals: plan.namespaces.pid != Membership::New,
        });
        plan.process.seccomp = self.filter(plan.process.capabilities.bounding)?;
        Ok(())
    }

    /// Compiles the profile for a process that can have `bounding` at most.
    ///
    /// # Errors
    /// When the profile cannot be used.
    pub fn filter(&self, bounding: CapabilitySet) -> Result<Option<Filter>> {
        if self.seccomp == SeccompChoice::Default {
            return Ok(Some(seccomp::default_filter(bounding)?));
        }
        let section = self.section(bounding)?;
        section.map(|section| seccomp::compile_spec(&section)).transpose().map_err(Error::from)
    }

    /// The profile as a spec has it.
    ///
    /// # Errors
    /// When the profile cannot be read.
    pub fn section(&self, bounding: CapabilitySet) -> Result<Option<LinuxSeccomp>> {
        let profile = match &self.seccomp {
            SeccompChoice::Unconfined => return Ok(None),
            SeccompChoice::Default => seccomp::default_profile(),
            SeccompChoice::File(path) => {
                let json = kernel::file::read_given(path, MAX_PROFILE)?;
                seccomp::Profile::parse(&json).map_err(Error::from)?
            }
        };
        Ok(Some(profile.resolve(bounding)))
    }
}
