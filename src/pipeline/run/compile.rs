//! Compiles all jobs, and turns what cargo makes for each into its payload.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::mpsc::Sender;
use std::thread::Scope;

use super::{Message, Work};
use crate::event::{Event, Level, Phase};
use crate::files::{self, Made, STANDARD};
use crate::host::Host;
use crate::payload::project::Part;
use crate::payload::{self, BuiltBinary, CompileError, CompileRequest, Payload, Product, Unit, UnitError};
use crate::pipeline::BuildError;
use crate::pipeline::job::Job;
use crate::sys::threads::{self, Task};
use crate::sys::{env, store};

/// What cargo has finished for a unit so far.
#[derive(Default)]
struct Build {
    binaries: Vec<BuiltBinary>,
    made: Made,
    /// What is still to be made beside the programs.
    parts: BTreeSet<(String, Part)>,
    /// True once the coordinator has the job's payload or failure.
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

    /// The first program that is still to be made.
    fn missing<'p>(&self, mut programs: impl Iterator<Item = &'p String>) -> Option<&'p String> {
        programs.find(|name| !self.binaries.iter().any(|binary| binary.name == **name))
    }
}

impl Work<'_> {
    /// Compiles everything on a thread of its own.
    pub(super) fn compile<'scope, 'env>(
        &'env self,
        scope: &'scope Scope<'scope, 'env>,
        sender: Sender<Message>,
    ) -> Task<'scope, ()> {
        threads::begin(scope, move || {
            if let Err(error) = self.compile_all(&sender) {
                sender.send(Message::NothingCompiled(error)).ok();
            }
        })
    }

    fn compile_all(&self, sender: &Sender<Message>) -> Result<(), CompileError> {
        let units: Vec<Unit> = self.jobs.iter().map(|job| job.unit.clone()).collect();
        for job in self.jobs {
            self.phase(job, Phase::Compile);
        }
        let request = CompileRequest {
            rust: &self.probe.rust,
            host: Host { cache: &self.working_cache()?, ..self.host },
            configuration: &self.probe.configuration,
            settings: &self.settings.payload,
            manifest_path: &self.settings.manifest_path,
            project: &self.probe.facts.project,
            graph: &self.probe.graph,
            tools: &self.probe.facts.tools,
            units: &units,
            program: &env::current_exe()?,
            offline: self.settings.machine.offline,
            on_failure: self.settings.on_failure,
            color: self.settings.color,
            source_date_epoch: Some(self.plan.created.seconds),
        };
        let machine = payload::machine_dirs(&request);
        let mut builds: Vec<Build> = self.jobs.iter().map(|job| self.started(job)).collect();
        let send = |index: usize, build: &mut Build, payload: Result<Payload, BuildError>| {
            build.sent = true;
            sender.send(Message::Payload(index, payload)).ok();
        };
        let outcome = payload::compile(&request, &mut |product: &Product| {
            let index = product.unit();
            let build = &mut builds[index];
            if build.sent {
                return;
            }
            build.take(product);
            if build.parts.is_empty() && self.missing(build).is_none() {
                let payload = self.verify(&self.jobs[index], build, &machine);
                send(index, build, payload);
            }
        })?;
        for (index, error) in outcome.failures {
            send(index, &mut builds[index], Err(error.into()));
        }
        for (index, (job, build)) in self.jobs.iter().zip(&mut builds).enumerate() {
            if build.sent {
                continue;
            }
            let payload = match self.missing(build) {
                // What a build makes beside its programs was not asked of cargo. Whoever wants it reports that it is missing.
                None => self.verify(job, build, &machine),
                Some(binary) => {
                    let (binary, triple) = (binary.clone(), job.unit.target.triple.clone());
                    Err(UnitError::Missing { triple, binary }.into())
                }
            };
            send(index, build, payload);
        }
        Ok(())
    }

    /// The first program that a job still lacks.
    fn missing(&self, build: &Build) -> Option<&String> {
        build.missing(self.plan.binaries.iter().map(|binary| &binary.name))
    }

    /// The directory for the compilers' caches: xbuild's cache, or one in cargo's directory if that cannot be written to.
    fn working_cache(&self) -> Result<PathBuf, CompileError> {
        let cache = self.host.cache;
        if store::is_writable(cache) {
            return Ok(cache.to_owned());
        }
        let own = self.probe.facts.project.target_directory.join("xbuild-cache");
        let text = format!(
            "`{}` cannot be written to: what compilers keep is in `{}`",
            cache.display(),
            own.display()
        );
        self.host.reporter.report(Event::Note { level: Level::Info, platform: None, text });
        store::open(&own)?;
        Ok(own)
    }

    /// A build that has not begun. The toolchain's own libraries are there already.
    fn started(&self, job: &Job) -> Build {
        let mut build = Build { parts: job.unit.parts.clone(), ..Build::default() };
        let sysroot = &self.probe.rust.sysroot;
        build.made.add_dir(STANDARD, sysroot.join("lib/rustlib").join(&job.unit.target.triple).join("lib"));
        build
    }

    fn verify(&self, job: &Job, build: &mut Build, machine: &[PathBuf]) -> Result<Payload, BuildError> {
        self.phase(job, Phase::Verify);
        let plan = &job.plan;
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
}
