//! `rbox image trust show`.

use std::path::PathBuf;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Serialize;
use serde_json::Value;

use super::{parse, read};
use crate::cli::error::Result;
use crate::cli::exit::ExitStatus;
use crate::cli::format::{self, Layout, List};
use crate::cli::ui::Ui;
use crate::engine::Engine;
use crate::image::Error;
use crate::image::signature::{key_owners, shown_lookaside};
use crate::kernel::file::read_limited;

const KEY_MAX: u64 = 4 << 20;

/// Display trust policy for the system
///
/// Shows what policy.json asks of images, of all registries or of one
#[derive(Debug, clap::Args)]
#[command(
    override_usage = "[options] [REGISTRY]",
    after_help = "rbox image trust show\n  rbox image trust show --json quay.io"
)]
pub struct Args {
    /// Output as json
    #[arg(long, short)]
    json: bool,
    /// Do not print column headings
    #[arg(long, short)]
    noheading: bool,
    /// The policy to show
    #[arg(long, value_name = "string", hide = true)]
    policypath: Option<PathBuf>,
    /// Output raw policy file
    #[arg(long)]
    raw: bool,
    registry: Option<String>,
}

#[derive(Debug, Serialize)]
struct Row {
    transport: &'static str,
    name: String,
    repo_name: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    sigstore: String,
    r#type: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    gpg_id: String,
}

/// Prints the requirements of each scope.
///
/// # Errors
/// When the policy cannot be read.
pub fn exec(ui: &mut Ui, engine: &Engine, args: Args) -> Result<ExitStatus> {
    let (path, bytes) = read(engine, args.policypath.as_deref())?;
    if args.raw {
        ui.data(String::from_utf8_lossy(&bytes))?;
        return Ok(ExitStatus::SUCCESS);
    }
    let mut rows = rows(&parse(&path, &bytes)?);
    for row in &mut rows {
        let scope = if row.repo_name == "default" { "" } else { &row.repo_name };
        row.sigstore = shown_lookaside(engine.paths()?, scope).map_err(Error::from)?.unwrap_or_default();
    }
    if let Some(registry) = &args.registry {
        rows.retain(|row| row.repo_name == "default" || row.repo_name == *registry);
    }
    if args.json {
        format::print_json(ui, &rows, Layout::marshal(2))?;
        return Ok(ExitStatus::SUCCESS);
    }
    let headers = [
        ("transport", "TRANSPORT"),
        ("repo_name", "NAME"),
        ("type", "TYPE"),
        ("gpg_id", "ID"),
        ("sigstore", "STORE"),
    ];
    List::new("trust show", "{{.transport}}\t{{.repo_name}}\t{{.type}}\t{{.gpg_id}}\t{{.sigstore}}")
        .headers(&headers)
        .no_heading(args.noheading)
        .print(ui, &rows)?;
    Ok(ExitStatus::SUCCESS)
}

/// Whose keys a requirement names. A file that cannot be read names nobody.
fn owners(requirement: &Value) -> Vec<String> {
    let paths = requirement["keyPaths"].as_array().into_iter().flatten().chain([&requirement["keyPath"]]);
    let files = paths.filter_map(Value::as_str).filter_map(|path| read_limited(path.as_ref(), KEY_MAX).ok());
    let data = requirement["keyData"].as_str().and_then(|text| STANDARD.decode(text).ok());
    files.chain(data).flat_map(|file| key_owners(&file)).collect()
}

fn rows(policy: &Value) -> Vec<Row> {
    let mut rows = Vec::new();
    let mut add = |transport: &'static str, name: &str, repo_name: &str, requirements: &Value| {
        for requirement in requirements.as_array().into_iter().flatten() {
            let kind = requirement["type"].as_str().unwrap_or_default();
            rows.push(Row {
                transport,
                name: name.to_owned(),
                repo_name: repo_name.to_owned(),
                sigstore: String::new(),
                r#type: match kind {
                    "insecureAcceptAnything" => "accept".to_owned(),
                    "signedBy" => "signed".to_owned(),
                    other => other.to_owned(),
                },
                gpg_id: match kind {
                    "sigstoreSigned" => "N/A".to_owned(),
                    "signedBy" => owners(requirement).join(", "),
                    _ => String::new(),
                },
            });
        }
    };
    add("all", "* (default)", "default", &policy["default"]);
    let tables = policy["transports"].as_object().into_iter().flatten();
    for (transport, table) in tables {
        let shown = if transport == "docker" { "repository" } else { "other" };
        let mut scopes: Vec<_> = table.as_object().into_iter().flatten().collect();
        scopes.sort_by_key(|(scope, _)| scope.as_str());
        for (scope, requirements) in scopes {
            let name = if shown == "other" { format!("{transport}:{scope}") } else { scope.clone() };
            add(shown, &name, scope, requirements);
        }
    }
    rows
}
