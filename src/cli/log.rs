//! The log: prints what the rooms do, line by line, for users who want to know what a run does and why it takes so
//! long.
//!
//! `XBUILD_LOG` sets how much is logged, for all rooms or for some. If it is unset, no subscriber is installed, and a
//! log statement costs one integer comparison. Lines go through the view, so that they appear above its live lines and
//! never in them.

use std::fmt::{self, Write as _};

use tracing::field::{Field, Visit};
use tracing::level_filters::LevelFilter;
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Level, Metadata, Subscriber};
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::SubscriberExt;

use super::view::View;
use crate::cli::view::style::Paint;
use crate::error::{ExitCode, Explain};
use crate::sys::clock::Instant;
use crate::sys::env::Environment;
use crate::sys::log::without_secrets;
use crate::text::visible;

/// The environment variable.
pub(super) const VARIABLE: &str = "XBUILD_LOG";

/// The rooms that log, by the names that lines show and filters accept, and the paths of their modules. `tests/tidy.rs`
/// checks that no other room logs.
const ROOMS: &[(&str, &str)] = &[
    ("base", "xbuild::base"),
    ("cache", "xbuild_core::sys::store"),
    ("cli", "xbuild::cli"),
    ("download", "xbuild_core::sys::download"),
    ("http", "xbuild_core::sys::http"),
    ("lock", "xbuild_core::sys::locks"),
    ("pipeline", "xbuild::pipeline"),
    ("process", "xbuild_core::sys::process"),
    ("registry", "xbuild::registry"),
    ("toolchain", "xbuild::toolchain"),
];

/// The levels, by their names.
const LEVELS: &[(&str, LevelFilter)] = &[
    ("error", LevelFilter::ERROR),
    ("warn", LevelFilter::WARN),
    ("info", LevelFilter::INFO),
    ("debug", LevelFilter::DEBUG),
    ("trace", LevelFilter::TRACE),
    ("off", LevelFilter::OFF),
];

/// An error in the variable's value.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum LogError {
    /// A word that is not a level.
    #[error("`{given}` is not a level of the log (from ${VARIABLE})")]
    Level {
        /// What was given.
        given: String,
    },
    /// A name that is not a room's.
    #[error("`{given}` is not a room that logs anything (from ${VARIABLE})")]
    Room {
        /// What was given.
        given: String,
    },
}

impl Explain for LogError {
    fn exit_code(&self) -> ExitCode {
        ExitCode::Config
    }

    fn hint(&self) -> Option<String> {
        let names = |names: &mut dyn Iterator<Item = &str>| names.collect::<Vec<_>>().join(", ");
        Some(match self {
            Self::Level { .. } => format!(
                "known: {}; also for one room, as in `http=trace,debug`",
                names(&mut LEVELS.iter().map(|(name, _)| *name))
            ),
            Self::Room { .. } => format!(
                "known: {}; or a module's path, as in `xbuild::sys=debug`",
                names(&mut ROOMS.iter().map(|(name, _)| *name))
            ),
        })
    }
}

/// What is logged.
pub(super) struct Filter(Targets);

impl Filter {
    /// The filter that the variable asks for; `None` if nothing is to be logged.
    pub(super) fn of(environment: &Environment) -> Result<Option<Self>, LogError> {
        let Some(text) = environment.var_os(VARIABLE) else { return Ok(None) };
        Self::parse(&text.to_string_lossy())
    }

    /// Parses `debug`, `registry=trace`, and several of them, separated by commas.
    fn parse(text: &str) -> Result<Option<Self>, LogError> {
        let (mut targets, mut most) = (Targets::new(), LevelFilter::OFF);
        for part in text.split(',').map(str::trim).filter(|part| !part.is_empty()) {
            let (room, word) = match part.split_once('=') {
                Some((room, word)) => (Some(room.trim()), word.trim()),
                None => (None, part),
            };
            let level = LEVELS.iter().find(|(name, _)| word.eq_ignore_ascii_case(name));
            let level = level.ok_or_else(|| LogError::Level { given: word.to_owned() })?.1;
            most = most.max(level);
            targets = match room {
                Some(room) => {
                    let path = path_of(room).ok_or_else(|| LogError::Room { given: room.to_owned() })?;
                    targets.with_target(path, level)
                }
                None => targets.with_default(level),
            };
        }
        Ok((most > LevelFilter::OFF).then_some(Self(targets)))
    }

