//! Lines without cursor movement, for logs: each line has new information, and none just repeats another with a new
//! number.

use std::collections::BTreeMap;
use std::io::Write;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use super::super::style::{Paint, span};
use super::table::{releases, table};
use super::{Shown, remark};
use crate::event::{Event, Phase, Reporter};
use crate::linkcheck::Severity;
use crate::sys::clock::Instant;
use crate::target::platform::Platform;
use crate::text::size;
use crate::text::visible::line;

/// The interval between lines about the number of compiled crates.
const CRATES: Duration = Duration::from_secs(15);
/// A download of more bytes than this gets a line when it begins and one when it ends.
const LARGE: u64 = 8_000_000;
/// A smaller download gets these lines if it takes longer than this.
const SLOW: Duration = Duration::from_secs(5);

/// How much is printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Verbosity {
    /// Only failures.
    Quiet,
    /// The progress of the run.
    Normal,
    /// Details too.
    Details,
}

/// The view for logs.
pub(crate) struct Plain {
    paint: Paint,
    verbosity: Verbosity,
    shown: Shown,
    state: Mutex<State>,
}

struct State {
    writer: Box<dyn Write + Send>,
    /// The downloads that have begun, by their description.
    downloads: BTreeMap<String, Download>,
    phases: BTreeMap<Platform, Phase>,
    built: Vec<Event>,
    crates_told: Instant,
}

struct Download {
    since: Instant,
    state: DownloadState,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum DownloadState {
    /// Nothing was printed about it.
    Silent,
    /// Its beginning was printed.
    Told,
    Ended,
}

impl Plain {
    /// Writes lines to `writer`, with colours if `color`.
    #[must_use]
    pub(crate) fn new(
        writer: Box<dyn Write + Send>,
        color: bool,
        verbosity: Verbosity,
        shown: Shown,
    ) -> Self {
        let state = State {
            writer,
            downloads: BTreeMap::new(),
            phases: BTreeMap::new(),
            built: Vec::new(),
            crates_told: Instant::now(),
        };
        Self { paint: Paint(color), verbosity, shown, state: Mutex::new(state) }
    }

    /// Writes text that is not an event: an error with its source lines.
    pub(crate) fn print(&self, text: &str) {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).write(text);
    }
}

impl State {
    fn write(&mut self, text: &str) {
        // A reader that goes away must not end the build.
        self.writer.write_all(text.as_bytes()).and_then(|()| self.writer.flush()).ok();
    }

    /// The text of an event, which may be empty.
    fn text(&mut self, event: Event, view: &Plain) -> String {
        let paint = view.paint;
        match event {
            Event::Phase { platform, phase } => {
                // `done` is printed with the event that has the digest.
                let known = self.phases.insert(platform.clone(), phase) == Some(phase);
                if known || phase == Phase::Done {
                    return String::new();
                }
                format!("{} {}\n", paint.word(&format!("{:<15}", platform.to_string())), phase.name())
            }
            Event::Crates { done, total, active } => self.crates(done, total, &active),
            Event::Library { platform, triple, library, milliseconds } => {
                let name = paint.word(&format!("{:<15}", platform.to_string()));
                library_text(&name, &triple, &library, milliseconds)
            }
            Event::Download { what, done, total } => {
                self.transfer(&what, ["downloading", "downloaded"], done, total, view.verbosity)
            }
            Event::Upload { what, done, total } => {
                self.transfer(&what, ["uploading to", "uploaded to"], done, total, view.verbosity)
            }
            Event::Compiler { text, error: _ } => with_line_end(text),
            // Printed at the end, with the images built from them.
            Event::Releases { .. } => {
                self.built.push(event);
                String::new()
            }
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
                let (table, releases) = (table(&self.built, paint), releases(&self.built));
                let (published, name) = (paint.good("published"), (view.shown)(&reference));
                format!(
                    "\n{table}{releases}\n{published} {}@{digest} in {}\n",
                    line(&name),
                    span(milliseconds)
                )
            }
            // Bytes of a phase are only for live views.
            Event::Progress { .. }
            | Event::Waiting { .. }
            | Event::Note { .. }
            | Event::Finding { .. }
            | Event::Failed { .. } => String::new(),
        }
    }

    /// The number of compiled crates, at intervals.
    fn crates(&mut self, done: u64, total: Option<u64>, active: &str) -> String {
        let all = total == Some(done);
        if !all && self.crates_told.elapsed() < CRATES {
            return String::new();
        }
        self.crates_told = Instant::now();
        let of = total.map_or_else(String::new, |total| format!(" of {total}"));
        let noun = if total.unwrap_or(done) == 1 { "crate" } else { "crates" };
        let now = if active.is_empty() { String::new() } else { format!("; now {}", line(active)) };
        format!("compiled {done}{of} {noun}{now}\n")
    }

    /// A line when a download begins and one when it ends; none for the many small downloads of a base's packages.
    /// `verbs` are the words for a running and for a finished transfer.
    fn transfer(
        &mut self,
        what: &str,
        verbs: [&str; 2],
        done: u64,
        total: Option<u64>,
        verbosity: Verbosity,
    ) -> String {
        let [goes_on, is_done] = verbs;
        let what = &*line(what);
        let ended = total.is_some_and(|total| done >= total);
        let begins = || Download { since: Instant::now(), state: DownloadState::Silent };
        let download = self.downloads.entry(what.to_owned()).or_insert_with(begins);
        let matters = verbosity == Verbosity::Details
            || total.is_none_or(|total| total >= LARGE)
            || download.since.elapsed() >= SLOW;
        let (state, line) = match download.state {
            DownloadState::Ended => return String::new(),
            DownloadState::Told if ended => {
                (DownloadState::Ended, format!("{is_done} {what} ({})\n", size(done)))
            }
            DownloadState::Silent if matters => {
                let (state, verb) =
                    if ended { (DownloadState::Ended, is_done) } else { (DownloadState::Told, goes_on) };
                let bytes = total.map_or_else(String::new, |total| format!(" ({})", size(total)));
                (state, format!("{verb} {what}{bytes}\n"))
            }
            DownloadState::Silent if ended => (DownloadState::Ended, String::new()),
            state => (state, String::new()),
        };
        download.state = state;
        line
    }
}

/// Says that zig is building a library for a platform, or how long that took.
fn library_text(name: &str, triple: &str, library: &str, milliseconds: Option<u64>) -> String {
    match milliseconds {
        Some(milliseconds) => format!("{name} zig has built its {library} in {}\n", span(milliseconds)),
        None => format!("{name} zig builds its {library} for {triple}, once; the first link waits for it\n"),
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
        let is_failure = match &event {
            Event::Failed { .. } | Event::Compiler { error: true, .. } => true,
            Event::Finding { finding, .. } => {
                finding.severity == Severity::Error && finding.allowed.is_none()
            }
            _ => false,
        };
        if self.verbosity == Verbosity::Quiet && !is_failure {
            return;
        }
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let text = remark(&event, self.paint, self.verbosity == Verbosity::Details)
            .unwrap_or_else(|| state.text(event, self));
        if !text.is_empty() {
            state.write(&text);
        }
    }
}
