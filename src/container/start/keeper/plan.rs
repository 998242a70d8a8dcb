//! What the runtime has to do: from a container's files and those of the containers that it joins.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use rustix::fs::Mode;

use oci_spec::runtime::{LinuxNamespaceType, Spec};

use super::{IPC_MOUNTS, Keeper, artifacts, devices};
use crate::config::selinux::container_contexts;
use crate::container::create::extras::Labelled;
use crate::container::create::{Blueprint, CreateRequest, Extras, limits};
use crate::container::lookup::read_json;
use crate::container::{Error, Result, root};
use crate::kernel;
use crate::kernel::file::{self, Durability};
use crate::kernel::idmap::{split_along, to_outside};
use crate::kernel::selinux;
use crate::runtime::plan::{LabelOption, Membership, RootSource, UserNamespace};
use crate::runtime::{Foreign, Plan};
use crate::store::Store;
use crate::volume;

impl Keeper {
    /// What the runtime has to do.
    pub(super) fn plan(&mut self, store: &Store) -> Result<Plan> {
        let Blueprint { mut spec, mut extras } = match self.blueprint.take() {
            Some(blueprint) => blueprint,
            None => self.read_blueprint()?,
        };
        if let Some(path) = self.namespace_of(&self.record.namespaces.user, "user")? {
            // In the spec already: one that is made would need a mapping, and there is none.
            join_user_namespace(&mut spec, path);
        }
        if limits::clamp(&mut spec) {
            // The caller may do less than whoever created the container.
            let bytes = serde_json::to_vec(&spec).expect("a spec has only strings as keys");
            let mode = Mode::RUSR | Mode::WUSR;
            file::write_atomic(&self.dir, OsStr::new("spec.json"), &bytes, mode, Durability::None)?;
        }
        devices::add(&mut spec, &mut extras, &self.cdi_directories)?;
        self.notifier.show(&mut spec);
        let root = root::source(store, &self.dir, &self.record.root)?;
        let mut plan = Plan::from_spec(&spec, &self.dir, Some(root))?;
        if let UserNamespace::New(maps) = &mut plan.namespaces.user {
            maps.uid = split_along(&maps.uid, &self.maps.maps.uid);
            maps.gid = split_along(&maps.gid, &self.maps.maps.gid);
        }
        if self.record.root.shares_ids() && self.record.runtime.program.is_none() {
            // mountinfo would tell the container where on the host its engine's files lie.
            plan.copy_files_below(&self.dir.join("etc"));
        }
        plan.identity.id = self.record.id.to_string();
        self.join_others(&mut plan)?;
        artifacts::add(&mut plan, &extras.artifacts, &self.paths)?;
        extras.apply(&mut plan)?;
        self.labelled = std::mem::take(&mut extras.relabel);
        self.foreign = self.other_runtime(spec, &extras, &plan)?;
        if self.foreign.is_none() {
            self.post_stop = (plan.hooks.post_stop.clone(), plan.identity.clone());
        }
        Ok(plan)
    }

    /// The runtime of the record, if it is not rbox's own.
    fn other_runtime(&self, spec: Spec, extras: &Extras, plan: &Plan) -> Result<Option<Foreign>> {
        let runtime = &self.record.runtime;
        let Some(program) = runtime.program.clone() else { return Ok(None) };
        Ok(Some(Foreign {
            program,
            arguments: runtime.arguments.clone(),
            spec,
            seccomp: extras.section(plan.process.capabilities.bounding)?,
            directory: self.containers.run_dir(&self.record.id).join("runtime"),
            sockets: self.containers.run.clone(),
        }))
    }

    fn read_blueprint(&self) -> Result<Blueprint> {
        let path = self.dir.join("spec.json");
        let spec = read_json(&path, 1)?
            .ok_or_else(|| Error::Invalid { what: format!("{} is missing", path.display()) })?;
        let request = read_json::<CreateRequest>(&self.dir.join("request.json"), 1)?;
        Ok(Blueprint { spec, extras: request.map(|request| request.extras).unwrap_or_default() })
    }

