//! `rbox top`.

use std::time::Duration;

use crate::cli::args::containers::Named;
use crate::cli::error::{CommandError, Result};
use crate::cli::exit::ExitStatus;
use crate::cli::format::table;
use crate::cli::ui::Ui;
use crate::cli::units::{Time, format_duration};
use crate::container::top::{Names, ProcessView};
use crate::engine::Engine;
use crate::kernel::cap::Capability;

/// Display the running processes of a container
///
/// Display the running processes of a container. The format descriptors are ps (1) compatible AIX format descriptors but extended to print additional information, such as the seccomp mode or the effective capabilities of a given process.
#[derive(Debug, clap::Args)]
#[command(
    override_usage = "[options] CONTAINER [FORMAT-DESCRIPTORS|ARGS...]",
    after_help = "rbox top ctrID\n  rbox top ctrID pid seccomp args %C\n  rbox top ctrID -eo user,pid,comm"
)]
pub struct Args {
    /// Act on the latest container podman is aware of
    #[arg(long, short)]
    latest: bool,
    #[arg(long, hide = true)]
    list_descriptors: bool,
    #[arg(trailing_var_arg = true)]
    words: Vec<String>,
}

/// What is known about a process, and by which names.
struct Shown<'a> {
    process: &'a ProcessView,
    names: &'a Names,
}

/// A column: its name, ps's short code, its header, and how its cells are made.
struct Column {
    name: &'static str,
    code: &'static str,
    header: &'static str,
    cell: fn(&Shown<'_>) -> String,
}

const fn column(
    name: &'static str,
    code: &'static str,
    header: &'static str,
    cell: fn(&Shown<'_>) -> String,
) -> Column {
    Column { name, code, header, cell }
}

static COLUMNS: &[Column] = &[
    column("args", "%a", "COMMAND", |s| s.process.args.clone()),
    column("capamb", "", "AMBIENT CAPS", |s| capabilities(s.process.capabilities[4])),
    column("capbnd", "", "BOUNDING CAPS", |s| capabilities(s.process.capabilities[3])),
    column("capeff", "", "EFFECTIVE CAPS", |s| capabilities(s.process.capabilities[2])),
    column("capinh", "", "INHERITED CAPS", |s| capabilities(s.process.capabilities[0])),
    column("capprm", "", "PERMITTED CAPS", |s| capabilities(s.process.capabilities[1])),
    column("comm", "%c", "COMMAND", |s| s.process.comm.clone()),
    column("etime", "%t", "ELAPSED", |s| format_duration(s.process.elapsed)),
    column("group", "%G", "GROUP", |s| s.names.group(s.process.gid.1)),
    column("groups", "", "GROUPS", |s| list(&s.process.groups, |gid| s.names.group(gid))),
    column("hgroup", "", "HGROUP", |s| s.process.gid.1.to_string()),
    column("hgroups", "", "HGROUPS", |s| list(&s.process.groups, |gid| gid.to_string())),
    column("hpid", "", "HPID", |s| s.process.host_pid.to_string()),
    column("huser", "", "HUSER", |s| s.process.uid.1.to_string()),
    column("label", "", "LABEL", |_| "?".to_owned()),
    column("nice", "%n", "NI", |s| s.process.nice.to_string()),
    column("pcpu", "%C", "%CPU", |s| percent(s.process)),
    column("pgid", "%r", "PGID", |s| s.process.pgid.to_string()),
    column("pid", "%p", "PID", |s| s.process.pid.to_string()),
    column("ppid", "%P", "PPID", |s| s.process.ppid.to_string()),
    column("rgroup", "%g", "RGROUP", |s| s.names.group(s.process.gid.0)),
    column("rss", "", "RSS", |s| s.process.rss.to_string()),
    column("ruser", "%u", "RUSER", |s| s.names.user(s.process.uid.0)),
    column("seccomp", "", "SECCOMP", |s| seccomp(s.process.seccomp)),
    column("state", "", "STATE", |s| s.process.state.to_string()),
    column("stime", "", "STIME", |s| started(s.process)),
    column("time", "%x", "TIME", |s| format_duration(s.process.time)),
    column("tty", "%y", "TTY", |s| s.process.tty.clone().unwrap_or_else(|| "?".to_owned())),
    column("user", "%U", "USER", |s| s.names.user(s.process.uid.1)),
    column("vsz", "%z", "VSZ", |s| s.process.vsz.to_string()),
];

const DEFAULT: &str = "user,pid,ppid,pcpu,etime,tty,time,args";

/// Prints a container's processes.
///
/// # Errors
/// When it does not run, or a descriptor is none.
pub fn exec(ui: &mut Ui, engine: &Engine, args: Args) -> Result<ExitStatus> {
    if args.list_descriptors {
        for column in COLUMNS {
            ui.data(column.name)?;
        }
        return Ok(ExitStatus::SUCCESS);
    }
    let mut words = args.words.into_iter();
    let mut named = Named { latest: args.latest, ..Named::default() };
    if !args.latest {
        let Some(name) = words.next() else {
            return Err(CommandError::new("you must provide the name or id of a running container"));
        };
        named.references.push(name);
    }
    let columns = columns(&words.collect::<Vec<_>>())?;
    let containers = engine.containers()?;
    let Some(record) = named.find(&containers)?.into_iter().find_map(|selected| selected.record) else {
        return Err(CommandError::new("you must provide the name or id of a running container"));
    };
    let (processes, names) = containers.top(&record)?;
    let mut text = columns.iter().map(|column| column.header).collect::<Vec<_>>().join("\t");
    text.push('\n');
    for process in &processes {
        let shown = Shown { process, names: &names };
        let cells: Vec<String> = columns.iter().map(|column| (column.cell)(&shown)).collect();
        text.push_str(&cells.join("\t"));
        text.push('\n');
    }
    ui.text(&table::align(&text))?;
    Ok(ExitStatus::SUCCESS)
}

/// The columns that the words ask for: descriptors, or the options of `ps` that name columns.
fn columns(words: &[String]) -> Result<Vec<&'static Column>> {
    let all = words.join(" ");
    let named = match all.as_str() {
        "" => DEFAULT.to_owned(),
        "aux" | "-aux" => "user,pid,pcpu,vsz,rss,tty,state,stime,time,args".to_owned(),
        "ef" | "-ef" | "-f" => "user,pid,ppid,pcpu,stime,tty,time,args".to_owned(),
        _ => {
            // `-eo LIST`, `-o LIST`: whose processes are shown is no question here.
            let list = ["-eo ", "-o ", "-Ao ", "-ao "].iter().find_map(|option| all.strip_prefix(option));
            list.map_or_else(|| all.clone(), str::to_owned)
        }
    };
    named.split([',', ' ']).filter(|word| !word.is_empty()).map(find).collect()
}

fn find(word: &str) -> Result<&'static Column> {
    // Names that only ps(1) has.
    let name = match word {
        "cmd" | "command" => "args",
        "ucmd" | "ucomm" => "comm",
        "stat" | "s" => "state",
        "ni" => "nice",
        "tt" | "tname" => "tty",
        "euser" => "user",
        "egroup" => "group",
        "start" | "start_time" | "lstart" => "stime",
        "cputime" => "time",
        "rssize" => "rss",
        "vsize" => "vsz",
        "%cpu" => "pcpu",
        other => other,
    };
    let found =
        COLUMNS.iter().find(|column| column.name == name || (!column.code.is_empty() && column.code == word));
    found.ok_or_else(|| {
        let names: Vec<&str> = COLUMNS.iter().map(|column| column.name).collect();
        CommandError::new(format!("unknown descriptor {word:?}"))
            .with_hint(format!("the descriptors are {}", names.join(", ")))
    })
}

