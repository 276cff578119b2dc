//! Limits of memory and time for a run.

use std::thread;
use std::time::Duration;

use super::command::{Finished, Run};

/// xbuild's own memory limit, in KiB.
const MEMORY: u64 = 256 << 10;
/// The time limit, for a busy machine.
const TIME: Duration = Duration::from_secs(60);

/// Runs it within the limits.
pub(crate) fn bounded(run: Run, what: &str) -> Finished {
    let (mut running, mut peak) = (run.start(), 0);
    while !running.has_ended() {
        peak = peak.max(running.peak());
        thread::sleep(Duration::from_millis(2));
    }
    let finished = running.wait();
    assert!(peak < MEMORY, "{what}: {peak} KiB");
    assert!(finished.elapsed < TIME, "{what}: {}", finished.describe());
    assert!(!finished.stderr.contains("panicked"), "{what}: {}", finished.describe());
    finished
}
