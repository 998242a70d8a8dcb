//! `rbox images`.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::Serialize;

use crate::cli::error::{CommandError, Result};
use crate::cli::exit::ExitStatus;
use crate::cli::format::{Layout, List, Value};
use crate::cli::ui::Ui;
use crate::cli::units;
use crate::cli::values::go_bool;
use crate::engine::Engine;
use crate::image::filter::{Condition, Filter, passes};
use crate::image::local::{self, Image, Users};
use crate::image::reference::Reference;
use crate::store::{self, Store};

/// List images in local storage
///
/// Lists images previously pulled to the system or created on the system.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "rbox images --format json\n  rbox images --sort repository --format \"table {{.ID}} {{.Repository}} {{.Tag}}\"\n  \
                  rbox images --filter dangling=true"
)]
pub struct Args {
    /// Show all images (default hides intermediate images)
    #[arg(long, short)]
    all: bool,
    /// Show digests
    #[arg(long)]
    digests: bool,
    /// Filter output based on conditions provided (default [])
    #[arg(long, short, value_name = "stringArray")]
    filter: Vec<String>,
    /// Change the output format to JSON or a Go template
    #[arg(long, value_name = "string")]
    format: Option<String>,
    /// Display the image name history
    #[arg(long)]
    history: bool,
    /// Do not truncate output
    #[arg(long, alias = "notruncate")]
    no_trunc: bool,
    /// Do not print column headings
    #[arg(long, short)]
    noheading: bool,
    /// Display only image IDs
    #[arg(long, short)]
    quiet: bool,
    /// Sort by created, id, repository, size, tag
    #[arg(long, value_name = "choice", default_value = "created")]
    sort: String,
    image: Option<String>,
}

/// What templates can name, for completion.
pub(in crate::cli) fn fields() -> Value {
    Value::of(&Row::default())
}

/// What templates can name.
#[derive(Default, Serialize)]
#[serde(rename_all = "PascalCase")]
struct Row {
    #[serde(rename = "ID")]
    id: String,
    #[serde(rename = "Id")]
    full_id: String,
    repository: String,
    tag: String,
    created: String,
    created_at: String,
    created_since: String,
    created_time: String,
    size: String,
    virtual_size: u64,
    shared_size: u64,
    containers: usize,
    dangling: bool,
    digest: String,
    history: String,
    labels: BTreeMap<String, String>,
    names: Vec<String>,
    parent_id: String,
    is_dangling: bool,
    read_only: bool,
    is_read_only: bool,
    repo_tags: Vec<String>,
    repo_digests: Vec<String>,
    arch: String,
    os: String,
    is_manifest_list: bool,
    /// Not podman's.
    last_used: String,
    last_used_at: String,
}

/// One object of `--format json`, in podman's order.
#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Record {
    id: String,
    parent_id: String,
    repo_tags: Option<Vec<String>>,
    repo_digests: Vec<String>,
    size: u64,
    shared_size: u64,
    virtual_size: u64,
    labels: Option<BTreeMap<String, String>>,
    containers: usize,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    dangling: bool,
    arch: String,
    digest: String,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    history: Vec<String>,
    is_manifest_list: bool,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    names: Vec<String>,
    os: String,
    created: i64,
    created_at: String,
    repository: String,
    tag: String,
    /// Not podman's: seconds since 1970, as `Created`.
    #[serde(skip_serializing_if = "Option::is_none")]
    last_used: Option<i64>,
}

/// An image under one of its names.
struct Entry<'i> {
    image: &'i Image,
    repository: String,
    tag: String,
}

/// Prints the images.
pub fn exec(ui: &mut Ui, engine: &Engine, args: Args) -> Result<ExitStatus> {
    if !["created", "id", "repository", "size", "tag"].contains(&args.sort.as_str()) {
        let text = format!(
            "invalid argument {:?} for \"--sort\" flag: {:?} is not a valid value.  Choose from: \"created, id, repository, size, tag\"",
            args.sort, args.sort
        );
        return Err(CommandError::usage(text, &format!("{} images", ui.program())));
    }
    if args.image.is_some() && !args.filter.is_empty() {
        return Err(CommandError::new("cannot specify an image and a filter(s)"));
    }
    let store = engine.store()?;
    let mut filters = parse_filters(&args.filter, store)?;
    filters.extend(args.image.as_ref().map(|name| positive(Condition::Reference(name.clone()))));
    let asks_for_all = filters.contains(&positive(Condition::Intermediate(true)));
    if !args.all && !asks_for_all {
        filters.push(positive(Condition::Intermediate(false)));
    }
    let users = super::users(engine)?;
    let mut images = local::list(store)?;
    images.retain(|image| passes(image, &filters, &users, store));
    keep_the_asked_name(&mut images, &filters);
    let mut entries: Vec<Entry<'_>> = images.iter().flat_map(entries).collect();
    sort(&mut entries, &args.sort);
    print(ui, &args, &entries, &users, store)
}

