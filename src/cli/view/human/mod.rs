//! The views for people: live lines on a terminal, plain lines elsewhere, or only errors.
//!
//! The views get the writer or the terminal that they draw on from `cli`; nothing here opens a stream. A reader that
//! goes away must not end the build, so write errors are dropped.

mod plain;
mod table;
mod terminal;

pub(super) use plain::{Plain, Verbosity};
pub(super) use terminal::Terminal;

use std::time::Duration;

use super::style::Paint;
use crate::event::{Event, Level};
use crate::linkcheck::Severity;
use crate::sys::cancel::humantime;
use crate::target::platform::Platform;
use crate::text::visible::{line, lines};

/// Formats the name of a published image; a path is shown relative to the current directory.
pub(super) type Shown = fn(&str) -> String;

/// The lines of a note or a failure; `None` for other events, and for details that were not asked for.
fn remark(event: &Event, paint: Paint, details: bool) -> Option<String> {
    let about = |platform: &Option<Platform>| {
        platform.as_ref().map_or_else(String::new, |platform| format!("{platform}: "))
    };
    match event {
        Event::Note { level: Level::Detail, .. } if !details => None,
        Event::Note { level, platform, text } => {
            let kind = match level {
                Level::Detail => "detail:".to_owned(),
                Level::Info => paint.word("note:"),
                Level::Warning => paint.warning("warning:"),
            };
            Some(format!("{kind} {}{}\n", about(platform), lines(text)))
        }
        Event::Waiting { what, reason, milliseconds } => {
            // Seconds are precise enough.
            let time = humantime(Duration::from_secs(milliseconds.div_ceil(1000)));
            let (what, reason) = (line(what), line(reason));
            Some(format!("{} waiting {time}, as asked: {reason} (`{what}`)\n", paint.word("note:")))
        }
        Event::Finding { finding, message } => {
            let check = finding.problem.check();
            let (kind, last) = match (&finding.allowed, finding.severity) {
                (Some(_), _) if !details => return None,
                (Some(reason), _) => (format!("allowed[{check}]:"), format!("reason: {}", line(reason))),
                (None, Severity::Error) => (
                    paint.error(&format!("error[{check}]:")),
                    format!("{} {}", paint.word("hint:"), lines(&finding.remedy)),
                ),
                (None, Severity::Warning) => {
                    let kind = paint.warning(&format!("warning[{check}]:"));
                    (kind, format!("{} {}", paint.word("hint:"), lines(&finding.remedy)))
                }
            };
            // Most problems name the file themselves.
            let file = if message.contains(&finding.file) {
                String::new()
            } else {
                format!("{}: ", line(&finding.file))
            };
            Some(format!("{kind} {}: {file}{}\n{last}\n", finding.platform, lines(message)))
        }
        Event::Failed { platform, message, hint, code: _ } => {
            let message = lines(message.trim_end());
            let mut text = format!("{} {}{message}\n", paint.error("error:"), about(platform));
            if let Some(hint) = hint {
                text = format!("{text}{} {}\n", paint.word("hint:"), lines(hint));
            }
            Some(text)
        }
        _ => None,
    }
}
