//! Follows the wrappers' remarks: reports during the build that links wait for zig's libraries, and at the end which
//! arguments zig was not passed.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use super::Unit;
use super::prepare::Batch;
use crate::event::{Event, Level, Reporter};
use crate::sys::clock::{self, Instant};
use crate::sys::fs;
use crate::target::platform::Platform;
use crate::toolchain::driver::work::{Library, Note};

/// The interval at which the files are read.
const TICK: Duration = Duration::from_millis(200);
/// A link that ends sooner is not reported: its libraries existed after all.
const PATIENCE: Duration = Duration::from_secs(2);

/// The file that the wrappers of one cargo process write to, and the platforms that its triples mean.
pub(super) struct Book {
    path: PathBuf,
    platforms: BTreeMap<String, Platform>,
}

/// One for each batch: several platforms may have one triple, but a batch has each triple only once. What its build
/// scripts have compiled for another triple is attributed to the first platform that has it.
pub(super) fn books(units: &[Unit], batches: &[Batch]) -> Vec<Book> {
    let all = |batch: &Batch| {
        let indices = (0..units.len()).rev().chain(batch.units.iter().copied());
        indices.map(|index| (units[index].target.triple.clone(), units[index].platform.clone())).collect()
    };
    batches.iter().map(|batch| Book { path: batch.remarks.clone(), platforms: all(batch) }).collect()
}

/// Reports libraries that links wait for, until `ended`.
pub(super) fn follow(books: &[Book], ended: &AtomicBool, reporter: &dyn Reporter) {
    let mut open: Vec<(&Book, u64, Waits)> = books.iter().map(|book| (book, 0, Waits::default())).collect();
    while !ended.load(Ordering::SeqCst) {
        for (book, read, waits) in &mut open {
            // An incomplete line is read next time; an unreadable file is reported at the end.
            let new = from(&book.path, *read).unwrap_or_default();
            let whole = new.iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end + 1);
            *read += whole as u64;
            for event in waits.take(&new[..whole], Instant::now(), &book.platforms) {
                reporter.report(event);
            }
        }
        clock::sleep(TICK);
    }
}

/// The content of a file from an offset on.
fn from(path: &Path, position: u64) -> io::Result<Vec<u8>> {
    let mut file = fs::OpenOptions::new().read(true).open(path)?;
    file.seek(SeekFrom::Start(position))?;
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// The links that wait, by triple and library.
#[derive(Default)]
struct Waits {
    open: BTreeMap<(String, Library), Wait>,
}

struct Wait {
    since: Instant,
    told: bool,
}

impl Waits {
    /// Takes what was written since the last call, and returns the events that are new at `now`.
    fn take(&mut self, lines: &[u8], now: Instant, platforms: &BTreeMap<String, Platform>) -> Vec<Event> {
        let mut events = Vec::new();
        for line in lines.split(|byte| *byte == b'\n') {
            match serde_json::from_slice(line) {
                Ok(Note::Waiting { triple, library }) => {
                    self.open.entry((triple, library)).or_insert(Wait { since: now, told: false });
                }
                Ok(Note::Ended { triple, library }) => {
                    let key = (triple, library);
                    // If several links wait for the same library, all continue when the first does.
                    if let Some(wait) = self.open.remove(&key)
                        && wait.told
                    {
                        events.extend(event(&key, Some(now.duration_since(wait.since)), platforms));
                    }
                }
                Ok(Note::Remark { .. }) | Err(_) => {}
            }
        }
        for (key, wait) in &mut self.open {
            if !wait.told && now.duration_since(wait.since) >= PATIENCE {
                wait.told = true;
                events.extend(event(key, None, platforms));
            }
        }
        events
    }
}

fn event(
    (triple, library): &(String, Library),
    took: Option<Duration>,
    platforms: &BTreeMap<String, Platform>,
) -> Option<Event> {
    Some(Event::Library {
        platform: platforms.get(triple)?.clone(),
        triple: triple.clone(),
        library: library.name().to_owned(),
        milliseconds: took.map(|took| u64::try_from(took.as_millis()).unwrap_or(u64::MAX)),
    })
}

/// Reports what the wrappers have left out or changed, each once.
pub(super) fn report_remarks(books: &[Book], reporter: &dyn Reporter) -> io::Result<()> {
    let mut told = BTreeSet::new();
    for book in books {
        let text = match fs::read_to_string(&book.path) {
            // No wrapper has written anything.
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            result => result?,
        };
        for one in text.lines().filter_map(|line| serde_json::from_str(line).ok()) {
            let Note::Remark { tool, triple, argument, reason } = one else { continue };
            let text = format!("{tool} is not passed `{argument}`: {reason}");
            told.insert((book.platforms.get(&triple).cloned(), text));
        }
    }
    for (platform, text) in told {
        reporter.report(Event::Note { level: Level::Detail, platform, text });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const TRIPLE: &str = "x86_64-unknown-linux-gnu";

    fn told(events: &[Event]) -> Vec<(&str, bool)> {
        events
            .iter()
            .map(|event| match event {
                Event::Library { library, milliseconds, .. } => (library.as_str(), milliseconds.is_some()),
                other => panic!("{other:?}"),
            })
            .collect()
    }

    #[test]
    fn only_what_takes_long_is_told_and_each_library_once() {
        let asked_for: Platform = "linux/amd64/v3".parse().unwrap();
        let platforms = [(TRIPLE.to_owned(), asked_for.clone())].into();
        let line = |kept: &Note| serde_json::to_string(kept).unwrap() + "\n";
        let waiting = |library| line(&Note::Waiting { triple: TRIPLE.into(), library });
        let ended = |library| line(&Note::Ended { triple: TRIPLE.into(), library });
        let mut waits = Waits::default();
        let start = Instant::now();
        let mut take = |seconds, text: &str| {
            waits.take(text.as_bytes(), start + Duration::from_secs(seconds), &platforms)
        };
        // A quick one is not reported.
        assert_eq!(take(0, &(waiting(Library::C) + &ended(Library::C))), []);
        // Priming, and a link at the same time.
        assert_eq!(take(10, &waiting(Library::C)), []);
        assert_eq!(told(&take(12, "no line of ours\n")), [("C library", false)]);
        assert_eq!(take(13, &waiting(Library::C)), []);
        let done = take(21, &ended(Library::C));
        assert!(
            matches!(&done[0], Event::Library { milliseconds: Some(11_000), platform, .. } if *platform == asked_for),
            "{done:?}"
        );
        assert_eq!(take(21, &ended(Library::C)), []);
        assert_eq!(take(22, &waiting(Library::Cxx)), []);
        assert_eq!(told(&take(30, "")), [("C++ library", false)]);
    }
}
