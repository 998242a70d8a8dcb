//! `rbox stats`.

use std::collections::HashMap;
use std::time::Duration;

use serde::Serialize;

use crate::cli::args::containers::Named;
use crate::cli::error::{CommandError, Result};
use crate::cli::exit::ExitStatus;
use crate::cli::format::{Layout, List};
use crate::cli::ui::Ui;
use crate::cli::units::{binary_size, decimal_size, format_duration};
use crate::container::filter::Filters;
use crate::container::stats::Usage;
use crate::container::{Containers, Record, Status};
use crate::engine::Engine;

/// Display a live stream of container resource usage statistics
///
/// Display percentage of CPU, memory, network I/O, block I/O and PIDs for one or more containers.
#[derive(Debug, clap::Args)]
#[command(
    override_usage = "[options] [CONTAINER...]",
    after_help = "rbox stats --all --no-stream\n  rbox stats ctrID\n  rbox stats --no-stream --format \"table {{.ID}} {{.Name}} {{.MemUsage}}\" ctrID"
)]
pub struct Args {
    /// Show all containers. Only running containers are shown by default. The default is false
    #[arg(long, short)]
    all: bool,
    /// Pretty-print container statistics to JSON or using a Go template
    #[arg(long, value_name = "string")]
    format: Option<String>,
    /// Time in seconds between stats reports
    #[arg(long, short, value_name = "int", default_value_t = 5)]
    interval: u32,
    /// Act on the latest container podman is aware of
    #[arg(long, short)]
    latest: bool,
    /// Disable resetting the screen between intervals
    #[arg(long)]
    no_reset: bool,
    /// Disable streaming stats and only pull the first result, default setting is false
    #[arg(long)]
    no_stream: bool,
    /// Do not truncate output
    #[arg(long)]
    no_trunc: bool,
    containers: Vec<String>,
}

/// A row as templates know it.
#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
struct Row {
    #[serde(rename = "ID")]
    id: String,
    #[serde(rename = "ContainerID")]
    container_id: String,
    name: String,
    #[serde(rename = "CPUPerc")]
    cpu_percent: String,
    #[serde(rename = "CPU")]
    cpu: f64,
    #[serde(rename = "AVGCPU")]
    average_cpu: String,
    mem_usage: String,
    mem_usage_bytes: String,
    mem_limit: u64,
    mem_perc: String,
    #[serde(rename = "NetIO")]
    net_io: String,
    #[serde(rename = "BlockIO")]
    block_io: String,
    block_input: u64,
    block_output: u64,
    #[serde(rename = "PIDS")]
    pids: String,
    up_time: String,
    up: String,
}

/// A row as JSON.
#[derive(Debug, Serialize)]
struct JsonRow<'a> {
    id: &'a str,
    name: &'a str,
    cpu_time: &'a str,
    cpu_percent: &'a str,
    avg_cpu: &'a str,
    mem_usage: &'a str,
    mem_percent: &'a str,
    net_io: &'a str,
    block_io: &'a str,
    pids: &'a str,
}

const ROW: &str = "{{.ID}}\t{{.Name}}\t{{.CPUPerc}}\t{{.MemUsage}}\t{{.MemPerc}}\t{{.NetIO}}\t{{.BlockIO}}\t{{.PIDS}}\t{{.UpTime}}\t{{.AVGCPU}}";
const HEADERS: &[(&str, &str)] = &[
    ("ID", "ID"),
    ("UpTime", "CPU TIME"),
    ("CPUPerc", "CPU %"),
    ("AVGCPU", "AVG CPU %"),
    ("MemUsage", "MEM USAGE / LIMIT"),
    ("MemUsageBytes", "MEM USAGE / LIMIT"),
    ("MemPerc", "MEM %"),
    ("NetIO", "NET IO"),
    ("BlockIO", "BLOCK IO"),
    ("PIDS", "PIDS"),
];