fn positive(condition: Condition) -> Filter {
    Filter { condition, negated: false }
}

/// A full name as the only name filter asks for that name, not for the others that its image has.
fn keep_the_asked_name(images: &mut [Image], filters: &[Filter]) {
    let mut names = filters.iter().filter_map(|filter| match (&filter.condition, filter.negated) {
        (Condition::Reference(name), false) => Some(name),
        _ => None,
    });
    let (Some(name), None) = (names.next(), names.next()) else { return };
    let Ok(reference) = Reference::parse(name) else { return };
    let is_full =
        reference.to_string() == *name && (reference.tag().is_some() || reference.digest().is_some());
    if !is_full {
        return;
    }
    for image in images {
        let fits = |tag: &crate::store::TagRecord| match reference.digest() {
            None => tag.name == *name,
            Some(_) => {
                Reference::parse(&tag.name).is_ok_and(|other| other.repository() == reference.repository())
            }
        };
        image.tags.retain(fits);
    }
}

/// Reads `--filter` of images.
pub(in crate::cli) fn parse_filters(texts: &[String], store: &Store) -> Result<Vec<Filter>> {
    let invalid = |text: &str| {
        CommandError::new(format!(
            "invalid image filter {text:?}: must be in the format \"filter=value or filter!=value\""
        ))
    };
    let mut filters = Vec::new();
    for text in texts {
        let (key, value, negated) = match (text.split_once("!="), text.split_once('=')) {
            (Some((key, value)), _) => (key, value, true),
            (None, Some((key, value))) => (key, value, false),
            (None, None) => return Err(invalid(text)),
        };
        let boolean = || {
            go_bool(value).map_err(|error| {
                CommandError::new(format!("non-boolean value {value:?} for {key} filter: {error}"))
            })
        };
        let created = || -> Result<Timestamp> {
            let found = store.find_any(value).map_err(|error| {
                CommandError::from(error)
                    .context(format!("could not find local image for filter {key:?}={value:?}"))
            })?;
            Ok(local::image(store, found.record)?.created())
        };
        let time = || {
            units::parse_input_time(value, true, Timestamp::now())
                .map_err(|error| CommandError::new(format!("invalid filter {text:?}: {error}")))
        };
        let condition = match key {
            "after" | "since" => Condition::Since(created()?),
            "before" => Condition::Before(created()?),
            "containers" => match value {
                "true" => Condition::Containers(true),
                "false" => Condition::Containers(false),
                // There are no containers of other tools in this store.
                "external" => Condition::Id("no image".to_owned()),
                _ => {
                    return Err(CommandError::new(format!(
                        "unsupported value {value:?} for containers filter"
                    )));
                }
            },
            "dangling" => Condition::Dangling(boolean()?),
            "digest" if value.starts_with("sha256:") => Condition::Digest(value.to_owned()),
            "digest" => return Err(CommandError::new(format!("invalid value {value:?} for digest filter"))),
            "id" => Condition::Id(value.strip_prefix("sha256:").unwrap_or(value).to_owned()),
            "intermediate" => Condition::Intermediate(boolean()?),
            "label" => match value.split_once('=') {
                Some((key, value)) => Condition::Label(key.to_owned(), Some(value.to_owned())),
                None => Condition::Label(value.to_owned(), None),
            },
            "manifest" => Condition::Manifest(boolean()?),
            "readonly" => Condition::ReadOnly(boolean()?),
            "reference" => Condition::Reference(value.to_owned()),
            "unused-for" => Condition::UnusedSince(time()?),
            "until" => Condition::Before(time()?),
            _ => return Err(invalid(key)),
        };
        filters.push(Filter { condition, negated });
    }
    Ok(filters)
}

fn repository_and_tag(name: &str) -> Option<(String, String)> {
    if name == store::HELLO {
        // Of no registry, whatever a name without one stands for elsewhere.
        let (repository, tag) = name.split_once(':')?;
        return Some((repository.to_owned(), tag.to_owned()));
    }
    let name = Reference::parse(name).ok()?;
    Some((name.repository(), name.tag()?.to_owned()))
}

/// One entry a name with a tag; names with digests are shown only where there is no other.
fn entries(image: &Image) -> Vec<Entry<'_>> {
    let none = || "<none>".to_owned();
    let tagged: Vec<Entry<'_>> = image
        .tags
        .iter()
        .filter_map(|tag| {
            let (repository, tag) = repository_and_tag(&tag.name)?;
            Some(Entry { image, repository, tag })
        })
        .collect();
    if !tagged.is_empty() {
        return tagged;
    }
    let named = image.tags.iter().find_map(|tag| Reference::parse(&tag.name).ok());
    let repository = named.as_ref().map_or_else(none, Reference::repository);
    vec![Entry { image, repository, tag: none() }]
}

