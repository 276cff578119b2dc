//! Chooses the view and the stream that it writes to.

mod human;
mod json;
#[cfg(test)]
mod recorded;
pub(super) mod style;
pub(super) mod table;

use std::io::{IsTerminal, Write};
use std::path::Path;
use std::sync::Arc;

use clap::ValueEnum;
use indicatif::ProgressDrawTarget;
use serde::Serialize;

use crate::cli::options::{Color, Progress, ViewOptions};
use crate::cli::{log, render};
use crate::error::{ExitCode, Explain, io_hint};
use crate::event::{Event, Level, Reporter};
use crate::sys::cancel::Tell;
use crate::sys::env::{self, Environment};
use human::{Plain, Terminal, Verbosity};
use json::Json;

/// Why nothing can be shown.
#[derive(Debug, thiserror::Error)]
pub(super) enum ViewError {
    /// `XBUILD_PROGRESS` has an invalid value.
    #[error("`{given}` is not a way to show progress (from $XBUILD_PROGRESS)")]
    Progress {
        /// What was given.
        given: String,
    },
    /// The result could not be written.
    #[error("cannot write to standard output: {0}")]
    Stdout(std::io::Error),
    /// An archive would go to a terminal.
    #[error("an archive cannot be written to a terminal")]
    Terminal,
}

impl Explain for ViewError {
    fn exit_code(&self) -> ExitCode {
        match self {
            Self::Progress { .. } => ExitCode::Config,
            Self::Stdout(error) => ExitCode::of_io(error),
            Self::Terminal => ExitCode::Usage,
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::Progress { .. } => Some("known: auto, tty, plain, json, quiet".into()),
            Self::Stdout(error) => io_hint(error),
            Self::Terminal => Some("pipe it to a program, or write it to a file: dest=FILE".into()),
        }
    }
}

/// What receives events, and how.
enum Kind {
    Plain(Arc<Plain>),
    Terminal(Arc<Terminal>),
    Json(Arc<Json>),
}

/// The view of one run.
pub(super) struct View {
    kind: Kind,
    color: bool,
}

impl View {
    /// Makes the view that options and environment ask for. With a log there is no live view unless it is asked for:
    /// scrolling lines have the same information, and stay in order.
    pub(super) fn new(
        options: &ViewOptions,
        environment: &Environment,
        logs: bool,
    ) -> Result<Self, ViewError> {
        let terminal = std::io::stderr().is_terminal();
        let progress = progress(options, environment, terminal && !logs)?;
        let color = color(options.color, environment, terminal);
        let details = options.verbose > 0;
        let verbosity = if details { Verbosity::Details } else { Verbosity::Normal };
        let stderr = || Box::new(std::io::stderr());
        let kind = match progress {
            Progress::Tty => {
                let target = ProgressDrawTarget::stderr();
                Kind::Terminal(Arc::new(Terminal::new(target, stderr(), color, details, shown_reference)))
            }
            Progress::Plain | Progress::Auto => {
                Kind::Plain(Arc::new(Plain::new(stderr(), color, verbosity, shown_reference)))
            }
            Progress::Json => Kind::Json(Arc::new(Json::new(stderr()))),
            Progress::Quiet => {
                Kind::Plain(Arc::new(Plain::new(stderr(), color, Verbosity::Quiet, shown_reference)))
            }
        };
        Ok(Self { kind, color })
    }

    /// A view for failures that happen before there is a view.
    pub(super) fn fallback() -> Self {
        let stderr = Box::new(std::io::stderr());
        Self {
            kind: Kind::Plain(Arc::new(Plain::new(stderr, false, Verbosity::Normal, shown_reference))),
            color: false,
        }
    }

    /// The receiver of events.
    pub(super) fn reporter(&self) -> &dyn Reporter {
        match &self.kind {
            Kind::Plain(view) => &**view,
            Kind::Terminal(view) => &**view,
            Kind::Json(view) => &**view,
        }
    }

    /// A callback that reports long waits, for code that waits and has no reporter.
    pub(super) fn tell(&self) -> Tell {
        let reporter: Arc<dyn Reporter> = match &self.kind {
            Kind::Plain(view) => Arc::clone(view) as _,
            Kind::Terminal(view) => Arc::clone(view) as _,
            Kind::Json(view) => Arc::clone(view) as _,
        };
        Arc::new(move |text| reporter.report(Event::Note { level: Level::Info, platform: None, text }))
    }

    /// A writer of log lines among the view's own lines. In the JSON view they are notes.
    pub(super) fn writer(&self) -> log::Write {
        match &self.kind {
            Kind::Plain(view) => {
                let view = Arc::clone(view);
                Box::new(move |line| view.print(line))
            }
            Kind::Terminal(view) => {
                let view = Arc::clone(view);
                Box::new(move |line| view.print(line))
            }
            Kind::Json(view) => {
                let view = Arc::clone(view);
                Box::new(move |line| {
                    let text = line.trim().to_owned();
                    view.report(Event::Note { level: Level::Detail, platform: None, text });
                })
            }
        }
    }

    /// True if compiler messages should be in colour.
    pub(super) fn color(&self) -> bool {
        self.color && !matches!(self.kind, Kind::Json(_))
    }

    /// Ends the view.
    pub(super) fn finish(&self) {
        if let Kind::Terminal(view) = &self.kind {
            view.finish();
        }
    }

