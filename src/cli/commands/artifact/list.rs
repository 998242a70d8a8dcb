//! `rbox artifact ls`.

use jiff::Timestamp;
use serde::Serialize;

use super::artifacts;
use crate::cli::error::Result;
use crate::cli::exit::ExitStatus;
use crate::cli::format::{Layout, List, Value};
use crate::cli::ui::Ui;
use crate::cli::units;
use crate::engine::Engine;
use crate::image::artifact::{Artifact, CREATED};
use crate::image::{Error, Reference};

/// List OCI artifacts
///
/// List OCI artifacts in local store.
#[derive(Debug, clap::Args)]
#[command(after_help = "rbox artifact ls")]
pub struct Args {
    /// Format the output using JSON or a Go template
    #[arg(long, value_name = "string")]
    format: Option<String>,
    /// Do not truncate output
    #[arg(long)]
    no_trunc: bool,
    /// Do not print column headings
    #[arg(long, short)]
    noheading: bool,
}

/// What templates can name, for completion.
pub(in crate::cli) fn fields() -> Value {
    Value::of(&Row::default())
}

#[derive(Default, Serialize)]
#[serde(rename_all = "PascalCase")]
struct Row {
    repository: String,
    tag: String,
    digest: String,
    created: String,
    created_at: String,
    size: String,
    virtual_size: String,
}

/// Prints all artifacts.
///
/// # Errors
/// When the store of artifacts is damaged.
pub fn exec(ui: &mut Ui, engine: &Engine, args: Args) -> Result<ExitStatus> {
    let list = List::new("artifact ls", "{{.Repository}}\t{{.Tag}}\t{{.Digest}}\t{{.Created}}\t{{.Size}}")
        .format(args.format.as_deref())
        .no_heading(args.noheading);
    let all = artifacts(engine)?.list().map_err(Error::from)?;
    let rows: Vec<Row> = all.iter().map(|artifact| row(artifact, args.no_trunc)).collect();
    if list.is_json() {
        list.json(ui, &rows, Layout::marshal(4))?;
    } else {
        list.print(ui, &rows)?;
    }
    Ok(ExitStatus::SUCCESS)
}

fn row(artifact: &Artifact, is_whole: bool) -> Row {
    let name = Reference::parse(&artifact.name).ok();
    let mut digest = artifact.digest.hex();
    if !is_whole {
        digest.truncate(12);
    }
    let created: Option<Timestamp> =
        artifact.manifest.annotations.get(CREATED).and_then(|text| text.parse().ok());
    Row {
        repository: name.as_ref().map_or_else(|| artifact.name.clone(), Reference::repository),
        tag: name.as_ref().and_then(Reference::tag).unwrap_or_default().to_owned(),
        digest,
        created: created.map_or_else(String::new, |at| units::ago(at, Timestamp::now())),
        created_at: created.map_or_else(String::new, |at| units::Time::new(at).rfc3339()),
        size: units::decimal_size(artifact.size()),
        virtual_size: artifact.size().to_string(),
    }
}
