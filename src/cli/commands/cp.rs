//! `rbox cp`.

use std::ffi::{OsStr, OsString};
use std::io::{self, Read};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, FileType, Mode, OFlags};

use crate::cli::error::{CommandError, Result};
use crate::cli::exit::ExitStatus;
use crate::cli::ui::Ui;
use crate::container::files::{Door, Files, Target};
use crate::container::{Containers, Error};
use crate::engine::Engine;
use crate::image::inflate::Inflated;
use crate::kernel;
use crate::store::pack::{PackOptions, pack_as};
use crate::store::place::{Owner, Place, PlaceOptions};
use crate::store::tar::{Archive, Limits, Writer};
use crate::volume;

/// Copy files/folders between a container and the local filesystem
///
/// You can copy from the container's file system to the local machine or the reverse, from the local filesystem to the container. If "-" is specified for either the SRC_PATH or DEST_PATH, you can also stream a tar archive from STDIN or to STDOUT. The CONTAINER can be a running or stopped container. The SRC_PATH or DEST_PATH can be a file or a directory.
#[derive(Debug, clap::Args)]
#[command(
    override_usage = "[options] [CONTAINER:]SRC_PATH [CONTAINER:]DEST_PATH",
    after_help = "rbox cp myctr:/etc/hosts .\n  rbox cp ./site/. myctr:/srv\n  rbox cp one:/data two:/data\n  tar -c . | rbox cp - myctr:/tmp"
)]
pub struct Args {
    /// Chown copied files to the primary uid/gid of the destination container
    #[arg(
        long,
        short,
        num_args = 0..=1,
        default_value_t = true,
        default_missing_value = "true",
        action = clap::ArgAction::Set,
        value_parser = crate::cli::values::go_bool
    )]
    archive: bool,
    /// Deprecated: archives from standard input are always extracted
    #[arg(long, hide = true)]
    extract: bool,
    /// Allow to overwrite directories with non-directories and vice versa
    #[arg(long)]
    overwrite: bool,
    /// Deprecated: containers are not paused
    #[arg(
        long,
        hide = true,
        num_args = 0..=1,
        default_value_t = true,
        default_missing_value = "true",
        action = clap::ArgAction::Set,
        value_parser = crate::cli::values::go_bool
    )]
    pause: bool,
    source: String,
    destination: String,
}

/// One end of a copy.
#[derive(Debug, Clone, PartialEq, Eq)]
enum End<'a> {
    /// A path in a container.
    Container { name: &'a str, path: &'a str },
    /// A path on the host.
    Host(&'a str),
}

/// Splits `CONTAINER:PATH`. What begins with a dot or slash is a path of the host, colons and all.
fn parse(text: &str) -> End<'_> {
    match text.split_once(':') {
        Some((name, path)) if !text.starts_with(['.', '/']) => End::Container { name, path },
        _ => End::Host(text),
    }
}

/// Something to copy.
struct Source {
    handle: OwnedFd,
    is_dir: bool,
    name: OsString,
    /// Only what is in the directory: its path ends with `.`.
    content_only: bool,
}

/// Copies.
pub fn exec(ui: &mut Ui, engine: &Engine, args: Args) -> Result<ExitStatus> {
    // Both are said to do nothing.
    let Args { archive, overwrite, source, destination, extract: _, pause: _ } = args;
    let (from, to) = (parse(&source), parse(&destination));
    let empty = |end: &End<'_>| match end {
        End::Container { path, .. } | End::Host(path) => path.is_empty(),
    };
    if empty(&from) || empty(&to) {
        return Err(CommandError::new(format!(
            "invalid arguments {source:?}, {destination:?}: you must specify paths"
        )));
    }
    let copy = Copy { containers: engine.containers()?, archive, overwrite };
    match (from, to) {
        (End::Container { name, path }, End::Container { name: to_name, path: to_path }) => {
            copy.between(ui, engine, (name, path), (to_name, to_path))?;
        }
        (End::Container { name, path }, End::Host("-")) => copy.stream_out(ui, engine, name, path)?,
        (End::Container { name, path }, End::Host(host)) => copy.host_out(ui, engine, (name, path), host)?,
        (End::Host("-"), End::Container { name, path }) => copy.stream_in(ui, engine, name, path)?,
        (End::Host(host), End::Container { name, path }) => copy.host_in(ui, engine, host, (name, path))?,
        (End::Host(_), End::Host(_)) => {
            return Err(CommandError::new(format!(
                "invalid arguments {source:?}, {destination:?}: you must specify one container"
            )));
        }
    }
    Ok(ExitStatus::SUCCESS)
}

