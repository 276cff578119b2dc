//! How far each job has come, and what a message changes.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::{Finished, Message};
use crate::base::BaseImage;
use crate::config::OnFailure;
use crate::image::Image;
use crate::linkcheck::Report;
use crate::payload::{self, CompileError, Payload};
use crate::pipeline::BuildError;
use crate::pipeline::job::Job;
use crate::sys::cancel::Cancel;

/// A job, and how far it has come.
struct Progress<'a> {
    job: &'a Job,
    /// Its programs, once they are verified.
    payload: Option<Arc<Payload>>,
    report: Option<Report>,
    state: State,
}

#[allow(clippy::large_enum_variant, reason = "there are a handful of them in a run")]
enum State {
    /// Its payload or its base is not here.
    Waiting {
        /// What the base is to have beside its own.
        libraries: BTreeSet<String>,
        base: Option<BaseImage>,
    },
    /// Its layers are being written.
    Assembling,
    Done(Image),
    Failed(BuildError),
}

impl State {
    fn waiting() -> Self {
        Self::Waiting { libraries: BTreeSet::new(), base: None }
    }

    /// Takes a base, unless its fetch began before it was known which libraries it must have.
    fn take_base(&mut self, with: &BTreeSet<String>, fetched: BaseImage) {
        if let Self::Waiting { libraries, base } = self
            && libraries == with
        {
            *base = Some(fetched);
        }
    }

    fn take_image(&mut self, image: Image) {
        if matches!(self, Self::Assembling) {
            *self = Self::Done(image);
        }
    }

    /// The first failure stays.
    fn fail(&mut self, error: BuildError) {
        if !matches!(self, Self::Failed(_)) {
            *self = Self::Failed(error);
        }
    }
}

impl Progress<'_> {
    /// Takes the payload. Returns the libraries with which the base must be fetched again.
    fn take_payload(&mut self, payload: Payload) -> Option<BTreeSet<String>> {
        let State::Waiting { libraries, base } = &mut self.state else { return None };
        let more = self.job.base.obtainable(&payload.needed());
        self.payload = Some(Arc::new(payload));
        if more.is_empty() {
            return None;
        }
        *base = None;
        libraries.clone_from(&more);
        Some(more)
    }

    /// What its image is assembled of, if all of it is here.
    fn begin(&mut self) -> Option<(Arc<Payload>, BaseImage)> {
        let State::Waiting { base, .. } = &mut self.state else { return None };
        let payload = self.payload.as_ref().filter(|_| base.is_some())?;
        let ready = (Arc::clone(payload), base.take()?);
        self.state = State::Assembling;
        Some(ready)
    }
}

/// The state of a run.
pub(super) struct Coordination<'a> {
    /// The jobs, in their order.
    jobs: Vec<Progress<'a>>,
    on_failure: OnFailure,
    /// Stops all work.
    cancel: &'a Cancel,
    /// How many images are being assembled.
    assembling: usize,
    /// The error of the whole run.
    fatal: Option<CompileError>,
}

impl<'a> Coordination<'a> {
    pub(super) fn new(jobs: &'a [Job], on_failure: OnFailure, cancel: &'a Cancel) -> Self {
        let waiting = |job| Progress { job, payload: None, report: None, state: State::waiting() };
        Self { jobs: jobs.iter().map(waiting).collect(), on_failure, cancel, assembling: 0, fatal: None }
    }

    /// True while there is something to wait for. After an error of the whole run that is only what was begun.
    pub(super) fn is_unfinished(&self) -> bool {
        let is_waiting = |job: &Progress<'_>| matches!(job.state, State::Waiting { .. });
        self.is_assembling() || self.fatal.is_none() && self.jobs.iter().any(is_waiting)
    }

    pub(super) fn is_assembling(&self) -> bool {
        self.assembling > 0
    }

    /// Takes a message. Returns a job whose base is to be fetched again, with these libraries.
    pub(super) fn take(&mut self, message: Message) -> Option<(usize, BTreeSet<String>)> {
        match message {
            Message::Payload(index, Ok(payload)) => {
                return Some((index, self.jobs[index].take_payload(payload)?));
            }
            Message::Payload(index, Err(error)) => self.fail(index, error),
            Message::Base(index, libraries, Ok(base)) => self.jobs[index].state.take_base(&libraries, base),
            Message::Base(index, _, Err(error)) => self.fail(index, error.into()),
            Message::Image(index, report, image) => {
                self.assembling -= 1;
                self.jobs[index].report = report;
                match image {
                    Ok(image) => self.jobs[index].state.take_image(image),
                    Err(error) => self.fail(index, error),
                }
            }
            Message::NothingCompiled(error) => {
                self.fatal.get_or_insert(error);
                self.cancel.interrupt();
            }
        }
        None
    }

    fn fail(&mut self, index: usize, error: BuildError) {
        self.jobs[index].state.fail(error);
        if self.on_failure == OnFailure::FailFast {
            self.cancel.interrupt();
        }
    }

    /// The jobs that have their payload and their base. Their images are assembled from now on.
    pub(super) fn begin_ready(&mut self) -> Vec<(usize, Arc<Payload>, BaseImage)> {
        if self.fatal.is_some() {
            return Vec::new();
        }
        let jobs = self.jobs.iter_mut().enumerate();
        let begun = jobs.filter_map(|(index, job)| {
            let (payload, base) = job.begin()?;
            Some((index, payload, base))
        });
        let begun: Vec<_> = begun.collect();
        self.assembling += begun.len();
        begun
    }

    /// The results of all jobs, or the error of the whole run.
    pub(super) fn finish(mut self) -> Result<Vec<Finished<'a>>, BuildError> {
        if let Some(error) = self.fatal {
            return Err(error.into());
        }
        let payloads =
            self.jobs.iter().filter_map(|job| Some((&job.job.plan.platform, job.payload.as_deref()?)));
        let mut same = payload::same(payloads);
        for job in &mut self.jobs {
            if let Some(error) = same.remove(&job.job.plan.platform) {
                job.state.fail(error.into());
            }
        }
        let finished = self.jobs.into_iter().filter_map(|Progress { job, report, state, .. }| {
            let image = match state {
                State::Done(image) => Ok(image),
                State::Failed(error) => Err(error),
                // A thread has panicked. The scope that it runs in panics, too, and no result is read.
                State::Waiting { .. } | State::Assembling => return None,
            };
            Some(Finished { job, report, image })
        });
        Ok(finished.collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::cancel::Cancel;

    fn cancelled() -> BuildError {
        let cancel = Cancel::new();
        cancel.interrupt();
        cancel.check().unwrap_err().into()
    }

    #[test]
    fn a_base_that_was_begun_without_the_libraries_is_not_taken() {
        let wanted = BTreeSet::from(["libz.so.1".to_owned()]);
        let mut state = State::Waiting { libraries: wanted.clone(), base: None };
        state.take_base(&BTreeSet::new(), BaseImage::scratch());
        assert!(matches!(state, State::Waiting { base: None, .. }));
        state.take_base(&wanted, BaseImage::scratch());
        assert!(matches!(state, State::Waiting { base: Some(_), .. }));
    }

    #[test]
    fn a_job_that_has_failed_takes_nothing_more() {
        let mut state = State::waiting();
        state.fail(cancelled());
        state.take_base(&BTreeSet::new(), BaseImage::scratch());
        state.fail(BuildError::Partial { failed: 1, all: 2, code: crate::error::ExitCode::Internal });
        assert!(matches!(state, State::Failed(BuildError::Cancelled(_))));
    }
}
