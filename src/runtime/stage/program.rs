//! The last steps: working directory, program, signals, filter, exec.

use std::ffi::CString;
use std::os::fd::{AsFd as _, IntoRawFd as _};

use rustix::fs::{Access, AtFlags, CWD, FileType, Mode, OFlags};
use rustix::io::Errno;

use crate::kernel::process::{CStringArray, execve};
use crate::kernel::signal::{self, SignalSet};
use crate::kernel::{prctl, seccomp};

use super::super::error::{Error, Result};
use super::super::protocol::{self, Kind};
use super::Stage;
use super::rootfs::{c_bytes, open_root};

/// Where programs are looked for without `PATH`.
const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

impl Stage<'_> {
    pub(super) fn make_working_directory(&self) -> Result<()> {
        let process = &self.process;
        if !process.create_cwd || self.root().exists(&process.cwd)? {
            return Ok(());
        }
        self.root().create_dir_all(&process.cwd, Mode::from_raw_mode(0o755))?;
        Ok(self.root().set_owner(&process.cwd, process.uid, process.gid)?)
    }

    /// Enters the working directory, and makes sure that it lies inside the root: a leaked
    /// descriptor once led out of it by `/proc/self/fd/N` (CVE-2024-21626).
    pub(super) fn change_directory(&mut self) -> Result<()> {
        if self.root.is_none() {
            self.root = Some(open_root()?);
        }
        let cwd = &self.process.cwd;
        let fail = |source: std::io::Error| {
            let doing = match self.plan {
                Some(plan) if source.kind() == std::io::ErrorKind::NotFound => {
                    format!("workdir {cwd:?} does not exist on container {}", plan.identity.id)
                }
                _ => format!("cannot chdir to the working directory `{}`", cwd.display()),
            };
            Error::Step { doing, source }
        };
        let directory = self
            .root()
            .open_path(cwd)
            .map_err(|error| fail(std::io::Error::from_raw_os_error(error.errno().unwrap_or(libc::EIO))))?;
        rustix::process::fchdir(&directory).map_err(|errno| fail(errno.into()))?;
        // The bare call says "(unreachable)/…" for a directory outside of the root.
        let inside = rustix::process::getcwd(Vec::new()).is_ok_and(|path| path.to_bytes().starts_with(b"/"));
        if !inside {
            return Err(Error::invalid(
                "process.cwd",
                format!("`{}` lies outside of the container", cwd.display()),
            ));
        }
        Ok(())
    }

    /// Looks for the program as a shell does, with the user's rights.
    pub(super) fn find_program(&mut self) -> Result<()> {
        let Some(program) = self.process.arguments.first() else {
            return Ok(());
        };
        let mut denied = None;
        let searched = !program.contains('/');
        if program.is_empty() {
            return Err(Error::ProgramNotFound { program: String::new(), searched });
        }
        for candidate in candidates(program, &self.process.environment)? {
            match executable(&candidate) {
                Ok(()) => {
                    self.program = Some(candidate);
                    return Ok(());
                }
                Err(Errno::NOENT | Errno::NOTDIR) => {}
                // In a directory that is closed to the user nothing is found.
                Err(Errno::ACCESS) if searched && !has_entry(&candidate) => {}
                Err(errno) => denied = denied.or(Some(errno)),
            }
        }
        let program = program.clone();
        match denied {
            Some(errno) => Err(Error::ProgramNotExecutable { program, source: errno.into() }),
            None => Err(Error::ProgramNotFound { program, searched }),
        }
    }

    /// Gives up the last rights. See the order in `steps`.
    pub(super) fn confine(&self) -> Result<()> {
        // Before everything that may keep this process from opening and writing files.
        self.set_label()?;
        if self.process.no_new_privileges {
            prctl::set_no_new_privileges()?;
        }
        if let Some(enclosure) = self.process.enclosure {
            self.enclose(enclosure)?;
        }
        if let Some(filter) = &self.process.seccomp {
            if let Some(notify) = &filter.notify {
                let calls = seccomp::load(&notify.program, notify.flags)?;
                let calls = calls.expect("the kernel has given what the flags ask for");
                protocol::send(self.channel(), Kind::Calls, 0, &[calls.as_fd()])?;
                // The exec closes it: to close may be a call that waits for an answer now.
                let _ = calls.into_raw_fd();
            }
            seccomp::load(&filter.program, filter.flags)?;
        }
        if self.needs_admin_to_confine() {
            self.drop_last_capabilities()?;
        }
        Ok(())
    }

    pub(super) fn execute(&self) -> Result<()> {
        let Some(program) = &self.program else {
            return Err(Error::invalid("spec", "it has no `process` section, so there is nothing to run"));
        };
        let texts = |list: &[String]| {
            list.iter().map(|text| c_bytes(text.as_bytes().to_vec())).collect::<Result<_>>()
        };
        let arguments = CStringArray::new(texts(&self.process.arguments)?);
        let environment = CStringArray::new(texts(&self.process.environment)?);
        let error = execve(program, &arguments, &environment);
        Err(Error::ProgramNotExecutable { program: self.process.arguments[0].clone(), source: error })
    }
}

/// No blocked and no ignored signal: both pass an exec, and this program, as every Rust
/// program, ignores SIGPIPE.
pub(super) fn reset_signals() -> Result<()> {
    signal::reset_dispositions();
    signal::set_mask(&SignalSet::empty())?;
    Ok(())
}

fn candidates(program: &str, environment: &[String]) -> Result<Vec<CString>> {
    if program.contains('/') {
        return Ok(vec![c_bytes(program.as_bytes().to_vec())?]);
    }
    let path = environment.iter().rev().find_map(|entry| entry.strip_prefix("PATH=")).unwrap_or(DEFAULT_PATH);
    path.split(':')
        .map(|directory| if directory.is_empty() { "." } else { directory })
        .map(|directory| c_bytes(format!("{directory}/{program}").into_bytes()))
        .collect()
}

fn executable(path: &CString) -> Result<(), Errno> {
    let file = rustix::fs::openat(CWD, path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty())?;
    let kind = FileType::from_raw_mode(rustix::fs::fstat(&file)?.st_mode);
    if kind != FileType::RegularFile {
        return Err(if kind == FileType::Directory { Errno::ISDIR } else { Errno::ACCESS });
    }
    // Real and effective ids are the same here.
    rustix::fs::accessat(CWD, path, Access::EXEC_OK, AtFlags::empty())
}

/// Whether the user can see that there is such a file.
fn has_entry(path: &CString) -> bool {
    rustix::fs::accessat(CWD, path, Access::EXISTS, AtFlags::empty()).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn programs_are_searched_as_shells_do() {
        let list = |program: &str, path: &str| -> Vec<String> {
            let found = candidates(program, &["PATH=/x".into(), format!("PATH={path}")]).unwrap();
            found.into_iter().map(|c| c.into_string().unwrap()).collect()
        };
        assert_eq!(list("sh", "/bin:/usr/bin"), ["/bin/sh", "/usr/bin/sh"]);
        assert_eq!(list("./sh", "/bin"), ["./sh"]);
        assert_eq!(list("sh", "/bin:"), ["/bin/sh", "./sh"]);
        assert_eq!(candidates("sh", &[]).unwrap().len(), 6);
    }
}
