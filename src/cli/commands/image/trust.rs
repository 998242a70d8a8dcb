//! `rbox image trust show|set`: reading and changing policy.json.
//!
//! What `set` does not know stays in the file as it is.

use std::path::{Path, PathBuf};

use rustix::fs::Mode;
use serde::Serialize;
use serde_json::{Value, json};

use crate::cli::error::{CommandError, Result};
use crate::cli::exit::ExitStatus;
use crate::cli::format::{self, Layout, List};
use crate::cli::ui::Ui;
use crate::engine::Engine;
use crate::image::policy::files;
use crate::kernel::file::{self, Durability, read_limited};

const FILE_MAX: u64 = 4 << 20;

/// The file that applies, with its text.
fn read(engine: &Engine, given: Option<&Path>) -> Result<(PathBuf, Vec<u8>)> {
    let candidates = match given {
        Some(path) => vec![path.to_owned()],
        None => files(engine.paths()?).to_vec(),
    };
    let path = candidates.iter().find(|path| path.exists()).unwrap_or(&candidates[0]);
    let bytes = read_limited(path, FILE_MAX)
        .map_err(|error| CommandError::from(error).context("unable to read policy file"))?;
    Ok((path.clone(), bytes))
}

fn parse(path: &Path, bytes: &[u8]) -> Result<Value> {
    serde_json::from_slice(bytes).map_err(|error| {
        CommandError::new(format!("could not parse trust policies from {}: {error}", path.display()))
    })
}

/// Manage container image trust policy
///
/// `image trust show [REGISTRY]` shows what policy.json asks of images, `image trust set [--type TYPE] [--pubkeysfile KEY] default|REGISTRY` changes it.
#[derive(Debug, clap::Args)]
#[command(
    override_usage = "[options] show|set [REGISTRY]",
    after_help = "rbox image trust show\n  rbox image trust set --type reject default"
)]
pub struct Args {
    /// show: output as json
    #[arg(long, short)]
    json: bool,
    /// show: do not print column headings
    #[arg(long, short)]
    noheading: bool,
    /// The policy to show or change
    #[arg(long, value_name = "string", hide = true)]
    policypath: Option<PathBuf>,
    /// set: path of installed public key(s) to trust for TARGET. May be used multiple times to define multiple public keys
    #[arg(long, short = 'f', value_name = "stringArray")]
    pubkeysfile: Vec<PathBuf>,
    /// show: output raw policy file
    #[arg(long)]
    raw: bool,
    /// set: trust type, accept values: signedBy(default), accept, reject
    #[arg(long, short, value_name = "string")]
    r#type: Option<String>,
    action: String,
    registry: Option<String>,
}

/// Shows or changes the policy.
pub fn exec(ui: &mut Ui, engine: &Engine, args: Args) -> Result<ExitStatus> {
    let is_for_set = args.r#type.is_some() || !args.pubkeysfile.is_empty();
    let is_for_show = args.json || args.noheading || args.raw;
    match (args.action.as_str(), &args.registry) {
        ("show", _) if !is_for_set => show(ui, engine, &args),
        ("set", Some(registry)) if !is_for_show => set(engine, registry, &args),
        ("set", None) => Err(CommandError::new("accepts 1 arg(s), received 0")),
        ("show" | "set", _) => {
            Err(CommandError::new(format!("these flags do not belong to image trust {}", args.action)))
        }
        (other, _) => {
            Err(CommandError::new(format!("unrecognized command `{} image trust {other}`", ui.program())))
        }
    }
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
fn show(ui: &mut Ui, engine: &Engine, args: &Args) -> Result<ExitStatus> {
    let (path, bytes) = read(engine, args.policypath.as_deref())?;
    if args.raw {
        ui.data(String::from_utf8_lossy(&bytes))?;
        return Ok(ExitStatus::SUCCESS);
    }
    let mut rows = rows(&parse(&path, &bytes)?);
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
                gpg_id: if kind == "sigstoreSigned" { "N/A".to_owned() } else { String::new() },
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

/// Changes the requirements of one scope.
fn set(engine: &Engine, registry: &str, args: &Args) -> Result<ExitStatus> {
    let requirements = requirements(args)?;
    let plain = |c: char| c.is_ascii_alphanumeric() || "._-/:@*".contains(c);
    if registry.is_empty() || !registry.chars().all(plain) {
        return Err(CommandError::new(format!("invalid image uri: {registry}")));
    }
    // A user cannot write the system's file: her own begins as its copy.
    let target = args.policypath.clone().unwrap_or(files(engine.paths()?)[0].clone());
    let mut policy = match read(engine, args.policypath.as_deref()) {
        Ok((path, bytes)) => parse(&path, &bytes)?,
        Err(_) if !target.exists() => json!({}),
        Err(error) => return Err(error),
    };
    if registry == "default" {
        policy["default"] = requirements;
    } else {
        if policy["default"].as_array().is_none_or(Vec::is_empty) {
            return Err(CommandError::new("default trust policy must be set"));
        }
        let transports = policy["transports"].as_object();
        let known = transports.and_then(|tables| {
            tables.iter().find(|(_, table)| table.get(registry).is_some()).map(|(name, _)| name.clone())
        });
        policy["transports"][known.as_deref().unwrap_or("docker")][registry] = requirements;
    }
    write(&target, &policy)?;
    Ok(ExitStatus::SUCCESS)
}

fn requirements(args: &Args) -> Result<Value> {
    let keys = &args.pubkeysfile;
    let kind = match args.r#type.as_deref().unwrap_or("signedBy") {
        "accept" => "insecureAcceptAnything",
        kind @ ("insecureAcceptAnything" | "reject" | "signedBy" | "sigstoreSigned") => kind,
        other => {
            return Err(CommandError::new(format!(
                "invalid choice: {other} (choose from 'accept', 'reject', 'signedBy', 'sigstoreSigned')"
            )));
        }
    };
    match (kind, keys.len()) {
        ("insecureAcceptAnything" | "reject", 0) => Ok(json!([{ "type": kind }])),
        ("insecureAcceptAnything" | "reject", count) => {
            Err(CommandError::new(format!("{count} public keys unexpectedly provided for trust type {kind}")))
        }
        (_, 0) => {
            Err(CommandError::new(format!("at least one public key must be defined for type '{kind}'")))
        }
        ("signedBy", _) => {
            Ok(keys.iter().map(|key| json!({ "type": kind, "keyType": "GPGKeys", "keyPath": key })).collect())
        }
        _ => Ok(keys.iter().map(|key| json!({ "type": kind, "keyPath": key })).collect()),
    }
}

fn write(path: &Path, policy: &Value) -> Result<()> {
    let dir = path.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let Some(name) = path.file_name() else {
        return Err(CommandError::new(format!("{} names no file", path.display())));
    };
    std::fs::create_dir_all(dir).map_err(|error| crate::kernel::Error::path("mkdir", dir, error))?;
    let formatter = serde_json::ser::PrettyFormatter::with_indent(b"    ");
    let mut bytes = Vec::new();
    let mut serializer = serde_json::Serializer::with_formatter(&mut bytes, formatter);
    policy.serialize(&mut serializer).expect("JSON values serialise");
    Ok(file::write_atomic(dir, name, &bytes, Mode::from_raw_mode(0o644), Durability::Sync)?)
}
