//! The coordinator: artifacts and bases come in, images go out.

mod coordinate;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::sync::{Mutex, PoisonError};
use std::thread::Scope;
use std::time::Duration;

use coordinate::Coordination;

use super::{BuildError, CheckError, Failures, check};
use crate::base::{self, BaseError, BaseImage, FetchRequest};
use crate::event::{Event, Level, Phase, Reporter};
use crate::files::{self, Made, STANDARD};
use crate::image::{AddedLayer, Image, ImageLayer, Parts};
use crate::layer::{self, Compression, Entry, EntryKind, LayerSpec};
use crate::linkcheck::{CheckMode, Report};
use crate::oci::annotation;
use crate::payload::cargo::project::Part;
use crate::payload::cargo::{self, CompileRequest, Product, Unit, UnitError};
use crate::payload::{self, BuiltBinary, Payload};
use crate::pipeline::probe::Probe;
use crate::plan::{Plan, PlatformPlan};
use crate::rootfs::on_base;
use crate::settings::{self, Output, Settings};
use crate::sys::cancel::Cancel;
use crate::sys::clock::Instant;
use crate::sys::download::Client;
use crate::sys::env::{self, Environment};
use crate::sys::store;
use crate::sys::threads::{self, Task};
use crate::target::platform::Platform;
use crate::toolchain::zig::Zig;

/// How often the coordinator looks whether the work has ended without a word.
const TICK: Duration = Duration::from_millis(500);

/// What a run works with.
pub(super) struct Work<'a> {
    pub(super) settings: &'a Settings,
    pub(super) environment: &'a Environment,
    pub(super) plan: &'a Plan,
    pub(super) probe: &'a Probe,
    pub(super) client: &'a Client,
    /// Whether what the cache says of itself is not believed.
    pub(super) verify_cache: bool,
    pub(super) units: &'a BTreeMap<Platform, Unit>,
    pub(super) zig: Option<&'a Zig>,
    pub(super) files: &'a BTreeMap<Platform, Vec<Entry>>,
    /// Where layers are written.
    pub(super) blobs: &'a Path,
    pub(super) reporter: &'a dyn Reporter,
    pub(super) start: Instant,
    /// What the link check found; told when the run ends, in platform order.
    pub(super) checks: Mutex<BTreeMap<Platform, Report>>,
}

/// What comes to the coordinator.
#[allow(clippy::large_enum_variant, reason = "there are a handful of them in a run")]
enum Message {
    /// All programs of a platform are compiled and verified, or one is not what it should be.
    Payload(Platform, Result<Payload, BuildError>),
    /// cargo has ended, and these platforms lack programs.
    Compiled(Result<Vec<(Platform, UnitError)>, cargo::Error>),
    /// A base with these libraries is here, or is not to be had.
    Base(Platform, BTreeSet<String>, Result<BaseImage, BaseError>),
    /// An image is assembled, or failed.
    Image(Platform, Result<Image, BuildError>),
}

/// What cargo has told of a unit so far.
#[derive(Default)]
struct Build {
    binaries: Vec<BuiltBinary>,
    made: Made,
    /// What is still to be made beside the programs.
    parts: BTreeSet<(String, Part)>,
    /// True once its payload went to the coordinator.
    sent: bool,
}

impl Build {
    fn take(&mut self, product: &Product) {
        match product {
            Product::Program(artifact) => {
                let binary = BuiltBinary { name: artifact.binary.clone(), path: artifact.path.clone() };
                if !self.binaries.contains(&binary) {
                    self.binaries.push(binary);
                }
            }
            Product::OutDir { package_id, dir, .. } => {
                self.made.add_dir(package_id, dir.clone());
                self.parts.remove(&(package_id.clone(), Part::Script));
            }
            Product::Library { package_id, files, .. } => {
                for file in files {
                    self.made.add_file(package_id, file.clone());
                }
                self.parts.remove(&(package_id.clone(), Part::Library));
            }
        }
    }

    /// True if all programs are there, and all else that is wanted.
    fn is_whole(&self, programs: usize) -> bool {
        self.binaries.len() == programs && self.parts.is_empty()
    }
}

