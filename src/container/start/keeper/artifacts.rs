//! Mounts of artifacts: which files those are is found out at each start, so that a new version of an artifact shows with
//! the next one.

use std::path::{Path, PathBuf};

use crate::config::Paths;
use crate::container::Result;
use crate::container::create::extras::{ArtifactMount, artifact_files};
use crate::image::artifact::Artifacts;
use crate::kernel::mount::{self, Attributes};
use crate::runtime::Plan;
use crate::runtime::plan::{FileSource, Mount, MountSource, Overlay};
use crate::volume::Source;

/// Adds a mount for each file.
///
/// # Errors
/// When an artifact is not there any more.
pub(super) fn add(plan: &mut Plan, artifacts: &[ArtifactMount], paths: &Paths) -> Result<()> {
    for artifact in artifacts {
        let files = artifact_files(paths, &artifact.asked)?;
        let Source::Artifact { name, .. } = &artifact.asked.source else { continue };
        let destination = &artifact.asked.destination;
        let depth = |path: &Path| path.components().count();
        // Parents before what is mounted below them.
        let at = plan.mounts.iter().position(|mount| depth(&mount.destination) > depth(destination));
        let at = at.unwrap_or(plan.mounts.len());
        let many = files.len() > 1;
        let mounts = files.into_iter().enumerate().map(|(number, (entry, title))| {
            let name = match name {
                Some(name) if many => format!("{name}-{number}"),
                Some(name) => name.clone(),
                None => title,
            };
            let source = file(paths, artifact, entry, name, many);
            let attributes = Attributes::setting(mount::READ_ONLY | mount::NO_SUID | mount::NO_DEV);
            Mount {
                destination: destination.clone(),
                source,
                attributes,
                recursive_attributes: Attributes::propagating(mount::PRIVATE),
                copy_up: false,
                chown: false,
            }
        });
        drop(plan.mounts.splice(at..at, mounts));
    }
    Ok(())
}

/// A bind mount of the file could be made writable by a container that may mount: its root is the owner. So it comes out of an
/// overlay that has nothing to write to, which needs two directories.
fn file(paths: &Paths, artifact: &ArtifactMount, entry: String, name: String, many: bool) -> MountSource {
    // Relative: mountinfo shows the container what is given.
    let relative = |path: PathBuf| path.strip_prefix(&paths.data).map_or(path.clone(), Path::to_owned);
    let overlay = Overlay {
        lower_base: paths.data.clone(),
        lowers: vec![relative(Artifacts::of(paths).folder()), relative(artifact.empty.clone())],
        user_xattr: true,
        ..Overlay::default()
    };
    MountSource::File(FileSource { overlay, entry: entry.into(), name: name.into(), needs_directory: many })
}
