//! What has come of each platform so far, and what a message changes of it.

use std::collections::{BTreeMap, BTreeSet};

use super::{Message, Slot, Work};
use crate::base::BaseImage;
use crate::config::OnFailure;
use crate::image::Image;
use crate::payload::{self, Payload, cargo};
use crate::pipeline::{BuildError, Failures};
use crate::sys::cancel::Cancel;
use crate::target::platform::Platform;

/// The state of a run.
#[derive(Default)]
pub(super) struct Coordination {
    /// What still waits for its payload or its base.
    slots: BTreeMap<Platform, Slot>,
    payloads: BTreeMap<Platform, Payload>,
    images: BTreeMap<Platform, Image>,
    failures: Failures,
    /// How many images are being assembled.
    assembling: usize,
    /// The error of the whole run.
    fatal: Option<cargo::Error>,
}

impl Coordination {
    pub(super) fn new<'p>(platforms: impl Iterator<Item = &'p Platform>) -> Self {
        let slots = platforms.map(|platform| (platform.clone(), Slot::default())).collect();
        Self { slots, ..Self::default() }
    }

    /// True while there is something to wait for.
    pub(super) fn is_unfinished(&self) -> bool {
        !self.slots.is_empty() || self.is_assembling()
    }

    pub(super) fn is_assembling(&self) -> bool {
        self.assembling > 0
    }

    /// Takes a message. Returns a platform whose base is to be fetched again, with these libraries.
    pub(super) fn take(
        &mut self,
        work: &Work<'_>,
        message: Message,
        cancel: &Cancel,
    ) -> Option<(Platform, BTreeSet<String>)> {
        let mut fetch = None;
        let mut failed: Vec<(Platform, BuildError)> = Vec::new();
        match message {
            Message::Payload(platform, Ok(payload)) => {
                let more = work.libraries(&platform, &payload);
                if let Some(slot) = self.slots.get_mut(&platform) {
                    self.payloads.insert(platform.clone(), payload.clone());
                    slot.payload = Some(payload);
                    if !more.is_empty() {
                        slot.base = None;
                        slot.libraries.clone_from(&more);
                        fetch = Some((platform, more));
                    }
                }
            }
            Message::Base(platform, libraries, Ok(base)) => {
                if let Some(slot) = self.slots.get_mut(&platform) {
                    slot.take(&libraries, base);
                }
            }
            Message::Image(platform, result) => {
                self.assembling -= 1;
                match result {
                    Ok(image) => {
                        self.images.insert(platform, image);
                    }
                    Err(error) => failed.push((platform, error)),
                }
            }
            Message::Payload(platform, Err(error)) => failed.push((platform, error)),
            Message::Base(platform, _, Err(error)) => failed.push((platform, error.into())),
            Message::Compiled(Ok(lacking)) => {
                failed.extend(lacking.into_iter().map(|(platform, error)| (platform, error.into())));
            }
            Message::Compiled(Err(error)) => {
                self.fatal.get_or_insert(error);
                cancel.interrupt();
                self.slots.clear();
            }
        }
        for (platform, error) in failed {
            self.slots.remove(&platform);
            self.failures.entry(platform).or_insert(error);
            if work.settings.on_failure == OnFailure::FailFast {
                cancel.interrupt();
            }
        }
        fetch
    }

    /// The platforms that have their payload and their base, whose images are assembled from now on.
    pub(super) fn begin_ready(&mut self) -> Vec<(Platform, Payload, BaseImage)> {
        let is_ready = |slot: &Slot| slot.payload.is_some() && slot.base.is_some();
        let ready = self.slots.iter().filter(|(_, slot)| is_ready(slot));
        let ready: Vec<Platform> = ready.map(|(platform, _)| platform.clone()).collect();
        let mut begun = Vec::new();
        for platform in ready {
            let Some(Slot { payload: Some(payload), base: Some(base), .. }) = self.slots.remove(&platform)
            else {
                continue;
            };
            self.assembling += 1;
            begun.push((platform, payload, base));
        }
        begun
    }

    /// The images and each other platform's failure.
    pub(super) fn finish(mut self) -> Result<(BTreeMap<Platform, Image>, Failures), BuildError> {
        if let Some(error) = self.fatal {
            return Err(error.into());
        }
        for platform in self.slots.into_keys() {
            let error = BuildError::Lost(platform.to_string());
            self.failures.entry(platform).or_insert(error);
        }
        for (platform, error) in payload::same(&self.payloads) {
            self.images.remove(&platform);
            self.failures.entry(platform).or_insert(error.into());
        }
        Ok((self.images, self.failures))
    }
}
