//! Load: every image of a file or folder into the store.

use std::cell::RefCell;
use std::fs::File;
use std::path::{Path, PathBuf};

use super::bring::Supply;
use super::files::Files;
use super::layout::Failure;
use super::{ArchiveError, Source, bring, dir, docker, layout, podman, spool};
use crate::config::StorageHints;
use crate::image::encryption::DecryptionKeys;
use crate::image::error::{Error, Result};
use crate::image::naming::give_name;
use crate::image::platform::Platform;
use crate::image::policy::Demands;
use crate::image::progress::{Event, Progress, Reporter};
use crate::image::pull::Context;
use crate::image::pull::layer::LayerJob;
use crate::image::pull::write::{Documents, distinct};
use crate::image::reference::Reference;
use crate::image::signature::Subject;
use crate::image::signature::place::in_folder;
use crate::kernel;
use crate::store::{self, Digest, ImageId};

/// How often an image is written until it has its names.
const ATTEMPTS: usize = 10;

/// What to load.
#[derive(Debug)]
pub enum LoadRequest {
    /// A file or folder.
    Path(PathBuf),
    /// An open file, such as standard input.
    File(File),
}

/// An image that was loaded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Loaded {
    /// Its id.
    pub id: ImageId,
    /// The names that it has now because of the archive.
    pub names: Vec<String>,
}

/// An image in an archive.
#[derive(Debug)]
pub(super) struct Found {
    /// Digest of what the archive's list names: an index or a manifest.
    pub(super) top: Digest,
    /// Names, as they stand there.
    pub(super) names: Vec<String>,
    pub(super) image: Packed,
}

/// An image's documents with where its layers are.
#[derive(Debug)]
pub(super) struct Packed {
    pub(super) documents: Documents,
    pub(super) contents: Vec<Supply>,
}

/// Loads all images.
pub fn load(context: Context<'_>, request: LoadRequest, progress: &mut dyn Progress) -> Result<Vec<Loaded>> {
    let progress = RefCell::new(progress);
    let reporter = Reporter::new(&progress);
    let (path, files) = match request {
        LoadRequest::Path(path) => {
            let files = open(context, &path).map_err(|error| archive_error(Some(&path), error))?;
            (Some(path), files)
        }
        LoadRequest::File(file) => {
            let files = unpack(context, file).map_err(|error| archive_error(None, error))?;
            (None, files)
        }
    };
    let found = detect(&files).map_err(|failure| image_error(path.as_deref(), failure))?;
    let transport = transport_of(&files).map_err(|error| archive_error(path.as_deref(), error))?;
    let place = path.as_deref().unwrap_or(Path::new("-"));
    let demands = context.policy()?.check_path(transport, place)?;
    verify(&demands, place, transport == "dir", &found)?;
    let keys = DecryptionKeys::default();
    found.into_iter().map(|found| bring_in(context, found, &keys, reporter)).collect()
}

/// Loads what a name with a transport means.
pub(crate) fn load_source(
    context: Context<'_>,
    source: &Source,
    (platform, keys): (Option<&Platform>, &DecryptionKeys),
    reporter: Reporter<'_>,
) -> Result<Vec<ImageId>> {
    let path = source.path();
    let transport = match source {
        Source::OciLayout { .. } => "oci",
        Source::OciArchive { .. } => "oci-archive",
        Source::DockerArchive { .. } => "docker-archive",
        Source::Dir { .. } => "dir",
    };
    let demands = context.policy()?.check_path(transport, path)?;
    let files = open(context, path).map_err(|error| archive_error(Some(path), error))?;
    let found = match source {
        Source::OciLayout { reference, .. } | Source::OciArchive { reference, .. } => {
            layout::images(&files, reference.as_deref(), platform)
        }
        Source::DockerArchive { reference, .. } => docker::images(&files, reference.as_deref()),
        Source::Dir { .. } => dir::image(&files, platform).map(|found| vec![found]),
    };
    let found = found.map_err(|failure| image_error(Some(path), failure))?;
    verify(&demands, path, matches!(source, Source::Dir { .. }), &found)?;
    found.into_iter().map(|found| Ok(bring_in(context, found, keys, reporter)?.id)).collect()
}

/// Brings an image over from podman's store. It keeps its names there.
pub(crate) fn import_podman(
    context: Context<'_>,
    root: Option<&Path>,
    name: &str,
    reporter: Reporter<'_>,
) -> Result<Vec<ImageId>> {
    let root = root.map_or_else(|| podman_root(context), Path::to_owned);
    let demands = context.policy()?.check_path("containers-storage", &root)?;
    let found = podman::image(&root, name).map_err(|failure| image_error(Some(&root), failure))?;
    verify(&demands, &root, false, std::slice::from_ref(&found))?;
    Ok(vec![bring_in(context, found, &DecryptionKeys::default(), reporter)?.id])
}

/// Checks the signatures of all images; only `dir:` folders have any.
fn verify(demands: &Demands, path: &Path, is_dir: bool, found: &[Found]) -> Result<()> {
    if demands.is_empty() {
        return Ok(());
    }
    let signatures = if is_dir { in_folder(path)? } else { Vec::new() };
    for found in found {
        let documents = &found.image.documents;
        // Of a list the signatures are those of the list itself.
        let manifest = documents.indexes.first().unwrap_or(&documents.manifest_bytes);
        let subject = Subject { name: None, manifest };
        demands.check(subject, &signatures)?;
    }
    Ok(())
}

