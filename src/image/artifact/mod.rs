//! Artifacts: files under a name, as OCI manifests in a store of their own.
//!
//! `DATA/artifacts` is an OCI image layout, so that other tools can read it: `index.json` names the manifests by
//! `org.opencontainers.image.ref.name`, `blobs/sha256` has them and the files. Whoever changes it holds `lock`; the index
//! is written last and atomically, and readers need no lock. Blobs that no manifest names are removed with the next change.

mod add;
mod check;
pub(in crate::image) mod mime;
mod transfer;

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::Read as _;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

use rustix::fs::{FileType, Mode};
use serde::{Deserialize, Serialize};

pub use add::AddRequest;
pub(in crate::image) use add::EMPTY;
pub use check::mend;
pub use transfer::{PushRequest, pull, push};

use super::encryption::{EncryptionError, Opened};
use super::manifest::{DOCUMENT_MAX, Descriptor, media_type, null_as_default};
use super::reference::Reference;
use crate::config::{ErrorKind, Paths};
use crate::kernel;
use crate::kernel::file::{Durability, Flock, read_limited, write_atomic};
use crate::store::Digest;

/// The annotation with a file's name.
pub(crate) const TITLE: &str = "org.opencontainers.image.title";
/// The annotation with the moment of making.
pub const CREATED: &str = "org.opencontainers.image.created";
const REF_NAME: &str = "org.opencontainers.image.ref.name";
pub(in crate::image) const EMPTY_TYPE: &str = "application/vnd.oci.empty.v1+json";
const LAYOUT: &[u8] = br#"{"imageLayoutVersion":"1.0.0"}"#;

/// Why something cannot be done with an artifact.
#[derive(Debug, thiserror::Error)]
pub enum ArtifactError {
    /// No name.
    #[error("artifact name cannot be empty")]
    Unnamed,
    /// There is none.
    #[error("{0}: artifact does not exist")]
    NotFound(String),
    /// There is one of that name.
    #[error("{0}: artifact already exists")]
    Exists(String),
    /// It has such a file.
    #[error("{0}: file already exists in artifact")]
    FileExists(String),
    /// Two files with one title.
    #[error("duplicate layers {TITLE} labels within an artifact not allowed")]
    Title,
    /// A title that would lead to another folder.
    #[error("invalid name: {0:?} cannot contain /: artifact blob title invalid")]
    Path(String),
    /// Options that contradict each other or the artifact.
    #[error("{0}")]
    Options(String),
    /// A file of the store is damaged.
    #[error("{}: {message}", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        message: String,
    },
    /// What was served is no artifact.
    #[error("{0} is no artifact: its manifest is no OCI image manifest")]
    Manifest(String),
    /// A file cannot be read or written.
    #[error(transparent)]
    Kernel(#[from] kernel::Error),
}

impl ArtifactError {
    /// Classifies the error.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::NotFound(_) => ErrorKind::NotFound,
            Self::Exists(_) | Self::FileExists(_) => ErrorKind::Conflict,
            Self::Unnamed | Self::Title | Self::Path(_) | Self::Options(_) | Self::Manifest(_) => {
                ErrorKind::InvalidInput
            }
            Self::Damaged { .. } => ErrorKind::Internal,
            Self::Kernel(_) => ErrorKind::Denied,
        }
    }
}

type Result<T, E = ArtifactError> = std::result::Result<T, E>;

/// Content of an artifact, in Go's order of fields.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", rename = "v1.Descriptor")]
pub struct Blob {
    /// Its type.
    pub media_type: String,
    /// Its digest.
    pub digest: Digest,
    /// Its size.
    pub size: u64,
    /// What is said about it.
    #[serde(default, deserialize_with = "null_as_default", skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
    /// Itself, if it is small.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub data: Option<String>,
    /// The type of the artifact that it belongs to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub artifact_type: Option<String>,
}

impl Blob {
    /// The same as images have it.
    fn to_descriptor(&self) -> Descriptor {
        let mut descriptor = Descriptor::new(&self.media_type, self.digest.clone(), self.size);
        descriptor.annotations.clone_from(&self.annotations);
        descriptor
    }
}

