//! Images in files: `docker save` archives, OCI layouts in folders and archives, skopeo's `dir:`.
//!
//! | format | told by | names come from |
//! |---|---|---|
//! | OCI layout, folder or archive (also Docker's since version 25) | `oci-layout`, `index.json` | annotations |
//! | docker-archive | `manifest.json` with a list | `RepoTags` |
//! | dir | `manifest.json` with an object | nowhere |
//! | podman's store ([`podman`]) | never guessed | its table of images |
//!
//! Names inside of an archive are keys of its own index and never host paths (S62). In a folder only names that rbox
//! forms itself are opened, relative to the folder, by handle.

mod bring;
mod dir;
mod docker;
mod error;
mod files;
mod layout;
mod load;
mod output;
mod podman;
mod save;
mod save_list;
mod side_by_side;
mod spool;

pub use error::ArchiveError;
pub use load::{LoadRequest, Loaded, load};
pub(crate) use load::{import_podman, load_source};
pub use save::{SaveFormat, SaveImage, SaveLayers, SaveRequest, SaveTarget, save};
pub use save_list::{SaveListRequest, save_list};
pub(crate) use spool::{copy_folder, nameless};

use std::path::PathBuf;

/// A file or folder with images, as a name with a transport states it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// A folder in the OCI image layout.
    OciLayout {
        /// The folder.
        path: PathBuf,
        /// Which of its images.
        reference: Option<String>,
    },
    /// The same in an archive.
    OciArchive {
        /// The archive.
        path: PathBuf,
        /// Which of its images.
        reference: Option<String>,
    },
    /// What `docker save` writes.
    DockerArchive {
        /// The archive.
        path: PathBuf,
        /// Which of its images.
        reference: Option<String>,
    },
    /// A folder with a manifest and blobs named by their digests.
    Dir {
        /// The folder.
        path: PathBuf,
    },
}

impl Source {
    /// The file or folder.
    #[must_use]
    pub fn path(&self) -> &std::path::Path {
        match self {
            Self::OciLayout { path, .. }
            | Self::OciArchive { path, .. }
            | Self::DockerArchive { path, .. }
            | Self::Dir { path } => path,
        }
    }
}
