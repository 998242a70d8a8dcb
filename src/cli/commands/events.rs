//! `rbox events`.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::Timestamp;
use serde::Serialize;

use crate::cli::error::{CommandError, Result};
use crate::cli::exit::ExitStatus;
use crate::cli::format::{Layout, List};
use crate::cli::ui::Ui;
use crate::cli::units::{Time, parse_input_time};
use crate::cli::values::go_bool;
use crate::engine::Engine;
use crate::events::{Event, Filters, Reader};

/// Show podman system events
///
/// Monitor podman system events.
///
/// By default, streaming mode is used, printing new events as they occur.  Previous events can be listed via --since and --until.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "rbox events\n  rbox events --filter event=create\n  rbox events --format {{.Image}}\n  rbox events --since 1h30s"
)]
pub struct Args {
    /// filter output
    #[arg(long, short, value_name = "stringArray")]
    filter: Vec<String>,
    /// format the output using a Go template
    #[arg(long, value_name = "string")]
    format: Option<String>,
    /// do not truncate the output
    #[arg(long, num_args = 0..=1, default_value_t = true, default_missing_value = "true", action = clap::ArgAction::Set, value_parser = go_bool)]
    no_trunc: bool,
    /// show all events created since timestamp
    #[arg(long, value_name = "string", allow_hyphen_values = true)]
    since: Option<String>,
    /// stream events and do not exit when returning the last known event
    #[arg(long, num_args = 0..=1, default_value_t = true, default_missing_value = "true", action = clap::ArgAction::Set, value_parser = go_bool)]
    stream: bool,
    /// show all events until timestamp
    #[arg(long, value_name = "string", allow_hyphen_values = true)]
    until: Option<String>,
}

/// An event as templates know it.
#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
struct Row<'a> {
    container_exit_code: Option<i32>,
    #[serde(rename = "ID")]
    id: &'a str,
    image: &'a str,
    name: &'a str,
    network: &'a str,
    status: &'a str,
    time: i64,
    time_nano: i64,
    #[serde(rename = "Type")]
    kind: &'a str,
    health_status: &'a str,
    error: &'a str,
    container_inspect_data: &'a str,
    #[serde(rename = "PodID")]
    pod_id: &'a str,
    attributes: Option<&'a BTreeMap<String, String>>,
}

/// An event as `--format json` prints it: what is empty is left out.
#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
struct JsonRow<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    container_exit_code: Option<i32>,
    #[serde(rename = "ID", skip_serializing_if = "str::is_empty")]
    id: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    image: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    name: &'a str,
    #[serde(rename = "network", skip_serializing_if = "str::is_empty")]
    network: &'a str,
    status: &'a str,
    #[serde(rename = "time")]
    time: i64,
    #[serde(rename = "timeNano")]
    time_nano: i64,
    #[serde(rename = "Type")]
    kind: &'a str,
    #[serde(rename = "health_status", skip_serializing_if = "str::is_empty")]
    health_status: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    error: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    container_inspect_data: &'a str,
    #[serde(rename = "PodID", skip_serializing_if = "str::is_empty")]
    pod_id: &'a str,
    attributes: Option<&'a BTreeMap<String, String>>,
}

/// Prints events.
///
/// # Errors
/// When there is no file of events, or a filter or format is wrong.
pub fn exec(ui: &mut Ui, engine: &Engine, args: Args) -> Result<ExitStatus> {
    let sink = engine.events()?;
    let Some(path) = sink.path() else {
        return Err(CommandError::new("cannot read events with the \"none\" backend"));
    };
    let filters = filters(&args)?;
    let from_start = filters.since.is_some() || filters.until.is_some() || !args.stream;
    let mut reader = Reader::open(path, from_start)?;
    loop {
        // Asked before the reading, so that what came until then is printed.
        let over = filters.until.is_some_and(|until| Timestamp::now() >= until);
        while let Some(event) = reader.next_event()? {
            if filters.matches(&event) {
                print(ui, &args, &event)?;
            }
        }
        ui.flush()?;
        if over || !args.stream {
            return Ok(ExitStatus::SUCCESS);
        }
        let left = filters.until.map(|until| {
            let left = until.duration_since(Timestamp::now());
            Duration::try_from(left).unwrap_or_default() + Duration::from_millis(1)
        });
        reader.wait(left)?;
    }
}

