//! Volumes: their records and directories. What is in them belongs to the user: it is never removed.

use super::{Finding, Part, Repair};
use crate::cli::error::{CommandError, Result};
use crate::cli::ui::Ui;
use crate::container::Time;
use crate::engine::Engine;
use crate::volume::named::{self, Volume};

#[derive(Debug)]
pub(super) struct Volumes;

impl Part for Volumes {
    fn kind(&self) -> &'static str {
        "volume"
    }

    fn check(&self, engine: &Engine, _quick: bool) -> Result<Vec<Finding>> {
        let volumes = named::Volumes::new(&engine.paths()?.data);
        let mut findings = Vec::new();
        for entry in std::fs::read_dir(volumes.dir()).into_iter().flatten().flatten() {
            let Ok(name) = entry.file_name().into_string() else { continue };
            if name.starts_with('.') {
                // On its way in or out.
                continue;
            }
            let has_data = volumes.data(&name).is_dir();
            let problem = match volumes.get(&name) {
                Ok(Some(_)) if has_data => continue,
                Ok(Some(_)) => "its directory _data is missing".to_owned(),
                // On its way in or out.
                Ok(None) if !has_data => continue,
                Ok(None) => "its record volume.json is missing".to_owned(),
                Err(error) => CommandError::describe(&error),
            };
            // A record of a newer version is not damaged for those that wrote it.
            let can_be_mended = !matches!(volumes.get(&name), Err(crate::volume::Error::Newer { .. }));
            findings.push(Finding { name, problems: vec![problem], can_be_mended });
        }
        Ok(findings)
    }

    /// What the record said of labels and options is lost already.
    fn repair(&self, engine: &Engine, finding: &Finding, _force: bool, _: &mut Ui) -> Result<Repair> {
        if !finding.can_be_mended {
            return Ok(Repair::Left);
        }
        let volumes = named::Volumes::new(&engine.paths()?.data);
        let volume = match volumes.get(&finding.name) {
            Ok(Some(volume)) => volume,
            _ => Volume { filled: true, ..Volume::new(&finding.name, Time::now().to_string()) },
        };
        volumes.restore(&volume)?;
        Ok(Repair::Mended)
    }
}