/// Where podman keeps its images.
fn podman_root(context: Context<'_>) -> PathBuf {
    let hints = StorageHints::load(context.env, &context.paths.config_home);
    // rbox stays beside podman in the directory that storage.conf names.
    let hinted = hints.graphroot.map(|root| match root.file_name() {
        Some(name) if name == "rbox" => root.parent().map(Path::to_owned).unwrap_or(root),
        _ => root,
    });
    hinted.unwrap_or_else(|| {
        let data = context.env.absolute("XDG_DATA_HOME");
        data.unwrap_or_else(|| context.paths.home.join(".local/share")).join("containers/storage")
    })
}

fn open(context: Context<'_>, path: &Path) -> Result<Files, ArchiveError> {
    let meta = std::fs::metadata(path).map_err(|error| kernel::Error::path("stat", path, error))?;
    if meta.is_dir() {
        return Files::folder(path);
    }
    let file = File::open(path).map_err(|error| kernel::Error::path("open", path, error))?;
    unpack(context, file)
}

fn unpack(context: Context<'_>, file: File) -> Result<Files, ArchiveError> {
    let file = spool::seekable(file, (context.config, context.env))?;
    // Whatever is no archive is none of the formats, and that is what scripts look for.
    Files::archive(file).map_err(|error| match error {
        ArchiveError::Tar(error) => ArchiveError::Format(crate::image::error::chain(&error)),
        other => other,
    })
}

/// Finds out the format. Docker's archives since version 25 are OCI layouts too, which say more.
fn detect(files: &Files) -> Result<Vec<Found>, Failure> {
    if files.find("index.json")?.is_some() && files.find("oci-layout")?.is_some() {
        return layout::images(files, None, None);
    }
    let Some(manifest) = files.find("manifest.json")? else {
        return Err(ArchiveError::Format("neither index.json nor manifest.json is there".to_owned()).into());
    };
    let mut start = [0; 64];
    let count = manifest.read_at(&mut start, 0).map_err(ArchiveError::from)?;
    if start[..count].trim_ascii_start().starts_with(b"[") {
        docker::images(files, None)
    } else {
        dir::image(files, None).map(|found| vec![found])
    }
}

/// The transport that a detected format belongs to, as policies name it.
fn transport_of(files: &Files) -> Result<&'static str, ArchiveError> {
    let is_layout = files.find("oci-layout")?.is_some();
    Ok(match (files, is_layout) {
        (Files::Folder(_), true) => "oci",
        (Files::Folder(_), false) => "dir",
        (Files::Archive { .. }, true) => "oci-archive",
        (Files::Archive { .. }, false) => "docker-archive",
    })
}

/// Stores one image and gives it its names.
fn bring_in(
    context: Context<'_>,
    found: Found,
    keys: &DecryptionKeys,
    reporter: Reporter<'_>,
) -> Result<Loaded> {
    let Found { top, names, image: Packed { mut documents, contents } } = found;
    reporter.report(Event::Source);
    let sealed: Vec<_> = documents
        .sealed(keys)?
        .into_iter()
        .map(|sealed| {
            let at = documents.manifest.layers.iter().position(|layer| layer.digest == sealed.blob.digest);
            (sealed, contents[at.expect("sealed layers are some of all")].clone())
        })
        .collect();
    documents.unsealed(&bring::unseal_all(context, &sealed, reporter)?);
    let jobs = documents.layers()?;
    let with_content = |job: LayerJob| {
        let at = jobs.iter().position(|known| *known == job).expect("distinct jobs are some of all");
        (job, contents[at].clone())
    };
    let work: Vec<_> = distinct(&jobs).into_iter().map(with_content).collect();
    bring::bring_all(context, &work, reporter)?;
    reporter.report(Event::Config(&documents.manifest.config.digest));
    reporter.report(Event::Manifest);
    let mut attempt = 1;
    loop {
        let record = documents.clone().write(context.store)?;
        match name_all(context, &record.id, &names, &top, reporter) {
            // Before it had a name somebody has pruned it; what it consists of is still held.
            Err(Error::Store(store::Error::NotFound { .. })) if attempt < ATTEMPTS => attempt += 1,
            named => return Ok(Loaded { id: record.id, names: named? }),
        }
    }
}

/// Gives an image its names; returned are these in full.
fn name_all(
    context: Context<'_>,
    id: &ImageId,
    names: &[String],
    top: &Digest,
    reporter: Reporter<'_>,
) -> Result<Vec<String>> {
    let mut given = Vec::new();
    for name in names {
        let reference =
            Reference::parse_local(name).map_err(|source| Error::Reference { text: name.clone(), source })?;
        let name = reference.with_default_tag().to_string();
        if let Some(text) = give_name(context.store, &name, id, Some(top.clone()))? {
            reporter.report(Event::Moved(&text));
        }
        given.push(name);
    }
    Ok(given)
}

fn archive_error(path: Option<&Path>, error: ArchiveError) -> Error {
    Error::Archive { path: path.map(Path::to_owned), source: Box::new(error) }
}

fn image_error(path: Option<&Path>, failure: Failure) -> Error {
    match failure {
        Failure::Archive(error) => archive_error(path, error),
        Failure::Platform(error) => *error,
        Failure::Image(problem) => {
            let image = path.map_or_else(|| "the archive".to_owned(), |path| path.display().to_string());
            Error::Refused { image, problem }
        }
    }
}
