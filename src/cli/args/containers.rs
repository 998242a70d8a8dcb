//! Which containers a command is about: arguments, `--all`, `--latest`, `--cidfile`, `--filter`.

use std::path::{Path, PathBuf};

use jiff::Timestamp;

use crate::cli::error::{CommandError, Result};
use crate::cli::exit::ExitStatus;
use crate::cli::ui::Ui;
use crate::cli::units::parse_input_time;
use crate::container::filter::Filters;
use crate::container::list::{Selected, Selection};
use crate::container::{self, Containers, Record};

/// What the flags and arguments of a command say.
#[derive(Debug, Default)]
pub struct Named {
    /// The arguments.
    pub references: Vec<String>,
    /// `--all`
    pub all: bool,
    /// `--latest`
    pub latest: bool,
    /// `--ignore`
    pub ignore: bool,
    /// `--cidfile`
    pub id_files: Vec<PathBuf>,
    /// `--filter`
    pub filters: Vec<String>,
    /// What was named is dealt with already.
    pub nothing: bool,
}

impl Named {
    /// Checks that the ways to name containers are not mixed, in podman's words.
    ///
    /// # Errors
    /// When they are, or when none is used.
    pub fn check(&self) -> Result<()> {
        let refuse = |text: &str| Err(CommandError::new(text));
        let arguments = !self.references.is_empty();
        let files = !self.id_files.is_empty();
        if !self.filters.is_empty() {
            return if arguments { refuse("--filter takes no arguments") } else { Ok(()) };
        }
        match (self.all, self.latest, files, arguments) {
            (true, _, true, _) | (_, true, true, _) => {
                refuse("--all, --latest, and --cidfile cannot be used together")
            }
            (true, true, ..) => refuse("--all and --latest cannot be used together"),
            (true, _, _, true) => refuse("no arguments are needed with --all"),
            (_, true, _, true) => refuse("--latest and containers cannot be used together"),
            (_, _, true, true) => refuse("no arguments are needed with --latest or --cidfile"),
            (false, false, false, false) => refuse("you must provide at least one name or id"),
            _ => Ok(()),
        }
    }

    /// Finds the containers.
    ///
    /// # Errors
    /// When a file cannot be read, a filter is wrong, or a reference means no container.
    pub fn find(&self, containers: &Containers) -> Result<Vec<Selected>> {
        if self.nothing && self.id_files.is_empty() {
            return Ok(Vec::new());
        }
        let mut references = self.references.clone();
        for file in &self.id_files {
            references.extend(read_id_file(file, self.ignore)?);
        }
        if references.is_empty() && !self.id_files.is_empty() {
            return Ok(Vec::new());
        }
        let filters = parse_filters(&self.filters, containers)?;
        let Self { all, latest, ignore, .. } = *self;
        Ok(containers.select(&Selection { references, all, latest, filters, ignore })?)
    }
}

/// Parses `--filter`.
///
/// # Errors
/// When one is wrong.
pub fn parse_filters(texts: &[String], containers: &Containers) -> Result<Filters> {
    let time = |text: &str| parse_input_time(text, true, Timestamp::now()).ok();
    Ok(Filters::parse(texts, containers, time)?)
}

/// The id in a `--cidfile`; nothing if it is missing and that is to be ignored.
fn read_id_file(path: &Path, ignore: bool) -> Result<Option<String>> {
    match std::fs::read_to_string(path) {
        Ok(text) => Ok(text.lines().next().map(str::to_owned)),
        Err(e) if ignore && e.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(e) => {
            let why = CommandError::from(e);
            Err(CommandError::new(format!("reading CIDFile: open {}: {}", path.display(), why.message())))
        }
    }
}

/// Does something to each container, prints how each was named, and goes on after errors: all but the
/// last are printed, the last one is returned.
///
/// # Errors
/// The last one.
pub fn for_each(
    ui: &mut Ui,
    selected: Vec<Selected>,
    mut act: impl FnMut(&mut Ui, &Record) -> Result<bool, container::Error>,
) -> Result<ExitStatus> {
    let mut last = None;
    for Selected { given, record } in selected {
        let Some(record) = record else { continue };
        match act(ui, &record) {
            Ok(true) => ui.data(given)?,
            Ok(false) => {}
            Err(error) => report_earlier(ui, &mut last, error.into()),
        }
    }
    last.map_or(Ok(ExitStatus::SUCCESS), Err)
}

/// Keeps `error` as the last one, and prints the one that was it before.
pub fn report_earlier(ui: &mut Ui, last: &mut Option<CommandError>, error: CommandError) {
    if let Some(earlier) = last.replace(error) {
        ui.error(&earlier);
    }
}