fn sort(entries: &mut [Entry<'_>], key: &str) {
    match key {
        "id" => entries.sort_by(|a, b| a.image.record.id.cmp(&b.image.record.id)),
        "repository" => entries.sort_by(|a, b| (&a.repository, &a.tag).cmp(&(&b.repository, &b.tag))),
        "size" => entries.sort_by_key(|entry| entry.image.record.size),
        "tag" => entries.sort_by(|a, b| a.tag.cmp(&b.tag)),
        // The list of images has that order.
        _ => {}
    }
}

fn print(
    ui: &mut Ui,
    args: &Args,
    entries: &[Entry<'_>],
    users: &Users,
    store: &Store,
) -> Result<ExitStatus> {
    let id = |entry: &Entry<'_>| {
        let id = &entry.image.record.id;
        if args.no_trunc { format!("sha256:{id}") } else { id.short().to_owned() }
    };
    let is_json = args.format.as_deref().is_some_and(crate::cli::format::is_json);
    if args.quiet && !is_json {
        let mut seen = std::collections::HashSet::new();
        for id in entries.iter().map(id).filter(|id| seen.insert(id.clone())) {
            ui.data(id)?;
        }
        return Ok(ExitStatus::SUCCESS);
    }
    let mut columns = vec!["{{.Repository}}", "{{.Tag}}"];
    columns.extend(args.digests.then_some("{{.Digest}}"));
    columns.extend(["{{.ID}}", "{{.Created}}", "{{.Size}}"]);
    columns.extend(args.history.then_some("{{if .History}}{{.History}}{{else}}<none>{{end}}"));
    let row = columns.join("\t");
    let list = List::new("images", &row)
        .headers(&[("ID", "IMAGE ID"), ("ReadOnly", "R/O")])
        .format(args.format.as_deref())
        .no_heading(args.noheading);
    if is_json {
        let records: Vec<Record> = entries.iter().map(|entry| record(entry, users, store)).collect();
        list.json(ui, &records, Layout::marshal(4))?;
    } else {
        let now = Timestamp::now();
        let rows: Vec<Row> = entries.iter().map(|entry| show(entry, id(entry), users, now, store)).collect();
        list.print(ui, &rows)?;
    }
    Ok(ExitStatus::SUCCESS)
}

fn whole_seconds(time: Timestamp) -> Timestamp {
    Timestamp::from_second(time.as_second()).unwrap_or(time)
}

fn show(entry: &Entry<'_>, id: String, users: &Users, now: Timestamp, store: &Store) -> Row {
    let image = entry.image;
    let created = whole_seconds(image.created());
    let since = units::ago(created, now);
    let used = local::last_used(store, image);
    let at = created.strftime("%Y-%m-%d %H:%M:%S +0000 UTC").to_string();
    Row {
        id,
        full_id: image.record.id.to_string(),
        repository: entry.repository.clone(),
        tag: entry.tag.clone(),
        created: since.clone(),
        created_at: at.clone(),
        created_since: since,
        created_time: at,
        size: units::image_size(image.record.size),
        virtual_size: image.record.size,
        shared_size: 0,
        containers: users.get(image.record.id.as_str()).map_or(0, Vec::len),
        dangling: image.is_dangling(),
        digest: image.digest(),
        history: image.names_history(store).join(", "),
        labels: image.record.labels.clone(),
        names: image.names(),
        parent_id: String::new(),
        is_dangling: image.is_dangling(),
        read_only: false,
        is_read_only: false,
        repo_tags: image.names(),
        repo_digests: image.repo_digests(),
        arch: image.record.architecture.clone(),
        os: image.record.os.clone(),
        is_manifest_list: image.record.list,
        last_used: used.map(|used| units::ago(whole_seconds(used), now)).unwrap_or_default(),
        last_used_at: used.map(|used| whole_seconds(used).to_string()).unwrap_or_default(),
    }
}

fn record(entry: &Entry<'_>, users: &Users, store: &Store) -> Record {
    let image = entry.image;
    Record {
        id: image.record.id.to_string(),
        parent_id: String::new(),
        repo_tags: None,
        repo_digests: image.repo_digests(),
        size: image.record.size,
        shared_size: 0,
        virtual_size: image.record.size,
        labels: Some(image.record.labels.clone()).filter(|labels| !labels.is_empty()),
        containers: users.get(image.record.id.as_str()).map_or(0, Vec::len),
        dangling: image.is_dangling(),
        arch: image.record.architecture.clone(),
        digest: image.digest(),
        history: image.names_history(store),
        is_manifest_list: image.record.list,
        names: image.names(),
        os: image.record.os.clone(),
        created: image.created().as_second(),
        created_at: whole_seconds(image.created()).to_string(),
        repository: entry.repository.clone(),
        tag: entry.tag.clone(),
        last_used: local::last_used(store, image).map(Timestamp::as_second),
    }
}