    /// Gives what was made outside of the user's namespace to its owner.
    pub(super) fn give_files(&self, store: &Store) -> Result<()> {
        let root = &self.record.root;
        if root.unowned {
            let (upper, work) = (self.dir.join("upper"), self.dir.join("work"));
            store.make_upper(&root::layers(root)?, &root.maps, &upper, &work)?;
        }
        if root.shares_ids() {
            return Ok(());
        }
        let owner = (to_outside(&root.maps.uid, 0), to_outside(&root.maps.gid, 0));
        let (Some(uid), Some(gid)) = owner else { return Ok(()) };
        for name in ["hosts", "resolv.conf", "hostname", "containerenv"] {
            let path = self.dir.join("etc").join(name);
            match std::os::unix::fs::lchown(&path, Some(uid), Some(gid)) {
                Err(e) if e.kind() != std::io::ErrorKind::NotFound => {
                    return Err(kernel::Error::path("lchown", path, e).into());
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// Gives what the container is shown the SELinux labels with which it can use it.
    pub(super) fn relabel(&mut self, plan: &Plan) -> Result<()> {
        if !selinux::is_enabled() {
            return Ok(());
        }
        let home = &self.paths.home;
        for Labelled { source, below, context } in std::mem::take(&mut self.labelled) {
            volume::relabel((&source, below.as_deref()), &context, self.previous.is_none(), home)?;
        }
        if let Some(label) = &plan.mount_label {
            // Those that are bound; they are written anew for each start.
            volume::relabel((&self.dir.join("etc"), None), &label.context, true, home)?;
        }
        self.relabel_layers(plan)
    }

    /// Where files keep labels of their own (`label=nested`), those of the image need one that a container may read.
    fn relabel_layers(&self, plan: &Plan) -> Result<()> {
        let keep = plan.mount_label.as_ref().is_some_and(|label| label.option == LabelOption::Rootcontext);
        let (true, RootSource::Overlay(overlay)) = (keep, &plan.root) else { return Ok(()) };
        let Some(policy) = container_contexts() else { return Ok(()) };
        let (process, read_only) = (policy.process.to_string(), policy.read_only_file.to_string());
        // Debian's policy lets no container execute files that it cannot write.
        let context = match selinux::allows(&process, &read_only, "file", "entrypoint") {
            Some(false) => policy.file.to_string(),
            _ => read_only,
        };
        for lower in &overlay.lowers {
            volume::relabel((&overlay.lower_base.join(lower), None), &context, false, &self.paths.home)?;
        }
        Ok(())
    }

    /// Namespaces of other containers are found anew at each start, because their processes change.
    fn join_others(&self, plan: &mut Plan) -> Result<()> {
        let modes = &self.record.namespaces;
        let slots = [
            (&modes.pid, "pid", &mut plan.namespaces.pid),
            (&modes.ipc, "ipc", &mut plan.namespaces.ipc),
            (&modes.uts, "uts", &mut plan.namespaces.uts),
            (&modes.cgroup, "cgroup", &mut plan.namespaces.cgroup),
            (&self.record.network.mode, "net", &mut plan.namespaces.network),
        ];
        for (mode, file, slot) in slots {
            if let Some(path) = self.namespace_of(mode, file)? {
                *slot = Membership::Join(path);
            }
        }
        if let Some(namespace) = self.namespace_of(&modes.ipc, "mnt")? {
            // POSIX shared memory and message queues are files: without the same file systems the
            // namespace alone would share System V's objects only.
            plan.join_mounts(&IPC_MOUNTS, &namespace);
        }
        Ok(())
    }

    /// The namespace that `mode` joins, as a file of a running container.
    fn namespace_of(&self, mode: &str, file: &str) -> Result<Option<PathBuf>> {
        let Some(reference) = mode.strip_prefix("container:") else { return Ok(None) };
        let other = self.containers.lookup(reference)?;
        let state = self.containers.state(&other.id)?;
        let pid = state.pid().ok_or_else(|| Error::WrongState {
            what: format!("container {} whose namespace is to be shared is not running", other.id),
            status: state.status,
        })?;
        Ok(Some(Path::new("/proc").join(pid.to_string()).join("ns").join(file)))
    }
}

fn join_user_namespace(spec: &mut Spec, path: PathBuf) {
    let namespaces = spec.linux_mut().as_mut().and_then(|linux| linux.namespaces_mut().as_mut());
    for namespace in namespaces.into_iter().flatten() {
        if namespace.typ() == LinuxNamespaceType::User {
            namespace.set_path(Some(path.clone()));
        }
    }
}