/// Prints what containers use, once or again and again.
///
/// # Errors
/// When a container does not exist or does not run, or the format is wrong.
pub fn exec(ui: &mut Ui, engine: &Engine, args: Args) -> Result<ExitStatus> {
    let ways = [args.all, args.latest, !args.containers.is_empty()];
    if ways.iter().filter(|way| **way).count() > 1 {
        return Err(CommandError::new("--all, --latest and containers cannot be used together"));
    }
    let containers = engine.containers()?;
    let mut before: HashMap<String, Usage> = HashMap::new();
    loop {
        let records = find(&containers, &args)?;
        let mut rows = Vec::with_capacity(records.len());
        for record in records {
            let usage = containers.usage(&record)?;
            rows.push(row(&record, &usage, before.get(record.id.as_str()), args.no_trunc));
            before.insert(record.id.to_string(), usage);
        }
        print(ui, &args, &rows)?;
        ui.flush()?;
        if args.no_stream {
            return Ok(ExitStatus::SUCCESS);
        }
        std::thread::sleep(Duration::from_secs(args.interval.max(1).into()));
    }
}

fn find(containers: &Containers, args: &Args) -> Result<Vec<Record>> {
    if args.latest || !args.containers.is_empty() {
        let named = Named { references: args.containers.clone(), latest: args.latest, ..Named::default() };
        let selected = named.find(containers)?.into_iter().filter_map(|selected| selected.record);
        let mut records = Vec::new();
        for record in selected {
            if !containers.state(&record.id)?.status.is_alive() {
                return Err(CommandError::new(format!(
                    "unable to get stats for container {}: container is stopped",
                    record.id
                )));
            }
            records.push(record);
        }
        return Ok(records);
    }
    let listed = containers.list(&Filters::default())?.into_iter();
    let wanted = listed.filter(|listed| args.all || listed.state.status == Status::Running);
    Ok(wanted.map(|listed| listed.record).collect())
}

fn print(ui: &mut Ui, args: &Args, rows: &[Row]) -> Result<()> {
    if !args.no_reset && !args.no_stream {
        // Home, and clear to the end of the screen.
        ui.data_bytes(b"\x1b[H\x1b[2J")?;
    }
    let list = List::new("stats", ROW).headers(HEADERS).format(args.format.as_deref());
    if list.is_json() {
        let json: Vec<JsonRow<'_>> = rows.iter().map(Row::json).collect();
        return list.json(ui, &json, Layout::marshal(1));
    }
    list.print(ui, rows)
}

fn row(record: &Record, usage: &Usage, before: Option<&Usage>, whole: bool) -> Row {
    let id = record.id.to_string();
    let cpu = usage.cpu_percent(before);
    let percent = |share: f64| format!("{share:.2}%");
    let pair = |a: u64, b: u64| format!("{} / {}", decimal_size(a), decimal_size(b));
    let up = format_duration(usage.cpu);
    Row {
        id: if whole { id.clone() } else { record.id.short().to_owned() },
        container_id: id,
        name: record.name.clone(),
        cpu_percent: percent(cpu),
        cpu,
        average_cpu: percent(usage.cpu_percent(None)),
        mem_usage: pair(usage.memory, usage.memory_limit),
        mem_usage_bytes: format!("{} / {}", binary_size(usage.memory), binary_size(usage.memory_limit)),
        mem_limit: usage.memory_limit,
        mem_perc: percent(usage.memory_percent()),
        net_io: pair(usage.received, usage.sent),
        block_io: pair(usage.read, usage.written),
        block_input: usage.read,
        block_output: usage.written,
        pids: usage.processes.to_string(),
        up_time: up.clone(),
        up,
    }
}

impl Row {
    fn json(&self) -> JsonRow<'_> {
        JsonRow {
            id: &self.id,
            name: &self.name,
            cpu_time: &self.up_time,
            cpu_percent: &self.cpu_percent,
            avg_cpu: &self.average_cpu,
            mem_usage: &self.mem_usage,
            mem_percent: &self.mem_perc,
            net_io: &self.net_io,
            block_io: &self.block_io,
            pids: &self.pids,
        }
    }
}