    /// Ends the view with the failure of the whole run.
    pub(super) fn fail(&self, error: &(dyn Explain + 'static)) {
        self.finish();
        match &self.kind {
            Kind::Plain(view) => view.print(&render::error(error, self.color)),
            Kind::Terminal(view) => view.print(&render::error(error, self.color)),
            Kind::Json(view) => view.report(Event::failed(None, error)),
        }
    }
}

/// The mode from `--progress`, `-q` or `XBUILD_PROGRESS`, with `auto` resolved.
fn progress(options: &ViewOptions, environment: &Environment, terminal: bool) -> Result<Progress, ViewError> {
    let given = match (options.progress, options.quiet, environment.var("XBUILD_PROGRESS")) {
        (Some(progress), ..) => progress,
        (None, true, _) => Progress::Quiet,
        (None, false, Some(text)) => {
            Progress::from_str(text, true).map_err(|_| ViewError::Progress { given: text.to_owned() })?
        }
        (None, false, None) => Progress::Auto,
    };
    let live = terminal && environment.var("CI").is_none() && environment.var("TERM") != Some("dumb");
    Ok(match given {
        Progress::Auto if live => Progress::Tty,
        Progress::Auto => Progress::Plain,
        other => other,
    })
}

/// Whether to use colours: decided by the option, then `NO_COLOR` and `CLICOLOR_FORCE` (no-color.org,
/// bixense.com/clicolors), then cargo's own variable, then whether the output is a terminal.
fn color(option: Option<Color>, environment: &Environment, terminal: bool) -> bool {
    match option {
        Some(Color::Always) => return true,
        Some(Color::Never) => return false,
        Some(Color::Auto) | None => (),
    }
    if environment.var("NO_COLOR").is_some() {
        return false;
    }
    if environment.var("CLICOLOR_FORCE").is_some_and(|value| value != "0") {
        return true;
    }
    match environment.var("CARGO_TERM_COLOR") {
        Some("always") => true,
        Some("never") => false,
        _ => terminal && environment.var("TERM") != Some("dumb") && environment.var("CLICOLOR") != Some("0"),
    }
}

/// Standard output, which is for an archive if `streamed`: an archive is not written to a terminal.
pub(super) fn stdout(streamed: bool) -> Result<Box<dyn Write>, ViewError> {
    let stdout = std::io::stdout();
    if streamed && stdout.is_terminal() {
        return Err(ViewError::Terminal);
    }
    Ok(Box::new(stdout))
}

/// Shows a path relative to the current directory; a name stays as it is.
pub(super) fn shown_reference(reference: &str) -> String {
    env::current_dir()
        .ok()
        .and_then(|dir| Path::new(reference).strip_prefix(dir).ok().map(|path| path.display().to_string()))
        .unwrap_or_else(|| reference.to_owned())
}

/// Writes a result to standard output. A reader that has gone away is not an error.
pub(super) fn print(text: &str) -> Result<(), ViewError> {
    print_bytes(text.as_bytes())
}

/// The same for bytes that may not be text.
pub(super) fn print_bytes(bytes: &[u8]) -> Result<(), ViewError> {
    let mut stdout = std::io::stdout().lock();
    match stdout.write_all(bytes).and_then(|()| stdout.flush()) {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => Err(ViewError::Stdout(error)),
        _ => Ok(()),
    }
}

/// Formats a value as indented JSON. Encoding cannot fail, as our own types contain nothing that JSON lacks.
pub(super) fn json_text<T: Serialize>(value: &T) -> String {
    serde_json::to_string_pretty(value).unwrap_or_default() + "\n"
}

#[cfg(test)]
mod tests {
    use super::*;

    fn environment(variables: &[(&str, &str)]) -> Environment {
        variables.iter().copied().collect()
    }

    #[test]
    fn colours_follow_the_conventions_in_their_order() {
        let with =
            |option, variables: &[(&str, &str)], terminal| color(option, &environment(variables), terminal);
        assert!(with(None, &[], true) && !with(None, &[], false));
        assert!(!with(None, &[("NO_COLOR", "1"), ("CLICOLOR_FORCE", "1")], true));
        assert!(with(None, &[("CLICOLOR_FORCE", "1")], false));
        assert!(!with(None, &[("CLICOLOR_FORCE", "0")], false));
        assert!(with(None, &[("CARGO_TERM_COLOR", "always")], false));
        assert!(!with(None, &[("CLICOLOR", "0")], true));
        assert!(!with(None, &[("TERM", "dumb")], true));
        assert!(with(Some(Color::Always), &[("NO_COLOR", "1")], false));
        assert!(!with(Some(Color::Never), &[("CLICOLOR_FORCE", "1")], true));
    }

    #[test]
    fn auto_is_live_only_where_someone_watches() {
        let with = |options: &ViewOptions, variables: &[(&str, &str)], terminal| {
            progress(options, &environment(variables), terminal).unwrap()
        };
        let auto = ViewOptions::default();
        assert_eq!(with(&auto, &[], true), Progress::Tty);
        assert_eq!(with(&auto, &[], false), Progress::Plain);
        assert_eq!(with(&auto, &[("CI", "true")], true), Progress::Plain);
        assert_eq!(with(&auto, &[("TERM", "dumb")], true), Progress::Plain);
        assert_eq!(with(&auto, &[("XBUILD_PROGRESS", "JSON")], true), Progress::Json);
        let quiet = ViewOptions { quiet: true, ..ViewOptions::default() };
        assert_eq!(with(&quiet, &[("XBUILD_PROGRESS", "json")], true), Progress::Quiet);
        assert!(progress(&auto, &environment(&[("XBUILD_PROGRESS", "loud")]), true).is_err());
    }
}
