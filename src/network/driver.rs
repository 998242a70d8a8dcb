//! The driver of a network: what connects the network namespace of one container.
//!
//! A driver lives in the container's monitor. [`Driver::setup`] is called as soon as the
//! namespace exists and returns at once; [`Driver::wait`] is called right before the program
//! starts, so that connecting costs nothing while the root file system is prepared.

use std::fmt;
use std::os::fd::BorrowedFd;
use std::path::{Path, PathBuf};

use super::pasta::{self, Pasta};
use super::{Error, Mode, Request, Result, Status};
use crate::config::{Config, Env, Paths};
use crate::kernel::ns::{self, Namespace};
use crate::kernel::process::Pid;

/// Connects one network namespace.
pub trait Driver: fmt::Debug {
    /// Checks everything that can be checked without changing anything.
    fn validate(&self) -> Result<()>;

    /// Starts to connect the network namespace of the process `init`.
    fn setup(&mut self, init: Pid) -> Result<()>;

    /// Waits until it is connected.
    fn wait(&mut self) -> Result<Status>;

    /// A descriptor that becomes readable when the connection is lost, to be polled.
    fn watch(&self) -> Option<BorrowedFd<'_>> {
        None
    }

    /// What has happened, in words, when that descriptor was readable. It is not to be polled again.
    fn lost(&mut self) -> Option<String> {
        None
    }

    /// Undoes everything; called when the container has ended, also after a failed setup.
    fn teardown(&mut self);
}

/// What drivers are made from.
#[derive(Debug, Clone, Copy)]
pub struct Context<'a> {
    /// containers.conf.
    pub config: &'a Config,
    /// Where programs are searched.
    pub env: &'a Env,
    /// Where what is known about programs is kept.
    pub paths: &'a Paths,
    /// The container's directory for volatile state.
    pub state_dir: &'a Path,
}

/// Chooses the driver of a request.
pub fn driver(request: &Request, context: Context<'_>) -> Result<Box<dyn Driver>> {
    Ok(match &request.mode {
        Mode::Pasta(options) => Box::new(Pasta::new(options, &request.ports, context)?),
        Mode::None => Box::new(Unconnected { process: None }),
        Mode::Host => Box::new(Shared { namespace: None }),
        Mode::Container(_) => Box::new(Shared { namespace: None }),
        Mode::Path(path) => Box::new(Shared { namespace: Some(path.clone()) }),
    })
}

/// A namespace of its own with a loopback interface only.
#[derive(Debug)]
struct Unconnected {
    process: Option<Pid>,
}

impl Driver for Unconnected {
    fn validate(&self) -> Result<()> {
        Ok(())
    }

    fn setup(&mut self, init: Pid) -> Result<()> {
        self.process = Some(init);
        Ok(())
    }

    fn wait(&mut self) -> Result<Status> {
        Ok(Status::default())
    }

    fn teardown(&mut self) {}
}

/// A namespace that somebody else connects: the host's, another container's, that of a file.
#[derive(Debug)]
struct Shared {
    namespace: Option<PathBuf>,
}

impl Driver for Shared {
    fn validate(&self) -> Result<()> {
        self.namespace.as_deref().map_or(Ok(()), check_namespace)
    }

    fn setup(&mut self, _init: Pid) -> Result<()> {
        Ok(())
    }

    fn wait(&mut self) -> Result<Status> {
        Ok(Status::default())
    }

    fn teardown(&mut self) {}
}

/// Whether `path` is a network namespace. Whether the user may join it, the kernel decides by
/// the user namespace that owns it: only those below H pass.
fn check_namespace(path: &Path) -> Result<()> {
    let error = |problem: String| Error::Namespace { path: path.to_owned(), problem };
    let file = ns::open_path(path).map_err(|err| error(err.io().to_string()))?;
    match ns::kind_of(file) {
        Ok(Some(Namespace::Network)) => Ok(()),
        Ok(_) => Err(error("it is a namespace of another kind".to_owned())),
        Err(_) => Err(error("it is not a namespace".to_owned())),
    }
}

/// Ends the helper of a container whose monitor is gone.
pub fn end_helper(helper: super::Helper) {
    pasta::end(helper);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_network_namespaces_pass() {
        assert!(check_namespace(Path::new("/proc/self/ns/net")).is_ok());
        let problem = |path: &str| check_namespace(Path::new(path)).unwrap_err().to_string();
        assert!(problem("/proc/self/ns/uts").ends_with("it is a namespace of another kind"));
        assert!(problem("/etc/passwd").ends_with("it is not a namespace"));
        assert!(problem("/nosuch").contains("cannot use network namespace /nosuch: "));
    }
}