fn list(ids: &[u32], name: impl Fn(u32) -> String) -> String {
    ids.iter().map(|id| name(*id)).collect::<Vec<_>>().join(",")
}

fn capabilities(set: u64) -> String {
    let all = Capability::all().enumerate().fold(0, |all, (bit, _)| all | 1 << bit);
    match set {
        0 => "none".to_owned(),
        set if set & all == all => "full".to_owned(),
        set => {
            let held = Capability::all().enumerate().filter(|(bit, _)| set & (1 << bit) != 0);
            let names = held.map(|(_, capability)| capability.name().trim_start_matches("CAP_").to_owned());
            names.collect::<Vec<_>>().join(",")
        }
    }
}

fn seccomp(mode: u32) -> String {
    match mode {
        0 => "disabled".to_owned(),
        1 => "strict".to_owned(),
        _ => "filter".to_owned(),
    }
}

fn percent(process: &ProcessView) -> String {
    let elapsed = process.elapsed.max(Duration::from_millis(1)).as_secs_f64();
    format!("{:.3}", process.time.as_secs_f64() * 100.0 / elapsed)
}

fn started(process: &ProcessView) -> String {
    let now = jiff::Timestamp::now();
    let elapsed = jiff::SignedDuration::try_from(process.elapsed).unwrap_or_default();
    let start = now.checked_sub(elapsed).unwrap_or(now);
    let second = jiff::Timestamp::from_second(start.as_second()).unwrap_or(start);
    Time::new(second).go_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn descriptors_are_found_in_all_forms() {
        let names = |words: &[&str]| {
            let words: Vec<String> = words.iter().map(|&word| word.to_owned()).collect();
            columns(&words).map(|found| found.iter().map(|column| column.name).collect::<Vec<_>>()).ok()
        };
        assert_eq!(names(&[]).map(|found| found.join(",")).as_deref(), Some(DEFAULT));
        assert_eq!(names(&["pid", "%C,comm"]), Some(vec!["pid", "pcpu", "comm"]));
        assert_eq!(names(&["-eo", "pid,comm"]), Some(vec!["pid", "comm"]));
        assert_eq!(names(&["-eo", "pid comm"]), Some(vec!["pid", "comm"]));
        assert_eq!(names(&["nonsense"]), None);
    }
}
