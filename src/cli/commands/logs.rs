//! `rbox logs`.

use jiff::Timestamp;

use crate::cli::args::containers::Named;
use crate::cli::error::{CommandError, Result};
use crate::cli::exit::ExitStatus;
use crate::cli::ui::Ui;
use crate::cli::units::parse_input_time;
use crate::config::zone;
use crate::container::logs::{Follower, LogLine, LogOptions, LogReader, LogTime};
use crate::container::{Containers, Record, Status};
use crate::engine::Engine;
use crate::monitor::protocol::Stream;

/// Fetch the logs of one or more containers
///
/// Retrieves logs for one or more containers.
///
/// This does not guarantee execution order when combined with podman run (i.e., your run may not have generated any logs at the time you execute podman logs).
#[derive(Debug, clap::Args)]
#[command(
    override_usage = "[options] CONTAINER [CONTAINER...]",
    after_help = "rbox logs ctrID\n  rbox logs --names ctrID1 ctrID2\n  rbox logs --tail 2 mywebserver\n  rbox logs --follow=true --since 10m ctrID\n  rbox logs mywebserver mydbserver"
)]
pub struct Args {
    /// Output the containers with different colors in the log.
    #[arg(long)]
    color: bool,
    /// Follow log output.  The default is false
    #[arg(long, short)]
    follow: bool,
    /// Act on the latest container podman is aware of
    #[arg(long, short)]
    latest: bool,
    /// Output the container name in the log
    #[arg(long, short)]
    names: bool,
    /// Show logs since TIMESTAMP
    #[arg(long, value_name = "string", allow_hyphen_values = true)]
    since: Option<String>,
    /// Output the specified number of LINES at the end of the logs.  Defaults to -1, which prints all lines
    #[arg(long, value_name = "int", default_value_t = -1, allow_negative_numbers = true)]
    tail: i64,
    /// Output the timestamps in the log
    #[arg(long, short)]
    timestamps: bool,
    /// Show logs until TIMESTAMP
    #[arg(long, value_name = "string", allow_hyphen_values = true)]
    until: Option<String>,
    containers: Vec<String>,
}

/// Prints logs.
///
/// # Errors
/// When a container does not exist or has no log.
pub fn exec(ui: &mut Ui, engine: &Engine, args: Args) -> Result<ExitStatus> {
    if args.latest && !args.containers.is_empty() {
        return Err(CommandError::new("--latest and containers cannot be used together"));
    }
    if !args.latest && args.containers.is_empty() {
        return Err(CommandError::new("specify at least one container name or ID to log"));
    }
    let options = LogOptions {
        since: time("since", args.since.as_deref())?,
        until: time("until", args.until.as_deref())?,
        tail: u64::try_from(args.tail).ok(),
    };
    let containers = engine.containers()?;
    let named = Named { references: args.containers, latest: args.latest, ..Named::default() };
    let mut readers = Vec::new();
    for record in named.find(&containers)?.into_iter().filter_map(|selected| selected.record) {
        readers.push(LogReader::open(&containers, record, options)?);
    }
    let style = Style {
        several: readers.len() > 1,
        names: args.names,
        timestamps: args.timestamps,
        color: args.color,
    };
    let open = vec![[false; 2]; readers.len()];
    let mut printer = Printer { ui, style, open, ready: Vec::new(), stream: Stream::Stdout };
    if args.follow {
        follow(&mut printer, &containers, readers)?;
    } else {
        for (number, reader) in readers.iter_mut().enumerate() {
            printer.print_all(number, reader)?;
        }
    }
    Ok(ExitStatus::SUCCESS)
}

fn time(flag: &str, text: Option<&str>) -> Result<Option<Timestamp>> {
    let parse = |text: &str| {
        parse_input_time(text, flag == "since", Timestamp::now())
            .map_err(|error| CommandError::new(format!("parsing --{flag} {text:?}: {error}")))
    };
    text.map(parse).transpose()
}

