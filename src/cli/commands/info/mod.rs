//! `rbox info`: the host, the store and the versions, under podman's names.

mod host;
mod report;

use std::borrow::Cow;
use std::rc::Rc;

use serde_json::Value as Json;

use crate::cli::error::{CommandError, Result};
use crate::cli::exit::ExitStatus;
use crate::cli::format::value::Struct;
use crate::cli::format::{self, Layout, Value};
use crate::cli::ui::Ui;
use crate::engine::Engine;

/// Display rbox system information
///
/// Displays information about the host, the current storage statistics and the versions: useful
/// for reporting issues.
#[derive(Debug, clap::Args)]
#[command(after_help = "rbox info")]
pub struct Args {
    /// Does nothing: there is no further information
    #[arg(long, short = 'D', hide = true)]
    debug: bool,
    /// Change the output format to JSON or a Go template
    #[arg(long, short, value_name = "string")]
    format: Option<String>,
}

/// Prints everything that is known.
pub fn exec(ui: &mut Ui, engine: &Engine, args: Args) -> Result<ExitStatus> {
    let Args { debug: _, format } = args;
    let report = report::Info::collect(engine)?;
    match format.as_deref() {
        Some(format) if format::is_json(format) => format::print_json(ui, &report, Layout::marshal(2))?,
        Some(format) => format::single_value(ui, "info", &with_go_names(&Value::of(&report)), format)?,
        None => ui.text(&yaml(&report)?)?,
    }
    Ok(ExitStatus::SUCCESS)
}

/// What templates can name, for completion.
pub(in crate::cli) fn fields(engine: &Engine) -> Option<Value> {
    Some(with_go_names(&Value::of(&report::Info::collect(engine).ok()?)))
}

/// Keys sorted, as podman's detour through JSON leaves them.
fn yaml(report: &report::Info) -> Result<String> {
    let json = serde_json::to_value(report).map_err(|error| CommandError::new(error.to_string()))?;
    // Go's YAML leaves `1.43.0` bare and breaks no lines.
    let options = serde_saphyr::ser_options! {
        yaml_12: true,
        no_lang_directive: true,
        folded_wrap_chars: usize::MAX,
    };
    let text = serde_saphyr::to_string_with_options(&sorted(json), options)
        .map_err(|error| CommandError::new(error.to_string()))?;
    Ok(if text.ends_with('\n') { text } else { text + "\n" })
}

fn sorted(json: Json) -> Json {
    match json {
        Json::Object(fields) => {
            let mut fields: Vec<(String, Json)> = fields.into_iter().collect();
            fields.sort_by(|a, b| a.0.cmp(&b.0));
            Json::Object(fields.into_iter().map(|(key, value)| (key, sorted(value))).collect())
        }
        Json::Array(items) => Json::Array(items.into_iter().map(sorted).collect()),
        other => other,
    }
}

/// Fields whose name in Go is not that in JSON: templates use the former.
const GO_NAMES: [(&str, &str); 4] = [
    ("cgroupVersion", "CgroupsVersion"),
    ("capabilities", "DefaultCapabilities"),
    ("container_id", "ContainerID"),
    ("host_id", "HostID"),
];

fn with_go_names(value: &Value) -> Value {
    match value {
        Value::Struct(data) => {
            let renamed = data.fields.iter().filter_map(|(name, value)| {
                let (_, go) = GO_NAMES.iter().find(|(json, _)| json == name)?;
                Some((Cow::Borrowed(*go), value.clone()))
            });
            let own = data.fields.iter().map(|(name, value)| (name.clone(), with_go_names(value)));
            Value::Struct(Rc::new(Struct { name: data.name, fields: own.chain(renamed).collect() }))
        }
        Value::List(items) => Value::list(items.iter().map(with_go_names)),
        other => other.clone(),
    }
}
