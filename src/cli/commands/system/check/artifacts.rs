//! Artifacts: their table, and that all they consist of is there.

use super::{Finding, Part, Repair};
use crate::cli::error::{CommandError, Result};
use crate::cli::progress::PullProgress;
use crate::cli::ui::Ui;
use crate::engine::Engine;
use crate::image::Error;
use crate::image::artifact::{self, mend};

#[derive(Debug)]
pub(super) struct Artifacts;

impl Part for Artifacts {
    fn kind(&self) -> &'static str {
        "artifact"
    }

    fn check(&self, engine: &Engine, quick: bool) -> Result<Vec<Finding>> {
        let found = match artifact::Artifacts::of(engine.paths()?).check(quick) {
            Ok(found) => found,
            // The table itself.
            Err(error) => vec![(String::new(), vec![CommandError::describe(&error)])],
        };
        let finding = |(name, problems)| Finding { name, problems, can_be_mended: false };
        Ok(found.into_iter().map(finding).collect())
    }

    fn repair(&self, engine: &Engine, finding: &Finding, force: bool, ui: &mut Ui) -> Result<Repair> {
        let artifacts = artifact::Artifacts::of(engine.paths()?);
        if !finding.name.is_empty() && mend(engine.images()?, &finding.name, &mut PullProgress::new(ui))? {
            return Ok(Repair::Mended);
        }
        if !force {
            return Ok(Repair::Left);
        }
        artifacts.discard(&finding.name).map_err(Error::from)?;
        Ok(Repair::Removed)
    }
}
