//! Changing what a container was created with, as far as that is possible afterwards.
//!
//! The record, the request and the spec are written one after the other under the container's lock, the record
//! last. A crash in between leaves limits or variables changed and the rest as it was: each file is whole.

use std::ffi::OsStr;
use std::path::Path;

use oci_spec::runtime::{PosixRlimit, PosixRlimitBuilder, PosixRlimitType, Spec};
use rustix::fs::Mode;
use serde::Serialize;

use super::create::cgroup::check_available;
use super::create::namespace::parse_cgroups;
use super::create::resources::Machine;
use super::create::{CreateRequest, Resources, Ulimit, limits};
use super::exec::set_env;
use super::lookup::read_json;
use super::{Containers, Error, Record, Result};
use crate::kernel::file::{self, Durability};
use crate::kernel::rlimit::{self, Resource};
use crate::runtime::cgroup;

/// What is to be changed in the limits, and in the environment of the first process.
#[derive(Debug, Clone, Default)]
pub struct Changes {
    /// `--env`
    pub env: Vec<(String, String)>,
    /// `--unsetenv`
    pub unset_env: Vec<String>,
    /// `--ulimit`; the inner `None` is `host`.
    pub ulimits: Option<Option<Vec<Ulimit>>>,
    /// `--memory`, `--cpus` and their like.
    pub resources: Resources,
}

impl Changes {
    fn is_empty(&self) -> bool {
        self.env.is_empty()
            && self.unset_env.is_empty()
            && self.ulimits.is_none()
            && self.resources.is_empty()
    }

    fn apply(&self, request: &mut CreateRequest, spec: &mut Spec) -> Result<()> {
        if !self.resources.is_empty() {
            request.resources.update(&self.resources);
            request.resources.check(&Machine::read())?;
            if self.resources.pids.is_some() {
                request.extras.pids = None;
            }
            if let Some(linux) = spec.linux_mut() {
                linux.set_resources(request.resources.to_spec()?);
            }
        }
        let Some(process) = spec.process_mut() else { return Ok(()) };
        let mut env = process.env().clone().unwrap_or_default();
        env.retain(|entry| {
            let name = entry.split_once('=').map_or(entry.as_str(), |(name, _)| name);
            !self.unset_env.iter().any(|gone| gone == name)
        });
        set_env(&mut env, self.env.clone());
        process.set_env(Some(env));
        if let Some(ulimits) = &self.ulimits {
            request.ulimits.clone_from(ulimits);
            process.set_rlimits(ulimits.as_ref().map(|asked| rlimits(asked)));
        }
        Ok(())
    }

    /// The files of the cgroup that change with the new limits, out of `spec`, which has them already.
    fn settings(&self, spec: &Spec) -> Result<Vec<(String, String)>> {
        let Some(asked) = self.resources.to_spec()? else { return Ok(Vec::new()) };
        let all = spec.linux().as_ref().and_then(|linux| linux.resources().as_ref());
        let mut all = all.map(cgroup::settings).transpose()?.unwrap_or_default();
        // The swap of a limit that was given before is in the whole only, so the whole decides about values.
        let touched: Vec<String> = match (self.resources.memory, self.resources.memory_swap) {
            (None, Some(_)) => vec!["memory.swap.max".to_owned()],
            _ => Vec::new(),
        };
        let without_swap = Resources { memory_swap: None, ..self.resources.clone() };
        let asked = if touched.is_empty() { Some(asked) } else { without_swap.to_spec()? };
        let asked = asked.as_ref().map(cgroup::settings).transpose()?.unwrap_or_default();
        all.retain(|(file, _)| touched.contains(file) || asked.iter().any(|(other, _)| other == file));
        if self.resources.memory == Some(0) {
            all.push(("memory.max".to_owned(), "max".to_owned()));
        }
        Ok(all)
    }
}

/// The limits within what the caller may have.
fn rlimits(asked: &[Ulimit]) -> Vec<PosixRlimit> {
    let caller = |name: &str| rlimit::get(Resource::from_name(name)?).ok().map(|(_, hard)| hard);
    let convert = |limit: &Ulimit| {
        let kind: PosixRlimitType = format!("RLIMIT_{}", limit.name.to_ascii_uppercase()).parse().ok()?;
        PosixRlimitBuilder::default().typ(kind).soft(limit.soft).hard(limit.hard).build().ok()
    };
    limits::effective(asked, caller).iter().filter_map(convert).collect()
}

