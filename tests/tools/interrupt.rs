//! Ctrl-C, SIGTERM and time limits: the run ends soon, with all its children, and leaves nothing half done.

use std::thread;
use std::time::{Duration, Instant};

use rustix::process::Signal;
use xbuild::error::ExitCode;

use crate::support::command::survivors;
use crate::support::layout::Layout;
use crate::support::project::Project;

/// A program whose build script announces itself, and then sleeps for ten minutes.
fn sleeper() -> Project {
    let script = "fn main() {\n\
        std::fs::write(\"started\", \"\").unwrap();\n\
        // As compilers do, it has a child of its own.\n\
        std::process::Command::new(\"sleep\").arg(\"600\").status().unwrap();\n\
        }\n";
    Project::quick("sleeper").file("build.rs", script)
}

fn wait_until(what: &str, mut done: impl FnMut() -> bool) {
    let start = Instant::now();
    while !done() {
        assert!(start.elapsed() < Duration::from_secs(300), "{what} did not happen");
        thread::sleep(Duration::from_millis(20));
    }
}

#[track_caller]
fn assert_nothing_left(project: &Project, mark: &str) {
    assert_eq!(survivors(mark), [""; 0], "processes have survived the run");
    assert!(!project.default_layout("sleeper").exists(), "something was published");
    let output = project.path("target/xbuild");
    let left = if output.exists() { crate::support::names(&output) } else { Vec::new() };
    assert!(left.is_empty(), "half-written output: {left:?}");
}

fn ends_on(signal: Signal) {
    let project = sleeper();
    let mut running = project.build().start();
    let mark = running.mark();
    wait_until("the build script's start", || {
        assert!(!running.has_ended(), "it ended too early: {}", running.stderr());
        project.path("started").exists()
    });
    // The script announces itself before it starts its child.
    wait_until("the child's start", || survivors(&mark).iter().any(|line| line.contains("sleep 600")));
    let start = Instant::now();
    running.signal(signal);
    let finished = running.wait();
    assert!(start.elapsed() < Duration::from_secs(15), "it took {:?} to stop", start.elapsed());
    finished.fails(ExitCode::Interrupted, &["interrupted"]);
    assert_nothing_left(&project, &mark);
}

#[test]
fn ctrl_c_ends_everything() {
    ends_on(Signal::INT);
}

#[test]
fn a_polite_kill_ends_everything() {
    ends_on(Signal::TERM);
}

#[test]
fn a_time_limit_ends_everything_and_says_what_ran() {
    // A first build would use up the limit with downloads.
    Project::quick("first").build().run().success();
    let project = sleeper();
    let running = project.build().words("--timeout 15s").start();
    let mark = running.mark();
    let finished = running.wait();
    assert!(finished.elapsed < Duration::from_secs(45), "{}", finished.describe());
    finished.fails(ExitCode::TimedOut, &["15s", "hint", "--timeout"]);
    assert!(project.path("started").exists(), "the limit ran out before the build script had started");
    assert_nothing_left(&project, &mark);
}

#[test]
fn a_time_limit_of_one_second_is_kept_too() {
    let project = sleeper();
    let running = project.build().words("--timeout 1s").start();
    let mark = running.mark();
    let finished = running.wait();
    assert!(finished.elapsed < Duration::from_secs(20), "{}", finished.describe());
    finished.fails(ExitCode::TimedOut, &["1s"]);
    assert_nothing_left(&project, &mark);
}

#[test]
fn a_run_after_an_interrupted_one_succeeds() {
    let project = sleeper();
    let running = project.build().start();
    wait_until("the build script's start", || project.path("started").exists());
    running.signal(Signal::INT);
    running.wait().fails(ExitCode::Interrupted, &[]);
    project.write("build.rs", "fn main() {}\n");
    let digest = project.build().run().success().digest();
    assert_eq!(Layout::valid(&project.default_layout("sleeper")).tags().remove(""), Some(digest));
}
