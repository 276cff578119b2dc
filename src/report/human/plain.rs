//! Lines without cursor movement, for logs: each says something new, none is a repetition with a new number.

use std::collections::BTreeMap;
use std::io::Write;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use super::super::style::{Paint, size, span};
use super::super::{Event, Phase, Reporter};
use super::{remark, table::table};
use crate::platform::Platform;
use crate::sys::clock::Instant;

/// How often the number of compiled crates is worth a line.
const CRATES: Duration = Duration::from_secs(15);

/// How much is said.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Verbosity {
    /// Only failures.
    Quiet,
    /// The course of the run.
    Normal,
    /// Details too.
    Details,
}

/// The view for logs.
pub struct Plain {
    paint: Paint,
    verbosity: Verbosity,
    state: Mutex<State>,
}

struct State {
    writer: Box<dyn Write + Send>,
    /// The downloads that have begun, by what is downloaded, and whether they have ended.
    downloads: BTreeMap<String, bool>,
    phases: BTreeMap<Platform, Phase>,
    built: Vec<Event>,
    crates_told: Instant,
}

impl Plain {
    /// Writes lines to `writer`, with colours if `color`.
    #[must_use]
    pub fn new(writer: Box<dyn Write + Send>, color: bool, verbosity: Verbosity) -> Self {
        let state = State {
            writer,
            downloads: BTreeMap::new(),
            phases: BTreeMap::new(),
            built: Vec::new(),
            crates_told: Instant::now(),
        };
        Self { paint: Paint(color), verbosity, state: Mutex::new(state) }
    }

    /// Writes text that is not an event: an error with its source lines.
    pub fn print(&self, text: &str) {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).write(text);
    }
}

impl State {
    fn write(&mut self, text: &str) {
        // A reader that went away ends the output, not the build.
        self.writer.write_all(text.as_bytes()).and_then(|()| self.writer.flush()).ok();
    }

    /// The text of an event, which may be none.
    fn text(&mut self, event: Event, paint: Paint) -> String {
        match event {
            Event::Phase { platform, phase } => {
                // `done` is told by the event that has the digest.
                let known = self.phases.insert(platform.clone(), phase) == Some(phase);
                if known || phase == Phase::Done {
                    return String::new();
                }
                format!("{} {}\n", paint.word(&format!("{:<15}", platform.to_string())), phase.name())
            }
            Event::Crates { done, total } => {
                let all = total == Some(done);
                if !all && self.crates_told.elapsed() < CRATES {
                    return String::new();
                }
                self.crates_told = Instant::now();
                match total {
                    Some(total) => format!("compiled {done} of {total} crates\n"),
                    None => format!("compiled {done} crates\n"),
                }
            }
            Event::Download { what, done, total } => self.download(what, done, total),
            Event::Compiler { text } => with_line_end(text),
            Event::Built { ref platform, ref digest, size: bytes, milliseconds, .. } => {
                let name = paint.word(&format!("{:<15}", platform.to_string()));
                let line = format!(
                    "{name} {} {digest} {} in {}\n",
                    paint.good("done"),
                    size(bytes),
                    span(milliseconds)
                );
                self.built.push(event);
                line
            }
            Event::Published { reference, digest, milliseconds } => {
                let table = table(&self.built, paint);
                let published = paint.good("published");
                format!("\n{table}\n{published} {reference}@{digest} in {}\n", span(milliseconds))
            }
            // Bytes of a phase are for live views.
            Event::Progress { .. } | Event::Note { .. } | Event::Failed { .. } => String::new(),
        }
    }

    /// A line when a download begins and one when it ends.
    fn download(&mut self, what: String, done: u64, total: Option<u64>) -> String {
        let ended = total.is_some_and(|total| done >= total);
        match self.downloads.get(&what) {
            Some(true) => String::new(),
            Some(false) if !ended => String::new(),
            Some(false) => {
                let line = format!("downloaded {what} ({})\n", size(done));
                self.downloads.insert(what, true);
                line
            }
            None => {
                let verb = if ended { "downloaded" } else { "downloading" };
                let bytes = total.map_or_else(String::new, |total| format!(" ({})", size(total)));
                let line = format!("{verb} {what}{bytes}\n");
                self.downloads.insert(what, ended);
                line
            }
        }
    }
}

fn with_line_end(mut text: String) -> String {
    if !text.is_empty() && !text.ends_with('\n') {
        text.push('\n');
    }
    text
}

impl Reporter for Plain {
    fn report(&self, event: Event) {
        if self.verbosity == Verbosity::Quiet && !matches!(event, Event::Failed { .. }) {
            return;
        }
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let text = remark(&event, self.paint, self.verbosity == Verbosity::Details)
            .unwrap_or_else(|| state.text(event, self.paint));
        if !text.is_empty() {
            state.write(&text);
        }
    }
}