/// Prints until all containers have ended.
fn follow(printer: &mut Printer<'_>, containers: &Containers, mut readers: Vec<LogReader>) -> Result<()> {
    let follower = Follower::new(&readers);
    let mut done = vec![false; readers.len()];
    loop {
        // Asked before the read: what is written until the end is there when the end is known.
        for (number, reader) in readers.iter_mut().enumerate() {
            if done[number] {
                continue;
            }
            let ended = !goes_on(containers, reader);
            if ended {
                reader.settle();
            }
            printer.print_all(number, reader)?;
            done[number] = ended || reader.is_done();
        }
        printer.ui.flush()?;
        let open: Vec<&LogReader> =
            readers.iter().zip(&done).filter(|(_, done)| !**done).map(|(reader, _)| reader).collect();
        if open.is_empty() {
            return Ok(());
        }
        follower.wait(containers, &open)?;
    }
}

/// Whether the container may still write.
fn goes_on(containers: &Containers, reader: &LogReader) -> bool {
    let id = &reader.record.id;
    containers.dir(id).exists()
        && containers.state(id).is_ok_and(|state| state.status.is_alive() || state.status == Status::Stopped)
}

/// What is put before each line.
#[derive(Debug, Clone, Copy)]
struct Style {
    several: bool,
    names: bool,
    timestamps: bool,
    color: bool,
}

struct Printer<'a> {
    ui: &'a mut Ui,
    style: Style,
    /// By container and stream: the line that was begun is not ended yet.
    open: Vec<[bool; 2]>,
    /// Lines of one stream that are not written yet: a call for each would cost most of the time.
    ready: Vec<u8>,
    stream: Stream,
}

/// So much is written at once.
const READY: usize = 128 * 1024;

impl Printer<'_> {
    fn print_all(&mut self, number: usize, reader: &mut LogReader) -> Result<()> {
        let read = reader.each(|record, line| self.print(number, record, &line));
        self.write()?;
        read
    }

    fn print(&mut self, number: usize, record: &Record, line: &LogLine<'_>) -> Result<()> {
        if self.ready.len() >= READY || self.stream != line.stream {
            self.write()?;
            self.stream = line.stream;
        }
        let open = &mut self.open[number][usize::from(line.stream == Stream::Stderr)];
        if !*open && self.style.has_prefix() {
            let prefix = self.style.prefix(number, record, &line.time);
            self.ready.extend_from_slice(prefix.as_bytes());
        }
        *open = !line.whole;
        self.ready.extend_from_slice(&line.text);
        if line.whole {
            self.ready.push(b'\n');
        }
        Ok(())
    }

    fn write(&mut self) -> Result<()> {
        match self.stream {
            Stream::Stdout => self.ui.data_bytes(&self.ready)?,
            Stream::Stderr if self.ready.is_empty() => {}
            Stream::Stderr => self.ui.error_bytes(&self.ready)?,
        }
        self.ready.clear();
        Ok(())
    }
}

impl Style {
    fn has_prefix(self) -> bool {
        self.several || self.names || self.timestamps
    }

    fn prefix(self, number: usize, record: &Record, time: &LogTime<'_>) -> String {
        let mut prefix = match (self.names, self.several) {
            (true, _) => record.name.clone(),
            (false, true) => record.id.short().to_owned(),
            (false, false) => String::new(),
        };
        if self.color && !prefix.is_empty() {
            // The six colours that are readable on dark and light grounds.
            prefix = format!("\x1b[1;{}m{prefix}\x1b[0m", 31 + number % 6);
        }
        if !prefix.is_empty() {
            prefix.push(' ');
        }
        if self.timestamps
            && let Some(time) = time.get()
        {
            let zoned = time.to_zoned(zone::local());
            let offset = if zoned.offset().seconds() == 0 {
                "Z".to_owned()
            } else {
                zoned.strftime("%:z").to_string()
            };
            prefix.push_str(&format!("{}{offset} ", zoned.strftime("%Y-%m-%dT%H:%M:%S.%9f")));
        }
        prefix
    }
}
