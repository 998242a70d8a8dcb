//! `rbox version`.

use std::fs;

use jiff::Timestamp;
use serde::Serialize;

use crate::cli::compat;
use crate::cli::error::Result;
use crate::cli::exit::ExitStatus;
use crate::cli::format::{self, Layout, Value};
use crate::cli::ui::Ui;
use crate::config::zone;
use crate::engine::Engine;

/// Display the rbox version information
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Change the output format to JSON or a Go template
    #[arg(long, short, value_name = "string")]
    format: Option<String>,
}

/// What this program is.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct Version {
    #[serde(rename = "APIVersion")]
    api_version: &'static str,
    version: &'static str,
    /// podman's name for "what compiled it".
    go_version: &'static str,
    git_commit: &'static str,
    built_time: String,
    built: i64,
    os_arch: String,
    os: &'static str,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
struct Report {
    client: Version,
}

impl Version {
    /// The version of the running program.
    #[must_use]
    pub fn current() -> Self {
        let built = built();
        Self {
            api_version: compat::PODMAN,
            version: env!("CARGO_PKG_VERSION"),
            go_version: concat!("rust", env!("CARGO_PKG_RUST_VERSION")),
            git_commit: option_env!("RBOX_GIT_COMMIT").unwrap_or_default(),
            built_time: built.to_zoned(zone::local()).strftime("%a %b %e %H:%M:%S %Y").to_string(),
            built: built.as_second(),
            os_arch: format!("linux/{}", go_arch()),
            os: "linux",
        }
    }
}

/// What templates can name, for completion.
pub(in crate::cli) fn fields() -> Value {
    Value::of(&Report { client: Version::current() })
}

/// The name that Go and OCI have for this processor.
#[must_use]
pub fn go_arch() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        "x86" => "386",
        "powerpc64" => "ppc64le",
        "loongarch64" => "loong64",
        other => other,
    }
}

/// When the executable was written: a build that stated the time would not be reproducible.
fn built() -> Timestamp {
    let modified = fs::metadata("/proc/self/exe").and_then(|meta| meta.modified());
    modified.ok().and_then(|time| Timestamp::try_from(time).ok()).unwrap_or_default()
}

/// Prints the version of this program.
pub fn exec(ui: &mut Ui, _engine: &Engine, args: Args) -> Result<ExitStatus> {
    let Args { format } = args;
    let report = Report { client: Version::current() };
    match format.as_deref() {
        Some(format) if format::is_json(format) => format::print_json(ui, &report, Layout::LINE)?,
        // Old templates name the fields of the client, or those of a server that is the client.
        Some(format) => format::single(ui, "version", &report, format)
            .or_else(|_| format::single(ui, "version", &report.client, &format.replace(".Server.", ".")))?,
        None => print(ui, &report.client)?,
    }
    Ok(ExitStatus::SUCCESS)
}

fn print(ui: &mut Ui, version: &Version) -> Result<()> {
    let lines = [
        ("Client:", "rbox"),
        ("Version:", version.version),
        ("API Version:", version.api_version),
        ("Go Version:", version.go_version),
        ("Git Commit:", version.git_commit),
        ("Built:", &version.built_time),
        ("OS/Arch:", &version.os_arch),
    ];
    for (name, value) in lines.into_iter().filter(|(_, value)| !value.is_empty()) {
        ui.data(format_args!("{name:<13}{value}"))?;
    }
    Ok(())
}
