//! Whether artifacts are whole, and putting them right: for `system check` and `system df`.

use std::collections::HashSet;
use std::path::PathBuf;

use super::{ArtifactError, ArtifactManifest, Artifacts, Blob, REF_NAME, Result};
use crate::image::error;
use crate::image::manifest::DOCUMENT_MAX;
use crate::image::progress::{Event, Progress};
use crate::image::pull::Context;
use crate::image::reference::{LOCALHOST, Reference};
use crate::kernel;
use crate::kernel::file::read_limited;
use crate::store::{Digest, Hasher};

impl Artifacts {
    /// What is wrong with each artifact that is not whole, by name; with `quick` files are not read.
    ///
    /// # Errors
    /// When the table of artifacts cannot be read.
    pub fn check(&self, quick: bool) -> Result<Vec<(String, Vec<String>)>> {
        let mut found = Vec::new();
        for entry in self.index()?.manifests {
            let mut problems: Vec<String> = self.problem("manifest", &entry, false)?.into_iter().collect();
            if let Ok(manifest) = self.manifest_of(&entry.digest) {
                for blob in manifest.layers.iter().chain([&manifest.config]) {
                    problems.extend(self.problem("file", blob, quick)?);
                }
            }
            if !problems.is_empty() {
                found.push((entry.annotations.get(REF_NAME).cloned().unwrap_or_default(), problems));
            }
        }
        Ok(found)
    }

    fn manifest_of(&self, digest: &Digest) -> Result<ArtifactManifest> {
        let path = self.blob_path(digest);
        let bytes = read_limited(&path, DOCUMENT_MAX)?;
        serde_json::from_slice(&bytes)
            .map_err(|error| ArtifactError::Damaged { path, message: error.to_string() })
    }

    fn problem(&self, what: &str, blob: &Blob, quick: bool) -> Result<Option<String>> {
        let path = self.blob_path(&blob.digest);
        let Ok(file) = std::fs::File::open(&path) else {
            return Ok(Some(format!("its {what} {} is missing", blob.digest)));
        };
        let failed = |error| kernel::Error::path("read", &path, error);
        let actual = match quick {
            true => None,
            false => {
                let mut hasher = Hasher::like(&blob.digest);
                super::pieces(&file, |piece| {
                    hasher.update(piece);
                    Ok(())
                })
                .map_err(failed)?;
                Some(hasher.finish())
            }
        };
        let size = file.metadata().map_err(failed)?.len();
        Ok(match actual {
            Some(actual) if actual != blob.digest => {
                Some(format!("the content of its {what} {} has the digest {actual}", blob.digest))
            }
            _ if size != blob.size => {
                Some(format!("its {what} {} has {size} bytes instead of {}", blob.digest, blob.size))
            }
            _ => None,
        })
    }

    /// Removes the files of an artifact that are not what their names say.
    fn drop_damaged(&self, digest: &Digest) -> Result<()> {
        let _lock = self.lock()?;
        let manifest = self.manifest_of(digest).ok();
        let blobs = manifest.iter().flat_map(|manifest| manifest.layers.iter().chain([&manifest.config]));
        let mut damaged = Vec::new();
        for blob in blobs {
            if self.problem("file", blob, false)?.is_some() {
                damaged.push(self.blob_path(&blob.digest));
            }
        }
        let own = self.blob_path(digest);
        if read_limited(&own, DOCUMENT_MAX).map_or(true, |bytes| Digest::of(&bytes) != *digest) {
            damaged.push(own);
        }
        for path in damaged {
            match std::fs::remove_file(&path) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                    return Err(kernel::Error::path("unlink", &path, error).into());
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// Takes an artifact that is not whole out of the table; without a name the table itself, which then begins anew.
    ///
    /// # Errors
    /// When that cannot be written.
    pub fn discard(&self, name: &str) -> Result<()> {
        let _lock = self.lock()?;
        let mut index = match self.index() {
            Err(ArtifactError::Damaged { .. }) => self.empty_index(),
            index => index?,
        };
        index.manifests.retain(|entry| entry.annotations.get(REF_NAME).is_none_or(|other| other != name));
        self.write_index(&index)?;
        self.sweep(&index)
    }

    /// How many there are, and where they are.
    #[must_use]
    pub fn usage(&self) -> (usize, PathBuf) {
        let names = self.index().map(|index| index.manifests.into_iter().map(|entry| entry.digest));
        (names.map_or(0, |names| names.collect::<HashSet<_>>().len()), self.dir.clone())
    }
}

/// Fetches again what an artifact lacks, from where its name says that it came; false where that cannot be. What fails is told
/// to `progress`.
///
/// # Errors
/// When the store of artifacts cannot be read.
pub fn mend(context: Context<'_>, name: &str, progress: &mut dyn Progress) -> error::Result<bool> {
    let artifacts = Artifacts::of(context.paths);
    let index = artifacts.index()?;
    let is_it = |entry: &&Blob| entry.annotations.get(REF_NAME).is_some_and(|other| other == name);
    let Some(entry) = index.manifests.iter().find(is_it) else { return Ok(false) };
    artifacts.drop_damaged(&entry.digest)?;
    let Ok(reference) = Reference::parse(name) else { return Ok(false) };
    if reference.domain() == LOCALHOST {
        return Ok(false);
    }
    let reference = reference.with_digest(entry.digest.clone());
    match super::transfer::again(context, &reference, name, progress) {
        Ok(digest) => Ok(digest == entry.digest),
        Err(error) => {
            progress.event(Event::Warning(&error::chain(&error)));
            Ok(false)
        }
    }
}