struct Copy {
    containers: Containers,
    archive: bool,
    overwrite: bool,
}

impl Copy {
    fn door(&self, name: &str) -> Result<Door> {
        let record = match self.containers.lookup(name.strip_prefix('/').unwrap_or(name)) {
            Err(Error::NotFound { .. }) => {
                return Err(CommandError::new(format!("container {name:?} does not exist")));
            }
            record => record?,
        };
        Ok(self.containers.door(record)?)
    }

    /// Gets to the files of a container, inside of the user's namespace.
    fn enter(&self, ui: &mut Ui, engine: &Engine, door: Door) -> Result<Files> {
        crate::cli::enter_user_namespace(ui, engine)?;
        Ok(door.enter(&self.containers, engine.store()?)?)
    }

    fn between(
        &self,
        ui: &mut Ui,
        engine: &Engine,
        (from_name, from_path): (&str, &str),
        (to_name, to_path): (&str, &str),
    ) -> Result<()> {
        let (from_door, to_door) = (self.door(from_name)?, self.door(to_name)?);
        let from = self.enter(ui, engine, from_door)?;
        // One mount of a root that is not in use serves both ways.
        let other = if to_door.id() == &from.id { None } else { Some(self.enter(ui, engine, to_door)?) };
        let to = other.as_ref().unwrap_or(&from);
        let source = source_in(&from, from_name, from_path)?;
        let target = target_in(to, to_name, to_path)?;
        check_kinds(&source, &target)?;
        self.write(source, target, pack_options(&from, from_path), to)
    }

    fn host_in(&self, ui: &mut Ui, engine: &Engine, host: &str, (name, path): (&str, &str)) -> Result<()> {
        let door = self.door(name)?;
        let source = source_on_host(host)?;
        let files = self.enter(ui, engine, door)?;
        let target = target_in(&files, name, path)?;
        check_kinds(&source, &target)?;
        // The ids of the user's namespace, as they are in it.
        let maps = engine.user_maps().inside();
        let options = PackOptions { maps, lenient: true, ..PackOptions::default() };
        self.write(source, target, options, &files)
    }

    fn stream_in(&self, ui: &mut Ui, engine: &Engine, name: &str, path: &str) -> Result<()> {
        let door = self.door(name)?;
        let files = self.enter(ui, engine, door)?;
        let target = match files.target(path)? {
            Some(target) if target.name.is_none() => target,
            target if path.ends_with('/') && target.as_ref().is_none_or(|target| !target.exists) => {
                return Err(not_in(name, path));
            }
            _ => return Err(CommandError::new("destination must be a directory when copying from stdin")),
        };
        let mut archive = Archive::without_digest(Inflated::new(io::stdin().lock()), Limits::NONE);
        let mut place = self.place(target, &files)?;
        let no_archive =
            || CommandError::new("source must be a (compressed) tar archive when copying from stdin");
        {
            let Ok(Some(mut first)) = archive.next_entry() else { return Err(no_archive()) };
            let header = first.header.clone();
            let content: &mut dyn Read = &mut first;
            put(&mut place, &header, content)?;
        }
        place.take_archive(&mut archive).and_then(|()| place.finish()).map_err(to_container)?;
        archive.finish().map_err(|error| to_container(error.into()))?;
        Ok(())
    }