/// The manifest of an artifact.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", rename = "manifest.OCI1")]
pub struct ArtifactManifest {
    schema_version: u32,
    #[serde(default)]
    media_type: String,
    /// What the artifact is.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub artifact_type: String,
    /// Nothing, as a rule.
    pub config: Blob,
    /// The files.
    #[serde(default, deserialize_with = "null_as_default")]
    pub layers: Vec<Blob>,
    /// What it belongs to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    subject: Option<Blob>,
    /// What is said about it.
    #[serde(default, deserialize_with = "null_as_default", skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
}

/// An artifact that is here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Artifact {
    /// Its name.
    pub name: String,
    /// The digest of its manifest.
    pub digest: Digest,
    /// Its manifest.
    pub manifest: ArtifactManifest,
}

impl Artifact {
    /// Bytes of its files.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.manifest.layers.iter().map(|layer| layer.size).sum()
    }
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Index {
    schema_version: u32,
    #[serde(default)]
    media_type: String,
    manifests: Vec<Blob>,
}

/// The store of artifacts.
#[derive(Debug, Clone)]
pub struct Artifacts {
    dir: PathBuf,
}

/// Which of an artifact's files are extracted.
#[derive(Debug, Clone, Default)]
pub struct Selection {
    /// The one with that digest.
    pub digest: Option<String>,
    /// The one with that title.
    pub title: Option<String>,
}

impl Artifacts {
    /// The user's artifacts.
    #[must_use]
    pub fn of(paths: &Paths) -> Self {
        Self { dir: paths.data.join("artifacts") }
    }

    /// All of them.
    ///
    /// # Errors
    /// When a file is damaged.
    pub fn list(&self) -> Result<Vec<Artifact>> {
        let mut found = Vec::new();
        for entry in self.index()?.manifests {
            let path = self.blob_path(&entry.digest);
            let bytes = read_limited(&path, DOCUMENT_MAX)?;
            let manifest = serde_json::from_slice(&bytes)
                .map_err(|error| ArtifactError::Damaged { path, message: error.to_string() })?;
            let name = entry.annotations.get(REF_NAME).cloned().unwrap_or_default();
            found.push(Artifact { name, digest: entry.digest, manifest });
        }
        Ok(found)
    }

    /// The artifact of a name or of the beginning of a digest.
    ///
    /// # Errors
    /// When there is none.
    pub fn find(&self, name_or_digest: &str) -> Result<Artifact> {
        if name_or_digest.is_empty() {
            return Err(ArtifactError::Unnamed);
        }
        let all = self.list()?;
        let named = all.iter().find(|artifact| is_same(&artifact.name, name_or_digest));
        let hex = name_or_digest.strip_prefix("sha256:").unwrap_or(name_or_digest);
        let digested = || all.iter().find(|artifact| artifact.digest.hex().starts_with(hex));
        let found = named.or_else(digested).cloned();
        found.ok_or_else(|| ArtifactError::NotFound(name_or_digest.to_owned()))
    }

    /// Removes one; returns its digest.
    ///
    /// # Errors
    /// When there is none.
    pub fn remove(&self, name_or_digest: &str) -> Result<Digest> {
        let _lock = self.lock()?;
        let artifact = self.find(name_or_digest)?;
        let mut index = self.index()?;
        let is_it = |entry: &Blob| {
            entry.digest == artifact.digest && entry.annotations.get(REF_NAME) == Some(&artifact.name)
        };
        index.manifests.retain(|entry| !is_it(entry));
        self.write_index(&index)?;
        self.sweep(&index)?;
        Ok(artifact.digest)
    }

