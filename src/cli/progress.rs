//! Draws the progress of a pull or load.
//!
//! On a terminal each blob has a bar; elsewhere each has one line, in podman's
//! words. Bars appear after a quarter of a second, so that what is quick does not
//! flicker, and are drawn at most 20 times a second. There is no thread: bars
//! move when an event arrives, because the process may enter namespaces later.

use std::collections::{HashMap, HashSet};
use std::fmt::Write;
use std::time::{Duration, Instant};

use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressState, ProgressStyle};

use super::error::CommandError;
use super::ui::{Level, Ui};
use super::units;
use crate::image::progress::{Event, Progress, Resolution};
use crate::kernel::tty;
use crate::store::Digest;

const DELAY: Duration = Duration::from_millis(250);
const DRAWS_PER_SECOND: u8 = 20;
/// As many digits of a digest as people compare.
const SHORT: usize = 12;

/// Shows the events of one pull or load on stderr.
#[derive(Debug)]
pub struct PullProgress<'a> {
    ui: &'a mut Ui,
    bars: Option<Bars>,
    /// Blobs that have their line, without bars: what was begun may turn out to be here already.
    lined: HashSet<Digest>,
}

impl<'a> PullProgress<'a> {
    /// Draws bars if stderr is a terminal and nothing else is logged there.
    pub fn new(ui: &'a mut Ui) -> Self {
        let bars = (ui.stderr_is_terminal() && !ui.is_quiet() && !ui.shows(Level::Debug)).then(Bars::new);
        Self { ui, bars, lined: HashSet::new() }
    }

    /// Prints a line; the bars stay below it.
    fn line(&mut self, line: &str) {
        match &self.bars {
            Some(bars) => bars.multi.suspend(|| self.ui.status(line)),
            None => self.ui.status(line),
        }
    }
}

impl PullProgress<'_> {
    fn blob_line(&mut self, digest: &Digest) {
        if self.lined.insert(digest.clone()) {
            self.ui.status(format_args!("Copying blob {digest}"));
        }
    }
}

impl Progress for PullProgress<'_> {
    fn event(&mut self, event: Event<'_>) {
        match event {
            Event::Resolved { name, by: Resolution::Alias(file) } => {
                self.line(&format!("Resolved {name:?} as an alias ({file})"));
            }
            Event::Resolved { name, by: Resolution::SearchRegistries(file) } => {
                let file = file.as_deref().unwrap_or("built-in default");
                self.line(&format!("Resolving {name:?} using unqualified-search registries ({file})"));
            }
            Event::Trying(reference) => self.line(&format!("Trying to pull {reference}...")),
            Event::Source => self.line("Getting image source signatures"),
            Event::BlobStarted { digest, size, offset } => match &mut self.bars {
                Some(bars) => bars.start(digest, size, offset),
                None => self.blob_line(digest),
            },
            Event::BlobSkipped(digest) if self.bars.is_some() => {
                self.line(&format!("Copying blob {} skipped: already exists", short(digest)));
            }
            Event::BlobSkipped(digest) => self.blob_line(digest),
            Event::BlobProgress { digest, position } => {
                if let Some(bars) = &mut self.bars {
                    bars.advance(digest, position);
                }
            }
            Event::BlobDone(digest) => {
                if let Some(bars) = &mut self.bars {
                    bars.finish(digest);
                }
            }
            Event::Config(digest) => {
                let text = if self.bars.is_some() { short(digest) } else { digest.to_string() };
                self.line(&format!("Copying config {text}"));
            }
            Event::Manifest => self.line("Writing manifest to image destination"),
            Event::Signing(way) => self.line(&format!("Creating signature: Signing image using {way}")),
            Event::Retry { purpose, error, delay, attempt, retries } => {
                let delay = units::format_duration(delay);
                let purpose = purpose.map_or_else(String::new, |purpose| format!("{purpose}: "));
                let reason = format!("{purpose}{}", CommandError::describe(error));
                let text = format!("Failed, retrying in {delay} ... ({attempt}/{retries}). Error: {reason}");
                match &self.bars {
                    Some(bars) => bars.multi.suspend(|| self.ui.warn(text)),
                    None => self.ui.warn(text),
                }
            }
            Event::Moved(text) => self.line(text),
            Event::Warning(text) => match &self.bars {
                Some(bars) => bars.multi.suspend(|| self.ui.warn(text)),
                None => self.ui.warn(text),
            },
        }
    }
}

impl Drop for PullProgress<'_> {
    /// Leaves no half-drawn bar behind, whether the pull went well or not.
    fn drop(&mut self) {
        if let Some(bars) = self.bars.take() {
            let summary = bars.close();
            if let Some(summary) = summary {
                self.ui.status(summary);
            }
        }
    }
}

#[derive(Debug)]
struct Bars {
    multi: MultiProgress,
    bars: HashMap<Digest, ProgressBar>,
    /// How a blob of known size looks on this terminal.
    template: String,
    begun: Instant,
    is_drawn: bool,
    bytes: u64,
    done: usize,
}

