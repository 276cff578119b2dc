//! The live view: one line per platform and one per download, redrawn in place; everything else scrolls above them.

use std::collections::BTreeMap;
use std::fmt;
use std::io::Write;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressFinish, ProgressStyle};

use super::super::style::{Paint, span};
use super::table::{releases, table};
use super::{Shown, remark};
use crate::event::{Event, Phase, Reporter};
use crate::sys::clock::Instant;
use crate::target::platform::Platform;
use crate::text::size;
use crate::text::visible::line;

/// How often the spinners turn.
const TICK: Duration = Duration::from_millis(120);

/// The view for a terminal.
pub(crate) struct Terminal {
    paint: Paint,
    details: bool,
    shown: Shown,
    bars: MultiProgress,
    state: Mutex<State>,
}

struct State {
    writer: Box<dyn Write + Send>,
    platforms: BTreeMap<Platform, Line>,
    downloads: BTreeMap<String, ProgressBar>,
    crates: Crates,
    built: Vec<Event>,
}

/// A platform's live line.
struct Line {
    bar: ProgressBar,
    phase: Phase,
    since: Instant,
    /// The library that zig is building for it.
    library: Option<String>,
}

impl Terminal {
    /// Draws on `target`; text that scrolls goes to `writer`, which is the same terminal.
    #[must_use]
    pub(crate) fn new(
        target: ProgressDrawTarget,
        writer: Box<dyn Write + Send>,
        color: bool,
        details: bool,
        shown: Shown,
    ) -> Self {
        let state = State {
            writer,
            platforms: BTreeMap::new(),
            downloads: BTreeMap::new(),
            crates: Crates::default(),
            built: Vec::new(),
        };
        let bars = MultiProgress::with_draw_target(target);
        Self { paint: Paint(color), details, shown, bars, state: Mutex::new(state) }
    }

    /// Writes text above the live lines.
    pub(crate) fn print(&self, text: &str) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        self.write(&mut state, text);
    }

    /// Removes the live lines, so that the next output starts on a clean line. What was built stays as a table, even if
    /// nothing was published.
    pub(crate) fn finish(&self) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        self.clear(&mut state);
        let table = table(&std::mem::take(&mut state.built), self.paint);
        if !table.is_empty() {
            self.write(&mut state, &table);
        }
    }

    fn clear(&self, state: &mut State) {
        for line in std::mem::take(&mut state.platforms).into_values() {
            line.bar.finish_and_clear();
        }
        for bar in std::mem::take(&mut state.downloads).into_values() {
            bar.finish_and_clear();
        }
        // A terminal that is gone needs no clearing.
        self.bars.clear().ok();
    }

    fn write(&self, state: &mut State, text: &str) {
        // As in the plain view, a broken pipe must not end the build.
        self.bars
            .suspend(|| state.writer.write_all(text.as_bytes()).and_then(|()| state.writer.flush()).ok());
    }

    /// The platform's line, created in platform order when the platform is first mentioned.
    fn line<'a>(&self, state: &'a mut State, platform: &Platform) -> &'a mut Line {
        if !state.platforms.contains_key(platform) {
            let position = state.platforms.range(..platform.clone()).count();
            let bar = ProgressBar::new_spinner().with_finish(ProgressFinish::AndLeave);
            let bar = self.bars.insert(position, bar);
            bar.set_style(style("{spinner} {prefix:15} {wide_msg}"));
            bar.set_prefix(platform.to_string());
            bar.enable_steady_tick(TICK);
            let line = Line { bar, phase: Phase::Resolve, since: Instant::now(), library: None };
            state.platforms.insert(platform.clone(), line);
        }
        // Inserted above if it was missing.
        state.platforms.entry(platform.clone()).or_insert_with(|| Line {
            bar: ProgressBar::hidden(),
            phase: Phase::Resolve,
            since: Instant::now(),
            library: None,
        })
    }

    fn phase(&self, state: &mut State, platform: &Platform, phase: Phase) {
        let crates = state.crates.to_string();
        let paint = self.paint;
        let line = self.line(state, platform);
        if line.phase != phase {
            line.phase = phase;
            line.since = Instant::now();
        }
        line.show(
            paint,
            &match phase {
                Phase::Compile => crates,
                _ => String::new(),
            },
        );
        if phase == Phase::Done {
            line.end("✓");
        }
    }

    /// Ends the live lines with the table of what was built and its destination.
    fn published(&self, state: &mut State, reference: &str, milliseconds: u64) {
        self.clear(state);
        let built = std::mem::take(&mut state.built);
        let (table, releases) = (table(&built, self.paint), releases(&built));
        let published = self.paint.good("published");
        let name = (self.shown)(reference);
        let name = line(&name);
        self.write(state, &format!("{table}{releases}\n{published} {name} in {}\n", span(milliseconds)));
    }

    fn download(&self, state: &mut State, what: &str, done: u64, total: Option<u64>) {
        let ended = total.is_some_and(|total| done >= total);
        if ended && !state.downloads.contains_key(what) {
            return;
        }
        let bar = state.downloads.entry(what.to_owned()).or_insert_with(|| {
            let bar = self.bars.add(ProgressBar::no_length());
            bar.set_prefix(line(what).into_owned());
            bar.set_style(style(match total {
                Some(_) => {
                    "  {prefix} {bar:24} {decimal_bytes}/{decimal_total_bytes} {decimal_bytes_per_sec}"
                }
                None => "  {prefix} {spinner} {decimal_bytes} {decimal_bytes_per_sec}",
            }));
            bar
        });
        if let Some(total) = total {
            bar.set_length(total);
        }
        bar.set_position(done);
        if ended {
            bar.finish_and_clear();
            self.bars.remove(bar);
            state.downloads.remove(what);
        }
    }
}