    /// Copies files of an artifact to `target`: a folder that is there, or a file.
    ///
    /// # Errors
    /// When there is no such artifact or file, or the selection is not one file where one is needed.
    pub fn extract(&self, name: &str, target: &Path, selection: &Selection) -> Result<()> {
        if selection.digest.is_some() && selection.title.is_some() {
            return Err(ArtifactError::Options("cannot specify both digest and title".to_owned()));
        }
        let artifact = self.find(name)?;
        let layers = &artifact.manifest.layers;
        let Some(first) = layers.first() else {
            return Err(ArtifactError::Options("the artifact has no blobs, nothing to extract".to_owned()));
        };
        let is_selected = selection.digest.is_some() || selection.title.is_some();
        if !target.is_dir() {
            if layers.len() > 1 && !is_selected {
                return Err(ArtifactError::Options(format!(
                    "the artifact consists of several blobs and the target {:?} is not a directory and neither digest or title was specified to only copy a single blob",
                    target.display().to_string()
                )));
            }
            let blob = if layers.len() > 1 { select(layers, selection)? } else { first };
            return self.copy(blob, target);
        }
        if is_selected {
            let blob = select(layers, selection)?;
            return self.copy(blob, &target.join(file_name(selection.title.as_deref(), blob)?));
        }
        // All names are looked at before the first file is written.
        let names =
            layers.iter().map(|blob| file_name(blob.annotations.get(TITLE).map(String::as_str), blob));
        let names = names.collect::<Result<Vec<_>>>()?;
        layers.iter().zip(names).try_for_each(|(blob, name)| self.copy(blob, &target.join(name)))
    }

    /// The folder with all files.
    #[must_use]
    pub fn folder(&self) -> PathBuf {
        self.dir.join("blobs/sha256")
    }

    /// The files of an artifact that are mounted: which they are in [`Self::folder`], and the name of each. Everybody in a
    /// container can read them.
    ///
    /// # Errors
    /// When there is no such artifact or file, or one is damaged.
    pub fn mounted(&self, name: &str, selection: &Selection) -> Result<Vec<(String, String)>> {
        let artifact = self.find(name)?;
        let layers = &artifact.manifest.layers;
        let mut files = Vec::new();
        if selection.digest.is_some() || selection.title.is_some() {
            let blob = select(layers, selection)?;
            files.push((blob, file_name(selection.title.as_deref(), blob)?));
        } else {
            for blob in layers {
                files.push((blob, file_name(blob.annotations.get(TITLE).map(String::as_str), blob)?));
            }
        }
        if files.is_empty() {
            return Err(ArtifactError::Options("the artifact has no blobs, nothing to mount".to_owned()));
        }
        for (blob, _) in &files {
            self.make_readable(blob)?;
        }
        Ok(files.into_iter().map(|(blob, name)| (blob.digest.hex().to_owned(), name)).collect())
    }

    /// Users of a container are not the owner of the file; on the host the folder keeps others out.
    fn make_readable(&self, blob: &Blob) -> Result<()> {
        let path = self.blob_path(&blob.digest);
        let failed = |call| {
            let path = path.clone();
            move |errno: rustix::io::Errno| kernel::Error::path(call, path, errno)
        };
        let stat = rustix::fs::lstat(&path).map_err(failed("stat"))?;
        let is_file = FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile;
        if !is_file || u64::try_from(stat.st_size) != Ok(blob.size) {
            let message =
                format!("it should have {} bytes: `rbox system check --repair` fetches it again", blob.size);
            return Err(ArtifactError::Damaged { path, message });
        }
        if stat.st_mode & 0o444 != 0o444 {
            rustix::fs::chmod(&path, Mode::from_raw_mode(0o644)).map_err(failed("chmod"))?;
        }
        Ok(())
    }

    fn copy(&self, blob: &Blob, target: &Path) -> Result<()> {
        let source = self.blob_path(&blob.digest);
        let failed = |call, path: &Path| {
            let path = path.to_owned();
            move |error: std::io::Error| kernel::Error::path(call, &path, error)
        };
        let mut input = File::open(&source).map_err(failed("open", &source))?;
        let mut output = File::create(target).map_err(failed("open", target))?;
        std::io::copy(&mut input, &mut output).map_err(failed("write", target))?;
        Ok(())
    }