    /// Starts writing every event that passes the filter.
    pub(super) fn start(self, view: &View) {
        let lines = Lines { start: Instant::now(), paint: Paint(view.color()), write: view.writer() };
        // This fails only in a program that uses xbuild as a library and has set its own.
        tracing::subscriber::set_global_default(lines.with(self.0)).ok();
    }
}

/// The module path of a room, given by its name or by a module path.
fn path_of(room: &str) -> Option<String> {
    if let Some((_, path)) = ROOMS.iter().find(|(name, _)| *name == room) {
        return Some((*path).to_owned());
    }
    if room == "xbuild" {
        // All that starts so: its other packages too.
        return Some(room.to_owned());
    }
    let module = ["xbuild::", "xbuild_core::"].iter().find_map(|package| room.strip_prefix(package));
    let module = module.unwrap_or(room);
    ROOMS.iter().find_map(|(_, path)| {
        let (package, known) = path.split_once("::")?;
        (lies_in(module, known) || lies_in(known, module)).then(|| format!("{package}::{module}"))
    })
}

/// True if a module's path is `above` or below it.
fn lies_in(path: &str, above: &str) -> bool {
    path.strip_prefix(above).is_some_and(|rest| rest.is_empty() || rest.starts_with("::"))
}

/// The name of the room that a module belongs to.
fn room_of(path: &str) -> &str {
    ROOMS.iter().find(|(_, code)| lies_in(path, code)).map_or(path, |(name, _)| name)
}

/// What writes a line.
pub(super) type Write = Box<dyn Fn(&str) + Send + Sync>;

/// Writes each event as a line.
struct Lines {
    start: Instant,
    paint: Paint,
    write: Write,
}

impl Subscriber for Lines {
    fn enabled(&self, _metadata: &Metadata<'_>) -> bool {
        true
    }

