//! Containers: their records, names, files and layers.

use super::{Finding, Part, Repair};
use crate::cli::error::{CommandError, Result};
use crate::cli::ui::Ui;
use crate::container::ContainerId;
use crate::engine::Engine;

#[derive(Debug)]
pub(super) struct Containers;

impl Part for Containers {
    fn kind(&self) -> &'static str {
        "container"
    }

    fn check(&self, engine: &Engine, _quick: bool) -> Result<Vec<Finding>> {
        let (containers, store) = (engine.containers()?, engine.store()?);
        let mut findings = Vec::new();
        for id in containers.ids()? {
            let problems = containers.problems(&id, store);
            if !problems.is_empty() {
                findings.push(Finding {
                    name: id.to_string(),
                    can_be_mended: problems.iter().all(|problem| problem.can_be_mended),
                    problems: problems.iter().map(|problem| CommandError::describe(&problem.error)).collect(),
                });
            }
        }
        Ok(findings)
    }

    fn repair(&self, engine: &Engine, finding: &Finding, force: bool, _: &mut Ui) -> Result<Repair> {
        let containers = engine.containers()?;
        let Some(id) = ContainerId::parse(&finding.name) else { return Ok(Repair::Left) };
        if finding.can_be_mended {
            containers.mend(&id)?;
            return Ok(Repair::Mended);
        }
        if !force {
            return Ok(Repair::Left);
        }
        containers.remove_damaged(&id, false)?;
        containers.reclaim();
        Ok(Repair::Removed)
    }
}