    fn blob_path(&self, digest: &Digest) -> PathBuf {
        self.dir.join("blobs/sha256").join(digest.hex())
    }

    fn lock(&self) -> Result<Flock> {
        let blobs = self.dir.join("blobs/sha256");
        let made = std::fs::DirBuilder::new().recursive(true).mode(0o700).create(&blobs);
        made.map_err(|error| kernel::Error::path("mkdir", &blobs, error))?;
        Ok(Flock::exclusive(&self.dir.join("lock"))?)
    }

    fn index(&self) -> Result<Index> {
        let path = self.dir.join("index.json");
        let bytes = match read_limited(&path, DOCUMENT_MAX) {
            Ok(bytes) => bytes,
            Err(error) if error.errno() == Some(libc::ENOENT) => return Ok(self.empty_index()),
            Err(error) => return Err(error.into()),
        };
        serde_json::from_slice(&bytes)
            .map_err(|error| ArtifactError::Damaged { path, message: error.to_string() })
    }

    fn empty_index(&self) -> Index {
        Index { schema_version: 2, media_type: media_type::OCI_INDEX.to_owned(), manifests: Vec::new() }
    }

    fn write_index(&self, index: &Index) -> Result<()> {
        let mode = Mode::RUSR | Mode::WUSR;
        let bytes = serde_json::to_vec(index).expect("an index serialises");
        write_atomic(&self.dir, "oci-layout".as_ref(), LAYOUT, mode, Durability::None)?;
        Ok(write_atomic(&self.dir, "index.json".as_ref(), &bytes, mode, Durability::Sync)?)
    }

    /// Puts a manifest in place under a name; what was there under that name goes.
    fn put(&self, name: &str, manifest: &[u8], artifact_type: &str) -> Result<Digest> {
        let digest = Digest::of(manifest);
        let mode = Mode::RUSR | Mode::WUSR;
        let blobs = self.dir.join("blobs/sha256");
        write_atomic(&blobs, digest.hex().as_ref(), manifest, mode, Durability::Sync)?;
        let mut index = self.index()?;
        index
            .manifests
            .retain(|entry| entry.annotations.get(REF_NAME).is_none_or(|other| !is_same(other, name)));
        index.manifests.push(Blob {
            media_type: media_type::OCI_MANIFEST.to_owned(),
            digest: digest.clone(),
            size: manifest.len() as u64,
            annotations: [(REF_NAME.to_owned(), name.to_owned())].into(),
            data: None,
            artifact_type: Some(artifact_type.to_owned()).filter(|text| !text.is_empty()),
        });
        self.write_index(&index)?;
        self.sweep(&index)?;
        Ok(digest)
    }

    /// Removes what is left of something that failed. The caller has the lock.
    fn sweep_all(&self) -> Result<()> {
        self.sweep(&self.index()?)
    }

    /// Decrypts a blob that is here; the description becomes that of the plain one. What was changed since it was encrypted is
    /// the inner error.
    fn unseal(&self, blob: &mut Blob, opened: &Opened) -> Result<Result<(), EncryptionError>> {
        let path = self.blob_path(&blob.digest);
        let failed = |call| {
            let path = path.clone();
            move |error: std::io::Error| kernel::Error::path(call, &path, error)
        };
        let input = File::open(&path).map_err(failed("open"))?;
        let (mut writer, mut sum, mut stream) =
            (self.writer()?, opened.cipher.sum(), opened.cipher.stream(0));
        let mut written = Ok(());
        pieces(&input, |piece| {
            sum.update(piece);
            stream.apply(piece);
            written = writer.write(piece);
            written.as_ref().map_err(|_| std::io::ErrorKind::Other.into()).copied()
        })
        .or_else(|error| if written.is_err() { Ok(()) } else { Err(failed("read")(error)) })?;
        written?;
        if !opened.cipher.verify(&opened.sum, sum) {
            return Ok(Err(EncryptionError::Tampered));
        }
        (blob.digest, blob.size) = writer.finish()?;
        blob.media_type.clone_from(&opened.plain.media_type);
        blob.annotations.clone_from(&opened.plain.annotations);
        Ok(Ok(()))
    }

