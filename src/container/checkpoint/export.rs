//! Writing a checkpoint as an archive or an image, see [`super::archive`].

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Seek as _, Write as _};
use std::os::fd::OwnedFd;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use rustix::fs::{Mode, OFlags};

use super::archive::{CONFIG, Config, DELETED, DIFFERENCE, LOG, PARENT, SPEC, STATISTICS, VOLUMES};
use super::{FIRST_PART, WHOLE};
use crate::container::record::LogDriver;
use crate::container::{Containers, Error, Record, Result, root};
use crate::kernel::idmap::IdMaps;
use crate::kernel::{self, file};
use crate::store::pack::{PackOptions, Sink, pack};
use crate::store::tar::{Header, Kind, Writer};
use crate::store::{self, Change, Store};
use crate::volume::Backing;

/// What goes into an archive.
#[derive(Debug, Clone)]
pub struct ExportRequest {
    /// The first part only.
    pub first_part: bool,
    /// What the container has changed in its root file system.
    pub root: bool,
    /// What its volumes hold.
    pub volumes: bool,
    /// The ids of the user's namespace, as they are on disk.
    pub ids: IdMaps,
    /// The version of CRIU.
    pub criu: String,
}

/// An archive that is ready to be written. Nothing of it has a name on disk.
#[derive(Debug)]
pub struct Export {
    config: Config,
    documents: Vec<(String, Vec<u8>)>,
    images: OwnedFd,
    directory: &'static str,
    files: Vec<(String, File)>,
    maps: IdMaps,
}

impl Containers {
    /// Fails where the container has what an archive cannot have.
    ///
    /// # Errors
    /// If so.
    pub fn check_export(&self, record: &Record, request: &ExportRequest) -> Result<()> {
        let unsupported = |what: String| Err(Error::Unsupported { what });
        if request.root && record.root.directory.is_some() && record.root.directory_overlay {
            return unsupported("changes of a root file system of `--rootfs DIR:O` in an archive, which --ignore-rootfs leaves out".to_owned());
        }
        if request.volumes && !request.first_part {
            let table = self.volumes();
            for mount in record.mounts.iter().filter(|mount| !mount.name.is_empty()) {
                if table.find(&mount.name)?.backing() != Backing::Directory {
                    return unsupported(format!(
                        "volume {} in an archive, which --ignore-volumes leaves out: it is no directory of its own",
                        mount.name
                    ));
                }
            }
        }
        Ok(())
    }

    /// Gets everything for an archive of a checkpoint together. The caller is in the user's namespace.
    ///
    /// # Errors
    /// When files cannot be read, or copies of them not written.
    pub fn export_checkpoint(
        &self,
        store: &Store,
        record: &Record,
        request: &ExportRequest,
    ) -> Result<Export> {
        let dir = self.dir(&record.id);
        let directory = if request.first_part { FIRST_PART } else { WHOLE };
        let config = Config::of(self, record)?;
        let spec = self.spec_of(record)?;
        let mut documents = vec![
            (CONFIG.to_owned(), serde_json::to_vec(&config).expect("it has only strings as keys")),
            (SPEC.to_owned(), serde_json::to_vec(&spec).expect("a spec has only strings as keys")),
        ];
        let mut files = Vec::new();
        for (name, path) in [(STATISTICS, dir.join(directory).join(STATISTICS)), (LOG, dir.join(LOG))] {
            let has_log = matches!(record.log.driver, LogDriver::K8sFile | LogDriver::JsonFile);
            if name == LOG && (!has_log || request.first_part) {
                continue;
            }
            match File::open(&path) {
                Ok(file) => files.push((name.to_owned(), file)),
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(kernel::Error::path("open", path, error).into()),
            }
        }
        let images = open_dir(&dir.join(directory))?;
        if request.root && !request.first_part && record.root.directory.is_none() {
            let (difference, deleted) = changes(store, record, &dir)?;
            files.push((DIFFERENCE.to_owned(), difference));
            if !deleted.is_empty() {
                documents.push((DELETED.to_owned(), deleted));
            }
        }
        if request.volumes && !request.first_part {
            for mount in record.mounts.iter().filter(|mount| !mount.name.is_empty()) {
                let volume = self.volumes().find(&mount.name)?;
                let content = open_dir(&self.volumes().content(&volume))?;
                let options =
                    PackOptions { maps: request.ids.clone(), lenient: true, ..PackOptions::default() };
                let file = pack_aside(&dir, |out| pack(&content, &options, out))?;
                files.push((format!("{VOLUMES}/{}.tar", volume.name), file));
            }
        }
        Ok(Export { config, documents, images, directory, files, maps: request.ids.clone() })
    }
}

