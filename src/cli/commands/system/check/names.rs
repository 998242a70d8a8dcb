//! Names of images: that they can be read and lead to one.

use super::{Finding, Part, Repair};
use crate::cli::error::Result;
use crate::cli::ui::Ui;
use crate::engine::Engine;
use crate::store::TagProblem;

#[derive(Debug)]
pub(super) struct Names;

impl Part for Names {
    fn kind(&self) -> &'static str {
        "image name"
    }

    fn check(&self, engine: &Engine, _quick: bool) -> Result<Vec<Finding>> {
        let found = engine.store()?.bad_tags()?.into_iter().map(|(name, problem)| {
            let problem = match problem {
                TagProblem::Unreadable(why) => why,
                TagProblem::Dangling(name, image) => format!("{name} is the image {image}, which is gone"),
                TagProblem::Misplaced(other) => format!("it is the record of the name {other}"),
            };
            Finding { name, problems: vec![problem], can_be_mended: true }
        });
        Ok(found.collect())
    }

    /// It leads nowhere.
    fn repair(&self, engine: &Engine, finding: &Finding, _force: bool, _: &mut Ui) -> Result<Repair> {
        engine.store()?.drop_tag(&finding.name)?;
        Ok(Repair::Removed)
    }
}