impl Containers {
    /// Changes a container. Policies and health checks count at once, `process` from the next start on.
    ///
    /// # Errors
    /// When `change` refuses, or files cannot be read or written.
    pub fn update<E: From<Error>>(
        &self,
        record: &Record,
        process: &Changes,
        change: impl FnOnce(&mut Record) -> Result<(), E>,
    ) -> Result<(), E> {
        let _lock = self.lock(&record.id)?;
        let not_found = || Error::NotFound { reference: record.id.to_string() };
        let mut now = self.record(&record.id)?.ok_or_else(not_found)?;
        change(&mut now)?;
        if !process.is_empty() {
            self.update_process(record, process)?;
        }
        self.write(&now, "record.json", &now)?;
        self.tell(&now, "update");
        self.nudge(&self.state(&record.id)?)?;
        Ok(())
    }

    fn update_process(&self, record: &Record, changes: &Changes) -> Result<()> {
        let dir = self.dir(&record.id);
        let missing =
            |name: &str| Error::Invalid { what: format!("{} is missing", dir.join(name).display()) };
        let mut spec: Spec = read_json(&dir.join("spec.json"), 1)?.ok_or_else(|| missing("spec.json"))?;
        let mut request: CreateRequest =
            read_json(&dir.join("request.json"), 1)?.ok_or_else(|| missing("request.json"))?;
        changes.apply(&mut request, &mut spec)?;
        let state = self.state(&record.id)?;
        if let Some(stored) = state.stored.as_ref().filter(|_| state.status.is_alive()) {
            change_limits(&stored.cgroup, &changes.settings(&spec)?)?;
        } else if let Some(resources) = changes.resources.to_spec()? {
            let mode = parse_cgroups(&record.namespaces.cgroups)?;
            let uid = rustix::process::geteuid().as_raw();
            check_available(uid, record.cgroup.manager, mode, &resources)?;
        }
        self.write(record, "spec.json", &spec)?;
        self.write(record, "request.json", &request)
    }

    fn write(&self, record: &Record, name: &str, data: &impl Serialize) -> Result<()> {
        let bytes = serde_json::to_vec(data).expect("files of a container have only strings as keys");
        let mode = Mode::RUSR | Mode::WUSR;
        Ok(file::write_atomic(&self.dir(&record.id), OsStr::new(name), &bytes, mode, Durability::Sync)?)
    }
}

/// Changes the limits of a living container.
fn change_limits(cgroup: &str, settings: &[(String, String)]) -> Result<()> {
    match settings.first() {
        None => Ok(()),
        Some((file, _)) if cgroup.is_empty() => Err(cgroup::none(file).into()),
        Some(_) => Ok(cgroup::change(Path::new(cgroup), settings)?),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variables_and_limits_change() {
        let mut spec = Spec::default();
        let process = spec.process_mut().as_mut().unwrap();
        process.set_env(Some(vec!["A=1".to_owned(), "B=2".to_owned(), "C".to_owned()]));
        let mut request = CreateRequest::default();
        let changes = Changes {
            env: vec![("A".to_owned(), "9".to_owned())],
            unset_env: vec!["B".to_owned()],
            ulimits: Some(Some(vec![Ulimit { name: "core".to_owned(), soft: 1, hard: 2 }])),
            ..Changes::default()
        };
        changes.apply(&mut request, &mut spec).unwrap();
        let process = spec.process().as_ref().unwrap();
        assert_eq!(process.env().as_ref().unwrap(), &["C", "A=9"]);
        let core = process
            .rlimits()
            .as_ref()
            .unwrap()
            .iter()
            .find(|limit| limit.typ() == PosixRlimitType::RlimitCore);
        assert!(core.is_some_and(|core| core.soft() <= 1));
        assert_eq!(request.ulimits.unwrap().len(), 1);
        let host = Changes { ulimits: Some(None), ..Changes::default() };
        host.apply(&mut CreateRequest::default(), &mut spec).unwrap();
        assert!(spec.process().as_ref().unwrap().rlimits().is_none());
    }
}
