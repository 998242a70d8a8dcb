//! Work in the user's namespace for a command that itself has to stay outside of it: what speaks with CRIU, or starts
//! a container afterwards.

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::os::fd::OwnedFd;

use super::error::{CommandError, Result};
use super::exit::ExitStatus;
use super::ui::Ui;
use crate::engine::Engine;
use crate::kernel::{self, process};

/// What a process that has failed ends with.
const FAILED: i32 = 1;

/// Does `act` in the user's namespace, in a process of its own, and gives the text that it returns.
///
/// # Errors
/// As `act`, or when the namespace cannot be entered.
pub fn in_user_namespace(
    ui: &mut Ui,
    engine: &Engine,
    act: impl FnOnce(&mut Ui) -> Result<String>,
) -> Result<String> {
    // What is buffered would be written twice.
    ui.flush()?;
    let (ours, theirs) = pipe()?;
    match process::fork()? {
        process::Fork::Child => {
            drop(ours);
            let result = super::enter_user_namespace(ui, engine).and_then(|()| act(ui));
            let code = i32::from(result.is_err()) * FAILED;
            let text = result.unwrap_or_else(|error| error.message().to_owned());
            // Nobody to tell it to but the parent, which sees the code.
            let _ = File::from(theirs).write_all(text.as_bytes());
            let _ = ui.flush();
            process::exit_now(code)
        }
        process::Fork::Parent { pidfd, .. } => {
            drop(theirs);
            let mut text = String::new();
            let read = File::from(ours).read_to_string(&mut text);
            let status = process::wait_pidfd(&pidfd)?;
            read.map_err(|e| kernel::Error::call("read", "", e))?;
            match status {
                process::ExitStatus::Exited(0) => Ok(text),
                process::ExitStatus::Exited(FAILED) if !text.is_empty() => Err(CommandError::new(text)),
                process::ExitStatus::Exited(FAILED) => Err(CommandError::silent(ExitStatus::ERROR)),
                other => Err(CommandError::new(format!(
                    "a process of its own ended early, with status {}",
                    other.code()
                ))),
            }
        }
    }
}

fn pipe() -> Result<(OwnedFd, OwnedFd)> {
    let made = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC);
    Ok(made.map_err(|errno| kernel::Error::call("pipe", "", errno))?)
}
