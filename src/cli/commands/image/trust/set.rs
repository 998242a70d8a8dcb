//! `rbox image trust set`.
//!
//! What it does not know stays in the file as it is.

use std::path::{Path, PathBuf};

use rustix::fs::Mode;
use serde::Serialize as _;
use serde_json::{Value, json};

use super::{parse, read};
use crate::cli::error::{CommandError, Result};
use crate::cli::exit::ExitStatus;
use crate::cli::ui::Ui;
use crate::engine::Engine;
use crate::image::policy::files;
use crate::kernel::file::{self, Durability};

/// Set default trust policy or a new trust policy for a registry
///
/// Changes what policy.json asks of the images of a registry, or of all that it does not name
#[derive(Debug, clap::Args)]
#[command(
    override_usage = "[options] REGISTRY",
    after_help = "rbox image trust set --type reject default\n  rbox image trust set -t signedBy -f key.gpg quay.io"
)]
pub struct Args {
    /// The policy to change
    #[arg(long, value_name = "string", hide = true)]
    policypath: Option<PathBuf>,
    /// Path of installed public key(s) to trust for TARGET. May be used multiple times to define multiple public keys
    #[arg(long, short = 'f', value_name = "stringArray")]
    pubkeysfile: Vec<PathBuf>,
    /// Trust type, accept values: signedBy(default), accept, reject
    #[arg(long, short, value_name = "string")]
    r#type: Option<String>,
    #[arg(required = true)]
    registry: String,
}

/// Changes the requirements of one scope.
///
/// # Errors
/// When they make no sense, or the policy cannot be written.
pub fn exec(_ui: &mut Ui, engine: &Engine, args: Args) -> Result<ExitStatus> {
    let requirements = requirements(&args)?;
    let registry = args.registry.as_str();
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