impl Bars {
    fn new() -> Self {
        // A terminal that does not know its size is taken for an ordinary one.
        let columns = tty::window_size(std::io::stderr()).map_or(0, |size| size.columns);
        let columns = if columns == 0 { 80 } else { columns };
        Self {
            multi: MultiProgress::with_draw_target(ProgressDrawTarget::hidden()),
            bars: HashMap::new(),
            template: template(columns),
            begun: Instant::now(),
            is_drawn: false,
            bytes: 0,
            done: 0,
        }
    }

    fn start(&mut self, digest: &Digest, size: Option<u64>, offset: u64) {
        let bar = self.multi.add(match size {
            Some(size) => ProgressBar::new(size).with_style(style(&self.template)),
            None => ProgressBar::no_length().with_style(style("Copying blob {prefix} {position} | {speed}")),
        });
        bar.set_prefix(short(digest));
        // What an earlier attempt left must not count as speed.
        bar.set_position(offset);
        bar.reset_eta();
        self.bars.insert(digest.clone(), bar);
        self.draw();
    }

    fn advance(&mut self, digest: &Digest, position: u64) {
        if let Some(bar) = self.bars.get(digest) {
            bar.set_position(position);
        }
        self.draw();
    }

    fn finish(&mut self, digest: &Digest) {
        if let Some(bar) = self.bars.get(digest) {
            let size = bar.length().unwrap_or_else(|| bar.position());
            self.bytes += size;
            self.done += 1;
            bar.set_style(style("Copying blob {prefix} done   | {msg}"));
            bar.finish_with_message(units::binary_size(size));
        }
        self.draw();
    }

    /// Begins to draw once the pull has taken long enough.
    fn draw(&mut self) {
        if !self.is_drawn && self.begun.elapsed() >= DELAY {
            self.multi.set_draw_target(ProgressDrawTarget::stderr_with_hz(DRAWS_PER_SECOND));
            self.is_drawn = true;
        }
    }

    /// Says what was done, if it took long enough to be shown.
    fn close(self) -> Option<String> {
        for bar in self.bars.values().filter(|bar| !bar.is_finished()) {
            bar.abandon();
        }
        let took = Duration::from_millis(u64::try_from(self.begun.elapsed().as_millis()).unwrap_or(u64::MAX));
        (self.is_drawn && self.done > 0).then(|| {
            let blobs = if self.done == 1 { "blob" } else { "blobs" };
            format!(
                "Copied {} {blobs}, {} in {}",
                self.done,
                units::binary_size(self.bytes),
                units::format_duration(took)
            )
        })
    }
}

fn short(digest: &Digest) -> String {
    let mut hex = digest.hex();
    hex.truncate(SHORT);
    hex
}

/// A line that is wrapped would leave its pieces behind whenever it is drawn anew: the bar takes what the
/// terminal has left for it, and goes first where that is little.
fn template(columns: u16) -> String {
    /// All but the bar, at the widest that its numbers become.
    const TEXT: u16 = 64;
    /// Without the speed as well.
    const SHORT_TEXT: u16 = 47;
    const WIDEST: u16 = 40;
    match columns {
        columns if columns > TEXT + 8 => {
            let width = (columns - TEXT).min(WIDEST);
            format!("Copying blob {{prefix}} [{{bar:{width}.green}}] {{position}} / {{size}} | {{speed}}")
        }
        columns if columns > TEXT => "Copying blob {prefix} {position} / {size} | {speed}".to_owned(),
        columns if columns > SHORT_TEXT => "Copying blob {prefix} {position} / {size}".to_owned(),
        _ => "{prefix} {percent}%".to_owned(),
    }
}

fn style(template: &str) -> ProgressStyle {
    let mut style = ProgressStyle::with_template(template).expect("a valid template").progress_chars("=> ");
    style = style.with_key("position", |state: &ProgressState, text: &mut dyn Write| {
        let _ = write!(text, "{}", units::binary_size(state.pos()));
    });
    style = style.with_key("size", |state: &ProgressState, text: &mut dyn Write| {
        let _ = write!(text, "{}", units::binary_size(state.len().unwrap_or_default()));
    });
    style.with_key("speed", |state: &ProgressState, text: &mut dyn Write| {
        let _ = write!(text, "{}/s", units::binary_size(state.per_sec() as u64));
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_line_is_wider_than_the_terminal() {
        let widest = units::binary_size((1 << 40) - 1).len();
        for columns in [20, 40, 48, 60, 65, 72, 73, 80, 100, 104, 200, u16::MAX] {
            let line = template(columns);
            let bar = line
                .split_once("{bar:")
                .map_or(0, |(_, rest)| rest.split_once('.').unwrap().0.parse().unwrap());
            let mut width = bar;
            for (index, piece) in line.split(['{', '}']).enumerate() {
                width += match piece {
                    piece if index % 2 == 0 => piece.len(),
                    "prefix" => SHORT,
                    "position" | "size" => widest,
                    "speed" => widest + 2,
                    "percent" => 3,
                    _ => 0,
                };
            }
            assert!(width <= usize::from(columns), "{columns}: {width} in {line}");
            assert!(columns < 80 || bar >= 10, "{line}");
        }
    }
}
