//! What becomes of a checkpoint besides its files: an archive (`--export`) or an image (`--create-image`).

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use crate::cli::apart::in_user_namespace;
use crate::cli::error::{CommandError, Result};
use crate::cli::ui::Ui;
use crate::container::checkpoint::ExportRequest;
use crate::container::{Containers, Record, Time};
use crate::engine::Engine;
use crate::image::Reference;
use crate::image::commit::{CommitRequest, commit};
use crate::image::naming::give_name;
use crate::kernel;
use crate::store::tar::Writer;

/// How an archive is compressed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) enum Compression {
    None,
    Gzip,
    #[default]
    Zstd,
}

impl Compression {
    pub(super) fn parse(text: &str) -> Option<Self> {
        Some(match text.to_ascii_lowercase().as_str() {
            "none" => Self::None,
            "gzip" => Self::Gzip,
            "zstd" => Self::Zstd,
            _ => return None,
        })
    }
}

/// A file that appears when it is whole. What is no regular file is written to as it is.
#[derive(Debug)]
pub(super) struct Output {
    path: PathBuf,
    aside: Option<PathBuf>,
    file: File,
}

impl Output {
    /// Opens it, before anything is done for it.
    pub(super) fn open(path: &Path) -> Result<Self> {
        let failed = |error| {
            let error = kernel::Error::path("open", path, error);
            CommandError::from(error)
                .context(format_args!("creating checkpoint export file {:?}", path.display()))
        };
        let special = std::fs::metadata(path).is_ok_and(|meta| !meta.is_file());
        let mut options = File::options();
        options.write(true).mode(0o600);
        if special {
            let file = options.open(path).map_err(failed)?;
            return Ok(Self { path: path.to_owned(), aside: None, file });
        }
        let Some(name) = path.file_name() else { return Err(failed(io::ErrorKind::IsADirectory.into())) };
        let mut hidden = std::ffi::OsString::from(".");
        hidden.push(name);
        hidden.push(format!(".{}", std::process::id()));
        let aside = path.with_file_name(hidden);
        let file = options.create_new(true).open(&aside).map_err(failed)?;
        Ok(Self { path: path.to_owned(), aside: Some(aside), file })
    }

    fn finish(mut self) -> Result<()> {
        if let Some(aside) = self.aside.take() {
            let named = std::fs::rename(&aside, &self.path);
            if let Err(error) = named {
                self.aside = Some(aside);
                return Err(kernel::Error::path("rename", &self.path, error).into());
            }
        }
        Ok(())
    }
}

impl Drop for Output {
    fn drop(&mut self) {
        if let Some(aside) = &self.aside {
            // The error that counts is why it is not whole.
            let _ = std::fs::remove_file(aside);
        }
    }
}

/// Writes the checkpoint of a container to an archive.
pub(super) fn export(
    ui: &mut Ui,
    engine: &Engine,
    record: &Record,
    request: &ExportRequest,
    (output, compression): (Output, Compression),
) -> Result<()> {
    let containers = engine.containers()?;
    in_user_namespace(ui, engine, |_| {
        let mut export = containers.export_checkpoint(engine.store()?, record, request)?;
        let out = BufWriter::with_capacity(256 << 10, &output.file);
        let failed = |error| kernel::Error::path("write", &output.path, error);
        let mut fill = |out: &mut dyn Write| -> Result<()> {
            let mut writer = Writer::new(out);
            export.write(&mut writer)?;
            Ok(writer.finish().and_then(Write::flush).map_err(failed)?)
        };
        match compression {
            Compression::None => {
                let mut out = out;
                fill(&mut out)?;
                out.flush().map_err(failed)?;
            }
            Compression::Gzip => {
                let mut encoder = flate2::write::GzEncoder::new(out, flate2::Compression::fast());
                fill(&mut encoder)?;
                encoder.finish().and_then(|mut out| out.flush()).map_err(failed)?;
            }
            Compression::Zstd => {
                let mut encoder = zstd::stream::write::Encoder::new(out, 3).map_err(failed)?;
                fill(&mut encoder)?;
                encoder.finish().and_then(|mut out| out.flush()).map_err(failed)?;
            }
        }
        if output.aside.is_some() {
            output.file.sync_data().map_err(failed)?;
        }
        Ok(String::new())
    })?;
    output.finish()
}

/// Makes an image that holds the checkpoint of a container.
pub(super) fn create_image(
    ui: &mut Ui,
    engine: &Engine,
    record: &Record,
    request: &ExportRequest,
    name: &Reference,
) -> Result<()> {
    let containers = engine.containers()?;
    let moved = in_user_namespace(ui, engine, |_| {
        let store = engine.store()?;
        let mut export = containers.export_checkpoint(store, record, request)?;
        let layer = store.commit_layer(engine.unpack(), |out| export.write(out))?;
        let comment = format!("checkpoint of container {}", record.name);
        let annotations = export.annotations(&request.criu);
        let request = CommitRequest::of_layer(layer, Time::now().to_string(), comment);
        let image = commit(store, CommitRequest { annotations, ..request })?;
        Ok(give_name(store, &name.to_string(), &image.id, None)?.unwrap_or_default())
    })?;
    if !moved.is_empty() {
        ui.status(moved);
    }
    Ok(())
}

/// What a checkpoint is exported with.
pub(super) fn request(
    engine: &Engine,
    program: &Path,
    root: bool,
    volumes: bool,
    first_part: bool,
) -> ExportRequest {
    ExportRequest {
        first_part,
        root,
        volumes,
        ids: engine.user_maps().inside(),
        criu: crate::runtime::criu::version(program),
    }
}

/// The annotations of an image.
pub(super) fn annotations(
    engine: &Engine,
    record: &crate::store::ImageRecord,
) -> Result<BTreeMap<String, String>> {
    #[derive(serde::Deserialize)]
    struct Manifest {
        #[serde(default)]
        annotations: BTreeMap<String, String>,
    }
    let Some(digest) = &record.manifest else { return Ok(BTreeMap::new()) };
    let bytes = engine.store()?.read_blob(digest, crate::image::manifest::DOCUMENT_MAX)?;
    // One that is damaged is no checkpoint.
    Ok(serde_json::from_slice::<Manifest>(&bytes).map_or_else(|_| BTreeMap::new(), |found| found.annotations))
}

/// Removes a container that removes itself at its end, once that is written down.
pub(super) fn remove(ui: &mut Ui, engine: &Engine, containers: &Containers, record: &Record) -> Result<()> {
    use crate::container::remove::RemoveOptions;
    in_user_namespace(ui, engine, |_| {
        containers.remove(record, RemoveOptions { force: false, timeout: None, volumes: true })?;
        Ok(String::new())
    })?;
    Ok(())
}