    fn stream_out(&self, ui: &mut Ui, engine: &Engine, name: &str, path: &str) -> Result<()> {
        let door = self.door(name)?;
        let files = self.enter(ui, engine, door)?;
        let source = source_in(&files, name, path)?;
        ui.flush()?;
        let mut writer = Writer::new(io::BufWriter::with_capacity(256 << 10, io::stdout().lock()));
        let name = if source.content_only { OsStr::new("") } else { &source.name };
        let options = pack_options(&files, path);
        pack_as(&source.handle, name.as_bytes(), &options, &mut writer).map_err(from_container)?;
        io::Write::flush(&mut writer.finish()?)?;
        Ok(())
    }

    fn host_out(&self, ui: &mut Ui, engine: &Engine, (name, path): (&str, &str), host: &str) -> Result<()> {
        let door = self.door(name)?;
        let target = target_on_host(host);
        let files = self.enter(ui, engine, door)?;
        // What is wrong with the source is said first.
        let source = source_in(&files, name, path)?;
        let target = target?;
        check_kinds(&source, &target)?;
        let label = PathBuf::from("/");
        let options = PlaceOptions { owner: Owner::Caller, replace: self.overwrite, label };
        let (dir, as_name) = destination(&source, target);
        let mut place = Place::new(dir, options);
        pack_as(&source.handle, as_name.as_bytes(), &pack_options(&files, path), &mut place)
            .and_then(|()| place.finish())
            .map_err(|error| CommandError::from(error).context("copying to host"))
    }

    /// Writes a source into a container.
    fn write(&self, source: Source, target: Target, options: PackOptions, files: &Files) -> Result<()> {
        let label = target.label.clone();
        let (dir, name) = destination(&source, target);
        let mut place = self.place(Target { dir, label, name: None, exists: true }, files)?;
        pack_as(&source.handle, name.as_bytes(), &options, &mut place)
            .and_then(|()| place.finish())
            .map_err(to_container)
    }

    fn place(&self, target: Target, files: &Files) -> Result<Place> {
        let owner = if self.archive {
            let (uid, gid) = files.user()?;
            Owner::Fixed(uid, gid)
        } else {
            Owner::Mapped(files.maps().clone())
        };
        files.write_as_root()?;
        Ok(Place::new(target.dir, PlaceOptions { owner, replace: self.overwrite, label: target.label }))
    }
}

fn put(place: &mut Place, header: &crate::store::tar::Header, content: &mut dyn Read) -> Result<()> {
    use crate::store::pack::Sink as _;
    let content = (header.kind == crate::store::tar::Kind::File).then_some(content);
    place.entry(header, content).map_err(to_container)
}

fn to_container(error: crate::store::Error) -> CommandError {
    CommandError::from(error).context("copying to container")
}

fn from_container(error: crate::store::Error) -> CommandError {
    CommandError::from(error).context("copying from container")
}

fn not_in(name: &str, path: &str) -> CommandError {
    CommandError::new(format!("{path:?} could not be found on container {name}: no such file or directory"))
}

fn not_on_host(path: &str) -> CommandError {
    CommandError::new(format!("{path:?} could not be found on the host: no such file or directory"))
}

/// Whether a path stands for what is in the directory and not for the directory.
fn is_content(path: &str) -> bool {
    path.rsplit('/').next() == Some(".")
}

/// How a container's files are read.
fn pack_options(files: &Files, path: &str) -> PackOptions {
    let without = if files.is_root(path) { vec!["dev", "proc", "sys"] } else { Vec::new() };
    PackOptions {
        maps: files.maps().clone(),
        without: without.into_iter().map(str::to_owned).collect(),
        lenient: true,
        ..PackOptions::default()
    }
}

fn source_in(files: &Files, name: &str, path: &str) -> Result<Source> {
    // Patterns are not expanded, and never were meant as names.
    let found = if path.contains('*') { None } else { files.find(path)? };
    let found = found.ok_or_else(|| not_in(name, path))?;
    let content_only = is_content(path) || files.is_root(path);
    Ok(Source { handle: found.handle, is_dir: found.is_dir, name: found.name, content_only })
}

