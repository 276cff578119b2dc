//! How long each test takes: a line in the file that `XBUILD_TEST_TIMES` names. A stable libtest does not tell it.

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

/// The test that this thread runs, whose name libtest has given to the thread.
struct Test(Instant);

/// Begins to count, if this is the thread of a test and its first call; the count ends with the thread.
pub(crate) fn count() {
    if FILE.is_some() {
        TEST.with(|_| ());
    }
}

impl Drop for Test {
    fn drop(&mut self) {
        let Some(file) = &*FILE else { return };
        // Threads that a test itself starts have no name.
        if let Some(name) = thread::current().name().filter(|name| name.contains("::")) {
            let line = format!("{:.1} {name}\n", self.0.elapsed().as_secs_f64());
            // One write, so that lines of threads do not mix.
            let written = File::options().append(true).create(true).open(file);
            written.and_then(|mut file| file.write_all(line.as_bytes())).ok();
        }
    }
}
