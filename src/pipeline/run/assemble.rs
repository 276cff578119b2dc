//! Writes a job's layers, assembles its image and checks that it will run.

use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use super::{Work, compression, milliseconds};
use crate::base::BaseImage;
use crate::event::{Event, Phase, Reporter};
use crate::image::{AddedLayer, Image, ImageLayer, Parts};
use crate::layer::{self, Entry, EntryKind, LayerSpec};
use crate::linkcheck::{CheckMode, Report};
use crate::oci::annotation;
use crate::payload::Payload;
use crate::pipeline::job::Job;
use crate::pipeline::{BuildError, CheckError, check};
use crate::rootfs::on_base;
use crate::sys::clock::Instant;
use crate::target::platform::Platform;

impl Work<'_> {
    /// Makes a job's image, and what the link check found in it.
    pub(super) fn assemble(
        &self,
        job: &Job,
        payload: &Payload,
        base: &BaseImage,
    ) -> (Option<Report>, Result<Image, BuildError>) {
        let (layers, image) = match self.write(job, payload, base) {
            Ok(written) => written,
            Err(error) => return (None, Err(error)),
        };
        let report = match self.check(job, payload, base, (&layers, &image)) {
            Ok(report) => report,
            Err(error) => return (None, Err(error.into())),
        };
        let mode = self.settings.check.mode;
        if let Some(Err(error)) = report.as_ref().map(|report| check::verdict(mode, report)) {
            return (report, Err(error.into()));
        }
        self.phase(job, Phase::Done);
        self.host.reporter.report(Event::Built {
            platform: job.plan.platform.clone(),
            triple: job.plan.target.triple.clone(),
            toolchain: self.toolchain(job),
            base: job.plan.base.name.clone(),
            digest: image.manifest.digest().to_string(),
            size: image.size(),
            milliseconds: milliseconds(self.start),
        });
        (report, Ok(image))
    }

    /// Writes the layers that lie on the base, and assembles the image.
    fn write(
        &self,
        job: &Job,
        payload: &Payload,
        base: &BaseImage,
    ) -> Result<(Vec<AddedLayer>, Image), BuildError> {
        let platform = &job.plan.platform;
        self.phase(job, Phase::Layer);
        let files = on_base(job.files.clone(), &base.root);
        let programs = on_base(payload.entries(), &base.root);
        let meter = Meter::new(self.host.reporter, platform, files.iter().chain(&programs));
        let mut layers = Vec::new();
        let parts = [("xbuild: files".to_owned(), files), (payload.describe(), programs)];
        for (created_by, entries) in parts {
            if entries.is_empty() {
                continue;
            }
            let spec = LayerSpec {
                entries,
                present: base.dirs.clone(),
                mtime: self.plan.created.seconds,
                compression: compression(self.plan.compression),
                created_by,
                comment: None,
            };
            let layer = layer::write(&spec, &self.blobs, self.host.cancel, &|done| meter.at(done))?;
            meter.next();
            layers.push(AddedLayer {
                created_by: layer.created_by.clone(),
                layer: ImageLayer {
                    descriptor: layer.descriptor,
                    diff_id: layer.diff_id,
                    blob: layer.path,
                    origin: None,
                },
            });
        }
        let mut annotations = self.plan.annotations.clone();
        annotations.extend(base.name.iter().map(|name| (annotation::BASE_NAME.to_owned(), name.clone())));
        annotations
            .extend(base.digest.iter().map(|digest| (annotation::BASE_DIGEST.to_owned(), digest.clone())));
        let above: Vec<AddedLayer> = base.added.iter().chain(&layers).cloned().collect();
        let image = Image::assemble(&Parts {
            platform,
            base_config: &base.config,
            base_layers: &base.layers,
            layers: &above,
            settings: &job.plan.image,
            created: self.plan.created.seconds,
            annotations: &annotations,
        })?;
        Ok((layers, image))
    }

    /// Checks whether an image will run. `None` if that is not to be checked.
    fn check(
        &self,
        job: &Job,
        payload: &Payload,
        base: &BaseImage,
        built: (&[AddedLayer], &Image),
    ) -> Result<Option<Report>, CheckError> {
        let settings = &self.settings.check;
        if settings.mode != CheckMode::Off {
            self.phase(job, Phase::Check);
        }
        let mut report = check::check(settings, &job.plan, payload, base, built, self.host.cancel)?;
        if let Some(report) = &mut report {
            let project = &self.probe.facts.project;
            report.explain_built(&payload.machine, |library| {
                let (package, path) = payload.made.library(library)?;
                Some(format!("{}:{path}", project.spec_of(package)))
            });
        }
        Ok(report)
    }

    /// The toolchain that compiled and linked, for people.
    fn toolchain(&self, job: &Job) -> String {
        let linker = job.unit.kit.describe().map_or_else(String::new, |linker| format!(" + {linker}"));
        self.probe.rust.describe() + &linker
    }
}

/// Turns the progress of layers into that of their platform, and reports it no more often than a person can see.
struct Meter<'a> {
    reporter: &'a dyn Reporter,
    platform: &'a Platform,
    total: u64,
    /// Bytes of the layers that are finished.
    before: AtomicU64,
    /// Bytes of the layer that is being written.
    current: AtomicU64,
    last: Mutex<Option<Instant>>,
}

impl<'a> Meter<'a> {
    fn new<'e>(
        reporter: &'a dyn Reporter,
        platform: &'a Platform,
        entries: impl Iterator<Item = &'e Entry>,
    ) -> Self {
        // tar has a header for each entry, and fills up each file to a whole block.
        let total = entries
            .map(|entry| match &entry.kind {
                EntryKind::File(content) => 512 + content.size().next_multiple_of(512),
                _ => 512,
            })
            .sum();
        let zero = AtomicU64::default;
        Self { reporter, platform, total, before: zero(), current: zero(), last: Mutex::default() }
    }

    fn at(&self, done: u64) {
        self.current.store(done, Ordering::Relaxed);
        let Ok(mut last) = self.last.try_lock() else { return };
        if last.is_some_and(|last| last.elapsed() < Duration::from_millis(100)) {
            return;
        }
        *last = Some(Instant::now());
        let done = (self.before.load(Ordering::Relaxed) + done).min(self.total);
        let platform = self.platform.clone();
        self.reporter.report(Event::Progress { platform, done, total: Some(self.total) });
    }

    fn next(&self) {
        self.before.fetch_add(self.current.swap(0, Ordering::Relaxed), Ordering::Relaxed);
    }
}
