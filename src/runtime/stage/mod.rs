//! The child's side: from the clone to the exec of the program.
//!
//! The process is a copy of one that had a single thread, so everything of it
//! may be used, the allocator included; but it shares buffers and descriptors
//! with its parent. Therefore nothing here prints, logs, takes a lock, changes
//! the environment, asks NSS or a resolver, or unwinds, and the process is left
//! only by an exec or by `exit_now`. Paths below the root are resolved in the
//! root, by handles; no path of the image is ever resolved on the host.

mod borrow;
mod copy_up;
mod descriptors;
mod devices;
mod enclosure;
mod identity;
mod init;
mod label;
mod mounts;
mod namespaces;
mod program;
mod protect;
mod restrict;
mod rootfs;
mod terminal;
mod trees;

use std::fs::File;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd, RawFd};
use std::path::PathBuf;

use crate::kernel::idmap::IdMaps;
use crate::kernel::ns::{self, Namespace, NamespaceSet};
use crate::kernel::path::RootDir;
use crate::kernel::prctl;
use crate::kernel::process::exit_now;

use super::error::Result;
use super::network_devices::NetworkDevices;
use super::plan::{Plan, Process, UserNamespace};
use super::protocol::{self, Command, Kind};
use super::steps::{self, Step};
use super::streams::{Passed, Streams};
use super::{files, hooks};

pub(super) use copy_up::fill;
pub use enclosure::can_enclose;
pub use init::is_preparing;
pub use label::has_apparmor;
pub(super) use label::label_files;
pub(super) use mounts::is_dir;
pub use protect::resume;
pub(super) use protect::{Protection, is_needed, read_only_executable};
pub use rootfs::mount_root;
pub(super) use rootfs::{mount_file, mount_labelled_root, mount_overlay, open_host, open_source};
pub(super) use trees::{Trees, prepare as prepare_trees};

/// How the child learns that its program may start.
#[derive(Debug)]
pub(super) enum StartSignal {
    /// By a command on the channel.
    Channel,
    /// By a command on a connection to this listening socket, to which errors go from then on.
    Listener(OwnedFd),
    /// There is nothing to wait for.
    None,
}

/// Everything that the child works with.
#[derive(Debug)]
pub(super) struct Stage<'a> {
    /// The container's plan; `None` for a further process in a running container.
    plan: Option<&'a Plan>,
    /// The process to become. Looking up its user changes it.
    process: Process,
    /// Towards the parent.
    channel: OwnedFd,
    start: StartSignal,
    streams: Streams,
    extra: Vec<Passed>,
    /// The numbers above 2 that are the program's, sorted.
    kept: Vec<RawFd>,
    /// Maps of the user namespace, as far as they are known.
    maps: Option<IdMaps>,
    protection: Protection,
    /// What the parent has prepared.
    trees: Trees,
    /// Network devices that the parent has moved, if not into a namespace that is joined.
    devices: NetworkDevices,
    /// The host's /proc, where the program gets a label.
    procfs: Option<OwnedFd>,
    /// The root file system, once it is mounted.
    root: Option<RootDir>,
    /// A detached tmpfs for copies of small files, once there is one.
    files: Option<RootDir>,
    /// Host files, and the copies that are still empty.
    copies: Vec<(PathBuf, File)>,
    /// Detached copies of the mounts whose owner is to change.
    chown: Vec<OwnedFd>,
    /// Mounts that become read-only once everything in them is made.
    read_only: Vec<OwnedFd>,
    /// The program's path, once it is found.
    program: Option<std::ffi::CString>,
    /// The pid that the parent knows.
    outer_pid: u32,
}

/// What a stage is made of.
#[derive(Debug)]
pub(super) struct Setup<'a> {
    pub(super) plan: Option<&'a Plan>,
    pub(super) process: Process,
    pub(super) channel: OwnedFd,
    pub(super) start: StartSignal,
    pub(super) streams: Streams,
    pub(super) extra: Vec<Passed>,
    pub(super) maps: Option<IdMaps>,
    pub(super) protection: Protection,
    pub(super) trees: Trees,
    pub(super) devices: NetworkDevices,
    /// See [`label_files`].
    pub(super) procfs: Option<OwnedFd>,
    /// The process whose cgroup namespace the child joins first of all. Not before the clone: from inside of it, a
    /// cgroup that is not below its root is not to be had (ENOENT with `nsdelegate`).
    pub(super) cgroup_namespace: Option<OwnedFd>,
}

impl Setup<'_> {
    /// Joins what can be joined only by the child.
    pub(super) fn join_late(&self) -> Result<()> {
        match &self.cgroup_namespace {
            Some(process) => Ok(ns::enter_process(process, NamespaceSet::EMPTY.with(Namespace::Cgroup))?),
            None => Ok(()),
        }
    }
}

impl<'a> Stage<'a> {
    pub(super) fn new(setup: Setup<'a>) -> Self {
        Self {
            plan: setup.plan,
            process: setup.process,
            channel: setup.channel,
            start: setup.start,
            streams: setup.streams,
            kept: descriptors::numbers(&setup.extra),
            extra: setup.extra,
            maps: setup.maps,
            protection: setup.protection,
            trees: setup.trees,
            devices: setup.devices,
            procfs: setup.procfs,
            root: None,
            files: None,
            copies: Vec::new(),
            chown: Vec::new(),
            read_only: Vec::new(),
            program: None,
            outer_pid: 0,
        }
    }