impl Export {
    /// Writes all of it.
    ///
    /// # Errors
    /// When a file cannot be read or the archive not be written.
    pub fn write(&mut self, out: &mut dyn Sink) -> store::Result<()> {
        for (name, bytes) in &self.documents {
            out.entry(&entry(name, Kind::File, bytes.len() as u64), Some(&mut bytes.as_slice()))?;
        }
        out.entry(&entry(&format!("{}/", self.directory), Kind::Directory, 0), None)?;
        let prefix = format!("{}/", self.directory);
        pack(
            &self.images,
            &PackOptions { maps: self.maps.clone(), ..PackOptions::default() },
            &mut Below { prefix: prefix.as_bytes(), out },
        )?;
        for (name, file) in &mut self.files {
            let size = length(file).map_err(|e| store::pack::output(name.as_bytes(), e))?;
            out.entry(&entry(name, Kind::File, size), Some(file))?;
        }
        Ok(())
    }

    /// What an image says about it.
    #[must_use]
    pub fn annotations(&self, criu: &str) -> BTreeMap<String, String> {
        self.config.annotations(criu)
    }
}

fn length(file: &mut File) -> io::Result<u64> {
    file.rewind()?;
    Ok(file.metadata()?.len())
}

/// What the container has changed: files that are new or other, and a list of those that are gone.
fn changes(store: &Store, record: &Record, dir: &Path) -> Result<(File, Vec<u8>)> {
    let upper = dir.join("upper");
    let list = store.changes(&root::layers(&record.root)?, &upper)?;
    let gone: Vec<_> =
        list.iter().filter(|(change, _)| *change == Change::Deleted).map(|(_, path)| path).collect();
    let deleted = match gone.as_slice() {
        [] => Vec::new(),
        gone => {
            serde_json::to_vec(&gone).map_err(|source| Error::Damaged { path: DELETED.into(), source })?
        }
    };
    let tree = open_dir(&upper)?;
    let options = PackOptions { maps: record.root.maps.clone(), overlay: true, ..PackOptions::default() };
    let difference = pack_aside(dir, |out| pack(&tree, &options, &mut Unmarked { out }))?;
    Ok((difference, deleted))
}

/// Writes an archive to a file that has no name, and so is gone with this process.
fn pack_aside(dir: &Path, fill: impl FnOnce(&mut dyn Sink) -> store::Result<()>) -> Result<File> {
    let path = dir.join(format!("{}export-{}", file::TEMP_PREFIX, std::process::id()));
    let failed = |call: &'static str| {
        let path = path.clone();
        move |error: io::Error| Error::from(kernel::Error::path(call, &path, error))
    };
    let mut open = File::options();
    let file =
        open.read(true).write(true).create_new(true).mode(0o600).open(&path).map_err(failed("open"))?;
    std::fs::remove_file(&path).map_err(failed("unlink"))?;
    let mut writer = Writer::new(io::BufWriter::with_capacity(256 << 10, &file));
    fill(&mut writer)?;
    writer.finish().and_then(|mut out| out.flush()).map_err(failed("write"))?;
    Ok(file)
}

/// An upper directory without the marks of what is deleted: there is a list of that.
struct Unmarked<'a> {
    out: &'a mut dyn Sink,
}

impl Sink for Unmarked<'_> {
    fn entry(&mut self, header: &Header, content: Option<&mut dyn io::Read>) -> store::Result<()> {
        let name = header.path.rsplit(|byte| *byte == b'/').next().unwrap_or_default();
        if name.starts_with(b".wh.") {
            return Ok(());
        }
        self.out.entry(header, content)
    }
}

/// CRIU's files below a directory of the archive.
struct Below<'a> {
    prefix: &'a [u8],
    out: &'a mut dyn Sink,
}

impl Sink for Below<'_> {
    fn entry(&mut self, header: &Header, content: Option<&mut dyn io::Read>) -> store::Result<()> {
        match header.kind {
            Kind::File => {}
            Kind::Symlink if header.path == PARENT.as_bytes() => {}
            // Whatever else there is nobody would take.
            _ => return Ok(()),
        }
        let mut header = header.clone();
        header.path.splice(0..0, self.prefix.iter().copied());
        // Images have holes where their content is zero; archives of them have none.
        header.sparse = false;
        (header.uid, header.gid) = (0, 0);
        header.xattrs.clear();
        if header.kind == Kind::Symlink {
            header.link = format!("../{FIRST_PART}").into_bytes();
        }
        self.out.entry(&header, content)
    }
}

fn entry(path: &str, kind: Kind, size: u64) -> Header {
    Header::plain(path, kind, if kind == Kind::Directory { 0o700 } else { 0o600 }, size)
}

fn open_dir(path: &Path) -> Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    Ok(rustix::fs::open(path, flags, Mode::empty()).map_err(|e| kernel::Error::path("open", path, e))?)
}
