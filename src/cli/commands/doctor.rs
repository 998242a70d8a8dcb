//! `rbox doctor`.

use crate::cli::error::{CommandError, Result};
use crate::cli::exit::ExitStatus;
use crate::cli::format::{Layout, List};
use crate::cli::ui::Ui;
use crate::doctor::{self, Finding, Status};
use crate::engine::Engine;

/// Check what rbox needs of this host
///
/// Looks at the kernel, user namespaces, ids, the store, networks, control groups and the login session. For each check it says what was seen, what does not work because of it, and the command that changes it. Nothing is changed. The exit code is 1 if ordinary containers cannot run.
#[derive(Debug, clap::Args)]
#[command(after_help = "rbox doctor\n  rbox doctor subids\n  rbox doctor --format json")]
pub struct Args {
    /// Change the output format to JSON or a Go template
    #[arg(long, value_name = "string")]
    format: Option<String>,
    /// Only these checks
    #[arg(value_name = "CHECK")]
    checks: Vec<String>,
}

/// Looks, and prints what was found.
///
/// # Errors
/// When a check is not known, or the template is not valid.
pub fn exec(ui: &mut Ui, engine: &Engine, args: Args) -> Result<ExitStatus> {
    let Args { format, checks } = args;
    let mut findings = doctor::examine(engine);
    for name in &checks {
        if !findings.iter().any(|finding| finding.id == name) {
            let known: Vec<_> = findings.iter().map(|finding| finding.id).collect();
            return Err(CommandError::new(format!("no check is called {name:?}"))
                .with_hint(format!("checks are {}", known.join(", "))));
        }
    }
    findings.retain(|finding| checks.is_empty() || checks.iter().any(|name| name == finding.id));
    let list = List::new("doctor", "").format(format.as_deref());
    match format {
        None => findings.iter().try_for_each(|finding| print(ui, finding))?,
        Some(_) if list.is_json() => list.json(ui, &findings, Layout::marshal(2))?,
        Some(_) => list.print(ui, &findings)?,
    }
    let has_problem = findings.iter().any(|finding| finding.status == Status::Problem);
    Ok(if has_problem { ExitStatus::from_code(1) } else { ExitStatus::SUCCESS })
}

/// A line, and indented below it what follows from it.
fn print(ui: &mut Ui, finding: &Finding) -> Result<()> {
    let Finding { id, status, found, breaks, fix } = finding;
    ui.data(format_args!("{:<9}{id:<13}{found}", status.as_str()))?;
    for (label, text) in [("breaks", breaks), ("fix", fix)] {
        if !text.is_empty() {
            ui.data(format_args!("{:<22}{label}: {text}", ""))?;
        }
    }
    Ok(())
}