    /// Removes blobs that nothing names. The caller has the lock.
    fn sweep(&self, index: &Index) -> Result<()> {
        let mut used = BTreeSet::new();
        for entry in &index.manifests {
            used.insert(entry.digest.hex());
            let path = self.blob_path(&entry.digest);
            // What a manifest that cannot be read names is not known: then nothing is removed.
            let Ok(bytes) = read_limited(&path, DOCUMENT_MAX) else { return Ok(()) };
            let Ok(manifest) = serde_json::from_slice::<ArtifactManifest>(&bytes) else { return Ok(()) };
            used.extend(manifest.layers.iter().chain([&manifest.config]).map(|blob| blob.digest.hex()));
        }
        let blobs = self.dir.join("blobs/sha256");
        let entries =
            std::fs::read_dir(&blobs).map_err(|error| kernel::Error::path("open", &blobs, error))?;
        for entry in entries.flatten() {
            let is_used = entry.file_name().to_str().is_some_and(|name| used.contains(name));
            if !is_used {
                // One that stays goes the next time.
                let _ = std::fs::remove_file(entry.path());
            }
        }
        Ok(())
    }
}

/// Reads a file in pieces.
fn pieces(mut file: &File, mut each: impl FnMut(&mut [u8]) -> std::io::Result<()>) -> std::io::Result<()> {
    let mut buffer = vec![0; 256 << 10];
    loop {
        match file.read(&mut buffer) {
            Ok(0) => return Ok(()),
            Ok(count) => each(&mut buffer[..count])?,
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

/// Whether two texts name the same artifact: without a tag `latest` is meant.
fn is_same(one: &str, other: &str) -> bool {
    let full = |text: &str| Some(Reference::parse(text).ok()?.with_default_tag().to_string());
    one == other || full(one).is_some_and(|one| full(other) == Some(one))
}

/// The one file that is meant.
fn select<'b>(layers: &'b [Blob], selection: &Selection) -> Result<&'b Blob> {
    let (what, wanted) = match (&selection.digest, &selection.title) {
        (Some(digest), _) => ("digest", digest),
        (None, Some(title)) => ("title", title),
        (None, None) => return Err(ArtifactError::Options("neither digest nor title".to_owned())),
    };
    let is_it = |blob: &&Blob| match what {
        "digest" => blob.digest.to_string() == *wanted,
        _ => blob.annotations.get(TITLE) == Some(wanted),
    };
    let mut found = layers.iter().filter(is_it);
    match (found.next(), found.next()) {
        (Some(blob), None) => Ok(blob),
        (None, _) => Err(ArtifactError::Options(format!("no blob with the {what} {wanted:?}"))),
        (Some(_), Some(_)) => {
            Err(ArtifactError::Options(format!("more than one match for the {what} {wanted:?}")))
        }
    }
}

/// The name of an extracted file; one that comes from others must not lead anywhere.
fn file_name(title: Option<&str>, blob: &Blob) -> Result<String> {
    let name = match title {
        None | Some("") => blob.digest.to_string().replace(':', "-"),
        Some(title) => title.to_owned(),
    };
    if name.contains(['/', '\0']) || name == "." || name == ".." {
        return Err(ArtifactError::Path(name));
    }
    Ok(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_files_stay_in_their_folder() {
        let blob = Blob {
            media_type: String::new(),
            digest: Digest::of(b"x"),
            size: 1,
            annotations: BTreeMap::new(),
            data: None,
            artifact_type: None,
        };
        for title in ["../x", "/etc/passwd", "a/b", "..", "."] {
            assert!(file_name(Some(title), &blob).is_err(), "{title}");
        }
        assert_eq!(file_name(Some("a b"), &blob).unwrap(), "a b");
        assert!(file_name(None, &blob).unwrap().starts_with("sha256-"));
        assert!(is_same("q.io/a", "q.io/a:latest") && !is_same("q.io/a", "q.io/a:1"));
    }
}
