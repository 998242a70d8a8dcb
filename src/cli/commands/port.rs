//! `rbox port`.

use crate::cli::error::CommandError;
use crate::cli::exit::ExitStatus;
use crate::cli::ui::Ui;
use crate::container::filter::Filters;
use crate::container::record::Port;
use crate::container::{Record, Status};
use crate::engine::Engine;

/// List port mappings or a specific mapping for the container
///
/// List port mappings for the CONTAINER, or look up the public-facing port that is NAT-ed to the PRIVATE_PORT.
#[derive(Debug, clap::Args)]
#[command(
    override_usage = "[options] CONTAINER [PORT]",
    after_help = "rbox port --all\n  rbox port ctrID 80/tcp"
)]
pub struct Args {
    /// Display port information for all containers
    #[arg(long, short)]
    all: bool,
    /// Act on the latest container podman is aware of
    #[arg(long, short)]
    latest: bool,
    arguments: Vec<String>,
}

/// Prints published ports.
///
/// # Errors
/// When the container does not exist, or has no such port.
pub fn exec(ui: &mut Ui, engine: &Engine, args: Args) -> Result<ExitStatus, CommandError> {
    let Args { all, latest, arguments } = args;
    let refuse = |text: &str| Err(CommandError::new(text));
    if all && latest {
        return refuse("--all and --latest cannot be used together");
    }
    if all && !arguments.is_empty() {
        return refuse("no arguments are needed with --all");
    }
    if arguments.is_empty() && !latest && !all {
        return refuse("you must supply a running container name or id");
    }
    if arguments.len() > 2 {
        return refuse("`port` accepts at most 2 arguments");
    }
    let containers = engine.containers()?;
    let (found, port): (Vec<Record>, Option<&String>) = if all || latest {
        let mut listed = containers.list(&Filters::default())?;
        if latest {
            listed = listed.pop().into_iter().collect();
        }
        listed.retain(|listed| listed.state.status == Status::Running);
        (listed.into_iter().map(|listed| listed.record).collect(), arguments.first())
    } else {
        let reference = arguments[0].strip_prefix('/').unwrap_or(&arguments[0]);
        let record = containers.lookup(reference)?;
        let runs = containers.state(&record.id)?.status == Status::Running;
        (runs.then_some(record).into_iter().collect(), arguments.get(1))
    };
    let wanted = port.map(|text| parse(text)).transpose()?;
    for record in found {
        let prefix = if all { format!("{}\t", record.id.short()) } else { String::new() };
        let lines = lines(&record.network.ports, wanted.as_ref());
        if let (true, Some(port)) = (lines.is_empty(), port) {
            return Err(CommandError::new(format!("failed to find published port {port:?}")));
        }
        for line in lines {
            ui.data(format_args!("{prefix}{line}"))?;
        }
    }
    Ok(ExitStatus::SUCCESS)
}

/// Reads `80` or `80/udp`.
fn parse(text: &str) -> Result<(u16, String), CommandError> {
    let mut parts = text.split('/');
    let number = parts.next().unwrap_or_default();
    let protocol = parts.next().unwrap_or("tcp").to_owned();
    if parts.next().is_some() {
        return Err(CommandError::new(format!("port formats are port/protocol. '{text}' is invalid")));
    }
    // In the words and with the rules of Go.
    let is_number = !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit());
    let why = if is_number { "value out of range" } else { "invalid syntax" };
    let parsed = number.parse().ok().filter(|_| is_number);
    let parsed =
        parsed.ok_or_else(|| CommandError::new(format!("strconv.ParseUint: parsing {number:?}: {why}")))?;
    Ok((parsed, protocol))
}

/// All mappings, or the host's end of the wanted one.
fn lines(ports: &[Port], wanted: Option<&(u16, String)>) -> Vec<String> {
    let mut lines = Vec::new();
    for port in ports {
        let address = if port.host_ip.is_empty() { "0.0.0.0" } else { &port.host_ip };
        for offset in 0..port.range.max(1) {
            let (inside, outside) =
                (port.container_port.saturating_add(offset), port.host_port.saturating_add(offset));
            match wanted {
                None => lines.push(format!("{inside}/{} -> {address}:{outside}", port.protocol)),
                Some((number, protocol)) if *number == inside && *protocol == port.protocol => {
                    lines.push(format!("{address}:{outside}"));
                }
                Some(_) => {}
            }
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wanted_ports_are_read_as_go_does() {
        assert_eq!(parse("80").unwrap(), (80, "tcp".to_owned()));
        assert_eq!(parse("80/udp").unwrap(), (80, "udp".to_owned()));
        for (text, words) in [
            ("x", "parsing \"x\": invalid syntax"),
            ("", "invalid syntax"),
            ("+80", "invalid syntax"),
            ("70000", "value out of range"),
            ("80/tcp/x", "'80/tcp/x' is invalid"),
        ] {
            assert!(parse(text).unwrap_err().message().contains(words), "{text}");
        }
    }

    #[test]
    fn ranges_are_listed_and_searched() {
        let port = Port {
            host_ip: String::new(),
            host_port: 8080,
            container_port: 80,
            range: 2,
            protocol: "tcp".to_owned(),
        };
        assert_eq!(
            lines(std::slice::from_ref(&port), None),
            ["80/tcp -> 0.0.0.0:8080", "81/tcp -> 0.0.0.0:8081"]
        );
        assert_eq!(lines(std::slice::from_ref(&port), Some(&(81, "tcp".to_owned()))), ["0.0.0.0:8081"]);
        assert!(lines(&[port], Some(&(81, "udp".to_owned()))).is_empty());
    }
}
