//! `state`, `list` and `ps`.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use super::Context;
use super::lifecycle::IdArgs;
use crate::cli::error::{CommandError, Result};
use crate::cli::exit::ExitStatus;
use crate::runtime::instance::{Record, Status};
use crate::runtime::{Cgroup, SPEC_VERSION};

/// Arguments of `list`.
#[derive(Debug, clap::Args)]
pub(super) struct ListArgs {
    /// table or json
    #[arg(long, short, value_name = "FORMAT", default_value = "table", value_parser = ["table", "json"])]
    format: String,
    /// Print ids only
    #[arg(long, short)]
    quiet: bool,
}

/// Arguments of `ps`.
#[derive(Debug, clap::Args)]
pub(super) struct PsArgs {
    /// table or json
    #[arg(long, short, value_name = "FORMAT", default_value = "table", value_parser = ["table", "json"])]
    format: String,
    /// Id of the container
    id: String,
}

pub(super) fn state(context: &mut Context, args: &IdArgs) -> Result<ExitStatus> {
    let instances = context.instances()?;
    let record = instances.load(&args.id)?;
    let status = instances.status(&record)?;
    let text = serde_json::to_string_pretty(&state_json(&record, status))
        .map_err(|error| CommandError::new(error.to_string()))?;
    context.ui.data(text)?;
    Ok(ExitStatus::SUCCESS)
}

fn state_json(record: &Record, status: Status) -> serde_json::Value {
    serde_json::json!({
        "ociVersion": SPEC_VERSION,
        "id": record.id,
        "pid": if status == Status::Stopped { 0 } else { record.pid },
        "status": status.name(),
        "bundle": record.bundle,
        "rootfs": record.rootfs,
        "created": record.created,
        "annotations": record.annotations,
        "owner": record.uid.to_string(),
    })
}

pub(super) fn list(context: &mut Context, args: &ListArgs) -> Result<ExitStatus> {
    let instances = context.instances()?;
    let mut rows = Vec::new();
    for (id, record) in instances.list()? {
        let found = record.and_then(|record| instances.status(&record).map(|status| (record, status)));
        match found {
            Ok(row) => rows.push(row),
            // Being created or deleted at this moment, or broken: the others are listed all the same.
            Err(error) => context.ui.warn(format_args!("container `{id}`: {error}")),
        }
    }
    let text = if args.quiet {
        rows.iter().fold(String::new(), |text, (record, _)| text + &record.id + "\n")
    } else if args.format == "json" {
        let list: Vec<_> = rows.iter().map(|(record, status)| state_json(record, *status)).collect();
        serde_json::to_string(&list).map_err(|error| CommandError::new(error.to_string()))? + "\n"
    } else {
        table(&rows)
    };
    context.ui.text(&text)?;
    Ok(ExitStatus::SUCCESS)
}

fn table(rows: &[(Record, Status)]) -> String {
    let width = rows.iter().map(|(record, _)| record.id.len()).max().unwrap_or(0).max(2);
    let bundles = rows.iter().map(|(record, _)| record.bundle.as_os_str().len()).max().unwrap_or(0).max(6);
    let mut text = format!(
        "{:width$}  {:>8}  {:8}  {:bundles$}  {:30}  OWNER\n",
        "ID", "PID", "STATUS", "BUNDLE", "CREATED"
    );
    for (record, status) in rows {
        let pid = if *status == Status::Stopped { 0 } else { record.pid };
        let bundle = record.bundle.display().to_string();
        let _ = writeln!(
            text,
            "{:width$}  {pid:>8}  {:8}  {bundle:bundles$}  {:30}  {}",
            record.id,
            status.name(),
            record.created,
            record.uid
        );
    }
    text
}

pub(super) fn ps(context: &mut Context, args: &PsArgs) -> Result<ExitStatus> {
    let record = context.instances()?.load(&args.id)?;
    let pids = processes(&record)?;
    let text = if args.format == "json" {
        serde_json::to_string(&pids).map_err(|error| CommandError::new(error.to_string()))? + "\n"
    } else {
        pids.iter().fold("PID\n".to_owned(), |text, pid| format!("{text}{pid}\n"))
    };
    context.ui.text(&text)?;
    Ok(ExitStatus::SUCCESS)
}

/// By the cgroup, or, where there is none, those of the same pid namespace.
fn processes(record: &Record) -> Result<BTreeSet<i32>> {
    if record.open()?.is_none() {
        return Ok(BTreeSet::new());
    }
    if let Some(path) = &record.cgroup {
        return Ok(Cgroup::open(path)?.processes()?.into_iter().collect());
    }
    if !record.own_pid_namespace {
        return Ok(BTreeSet::from([record.pid]));
    }
    let namespace = |pid: i32| std::fs::read_link(format!("/proc/{pid}/ns/pid")).ok();
    let own = namespace(record.pid);
    let entries = std::fs::read_dir("/proc").map_err(|error| CommandError::new(format!("/proc: {error}")))?;
    let pids = entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<i32>().ok());
    Ok(pids.filter(|pid| own.is_some() && namespace(*pid) == own).collect())
}