    /// Takes all steps. Ends in the program, or ends the process.
    pub(super) fn run(self) -> ! {
        let steps = self.steps();
        self.take(steps)
    }

    /// Takes the steps behind `done`, which an exec of this program interrupted.
    fn run_after(self, done: Step) -> ! {
        let steps = self.steps();
        let next = steps.iter().position(|step| *step == done).map_or(0, |index| index + 1);
        self.take(&steps[next..])
    }

    fn steps(&self) -> &'static [Step] {
        if self.plan.is_some() { steps::CONTAINER } else { steps::PROCESS }
    }

    fn take(mut self, steps: &[Step]) -> ! {
        for step in steps {
            if let Err(error) = self.perform(*step) {
                self.fail(*step, &error);
            }
        }
        exit_now(125)
    }

    fn fail(&self, step: Step, error: &super::Error) -> ! {
        protocol::send_failure(self.channel.as_fd(), step, error);
        exit_now(error.exit_code().into())
    }

    fn perform(&mut self, step: Step) -> Result<()> {
        match step {
            // Its errors are sent under this name; it is no step of this process.
            Step::JoinNamespaces => Ok(()),
            Step::ArrangeDescriptors => self.arrange_descriptors(),
            Step::WaitForMaps => self.wait_for_maps(),
            Step::BecomeRoot => namespaces::become_root(self.maps.as_ref()),
            Step::ProtectExecutable => self.protect_executable(),
            Step::NewSession => namespaces::new_session(),
            Step::NewKeyring => self.new_keyring(),
            Step::NewTimeNamespace => self.new_time_namespace(),
            Step::NewCgroupNamespace => self.new_cgroup_namespace(),
            Step::LoopbackUp => self.loopback_up(),
            Step::IsolateMounts => rootfs::isolate_mounts(),
            Step::MountRoot => self.mount_root(),
            Step::MountAll => self.mount_all(),
            Step::MakeDevices => self.make_devices(),
            Step::SetKernelParameters => self.set_kernel_parameters(),
            Step::SetHostName => self.set_host_name(),
            Step::WriteFiles => files::write(&self.plan().files, self.root()),
            Step::FindUser => self.find_user(),
            Step::ChangeOwners => self.change_owners(),
            Step::MakeWorkingDirectory => self.make_working_directory(),
            Step::CreateContainerHooks => {
                self.run_hooks("createContainer", |plan| &plan.hooks.create_container, "created")
            }
            Step::MaskPaths => self.mask_paths(),
            Step::RestrictRoot => self.restrict_root(),
            Step::WaitForSurroundings => self.wait_for_surroundings(),
            Step::FillCopies => self.fill_copies(),
            Step::EnterRoot => self.enter_root(),
            Step::OpenTerminal => self.open_terminal(),
            Step::SetPersonality => {
                self.process.personality.map_or(Ok(()), |p| Ok(prctl::set_personality(p)?))
            }
            Step::SetLimits => self.set_limits(),
            Step::OwnStreams => self.own_streams(),
            Step::LimitBounding => self.limit_bounding(),
            Step::ChangeDirectory => self.change_directory(),
            Step::ChangeIds => self.change_ids(),
            Step::SetCapabilities => self.set_capabilities(),
            Step::FindProgram => self.find_program(),
            Step::WaitForStart => self.wait_for_start(),
            Step::StartContainerHooks => {
                self.run_hooks("startContainer", |plan| &plan.hooks.start_container, "created")
            }
            Step::ForkInit => self.fork_init(),
            Step::CloseDescriptors => self.close_descriptors(),
            Step::ResetSignals => program::reset_signals(),
            Step::Confine => self.confine(),
            Step::Execute => self.execute(),
        }
    }

    /// The plan, in the steps that only a container's first process takes.
    fn plan(&self) -> &'a Plan {
        self.plan.expect("only the steps of a container's first process ask for the plan")
    }

    /// The root file system, in the steps behind its mount.
    fn root(&self) -> &RootDir {
        self.root.as_ref().expect("the root is mounted before the steps that use it")
    }

    fn channel(&self) -> BorrowedFd<'_> {
        self.channel.as_fd()
    }

    fn run_hooks(
        &self,
        point: &str,
        select: impl FnOnce(&Plan) -> &Vec<super::plan::Hook>,
        status: &str,
    ) -> Result<()> {
        let plan = self.plan();
        // The caller's environment is none of the container's business.
        hooks::run_in(&self.process.environment, point, select(plan), &plan.identity, status, self.outer_pid)
    }

    fn wait_for_surroundings(&self) -> Result<()> {
        protocol::send(self.channel(), Kind::Mounted, 0, &[])?;
        protocol::wait_command(self.channel(), Command::Enter)
    }

    /// Announces that all is ready, then waits for the word to start. With a
    /// listener another process gives it, and hears of errors from then on.
    fn wait_for_start(&mut self) -> Result<()> {
        match std::mem::replace(&mut self.start, StartSignal::None) {
            StartSignal::None => return Ok(()),
            StartSignal::Channel => {
                protocol::send(self.channel(), Kind::Ready, 0, &[])?;
            }
            StartSignal::Listener(listener) => {
                protocol::send(self.channel(), Kind::Ready, 0, &[])?;
                self.channel = descriptors::accept(listener)?;
            }
        }
        protocol::wait_command(self.channel(), Command::Start)
    }

    /// Whether the container's user namespace is its own.
    fn in_new_user_namespace(&self) -> bool {
        self.plan.is_some_and(|plan| matches!(plan.namespaces.user, UserNamespace::New(_)))
    }
}