fn source_on_host(path: &str) -> Result<Source> {
    let handle = open_host(path).map_err(|_| not_on_host(path))?;
    let name = volume::clean_path(&absolute(path)?).file_name().map(ToOwned::to_owned).unwrap_or_default();
    let content_only = is_content(path) || name.is_empty();
    Ok(Source { is_dir: kind_of(&handle)? == FileType::Directory, handle, name, content_only })
}

fn target_in(files: &Files, name: &str, path: &str) -> Result<Target> {
    match files.target(path)? {
        Some(target) if target.exists || !path.ends_with('/') => Ok(target),
        _ => Err(not_in(name, path)),
    }
}

fn target_on_host(path: &str) -> Result<Target> {
    let label = volume::clean_path(&absolute(path)?);
    let exists = match open_host(path) {
        Ok(handle) => match kind_of(&handle)? {
            FileType::Directory => return Ok(Target { dir: handle, label, name: None, exists: true }),
            FileType::RegularFile => true,
            _ => {
                return Err(CommandError::new(format!(
                    "invalid destination: {:?} must be a directory or a regular file",
                    label.display().to_string()
                )));
            }
        },
        Err(_) if path.ends_with('/') => return Err(not_on_host(path)),
        Err(_) => false,
    };
    let above = label.parent().unwrap_or(Path::new("/"));
    let dir = open_host(above).map_err(|_| not_on_host(path))?;
    if kind_of(&dir)? != FileType::Directory {
        return Err(not_on_host(path));
    }
    let name = label.file_name().map(ToOwned::to_owned);
    Ok(Target { dir, label: above.to_owned(), name, exists })
}

fn check_kinds(source: &Source, target: &Target) -> Result<()> {
    if source.is_dir && target.name.is_some() && target.exists {
        return Err(CommandError::new("destination must be a directory when copying a directory"));
    }
    Ok(())
}

/// The directory that is written to, and the name that the source gets there; empty for its content alone.
fn destination(source: &Source, target: Target) -> (OwnedFd, OsString) {
    let name = match target.name {
        // It is made under the name that was asked for, also of a source `DIR/.`.
        Some(name) => name,
        None if source.content_only && source.is_dir => OsString::new(),
        None => source.name.clone(),
    };
    (target.dir, name)
}

fn absolute(path: &str) -> Result<PathBuf> {
    let cwd = std::env::current_dir().map_err(|e| kernel::Error::path("getcwd", ".", e))?;
    Ok(cwd.join(path))
}

fn open_host(path: impl AsRef<Path>) -> rustix::io::Result<OwnedFd> {
    rustix::fs::openat(CWD, path.as_ref(), OFlags::PATH | OFlags::CLOEXEC, Mode::empty())
}

fn kind_of(handle: &OwnedFd) -> Result<FileType> {
    let stat = rustix::fs::fstat(handle).map_err(|errno| kernel::Error::call("fstat", "", errno))?;
    Ok(FileType::from_raw_mode(stat.st_mode))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ends_are_told_apart() {
        for (text, expected) in [
            ("c:/x", End::Container { name: "c", path: "/x" }),
            ("c:x:y", End::Container { name: "c", path: "x:y" }),
            ("c:", End::Container { name: "c", path: "" }),
            ("./c:/x", End::Host("./c:/x")),
            ("/a:b", End::Host("/a:b")),
            ("plain", End::Host("plain")),
            ("-", End::Host("-")),
        ] {
            assert_eq!(parse(text), expected, "{text}");
        }
    }

    #[test]
    fn only_a_last_dot_means_the_content() {
        for (path, expected) in
            [("/a/.", true), (".", true), ("/a/./", false), ("/a.", false), ("a/..", false), ("/a/", false)]
        {
            assert_eq!(is_content(path), expected, "{path}");
        }
    }
}
