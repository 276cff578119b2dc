//! The time of each test: a line in the file that `XBUILD_TEST_TIMES` names. Stable Rust's test harness does not report it.

use std::ffi::OsString;
use std::fs::File;
use std::io::Write;
use std::sync::LazyLock;
use std::thread;
use std::time::Instant;

static FILE: LazyLock<Option<OsString>> = LazyLock::new(|| std::env::var_os("XBUILD_TEST_TIMES"));

thread_local! {
    static TEST: Test = Test(Instant::now());
}

/// The test that runs on this thread. libtest gives the thread the test's name.
struct Test(Instant);

/// Starts to measure, if this is the first call on a test's thread. The measurement ends with the thread.
pub(crate) fn start() {
    if FILE.is_some() {
        TEST.with(|_| ());
    }
}

impl Drop for Test {
    fn drop(&mut self) {
        let Some(file) = &*FILE else { return };
        // Threads that a test starts itself have no name.
        if let Some(name) = thread::current().name().filter(|name| name.contains("::")) {
            let line = format!("{:.1} {name}\n", self.0.elapsed().as_secs_f64());
            // A single write, so that lines of several threads do not mix.
            let written = File::options().append(true).create(true).open(file);
            written.and_then(|mut file| file.write_all(line.as_bytes())).ok();
        }
    }
}