    // Lines do not use spans, and nothing creates any.
    fn new_span(&self, _span: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }
    fn record(&self, _span: &Id, _values: &Record<'_>) {}
    fn record_follows_from(&self, _span: &Id, _follows: &Id) {}
    fn enter(&self, _span: &Id) {}
    fn exit(&self, _span: &Id) {}

    fn event(&self, event: &Event<'_>) {
        let metadata = event.metadata();
        let mut text = Text::default();
        event.record(&mut text);
        let level = match *metadata.level() {
            Level::ERROR => self.paint.error("error"),
            Level::WARN => self.paint.warning("warn "),
            Level::INFO => self.paint.good("info "),
            Level::DEBUG => self.paint.word("debug"),
            Level::TRACE => "trace".to_owned(),
        };
        let (time, room) = (self.start.elapsed().as_secs_f64(), room_of(metadata.target()));
        let text = format!("{}{}", text.message, text.fields);
        (self.write)(&format!("{time:>8.3}s {level} {room:<9} {}\n", visible::line(&text)));
    }
}

/// An event as text: its message, and its fields as ` name=value`.
#[derive(Default)]
struct Text {
    message: String,
    fields: String,
}

impl Visit for Text {
    fn record_str(&mut self, field: &Field, value: &str) {
        let value = without_secrets(value);
        if field.name() == "message" {
            self.message.push_str(&value);
            return;
        }
        // Quote a value that is not one word, or that could be taken for several.
        let plain = |c: char| !c.is_whitespace() && !c.is_control() && !matches!(c, '"' | '=');
        let written = if !value.is_empty() && value.chars().all(plain) {
            write!(self.fields, " {}={value}", field.name())
        } else {
            write!(self.fields, " {}=\"{}\"", field.name(), value.replace('"', "\\\""))
        };
        // Writing to a string cannot fail.
        written.ok();
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.record_str(field, &format!("{value:?}"));
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;

    fn parsed(text: &str) -> Result<Option<Filter>, LogError> {
        Filter::of(&[(VARIABLE, text)].into_iter().collect())
    }

    #[test]
    fn a_filter_is_a_level_and_levels_of_rooms() {
        let lets = |filter: &str, target: &str, level: Level| {
            parsed(filter).unwrap().is_some_and(|filter| filter.0.would_enable(target, &level))
        };
        let (http, retry) = ("xbuild_core::sys::http::told", "xbuild::registry::retry");
        for (filter, target, level, expected) in [
            ("debug", http, Level::DEBUG, true),
            (" DEBUG ,", retry, Level::DEBUG, true),
            ("debug", http, Level::TRACE, false),
            ("registry=trace,debug", retry, Level::TRACE, true),
            ("registry=trace,debug", http, Level::TRACE, false),
            ("registry=trace,debug", http, Level::DEBUG, true),
            ("debug, registry = off", retry, Level::ERROR, false),
            ("http=debug", retry, Level::ERROR, false),
            ("xbuild::sys::http=debug", http, Level::DEBUG, true),
            ("sys::http=debug", http, Level::DEBUG, true),
            ("xbuild_core::sys=debug", http, Level::DEBUG, true),
            ("sys=debug", http, Level::DEBUG, true),
            ("xbuild=warn", retry, Level::WARN, true),
            ("registry::retry=warn", retry, Level::WARN, true),
        ] {
            assert_eq!(lets(filter, target, level), expected, "{filter}: {target} {level}");
        }
        for nothing in ["off", "registry=off,off", ",", ""] {
            assert!(parsed(nothing).unwrap().is_none(), "{nothing}");
        }
    }

    #[test]
    fn a_wrong_filter_is_refused() {
        let error = |text| parsed(text).err().unwrap();
        for text in ["nonsense", "registry", "registry=", "debug,loud", "http=3", "a=b=c"] {
            assert!(matches!(error(text), LogError::Level { .. }), "{text}");
        }
        for text in ["regystry=debug", "=debug", "xbuild::sys::htt=debug", "xbuildx=debug", "http::=debug"] {
            assert!(matches!(error(text), LogError::Room { .. }), "{text}");
        }
        assert_eq!(error("loud").to_string(), "`loud` is not a level of the log (from $XBUILD_LOG)");
        assert!(
            error("loud").hint().is_some_and(|hint| hint.contains("error, warn, info, debug, trace, off"))
        );
        assert!(
            error("x=debug")
                .hint()
                .is_some_and(|hint| hint.contains("http, lock, pipeline, process, registry"))
        );
    }

    #[test]
    fn a_line_has_time_level_room_and_fields_and_nothing_that_a_terminal_obeys() {
        let written: Arc<Mutex<String>> = Arc::default();
        let write: Write = {
            let written = Arc::clone(&written);
            Box::new(move |line| written.lock().unwrap().push_str(line))
        };
        let lines = Lines { start: Instant::now(), paint: Paint(false), write };
        let filter = parsed("registry=debug").unwrap().unwrap();
        tracing::subscriber::with_default(lines.with(filter.0), || {
            tracing::debug!(target: "xbuild::registry::retry", bytes = 7, said = "a \u{1b}[2J\n\"b\"", "again");
            tracing::warn!(target: "xbuild::registry", url = "https://me:pw@h/a?sig=s", none = None::<u64>, "at {}", "http://u:p@i");
            tracing::trace!(target: "xbuild::registry", "too much");
            tracing::error!(target: "xbuild_core::sys::http", "of another room");
        });
        let written = written.lock().unwrap();
        let lines: Vec<&str> = written.lines().map(|line| line.split_once("s ").unwrap().1).collect();
        assert_eq!(
            lines,
            [
                "debug registry  again bytes=7 said=\"a \\u{1b}[2J\\n\\\"b\\\"\"",
                "warn  registry  at http://…@i url=\"https://…@h/a?sig=…\"",
            ]
        );
    }
}
