//! Threads on systems that may refuse to start more: containers and CI jobs often limit their number.

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{Builder, Scope, ScopedJoinHandle};

/// Work that has begun.
#[derive(Debug)]
pub enum Task<'scope, T> {
    /// It runs.
    Running(ScopedJoinHandle<'scope, Option<T>>),
    /// It is done.
    Done(Option<T>),
}

impl<T> Task<'_, T> {
    /// True if it is done.
    #[must_use]
    pub fn is_finished(&self) -> bool {
        match self {
            Self::Running(thread) => thread.is_finished(),
            Self::Done(_) => true,
        }
    }

    /// Waits for its result.
    ///
    /// # Panics
    ///
    /// If the work panicked.
    pub fn join(self) -> T {
        let result = match self {
            Self::Running(thread) => thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)),
            Self::Done(result) => result,
        };
        result.expect("one of both takes the work, and only one")
    }
}

/// Does a piece of work on a thread of its own, or on this one if no thread can be started. The work must not wait for
/// anything that the caller does afterwards.
pub fn begin<'scope, T: Send + 'scope, W: FnOnce() -> T + Send + 'scope>(
    scope: &'scope Scope<'scope, '_>,
    work: W,
) -> Task<'scope, T> {
    // The closure of a thread that cannot be started is lost, so the work is shared.
    let work = Arc::new(Mutex::new(Some(work)));
    let theirs = Arc::clone(&work);
    match Builder::new().spawn_scoped(scope, move || take(&theirs).map(|work| work())) {
        Ok(thread) => Task::Running(thread),
        Err(_) => Task::Done(take(&work).map(|work| work())),
    }
}

fn take<W>(work: &Mutex<Option<W>>) -> Option<W> {
    work.lock().unwrap_or_else(PoisonError::into_inner).take()
}

/// Starts the global thread pool, once per process.
pub fn start_pool() -> io::Result<()> {
    static STARTED: Mutex<bool> = Mutex::new(false);
    let mut started = STARTED.lock().unwrap_or_else(PoisonError::into_inner);
    if !*started {
        rayon::ThreadPoolBuilder::new().build_global().map_err(io::Error::other)?;
        *started = true;
    }
    Ok(())
}

/// Sets a flag when it is dropped, even if the work has panicked: a thread that watches the work would otherwise wait
/// for ever.
#[derive(Debug)]
pub struct Ends<'a>(pub &'a AtomicBool);

impl Drop for Ends<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::SeqCst);
    }
}
