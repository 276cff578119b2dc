//! The view for machines: one JSON object per line for each event, as docs/progress-json.md describes it.

use std::io::Write;
use std::sync::{Mutex, PoisonError};

use crate::event::{Event, Reporter};

/// Writes every event as a line of JSON.
pub(super) struct Json {
    writer: Mutex<Box<dyn Write + Send>>,
}

impl Json {
    /// Writes to `writer`; `cli` gives it standard error, so that standard output carries only the result.
    #[must_use]
    pub(super) fn new(writer: Box<dyn Write + Send>) -> Self {
        Self { writer: Mutex::new(writer) }
    }
}

impl Reporter for Json {
    fn report(&self, event: Event) {
        // No variant holds anything that JSON lacks, so encoding cannot fail. A reader that goes away must not end the
        // build.
        if let Ok(mut line) = serde_json::to_vec(&event) {
            line.push(b'\n');
            let mut writer = self.writer.lock().unwrap_or_else(PoisonError::into_inner);
            writer.write_all(&line).and_then(|()| writer.flush()).ok();
        }
    }
}
