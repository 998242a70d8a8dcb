//! `rbox history`.

use jiff::Timestamp;
use serde::Serialize;

use crate::cli::error::CommandError;
use crate::cli::exit::ExitStatus;
use crate::cli::format::{Layout, List, Value};
use crate::cli::ui::Ui;
use crate::cli::units;
use crate::cli::values::go_bool;
use crate::engine::Engine;
use crate::image::local::{Step, history};

/// As many characters of a command as the table shows.
const COMMAND_WIDTH: usize = 45;

/// Show history of a specified image
///
/// Displays the history of an image. The information can be printed out in an easy to read, or user specified
/// format, and truncated.
#[derive(Debug, clap::Args)]
#[command(after_help = "rbox history quay.io/fedora/fedora")]
pub struct Args {
    /// Change the output to JSON or a Go template
    #[arg(long, value_name = "string")]
    format: Option<String>,
    /// Display sizes and dates in human readable format
    #[arg(long, short = 'H', num_args = 0..=1, default_value_t = true, default_missing_value = "true",
        action = clap::ArgAction::Set, value_parser = go_bool)]
    human: bool,
    /// Do not truncate the output
    #[arg(long, alias = "notruncate")]
    no_trunc: bool,
    /// Display the numeric IDs only
    #[arg(long, short)]
    quiet: bool,
    image: String,
}

/// What templates can name, for completion.
pub(in crate::cli) fn fields() -> Value {
    Value::of(&Row::default())
}

#[derive(Default, Serialize)]
#[serde(rename_all = "PascalCase")]
struct Row {
    #[serde(rename = "ID")]
    id: String,
    created: String,
    created_since: String,
    created_at: String,
    created_by: String,
    size: String,
    comment: String,
    tags: Vec<String>,
}

#[derive(Serialize)]
struct Record {
    id: String,
    created: String,
    #[serde(rename = "createdBy")]
    created_by: String,
    size: u64,
    comment: String,
    tags: Vec<String>,
}

/// Prints the steps of an image, the last one first.
pub fn exec(ui: &mut Ui, engine: &Engine, args: Args) -> Result<ExitStatus, CommandError> {
    let store = engine.store()?;
    let found = store.find_image(&args.image)?;
    let steps = history(store, &found.record)?;
    let row =
        if args.quiet { "{{.ID}}" } else { "{{.ID}}\t{{.Created}}\t{{.CreatedBy}}\t{{.Size}}\t{{.Comment}}" };
    let list = List::new("history", row)
        .headers(&[("CreatedBy", "CREATED BY")])
        .format(args.format.as_deref())
        .no_heading(args.quiet);
    if list.is_json() {
        let records: Vec<Record> = steps.into_iter().map(record).collect();
        list.json(ui, &records, Layout::LINE)?;
        return Ok(ExitStatus::SUCCESS);
    }
    let rows: Vec<Row> = steps.into_iter().map(|step| show(step, &args)).collect();
    list.print(ui, &rows)?;
    Ok(ExitStatus::SUCCESS)
}

fn moment(step: &Step) -> Timestamp {
    step.entry.created.as_deref().and_then(|text| text.parse().ok()).unwrap_or(Timestamp::UNIX_EPOCH)
}

fn show(step: Step, args: &Args) -> Row {
    let created = moment(&step);
    let since = units::ago(created, Timestamp::now());
    let whole = Timestamp::from_second(created.as_second()).unwrap_or(created);
    let id = match &step.id {
        None => "<missing>".to_owned(),
        Some(id) if args.no_trunc => id.to_string(),
        Some(id) => id.short().to_owned(),
    };
    let mut command = step.entry.created_by;
    if !args.no_trunc && command.len() > COMMAND_WIDTH {
        let mut end = COMMAND_WIDTH - 3;
        while !command.is_char_boundary(end) {
            end -= 1;
        }
        command.truncate(end);
        command.push_str("...");
    }
    Row {
        id,
        created: if args.human { since.clone() } else { units::Time::new(whole).rfc3339() },
        created_since: since,
        created_at: units::Time::new(whole).rfc3339(),
        created_by: command,
        size: units::decimal_size_with_precision(step.size, 3),
        comment: step.entry.comment,
        tags: step.tags,
    }
}

fn record(step: Step) -> Record {
    let created = moment(&step);
    Record {
        id: step.id.map_or_else(|| "<missing>".to_owned(), |id| id.to_string()),
        created: Timestamp::from_second(created.as_second()).unwrap_or(created).to_string(),
        created_by: step.entry.created_by,
        size: step.size,
        comment: step.entry.comment,
        tags: step.tags,
    }
}
