//! `rbox volume export` and `volume import`.

use std::fs::File;
use std::io::{self, BufWriter, Read, Write};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags};

use crate::cli::error::{CommandError, Result};
use crate::cli::exit::ExitStatus;
use crate::cli::ui::Ui;
use crate::engine::Engine;
use crate::events::Event;
use crate::image::inflate::Inflated;
use crate::kernel;
use crate::store::pack::{PackOptions, pack};
use crate::store::place::{Owner, Place, PlaceOptions};
use crate::store::tar::{Archive, Limits, Writer};
use crate::volume::{Backing, Volume, Volumes};

/// The content of a volume, open for reading.
fn open(table: &Volumes, volume: &Volume) -> Result<(OwnedFd, PathBuf)> {
    if let Backing::Tmpfs { .. } = volume.backing() {
        return Err(CommandError::new(format!(
            "volume {} is a tmpfs, which only the containers that use it can see",
            volume.name
        )));
    }
    let path = table.content(volume);
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let dir =
        rustix::fs::open(&path, flags, Mode::empty()).map_err(|e| kernel::Error::path("open", &path, e))?;
    Ok((dir, path))
}

/// Out of a volume.
pub mod export {
    use super::{
        BufWriter, CommandError, Engine, Event, ExitStatus, File, PackOptions, PathBuf, Result, Ui, Write,
        Writer, io, kernel, open, pack,
    };

    /// Export volumes
    ///
    /// Exports the content of a volume as a tar archive to a file, or to standard output.
    #[derive(Debug, clap::Args)]
    #[command(
        override_usage = "[options] VOLUME",
        after_help = "rbox volume export myvol > vol.tar\n  rbox volume export --output=vol.tar myvol"
    )]
    pub struct Args {
        /// Write to a specified file (default: stdout, which must be redirected)
        #[arg(long, short, value_name = "string")]
        output: Option<PathBuf>,
        volume: String,
    }

    /// Writes the archive.
    ///
    /// # Errors
    /// When there is no such volume, or the archive cannot be written.
    pub fn exec(ui: &mut Ui, engine: &Engine, args: Args) -> Result<ExitStatus> {
        if args.output.is_none() && ui.stdout_is_terminal() {
            return Err(CommandError::new(
                "cannot write to terminal, use command-line redirection or the --output flag",
            ));
        }
        let table = engine.containers()?.volumes();
        let volume = table.find(&args.volume)?;
        let create = |path: &PathBuf| File::create(path).map_err(|e| kernel::Error::path("open", path, e));
        let file = args.output.as_ref().map(create).transpose()?;
        crate::cli::enter_user_namespace(ui, engine)?;
        let (dir, _) = open(&table, &volume)?;
        let options =
            PackOptions { maps: engine.user_maps().inside(), lenient: true, ..PackOptions::default() };
        ui.flush()?;
        let out: Box<dyn Write> = match file {
            Some(file) => Box::new(file),
            None => Box::new(io::stdout().lock()),
        };
        let mut writer = Writer::new(BufWriter::with_capacity(256 << 10, out));
        pack(&dir, &options, &mut writer)?;
        writer.finish()?.flush()?;
        engine.events()?.emit(&[Event::volume("export", &volume.name)]);
        Ok(ExitStatus::SUCCESS)
    }
}

/// Into a volume.
pub mod import {
    use super::{
        Archive, CommandError, Engine, ExitStatus, File, Inflated, Limits, Owner, Path, Place, PlaceOptions,
        Read, Result, Ui, io, kernel, open,
    };

    /// Import a tarball contents into a rbox volume
    ///
    /// Imports contents into a volume from specified tarball (.tar, .tar.gz, .tgz, .tar.zst). Without a source, or with "-", it comes from standard input.
    #[derive(Debug, clap::Args)]
    #[command(
        override_usage = "VOLUME [SOURCE]",
        after_help = "rbox volume import my_vol /home/user/import.tar\n  cat ctr.tar | rbox volume import my_vol -"
    )]
    pub struct Args {
        volume: String,
        source: Option<String>,
    }

    /// Writes the content of the archive into the volume.
    ///
    /// # Errors
    /// When there is no such volume, or the archive is none.
    pub fn exec(ui: &mut Ui, engine: &Engine, args: Args) -> Result<ExitStatus> {
        let table = engine.containers()?.volumes();
        let volume = table.find(&args.volume)?;
        let input: Box<dyn Read> = match args.source.as_deref() {
            None | Some("-" | "") => Box::new(io::stdin().lock()),
            Some(path) => {
                let path = Path::new(path);
                Box::new(File::open(path).map_err(|e| {
                    CommandError::from(kernel::Error::path("open", path, e)).context("unable open input file")
                })?)
            }
        };
        crate::cli::enter_user_namespace(ui, engine)?;
        let (dir, label) = open(&table, &volume)?;
        let mut archive = Archive::without_digest(Inflated::new(input), Limits::NONE);
        let owner = Owner::Mapped(engine.user_maps().inside());
        let mut place = Place::new(dir, PlaceOptions { owner, replace: true, label });
        place.take_archive(&mut archive).and_then(|()| place.finish())?;
        archive.finish().map_err(crate::store::Error::from)?;
        if !volume.filled {
            table.mark_filled(&volume)?;
        }
        Ok(ExitStatus::SUCCESS)
    }
}
