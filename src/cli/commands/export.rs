//! `rbox export`.

use std::fs::File;
use std::io::{self, BufWriter, Write as _};
use std::path::PathBuf;

use crate::cli::error::{CommandError, Result};
use crate::cli::exit::ExitStatus;
use crate::cli::ui::Ui;
use crate::engine::Engine;
use crate::kernel;
use crate::store::pack::{PackOptions, pack};
use crate::store::tar::Writer;

/// Export container's filesystem contents as a tar archive
///
/// Exports container's filesystem contents as a tar archive and saves it on the local machine.
#[derive(Debug, clap::Args)]
#[command(
    override_usage = "[options] CONTAINER",
    after_help = "rbox export ctrID > myCtr.tar\n  rbox export --output=\"myCtr.tar\" ctrID"
)]
pub struct Args {
    /// Write to a specified file (default: stdout, which must be redirected)
    #[arg(long, short, value_name = "string")]
    output: Option<PathBuf>,
    container: String,
}

/// Writes the archive.
pub fn exec(ui: &mut Ui, engine: &Engine, args: Args) -> Result<ExitStatus> {
    let output = args.output.filter(|path| !path.as_os_str().is_empty());
    if output.is_none() && ui.stdout_is_terminal() {
        return Err(CommandError::new("refusing to export to terminal. Use -o flag or redirect"));
    }
    let containers = engine.containers()?;
    let record = containers.lookup(args.container.strip_prefix('/').unwrap_or(&args.container))?;
    // Opened by the caller himself, and only once there is something to write.
    let file = match &output {
        Some(path) => Some(File::create(path).map_err(|e| kernel::Error::path("open", path, e))?),
        None => None,
    };
    crate::cli::enter_user_namespace(ui, engine)?;
    let result = (|| -> Result<()> {
        let tree = containers.snapshot(engine.store()?, &record)?;
        let options = PackOptions { maps: record.root.maps.clone(), ..PackOptions::default() };
        ui.flush()?;
        match &file {
            Some(file) => {
                let mut out = Writer::new(BufWriter::with_capacity(256 << 10, file));
                pack(&tree, &options, &mut out)?;
                out.finish()?.flush()?;
            }
            None => {
                let mut out = Writer::new(BufWriter::with_capacity(256 << 10, io::stdout().lock()));
                pack(&tree, &options, &mut out)?;
                out.finish()?.flush()?;
            }
        }
        Ok(())
    })();
    if let (Err(_), Some(path), Some(file)) = (&result, &output, &file)
        && file.metadata().is_ok_and(|meta| meta.is_file())
    {
        // Half an archive helps nobody; the error that counts is the one above.
        let _ = std::fs::remove_file(path);
    }
    result?;
    containers.tell(&record, "export");
    Ok(ExitStatus::SUCCESS)
}
