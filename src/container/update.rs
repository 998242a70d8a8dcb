//! Changing what a container was created with, as far as that is possible afterwards.
//!
//! The record, the request and the spec are written one after the other under the container's lock, the record
//! last. A crash in between leaves limits or variables changed and the rest as it was: each file is whole.

use std::ffi::OsStr;

use oci_spec::runtime::{PosixRlimit, PosixRlimitBuilder, PosixRlimitType, Spec};
use rustix::fs::Mode;
use serde::Serialize;

use super::create::{CreateRequest, Ulimit, limits};
use super::exec::set_env;
use super::lookup::read_json;
use super::{Containers, Error, Record, Result};
use crate::kernel::file::{self, Durability};
use crate::kernel::rlimit::{self, Resource};

/// What is to be changed in the environment and the limits of the first process.
#[derive(Debug, Clone, Default)]
pub struct ProcessChanges {
    /// `--env`
    pub env: Vec<(String, String)>,
    /// `--unsetenv`
    pub unset_env: Vec<String>,
    /// `--ulimit`; the inner `None` is `host`.
    pub ulimits: Option<Option<Vec<Ulimit>>>,
}

impl ProcessChanges {
    fn is_empty(&self) -> bool {
        self.env.is_empty() && self.unset_env.is_empty() && self.ulimits.is_none()
    }

    fn apply(&self, request: &mut CreateRequest, spec: &mut Spec) {
        let Some(process) = spec.process_mut() else { return };
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
        process: &ProcessChanges,
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

    fn update_process(&self, record: &Record, changes: &ProcessChanges) -> Result<()> {
        let dir = self.dir(&record.id);
        let missing =
            |name: &str| Error::Invalid { what: format!("{} is missing", dir.join(name).display()) };
        let mut spec: Spec = read_json(&dir.join("spec.json"), 1)?.ok_or_else(|| missing("spec.json"))?;
        let mut request: CreateRequest =
            read_json(&dir.join("request.json"), 1)?.ok_or_else(|| missing("request.json"))?;
        changes.apply(&mut request, &mut spec);
        self.write(record, "spec.json", &spec)?;
        self.write(record, "request.json", &request)
    }

    fn write(&self, record: &Record, name: &str, data: &impl Serialize) -> Result<()> {
        let bytes = serde_json::to_vec(data).expect("files of a container have only strings as keys");
        let mode = Mode::RUSR | Mode::WUSR;
        Ok(file::write_atomic(&self.dir(&record.id), OsStr::new(name), &bytes, mode, Durability::Sync)?)
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
        let changes = ProcessChanges {
            env: vec![("A".to_owned(), "9".to_owned())],
            unset_env: vec!["B".to_owned()],
            ulimits: Some(Some(vec![Ulimit { name: "core".to_owned(), soft: 1, hard: 2 }])),
        };
        changes.apply(&mut request, &mut spec);
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
        let host = ProcessChanges { ulimits: Some(None), ..ProcessChanges::default() };
        host.apply(&mut CreateRequest::default(), &mut spec);
        assert!(spec.process().as_ref().unwrap().rlimits().is_none());
    }
}
