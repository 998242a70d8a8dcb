//! `rbox search`.

use serde::Serialize;

use crate::cli::args::registry::RegistryArgs;
use crate::cli::error::{CommandError, Result};
use crate::cli::exit::ExitStatus;
use crate::cli::format::{Layout, List, Value};
use crate::cli::ui::Ui;
use crate::cli::values::go_bool;
use crate::engine::Engine;
use crate::image::search::{Match, search, tags};

/// As many results as there are without `--limit`.
const LIMIT: usize = 25;
/// As many characters of a description as the table shows.
const DESCRIPTION_WIDTH: usize = 44;

/// Search registry for image
///
/// Search registries for a given image. Can search all the default registries or a specific registry.
///
/// Users can limit the number of results, and filter the output based on certain conditions.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "rbox search --filter=is-official --limit 3 alpine\n  rbox search registry.fedoraproject.org/\n  rbox search --format \"table {{.Index}} {{.Name}}\" registry.fedoraproject.org/fedora"
)]
pub struct Args {
    /// List stars, official and automated columns (Docker compatibility)
    #[arg(long)]
    compatible: bool,
    /// Filter output based on conditions provided (default [])
    #[arg(long, short, value_name = "stringArray")]
    filter: Vec<String>,
    /// Change the output to JSON or a Go template
    #[arg(long, value_name = "string")]
    format: Option<String>,
    /// Limit the number of results
    #[arg(long, value_name = "int", default_value_t = 0)]
    limit: usize,
    /// List the tags of the input registry
    #[arg(long)]
    list_tags: bool,
    /// Do not truncate the output
    #[arg(long)]
    no_trunc: bool,
    #[command(flatten)]
    registry: RegistryArgs,
    term: String,
}

#[derive(Debug, Default, Serialize)]
#[serde(rename_all = "PascalCase")]
struct Row {
    index: String,
    name: String,
    description: String,
    stars: u64,
    official: &'static str,
    automated: &'static str,
    tag: String,
}

/// Tags as JSON has them.
#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
struct Tags {
    name: String,
    tags: Vec<String>,
}

/// What templates can name, for completion.
pub(in crate::cli) fn fields() -> Value {
    Value::of(&Row::default())
}

/// Prints what was found.
pub fn exec(ui: &mut Ui, engine: &Engine, args: Args) -> Result<ExitStatus> {
    let limit = if args.limit == 0 { LIMIT } else { args.limit };
    if args.list_tags {
        return list_tags(ui, engine, args, limit);
    }
    let filters: Vec<Filter> = args.filter.iter().map(|text| Filter::parse(text)).collect::<Result<_>>()?;
    let options = args.registry.into_options(engine.config()?)?;
    let mut found = search(engine.images()?, &args.term, limit, &options)?;
    found.retain(|found| filters.iter().all(|filter| filter.fits(found)));
    let row = match args.compatible {
        true => "{{.Name}}\t{{.Description}}\t{{.Stars}}\t{{.Official}}\t{{.Automated}}",
        false => "{{.Name}}\t{{.Description}}",
    };
    let list = List::new("search", row).format(args.format.as_deref());
    let is_whole = args.no_trunc || list.is_json();
    let rows: Vec<Row> = found.into_iter().map(|found| show(found, is_whole)).collect();
    if rows.is_empty() {
        return Ok(ExitStatus::SUCCESS);
    }
    print(ui, &list, &rows)
}

fn print(ui: &mut Ui, list: &List<'_>, rows: &[Row]) -> Result<ExitStatus> {
    if list.is_json() {
        list.json(ui, rows, Layout::marshal(4))?;
    } else {
        list.print(ui, rows)?;
    }
    Ok(ExitStatus::SUCCESS)
}

fn list_tags(ui: &mut Ui, engine: &Engine, args: Args, limit: usize) -> Result<ExitStatus> {
    if !args.filter.is_empty() {
        return Err(CommandError::new("filters are not applicable to list tags result"));
    }
    let options = args.registry.into_options(engine.config()?)?;
    let (repository, mut found) = tags(engine.images()?, &args.term, &options)
        .map_err(|error| CommandError::from(error).context("getting repository tags"))?;
    found.truncate(limit);
    let name = repository.repository();
    let list = List::new("search", "{{.Name}}\t{{.Tag}}").format(args.format.as_deref());
    if list.is_json() {
        let list_of = if found.is_empty() { vec![] } else { vec![Tags { name, tags: found }] };
        list.json(ui, &list_of, Layout::marshal(4))?;
        return Ok(ExitStatus::SUCCESS);
    }
    let index = repository.domain().to_owned();
    let row = |tag| Row { index: index.clone(), name: name.clone(), tag, ..Row::default() };
    let rows: Vec<Row> = found.into_iter().map(row).collect();
    if rows.is_empty() {
        return Ok(ExitStatus::SUCCESS);
    }
    print(ui, &list, &rows)
}

fn show(found: Match, is_whole: bool) -> Row {
    let Match { registry, name, hit } = found;
    let mark = |is: bool| if is { "[OK]" } else { "" };
    let mut description = hit.description.replace('\n', " ");
    if !is_whole && description.chars().count() > DESCRIPTION_WIDTH {
        description = description.chars().take(DESCRIPTION_WIDTH).collect::<String>().trim().to_owned();
        description.push_str("...");
    }
    Row {
        index: registry,
        name,
        description,
        stars: hit.star_count,
        official: mark(hit.is_official),
        automated: mark(hit.is_automated),
        tag: String::new(),
    }
}

enum Filter {
    Stars(u64),
    Official(bool),
    Automated(bool),
}

impl Filter {
    fn parse(text: &str) -> Result<Self> {
        let (key, value) = text.split_once('=').map_or((text, None), |(key, value)| (key, Some(value)));
        let boolean = || match value {
            None => Ok(true),
            Some(value) => go_bool(value).map_err(|error| {
                CommandError::new(format!("incorrect value {value:?} for the {key} filter: {error}"))
            }),
        };
        match key {
            "stars" => value
                .and_then(|value| value.parse().ok())
                .map(Self::Stars)
                .ok_or_else(|| CommandError::new(format!("incorrect value type for stars filter: {text:?}"))),
            "is-official" => boolean().map(Self::Official),
            "is-automated" => boolean().map(Self::Automated),
            _ => Err(CommandError::new(format!("invalid filter type {text:?}"))),
        }
    }

    fn fits(&self, found: &Match) -> bool {
        match self {
            Self::Stars(least) => found.hit.star_count >= *least,
            Self::Official(wanted) => found.hit.is_official == *wanted,
            Self::Automated(wanted) => found.hit.is_automated == *wanted,
        }
    }
}
