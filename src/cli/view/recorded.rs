//! The views of a recorded run.
#![allow(clippy::needless_raw_string_hashes, reason = "snapbox writes snapshots in this form")]

use std::io::{self, Write};
use std::sync::{Arc, Mutex};

use snapbox::{assert_data_eq, str};

use super::human::{Plain, Verbosity};
use super::json::Json;
use crate::error::ExitCode;
use crate::event::{Event, Level, Phase, ReleaseFacts, Reporter};
use crate::linkcheck::{Finding, Problem, Severity};
use crate::target::platform::Platform;

/// A writer whose text can be read afterwards.
#[derive(Clone, Default)]
struct Shared(Arc<Mutex<Vec<u8>>>);

impl Shared {
    fn text(&self) -> String {
        String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
    }
}

impl Write for Shared {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A writer whose reader has gone away.
struct Broken;

impl Write for Broken {
    fn write(&mut self, _bytes: &[u8]) -> io::Result<usize> {
        Err(io::ErrorKind::BrokenPipe.into())
    }

    fn flush(&mut self) -> io::Result<()> {
        Err(io::ErrorKind::BrokenPipe.into())
    }
}

fn platform(text: &str) -> Platform {
    text.parse().unwrap()
}

fn built(name: &str, triple: &str, size: u64) -> Event {
    Event::Built {
        platform: platform(name),
        triple: triple.into(),
        toolchain: "zig 0.17.1".into(),
        base: "apt:bookworm".into(),
        digest: format!("sha256:{size:064x}"),
        size,
        milliseconds: 12_900,
    }
}

fn finding(platform: &Platform, severity: Severity, allowed: Option<&str>) -> Event {
    let problem = Problem::MissingLibrary {
        library: "libcuda.so.1".into(),
        needed_by: "/usr/local/bin/app".into(),
        searched: vec!["/lib".into(), "/usr/lib".into()],
        skipped: Vec::new(),
        elsewhere: Vec::new(),
    };
    let message = problem.to_string();
    let finding = Finding {
        platform: platform.clone(),
        severity,
        file: "/usr/local/bin/app".into(),
        problem,
        remedy: "take a base that has it".into(),
        allowed: allowed.map(ToOwned::to_owned),
    };
    Event::Finding { finding: Box::new(finding), message }
}

fn release(suite: &str, date: Option<&str>, archive: &str) -> ReleaseFacts {
    ReleaseFacts {
        suite: suite.into(),
        date: date.map(Into::into),
        mirror: format!("http://m.example/{archive}"),
        mirror_from: crate::event::MirrorOrigin::Host,
    }
}

/// A run in which one platform fails.
#[allow(clippy::too_many_lines, reason = "a list")]
fn recorded() -> Vec<Event> {
    let (amd64, arm64) = (platform("linux/amd64"), platform("linux/arm64"));
    let phase = |platform: &Platform, phase| Event::Phase { platform: platform.clone(), phase };
    let download = |done| Event::Download { what: "zig 0.17.1".into(), done, total: Some(81_300_000) };
    vec![
        phase(&amd64, Phase::Resolve),
        phase(&arm64, Phase::Resolve),
        download(0),
        download(40_000_000),
        download(81_300_000),
        download(81_300_000),
        Event::Note { level: Level::Detail, platform: None, text: "zig is in the cache".into() },
        Event::Releases {
            base: "apt:bookworm".into(),
            releases: vec![
                release("bookworm", Some("2026-07-11"), "debian"),
                release("bookworm-updates", Some("2026-11-28"), "debian"),
                release("bookworm-security", None, "debian-security"),
            ],
            pinned: None,
        },
        Event::Releases {
            base: "registry.example/base:1".into(),
            releases: Vec::new(),
            pinned: Some("2026-07-11".into()),
        },
        phase(&amd64, Phase::Compile),
        phase(&arm64, Phase::Compile),
        Event::Crates { done: 3, total: Some(12), active: "ring(build), b".into() },
        Event::Library {
            platform: arm64.clone(),
            triple: "aarch64-unknown-linux-gnu".into(),
            library: "C library".into(),
            milliseconds: None,
        },
        Event::Library {
            platform: arm64.clone(),
            triple: "aarch64-unknown-linux-gnu".into(),
            library: "C library".into(),
            milliseconds: Some(42_000),
        },
        Event::Compiler { text: "warning: unused variable: `x`".into(), error: false },
        Event::Compiler {
            text: "error: cannot find value `y`\n --> src/main.rs:1:1\n\n".into(),
            error: true,
        },
        Event::Crates { done: 12, total: Some(12), active: String::new() },
        Event::Note {
            level: Level::Warning,
            platform: Some(arm64.clone()),
            text: "the linker argument `--icf=all` was left out".into(),
        },
        phase(&amd64, Phase::Verify),
        phase(&amd64, Phase::Layer),
        Event::Progress { platform: amd64.clone(), done: 10, total: Some(20) },
        built("linux/arm/v7", "armv7-unknown-linux-gnueabihf", 31_000_000),
        phase(&amd64, Phase::Check),
        phase(&amd64, Phase::Done),
        built("linux/amd64", "x86_64-unknown-linux-gnu", 34_567_890),
        finding(&amd64, Severity::Warning, None),
        finding(&arm64, Severity::Error, None),
        finding(&arm64, Severity::Error, Some("the driver brings it")),
        Event::Failed {
            platform: Some(arm64),
            code: ExitCode::Compile,
            message: "`app` does not compile\n  caused by: 1 error".into(),
            hint: Some("see the compiler's messages above".into()),
        },
        Event::Upload { what: "registry.example/app".into(), done: 30_000_000, total: Some(34_567_890) },
        Event::Waiting {
            what: "registry.example/app:1.0".into(),
            reason: "registry.example answered 429".into(),
            milliseconds: 90_000,
        },
        Event::Upload { what: "registry.example/app".into(), done: 34_567_890, total: Some(34_567_890) },
        Event::Published {
            reference: "registry.example/app:1.0".into(),
            digest: format!("sha256:{:064x}", 7),
            milliseconds: 65_000,
        },
    ]
}

fn plain(verbosity: Verbosity, color: bool) -> String {
    let shared = Shared::default();
    let view = Plain::new(Box::new(shared.clone()), color, verbosity, str::to_owned);
    for event in recorded() {
        view.report(event);
    }
    shared.text()
}

#[test]
fn plain_lines_say_each_thing_once() {
    assert_data_eq!(
        plain(Verbosity::Normal, false),
        str![[r#"
linux/amd64     resolve
linux/arm64     resolve
downloading zig 0.17.1 (81.3 MB)
downloaded zig 0.17.1 (81.3 MB)
linux/amd64     compile
linux/arm64     compile
linux/arm64     zig builds its C library for aarch64-unknown-linux-gnu, once; the first link waits for it
linux/arm64     zig has built its C library in 42s
warning: unused variable: `x`
error: cannot find value `y`
 --> src/main.rs:1:1

compiled 12 of 12 crates
warning: linux/arm64: the linker argument `--icf=all` was left out
linux/amd64     verify
linux/amd64     layer
linux/arm/v7    done sha256:0000000000000000000000000000000000000000000000000000000001d905c0 31.0 MB in 12s
linux/amd64     check
linux/amd64     done sha256:00000000000000000000000000000000000000000000000000000000020f76d2 34.6 MB in 12s
warning[missing-library]: linux/amd64: libcuda.so.1, which /usr/local/bin/app needs, is not found; looked for in /lib, /usr/lib
hint: take a base that has it
error[missing-library]: linux/arm64: libcuda.so.1, which /usr/local/bin/app needs, is not found; looked for in /lib, /usr/lib
hint: take a base that has it
error: linux/arm64: `app` does not compile
  caused by: 1 error
hint: see the compiler's messages above
uploading to registry.example/app (34.6 MB)
note: waiting 1m 30s, as asked: registry.example answered 429 (`registry.example/app:1.0`)
uploaded to registry.example/app (34.6 MB)

PLATFORM      TRIPLE                         TOOLCHAIN   BASE             SIZE  DIGEST        TIME
linux/amd64   x86_64-unknown-linux-gnu       zig 0.17.1  apt:bookworm  34.6 MB  000000000000   12s
linux/arm/v7  armv7-unknown-linux-gnueabihf  zig 0.17.1  apt:bookworm  31.0 MB  000000000000   12s

apt:bookworm: bookworm of 2026-07-11, bookworm-updates of 2026-11-28 from http://m.example/debian (as this machine's apt has it)
apt:bookworm: bookworm-security from http://m.example/debian-security (as this machine's apt has it)
registry.example/base:1: as it is pinned, of 2026-07-11

published registry.example/app:1.0@sha256:0000000000000000000000000000000000000000000000000000000000000007 in 1m 05s

"#]]
    );
}

#[test]
fn details_and_colours_come_only_when_asked_for() {
    assert!(!plain(Verbosity::Normal, false).contains("zig is in the cache"));
    assert!(plain(Verbosity::Details, false).contains("detail: zig is in the cache\n"));
    assert!(!plain(Verbosity::Details, false).contains('\u{1b}'));
    assert!(plain(Verbosity::Normal, true).contains("\u{1b}["));
}

#[test]
fn quiet_shows_failures_only() {
    assert_data_eq!(
        plain(Verbosity::Quiet, false),
        str![[r#"
error: cannot find value `y`
 --> src/main.rs:1:1

error[missing-library]: linux/arm64: libcuda.so.1, which /usr/local/bin/app needs, is not found; looked for in /lib, /usr/lib
hint: take a base that has it
error: linux/arm64: `app` does not compile
  caused by: 1 error
hint: see the compiler's messages above

"#]]
    );
}

#[test]
fn a_reader_that_goes_away_ends_the_output_and_nothing_else() {
    let target = indicatif::ProgressDrawTarget::hidden();
    let views: [Box<dyn Reporter>; 3] = [
        Box::new(Plain::new(Box::new(Broken), false, Verbosity::Details, str::to_owned)),
        Box::new(Json::new(Box::new(Broken))),
        Box::new(super::human::Terminal::new(target, Box::new(Broken), true, true, str::to_owned)),
    ];
    for view in &views {
        for event in recorded() {
            view.report(event);
        }
    }
}

#[test]
fn the_terminal_prints_what_scrolls_and_the_table() {
    let shared = Shared::default();
    let target = indicatif::ProgressDrawTarget::hidden();
    let view = super::human::Terminal::new(target, Box::new(shared.clone()), false, false, str::to_owned);
    for event in recorded() {
        view.report(event);
    }
    view.finish();
    assert_data_eq!(
        shared.text(),
        str![[r#"
warning: unused variable: `x`
error: cannot find value `y`
 --> src/main.rs:1:1

warning: linux/arm64: the linker argument `--icf=all` was left out
warning[missing-library]: linux/amd64: libcuda.so.1, which /usr/local/bin/app needs, is not found; looked for in /lib, /usr/lib
hint: take a base that has it
error[missing-library]: linux/arm64: libcuda.so.1, which /usr/local/bin/app needs, is not found; looked for in /lib, /usr/lib
hint: take a base that has it
error: linux/arm64: `app` does not compile
  caused by: 1 error
hint: see the compiler's messages above
note: waiting 1m 30s, as asked: registry.example answered 429 (`registry.example/app:1.0`)
PLATFORM      TRIPLE                         TOOLCHAIN   BASE             SIZE  DIGEST        TIME
linux/amd64   x86_64-unknown-linux-gnu       zig 0.17.1  apt:bookworm  34.6 MB  000000000000   12s
linux/arm/v7  armv7-unknown-linux-gnueabihf  zig 0.17.1  apt:bookworm  31.0 MB  000000000000   12s

apt:bookworm: bookworm of 2026-07-11, bookworm-updates of 2026-11-28 from http://m.example/debian (as this machine's apt has it)
apt:bookworm: bookworm-security from http://m.example/debian-security (as this machine's apt has it)
registry.example/base:1: as it is pinned, of 2026-07-11

published registry.example/app:1.0 in 1m 05s

"#]]
    );
}

#[test]
fn what_was_built_is_told_also_where_nothing_was_published() {
    let shared = Shared::default();
    let target = indicatif::ProgressDrawTarget::hidden();
    let view = super::human::Terminal::new(target, Box::new(shared.clone()), false, false, str::to_owned);
    view.report(built("linux/amd64", "x86_64-unknown-linux-gnu", 1));
    view.finish();
    view.finish();
    assert_eq!(shared.text().matches("x86_64-unknown-linux-gnu").count(), 1);
}

/// One of each variant; the match makes a new variant an error here.
fn one_of_each() -> Vec<Event> {
    let mut seen: Vec<Event> = Vec::new();
    for event in recorded() {
        match &event {
            Event::Phase { .. }
            | Event::Progress { .. }
            | Event::Crates { .. }
            | Event::Download { .. }
            | Event::Upload { .. }
            | Event::Waiting { .. }
            | Event::Releases { .. }
            | Event::Library { .. }
            | Event::Compiler { .. }
            | Event::Note { .. }
            | Event::Finding { .. }
            | Event::Built { .. }
            | Event::Failed { .. }
            | Event::Published { .. } => (),
        }
        if !seen.iter().any(|other| std::mem::discriminant(other) == std::mem::discriminant(&event)) {
            seen.push(event);
        }
    }
    assert_eq!(seen.len(), 14, "the recorded run has every variant");
    seen
}

#[test]
fn json_is_one_object_a_line_and_the_manual_describes_all_of_it() {
    let manual = include_str!("../../../docs/progress-json.md");
    let shared = Shared::default();
    let view = Json::new(Box::new(shared.clone()));
    for event in one_of_each() {
        view.report(event);
    }
    let text = shared.text();
    assert_eq!(text.lines().count(), 14);
    for line in text.lines() {
        let value: serde_json::Value = serde_json::from_str(line).unwrap();
        let name = value["event"].as_str().unwrap();
        let section = manual.split("\n## ").find(|section| section.starts_with(&format!("`{name}`")));
        let section = section.unwrap_or_else(|| panic!("no section for {name}"));
        for key in value.as_object().unwrap().keys().filter(|key| *key != "event") {
            assert!(section.contains(&format!("| `{key}` |")), "{name}: {key}");
        }
    }
    let phases = [Phase::Resolve, Phase::Compile, Phase::Verify, Phase::Layer, Phase::Check, Phase::Done];
    for phase in phases {
        assert_eq!(serde_json::to_value(phase).unwrap(), phase.name());
        assert!(manual.contains(&format!("`{}`", phase.name())));
    }
}