fn filters(args: &Args) -> Result<Filters> {
    let failed = |text: String| CommandError::new(format!("failed to parse event filters: {text}"));
    let mut filters = Filters::parse(&args.filter).map_err(|error| failed(error.to_string()))?;
    let time = |name: &str, text: Option<&str>| match text {
        None | Some("") => Ok(None),
        Some(text) => parse_input_time(text, name == "since", Timestamp::now())
            .map(Some)
            .map_err(|error| failed(format!("unable to convert {name} time of {text}: {error}"))),
    };
    filters.since = time("since", args.since.as_deref())?;
    filters.until = time("until", args.until.as_deref())?;
    Ok(filters)
}

fn print(ui: &mut Ui, args: &Args, event: &Event) -> Result<()> {
    let Some(format) = args.format.as_deref() else {
        return ui.data(human(event, !args.no_trunc));
    };
    let list = List::new("events", "").format(Some(format)).no_heading(true);
    let (time, time_nano) =
        (event.time.as_second(), i64::try_from(event.time.as_nanosecond()).unwrap_or_default());
    if list.is_json() {
        let row = JsonRow {
            container_exit_code: event.container_exit_code,
            id: &event.id,
            image: &event.image,
            name: &event.name,
            network: &event.network,
            status: &event.status,
            time,
            time_nano,
            kind: &event.kind,
            health_status: &event.health_status,
            error: &event.error,
            container_inspect_data: &event.container_inspect_data,
            pod_id: &event.pod_id,
            attributes: event.attributes.as_ref(),
        };
        return list.json(ui, &row, Layout::COMPACT);
    }
    list.print(ui, &[row(event, time, time_nano)])
}

fn row(event: &Event, time: i64, time_nano: i64) -> Row<'_> {
    Row {
        container_exit_code: event.container_exit_code,
        id: &event.id,
        image: &event.image,
        name: &event.name,
        network: &event.network,
        status: &event.status,
        time,
        time_nano,
        kind: &event.kind,
        health_status: &event.health_status,
        error: &event.error,
        container_inspect_data: &event.container_inspect_data,
        pod_id: &event.pod_id,
        attributes: event.attributes.as_ref(),
    }
}

/// The line for people.
fn human(event: &Event, truncate: bool) -> String {
    let id = if truncate { event.id.get(..12).unwrap_or(&event.id) } else { &event.id };
    let Event { kind, status, name, .. } = event;
    let head = format!("{} {kind} {status}", Time::new(event.time).go_string());
    match kind.as_str() {
        "container" | "pod" => {
            let mut line = format!("{head} {id} (image={}, name={name}", event.image);
            if !event.pod_id.is_empty() {
                line.push_str(&format!(", pod_id={}", event.pod_id));
            }
            if status == "health_status" {
                line.push_str(&format!(
                    ", health_status={}, health_failing_streak={}, health_log={}",
                    event.health_status, event.health_failing_streak, event.health_log
                ));
            }
            for (key, value) in event.attributes.iter().flatten() {
                line.push_str(&format!(", {key}={value}"));
            }
            line + ")"
        }
        "network" => match event.attributes.as_ref().and_then(|attributes| attributes.get("driver")) {
            Some(driver) => format!("{head} {} (name={}, type={driver})", event.id, event.network),
            None => format!("{head} {id} (container={id}, name={})", event.network),
        },
        "image" if event.error.is_empty() => format!("{head} {id} {name}"),
        "image" => format!("{head} {id} {name} {}", event.error),
        "secret" => format!("{head} {id}"),
        _ if name.is_empty() => head,
        _ => format!("{head} {name}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_for_people_are_those_of_podman() {
        let mut event = Event::new("container", "died");
        event.time = "2026-11-22T12:00:00.5Z".parse().unwrap();
        event.id = "0123456789abcdef".to_owned();
        event.name = "web".to_owned();
        event.image = "quay.io/x:1".to_owned();
        event.attributes = Some([("app".to_owned(), "a b".to_owned())].into_iter().collect());
        let line = human(&event, true);
        assert!(
            line.ends_with(" container died 0123456789ab (image=quay.io/x:1, name=web, app=a b)"),
            "{line}"
        );
        let image = Event { kind: "image".to_owned(), error: "no route".to_owned(), ..event };
        assert!(human(&image, false).ends_with(" image died 0123456789abcdef web no route"));
        assert!(human(&Event::volume("create", "data"), false).ends_with(" volume create data"));
    }
}