impl Line {
    fn show(&self, paint: Paint, rest: &str) {
        let word = match self.phase {
            Phase::Done => paint.good(self.phase.name()),
            phase => paint.word(phase.name()),
        };
        let library = self.library.as_ref().filter(|_| self.phase == Phase::Compile);
        // The library comes first, because cargo's list of active units may be longer than the line.
        let library = library.map_or_else(String::new, |library| format!("zig builds its {library}, once; "));
        self.bar.set_message(format!("{word} {library}{rest}"));
    }

    /// Stops the spinner and shows a mark in its place.
    fn end(&self, mark: &str) {
        self.bar.disable_steady_tick();
        self.bar.set_style(style(&format!("{mark} {{prefix:15}} {{wide_msg}}")));
    }
}

/// The progress of cargo.
#[derive(Default)]
struct Crates {
    done: u64,
    total: Option<u64>,
    active: String,
}

impl fmt::Display for Crates {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.done, self.total) {
            (0, None) => return Ok(()),
            (done, Some(total)) => write!(formatter, "{done}/{total} crates")?,
            (done, None) => write!(formatter, "{done} crates")?,
        }
        if self.active.is_empty() { Ok(()) } else { write!(formatter, ": {}", self.active) }
    }
}

/// A layer's bytes so far and their rate.
#[allow(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "for a display of three digits"
)]
fn bytes_text(done: u64, total: Option<u64>, seconds: f64) -> String {
    let of = total.map_or_else(String::new, |total| format!(" of {}", size(total)));
    // A rate over a very short time is meaningless.
    let rate =
        if seconds < 0.2 { String::new() } else { format!(", {}/s", size((done as f64 / seconds) as u64)) };
    format!("{}{of}{rate}", size(done))
}

/// The style of a line. The templates are constants of this file; an invalid one would show the plain default.
fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_spinner())
}

impl Reporter for Terminal {
    fn report(&self, event: Event) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let state = &mut *state;
        if let Some(text) = remark(&event, self.paint, self.details) {
            if let Event::Failed { platform: Some(platform), .. } = &event
                && let Some(line) = state.platforms.get(platform)
            {
                line.end("✗");
                line.bar.set_message(self.paint.error("failed"));
            }
            return self.write(state, &text);
        }
        match event {
            Event::Phase { platform, phase } => self.phase(state, &platform, phase),
            Event::Progress { platform, done, total } => {
                let paint = self.paint;
                let line = self.line(state, &platform);
                line.show(paint, &bytes_text(done, total, line.since.elapsed().as_secs_f64()));
            }
            Event::Crates { done, total, active } => {
                state.crates = Crates { done, total, active: line(&active).into_owned() };
                let text = state.crates.to_string();
                for line in state.platforms.values().filter(|line| line.phase == Phase::Compile) {
                    line.show(self.paint, &text);
                }
            }
            Event::Library { platform, triple: _, library, milliseconds } => {
                let crates = state.crates.to_string();
                let paint = self.paint;
                let line = self.line(state, &platform);
                line.library = milliseconds.is_none().then_some(library);
                if line.phase == Phase::Compile {
                    line.show(paint, &crates);
                }
            }
            Event::Download { what, done, total } | Event::Upload { what, done, total } => {
                self.download(state, &what, done, total);
            }
            Event::Compiler { text, error: _ } => {
                let end = if text.ends_with('\n') { "" } else { "\n" };
                self.write(state, &format!("{text}{end}"));
            }
            Event::Releases { .. } => state.built.push(event),
            Event::Built { ref platform, size: bytes, milliseconds, .. } => {
                let paint = self.paint;
                let line = self.line(state, platform);
                line.phase = Phase::Done;
                line.show(paint, &format!("{} in {}", size(bytes), span(milliseconds)));
                line.end("✓");
                state.built.push(event);
            }
            Event::Published { reference, digest: _, milliseconds } => {
                self.published(state, &reference, milliseconds);
            }
            Event::Waiting { .. } | Event::Note { .. } | Event::Finding { .. } | Event::Failed { .. } => (),
        }
    }
}