/// What a platform still waits for.
#[derive(Default)]
struct Slot {
    payload: Option<Payload>,
    /// What the base is to have beside its own.
    libraries: BTreeSet<String>,
    base: Option<BaseImage>,
}

impl Slot {
    /// Takes a base, unless it was begun before it was known which libraries it is to have.
    fn take(&mut self, libraries: &BTreeSet<String>, base: BaseImage) {
        if self.libraries == *libraries {
            self.base = Some(base);
        }
    }
}

/// Milliseconds since the start of a run.
pub(super) fn milliseconds(start: Instant) -> u64 {
    u64::try_from(start.elapsed().as_millis()).unwrap_or(u64::MAX)
}

impl Work<'_> {
    /// Builds every platform that has a unit. Returns the images and each other platform's failure; an error
    /// is one of the whole run.
    pub(super) fn execute(
        &self,
        cancel: &Cancel,
    ) -> Result<(BTreeMap<Platform, Image>, Failures), BuildError> {
        // Stopped by itself when a failure makes the rest pointless.
        let work = cancel.child();
        std::thread::scope(|scope| rayon::in_place_scope(|pool| self.coordinate(scope, pool, &work)))
    }

    fn coordinate<'scope, 'env>(
        &'env self,
        scope: &'scope Scope<'scope, 'env>,
        pool: &rayon::Scope<'env>,
        cancel: &Cancel,
    ) -> Result<(BTreeMap<Platform, Image>, Failures), BuildError> {
        let (sender, inbox) = mpsc::channel();
        let mut threads = vec![self.compile(scope, sender.clone(), cancel)];
        for platform in self.units.keys() {
            threads.push(self.fetch(scope, platform, BTreeSet::new(), sender.clone(), cancel));
        }
        let mut state = Coordination::new(self.units.keys());
        while state.is_unfinished() {
            let idle = || !state.is_assembling() && threads.iter().all(Task::is_finished);
            let Some(message) = next(&inbox, idle) else { break };
            if let Some((platform, libraries)) = state.take(self, message, cancel) {
                threads.push(self.fetch(scope, &platform, libraries, sender.clone(), cancel));
            }
            for (platform, payload, base) in state.begin_ready() {
                let (sender, cancel) = (sender.clone(), cancel.clone());
                pool.spawn(move |_| {
                    let image = self.assemble(&platform, &payload, &base, &cancel);
                    // Nobody listens any more only if the coordinator has panicked.
                    sender.send(Message::Image(platform, image)).ok();
                });
            }
        }
        // Whatever still runs (cargo, where every platform has failed otherwise) is not needed.
        cancel.interrupt();
        state.finish()
    }

    /// Compiles everything on a thread of its own.
    fn compile<'scope, 'env>(
        &'env self,
        scope: &'scope Scope<'scope, 'env>,
        sender: Sender<Message>,
        cancel: &Cancel,
    ) -> Task<'scope, ()> {
        let cancel = cancel.clone();
        threads::begin(scope, move || {
            let result = self.compile_all(&sender, &cancel);
            sender.send(Message::Compiled(result)).ok();
        })
    }

    fn compile_all(
        &self,
        sender: &Sender<Message>,
        cancel: &Cancel,
    ) -> Result<Vec<(Platform, UnitError)>, cargo::Error> {
        let platforms: Vec<&Platform> = self.units.keys().collect();
        let units: Vec<Unit> = self.units.values().cloned().collect();
        for platform in &platforms {
            self.phase(platform, Phase::Compile);
        }
        let request = CompileRequest {
            rust: &self.probe.rust,
            environment: self.environment,
            configuration: &self.probe.configuration,
            settings: &self.settings.cargo,
            manifest_path: &self.settings.manifest_path,
            project: &self.probe.facts.project,
            graph: &self.probe.graph,
            units: &units,
            zig: self.zig,
            cache: &self.working_cache()?,
            program: &env::current_exe()?,
            offline: self.settings.machine.offline,
            on_failure: self.settings.on_failure,
            color: self.settings.color,
            source_date_epoch: Some(self.plan.created.seconds),
        };
        let machine = cargo::machine_dirs(&request);
        let wanted = self.plan.binaries.len();
        let mut builds: Vec<Build> = units.iter().map(|unit| self.started(unit)).collect();
        let send = |unit: usize, build: &mut Build| {
            if let Some(platform) = platforms.get(unit).filter(|_| !build.sent) {
                build.sent = true;
                self.phase(platform, Phase::Verify);
                let payload = self.verify(platform, build, &machine);
                sender.send(Message::Payload((*platform).clone(), payload)).ok();
            }
        };
        let outcome = cargo::compile(&request, cancel, self.reporter, &mut |product: &Product| {
            let unit = product.unit();
            let Some(build) = builds.get_mut(unit).filter(|build| !build.sent) else { return };
            build.take(product);
            if build.is_whole(wanted) {
                send(unit, build);
            }
        })?;
        // What is still lacking beside the programs was not to be built: the message is that of whoever wants it.
        for (unit, build) in builds.iter_mut().enumerate() {
            let failed = outcome.failures.iter().any(|(failed, _)| *failed == unit);
            if build.binaries.len() == wanted && !failed {
                send(unit, build);
            }
        }
        let failures = outcome.failures.into_iter();
        Ok(failures.filter_map(|(unit, error)| Some(((*platforms.get(unit)?).clone(), error))).collect())
    }

    /// Where the compilers keep what is theirs: in the cache, or where that cannot be written to beside what cargo keeps.
    fn working_cache(&self) -> Result<PathBuf, cargo::Error> {
        let cache = &self.settings.machine.cache;
        if store::is_writable(cache) {
            return Ok(cache.clone());
        }
        let own = self.probe.facts.project.target_directory.join("xbuild-cache");
        let text = format!(
            "`{}` cannot be written to: what compilers keep is in `{}`",
            cache.display(),
            own.display()
        );
        self.reporter.report(Event::Note { level: Level::Info, platform: None, text });
        store::open(&own)?;
        Ok(own)
    }

    /// What is known of a unit's build before it begins: the toolchain's own libraries are there.
    fn started(&self, unit: &Unit) -> Build {
        let mut build = Build { parts: unit.parts.clone(), ..Build::default() };
        let sysroot = &self.probe.rust.sysroot;
        build.made.add_dir(STANDARD, sysroot.join("lib/rustlib").join(&unit.target.triple).join("lib"));
        build
    }

    fn verify(
        &self,
        platform: &Platform,
        build: &mut Build,
        machine: &[PathBuf],
    ) -> Result<Payload, BuildError> {
        let plan = self.platform_plan(platform).ok_or_else(|| BuildError::Lost(platform.to_string()))?;
        let mut binaries = std::mem::take(&mut build.binaries);
        binaries.sort_by(|a, b| a.name.cmp(&b.name));
        let makers = &self.probe.facts.project.makers;
        let id =
            |spec: &String| makers.get(spec).map_or(STANDARD, |maker| maker.package_id.as_str()).to_owned();
        let specs = plan.files.iter().filter_map(|file| file.from_build.as_ref());
        let ids = specs.map(|spec| (spec.clone(), id(spec))).collect();
        let files = files::built(&plan.files, &build.made, &ids)?;
        let mut payload = payload::verify(binaries, files, plan.target, machine)?;
        payload.made = std::mem::take(&mut build.made);
        Ok(payload)
    }

    /// Fetches a platform's base on a thread of its own.
    fn fetch<'scope, 'env>(
        &'env self,
        scope: &'scope Scope<'scope, 'env>,
        platform: &Platform,
        libraries: BTreeSet<String>,
        sender: Sender<Message>,
        cancel: &Cancel,
    ) -> Task<'scope, ()> {
        let (platform, cancel) = (platform.clone(), cancel.clone());
        threads::begin(scope, move || {
            let Some(Ok(resolved)) = self.probe.resolved.get(&platform) else { return };
            let request = FetchRequest {
                platform: &platform,
                libraries: &libraries,
                content: self.plan.outputs.iter().any(Output::has_content),
                compression: compression(self.plan.compression),
                machine: &self.settings.machine,
                client: self.client,
                verify_cache: self.verify_cache,
            };
            let base = base::fetch(resolved, &request, &cancel, self.reporter);
            sender.send(Message::Base(platform.clone(), libraries, base)).ok();
        })
    }

    /// The libraries that a payload needs and its base lacks but can get.
    fn libraries(&self, platform: &Platform, payload: &Payload) -> BTreeSet<String> {
        match self.probe.resolved.get(platform) {
            Some(Ok(resolved)) => resolved.obtainable(&payload.needed()),
            _ => BTreeSet::new(),
        }
    }

    /// Writes a platform's layers and assembles its image.
    fn assemble(
        &self,
        platform: &Platform,
        payload: &Payload,
        base: &BaseImage,
        cancel: &Cancel,
    ) -> Result<Image, BuildError> {
        let plan = self.platform_plan(platform).ok_or_else(|| BuildError::Lost(platform.to_string()))?;
        self.phase(platform, Phase::Layer);
        let files = self.files.get(platform).cloned().unwrap_or_default();
        let (files, programs) = (on_base(files, &base.root), on_base(payload.entries(), &base.root));
        let meter = Meter::new(self.reporter, platform, files.iter().chain(&programs));
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
            let layer = layer::write(&spec, self.blobs, cancel, &|done| meter.at(done))?;
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
            settings: &plan.image,
            created: self.plan.created.seconds,
            annotations: &annotations,
        })?;
        self.check(plan, payload, base, (&layers, &image), cancel)?;
        self.phase(platform, Phase::Done);
        self.reporter.report(Event::Built {
            platform: platform.clone(),
            triple: plan.target.triple.clone(),
            toolchain: self.toolchain(platform),
            base: plan.base.name.clone(),
            digest: image.manifest.digest().to_string(),
            size: image.size(),
            milliseconds: milliseconds(self.start),
        });
        Ok(image)
    }

    /// Checks whether an image will run.
    fn check(
        &self,
        plan: &PlatformPlan,
        payload: &Payload,
        base: &BaseImage,
        built: (&[AddedLayer], &Image),
        cancel: &Cancel,
    ) -> Result<(), CheckError> {
        let settings = &self.settings.check;
        if settings.mode != CheckMode::Off {
            self.phase(&plan.platform, Phase::Check);
        }
        let checked = check::check(settings, plan, payload, base, built, cancel)?;
        let Some(mut report) = checked else { return Ok(()) };
        let project = &self.probe.facts.project;
        report.explain_built(&payload.machine, |library| {
            let (package, path) = payload.made.library(library)?;
            Some(format!("{}:{path}", project.spec_of(package)))
        });
        let verdict = check::verdict(settings.mode, &report);
        let mut checks = self.checks.lock().unwrap_or_else(PoisonError::into_inner);
        checks.insert(plan.platform.clone(), report);
        verdict
    }

    /// The toolchain that compiled and linked, for people.
    fn toolchain(&self, platform: &Platform) -> String {
        let linker = match (self.units.get(platform).map(|unit| unit.linker), self.zig) {
            (Some(cargo::Linker::Zig), Some(zig)) => format!(" + zig {}", zig.version),
            (Some(cargo::Linker::RustLld), _) => " + rust-lld".into(),
            _ => String::new(),
        };
        self.probe.rust.describe() + &linker
    }

    fn platform_plan(&self, platform: &Platform) -> Option<&PlatformPlan> {
        self.plan.platforms.iter().find(|plan| plan.platform == *platform)
    }

    fn phase(&self, platform: &Platform, phase: Phase) {
        tracing::info!("{platform}: {}", phase.name());
        self.reporter.report(Event::Phase { platform: platform.clone(), phase });
    }
}

/// The next message; `None` if there will be none, since everything that could send one has ended.
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

/// Turns a layer's progress into a platform's: over all its layers, and not more often than a person can see.
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
        // A header for each entry, and each file up to a whole block, as tar has it.
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_base_that_was_begun_without_the_libraries_is_not_taken() {
        let wanted = BTreeSet::from(["libz.so.1".to_owned()]);
        let mut slot = Slot { libraries: wanted.clone(), ..Slot::default() };
        slot.take(&BTreeSet::new(), BaseImage::scratch());
        assert!(slot.base.is_none());
        slot.take(&wanted, BaseImage::scratch());
        assert!(slot.base.is_some());
    }
}
