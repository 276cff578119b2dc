//! Carries out the jobs of a run: artifacts and bases come in, images go out.

mod assemble;
mod compile;
mod coordinate;

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::thread::Scope;
use std::time::Duration;

use coordinate::Coordination;

use super::BuildError;
use super::job::Job;
use super::probe::Probe;
use crate::base::{self, BaseError, BaseImage, FetchRequest};
use crate::event::{Event, Phase};
use crate::host::Host;
use crate::image::Image;
use crate::layer::Compression;
use crate::linkcheck::Report;
use crate::payload::{CompileError, Payload};
use crate::plan::Plan;
use crate::settings::{self, Output, Settings};
use crate::sys::clock::Instant;
use crate::sys::threads::{self, Task};

/// How often the coordinator checks whether a thread has panicked.
const TICK: Duration = Duration::from_millis(500);

/// What a run works with.
pub(super) struct Work<'a> {
    pub(super) settings: &'a Settings,
    pub(super) plan: &'a Plan,
    pub(super) probe: &'a Probe<'a>,
    /// Its `cancel` is the work's own, which a failure may interrupt.
    pub(super) host: Host<'a>,
    /// True if the cache's own records are not trusted.
    pub(super) verify_cache: bool,
    /// The platforms. Messages and cargo's units name them by their positions.
    pub(super) jobs: &'a [Job],
    /// The directory that layers are written to.
    pub(super) blobs: PathBuf,
    pub(super) start: Instant,
}

/// The result of a job.
pub(super) struct Finished<'a> {
    pub(super) job: &'a Job,
    /// What the link check found, if it came to that.
    pub(super) report: Option<Report>,
    pub(super) image: Result<Image, BuildError>,
}

/// What threads report to the coordinator.
#[allow(clippy::large_enum_variant, reason = "there are a handful of them in a run")]
enum Message {
    /// A job's programs are compiled and verified, or it has none. Each job gets one, unless nothing could be compiled.
    Payload(usize, Result<Payload, BuildError>),
    /// Nothing could be compiled.
    NothingCompiled(CompileError),
    /// A job's base with these libraries is here, or cannot be had.
    Base(usize, BTreeSet<String>, Result<BaseImage, BaseError>),
    /// A job's image is assembled and checked, or failed.
    Image(usize, Option<Report>, Result<Image, BuildError>),
}

/// Milliseconds since the start of a run.
pub(super) fn milliseconds(start: Instant) -> u64 {
    u64::try_from(start.elapsed().as_millis()).unwrap_or(u64::MAX)
}

impl<'a> Work<'a> {
    /// Carries out every job. An error is one of the whole run.
    pub(super) fn execute(&self) -> Result<Vec<Finished<'a>>, BuildError> {
        std::thread::scope(|scope| rayon::in_place_scope(|pool| self.coordinate(scope, pool)))
    }

    fn coordinate<'scope, 'env>(
        &'env self,
        scope: &'scope Scope<'scope, 'env>,
        pool: &rayon::Scope<'env>,
    ) -> Result<Vec<Finished<'a>>, BuildError> {
        let (sender, inbox) = mpsc::channel();
        let mut threads = vec![self.compile(scope, sender.clone())];
        for index in 0..self.jobs.len() {
            threads.push(self.fetch(scope, index, BTreeSet::new(), sender.clone()));
        }
        let mut state = Coordination::new(self.jobs, self.settings.on_failure, self.host.cancel);
        while state.is_unfinished() {
            let idle = || !state.is_assembling() && threads.iter().all(Task::is_finished);
            let Some(message) = next(&inbox, idle) else { break };
            if let Some((index, libraries)) = state.take(message) {
                threads.push(self.fetch(scope, index, libraries, sender.clone()));
            }
            for (index, payload, base) in state.begin_ready() {
                let sender = sender.clone();
                pool.spawn(move |_| {
                    let (report, image) = self.assemble(&self.jobs[index], &payload, &base);
                    // Sending fails only if the coordinator has panicked.
                    sender.send(Message::Image(index, report, image)).ok();
                });
            }
        }
        // If every platform has failed, cargo may still be running for nothing.
        self.host.cancel.interrupt();
        state.finish()
    }

    /// Fetches a job's base on a thread of its own.
    fn fetch<'scope, 'env>(
        &'env self,
        scope: &'scope Scope<'scope, 'env>,
        index: usize,
        libraries: BTreeSet<String>,
        sender: Sender<Message>,
    ) -> Task<'scope, ()> {
        threads::begin(scope, move || {
            let job = &self.jobs[index];
            let request = FetchRequest {
                platform: &job.plan.platform,
                libraries: &libraries,
                content: self.plan.outputs.iter().any(Output::has_content),
                compression: compression(self.plan.compression),
                verify_cache: self.verify_cache,
            };
            let base = base::fetch(&job.base, &request, self.host);
            sender.send(Message::Base(index, libraries, base)).ok();
        })
    }

    fn phase(&self, job: &Job, phase: Phase) {
        let platform = job.plan.platform.clone();
        tracing::info!("{platform}: {}", phase.name());
        self.host.reporter.report(Event::Phase { platform, phase });
    }
}

/// The next message. `None` if a thread has panicked and the others are done, so that nothing more is sent.
fn next(inbox: &Receiver<Message>, ended: impl Fn() -> bool) -> Option<Message> {
    loop {
        match inbox.recv_timeout(TICK) {
            Ok(message) => return Some(message),
            // What was sent before the last thread ended is still in the inbox.
            Err(RecvTimeoutError::Timeout) if ended() => return inbox.try_recv().ok(),
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return None,
        }
    }
}

fn compression(wanted: settings::Compression) -> Compression {
    match wanted {
        settings::Compression::Gzip(None) => Compression::default(),
        settings::Compression::Gzip(Some(level)) => Compression::Gzip { level },
        settings::Compression::Zstd(level) => Compression::Zstd { level: level.unwrap_or(3) },
        settings::Compression::Uncompressed => Compression::None,
    }
}
