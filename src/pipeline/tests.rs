//! What is planned for a platform is what its build uses.

use std::path::PathBuf;

use semver::Version;
use serde_json::Value;

use super::job::{self, Job};
use super::prepare;
use super::probe::{self, Probe, Probed};
use crate::base::{Bases, ResolvedBase};
use crate::event::Silent;
use crate::host::Host;
use crate::lock::Pins;
use crate::payload::configuration::Configuration;
use crate::payload::graph::Graph;
use crate::plan::sample;
use crate::sys::cancel::Cancel;
use crate::sys::download::Client;
use crate::sys::env::Environment;
use crate::sys::fs;
use crate::target::abi::GlibcVersion;
use crate::toolchain::rust::{Rust, Rustup, Standard};
use crate::toolchain::{Kit, Linker};

const HOST: &str = "x86_64-unknown-linux-gnu";
const ARM64: &str = "aarch64-unknown-linux-gnu";
const MUSL: &str = "aarch64-unknown-linux-musl";
const S390X_MUSL: &str = "s390x-unknown-linux-musl";

/// A rustup that has no library but the source of all.
const SOURCE_ONLY: &str = "if [ \"$1\" = target ]; then echo 'unsuccessful status code: 404' >&2; exit 1; fi\n\
    mkdir -p $sysroot/lib/rustlib/src/rust/library/std\n\
    touch $sysroot/lib/rustlib/src/rust/library/std/Cargo.toml";

/// A made-up machine, with a zig and a Rust that has rust-lld.
struct Machine {
    dir: fs::TempDir,
    rust: Rust,
}

impl Machine {
    /// With the standard libraries of these triples.
    fn with(triples: &[&str]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let sysroot = dir.path().join("toolchains/stable-x");
        let script = |name: &str, text: &str| {
            let path = dir.path().join(name);
            let text = format!("#!/bin/sh\nsysroot='{}'\n{text}\n", sysroot.display());
            fs::write_atomic(&path, text.as_bytes(), 0o755).unwrap();
            path
        };
        let file = |path: PathBuf| {
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write_atomic(&path, b"", 0o755).unwrap();
        };
        script("zig", "echo 0.17.1");
        let rustlib = sysroot.join("lib/rustlib");
        file(rustlib.join(HOST).join("bin/rust-lld"));
        for triple in triples {
            file(rustlib.join(triple).join("lib/libstd-1.rlib"));
        }
        let rustup = Rustup { program: script("rustup", SOURCE_ONLY), toolchain: "stable-x".into() };
        let rust = Rust {
            rustc: "rustc".into(),
            cargo: "cargo".into(),
            version: Version::new(1, 95, 0),
            commit: None,
            host: HOST.into(),
            sysroot,
            rustup: Some(rustup),
        };
        Self { dir, rust }
    }

    /// The plans as `xbuild plan --format json` prints them, and the jobs that are made of them.
    fn prepare(
        &self,
        text: &str,
        variables: &[(&str, &str)],
        c_code: Option<&str>,
    ) -> (Vec<Value>, Vec<Job>) {
        let environment: Environment = variables.iter().copied().collect();
        let settings = sample::settings(text, self.dir.path());
        let configuration = Configuration::load(self.dir.path(), &environment, &self.rust).unwrap();
        let (client, cancel) = (&Client::new(false), &Cancel::new());
        let (cache, reporter) = (&settings.machine.cache, &Silent);
        let host = Host { environment: &environment, cache, client, cancel, reporter };
        let probed = settings.platforms.iter().map(|wanted| {
            let mut facts =
                probe::platform_facts(wanted, &self.rust, &configuration, (c_code, None), host).unwrap();
            facts.linker.no_sysroot = Some("there are no packages here".into());
            Probed { facts, base: Ok(ResolvedBase::Scratch), sysroot: None }
        });
        let facts = sample::facts();
        let (planned, failures) = job::plan_all(&settings, &facts, probed.collect());
        assert!(failures.is_empty(), "{failures:?}");
        let plans = planned.iter().map(|platform| serde_json::to_value(&platform.plan).unwrap()).collect();
        let probe = Probe {
            facts,
            rust: self.rust.clone(),
            configuration,
            graph: Graph::default(),
            provided: None,
            compiler: None,
            bases: Bases::new(&settings.machine, &settings.named, &environment),
            platforms: Vec::new(),
        };
        let prepared = prepare::prepare(&settings, &probe, &Pins::default(), planned, (host, host));
        let (jobs, failures) = prepared.unwrap();
        assert!(failures.is_empty(), "{failures:?}");
        (plans, jobs)
    }
}

/// What a job is linked with and for, in the plan's words.
fn linked(job: &Job) -> (Value, Value) {
    let linker = match &job.unit.kit {
        Kit::Provided(_) => Linker::Zig,
        Kit::RustLld => Linker::RustLld,
        Kit::Lld(..) => Linker::Lld,
        Kit::Configured => Linker::Configured,
    };
    assert_eq!(job.plan.linker, linker);
    (serde_json::to_value(linker).unwrap(), serde_json::to_value(job.unit.glibc).unwrap())
}

fn platform(triple: &str) -> String {
    format!("platforms = [\"linux/arm64\"]\n[platform.\"linux/arm64\"]\ntriple = \"{triple}\"")
}

#[test]
fn a_build_links_with_what_is_planned() {
    let machine = Machine::with(&[ARM64, MUSL]);
    let configured = [("CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_LINKER", "a64-gcc")];
    let (gnu, musl) = (platform(ARM64), platform(MUSL));
    for (text, variables, c_code, expected) in [
        (gnu.clone(), &[][..], None, "zig"),
        (musl.clone(), &[], None, "rust-lld"),
        (musl.clone(), &[], Some("x-sys"), "zig"),
        (gnu.clone(), &configured, None, "configured"),
        (format!("glibc = \"2.31\"\n{gnu}"), &[], Some("x-sys"), "zig"),
        (format!("toolchain = \"zig\"\n{gnu}"), &configured, None, "zig"),
        (format!("toolchain = \"zig\"\n{musl}"), &[], None, "zig"),
        (format!("toolchain = \"cargo\"\nglibc = \"2.31\"\n{gnu}"), &[], None, "configured"),
    ] {
        let (plans, jobs) = machine.prepare(&text, variables, c_code);
        assert_eq!(plans[0]["linker"], expected, "{text}");
        assert_eq!(linked(&jobs[0]), (plans[0]["linker"].clone(), plans[0]["glibc"].clone()), "{text}");
    }
}

#[test]
fn each_platform_of_a_build_has_its_own_linker() {
    let machine = Machine::with(&[HOST, MUSL]);
    let text = "glibc = \"2.31\"\nplatforms = [\"linux/amd64\", \"linux/arm64\"]\n\
                [platform.\"linux/arm64\"]\ntriple = \"aarch64-unknown-linux-musl\"";
    let (plans, jobs) = machine.prepare(text, &[], None);
    assert_eq!(plans.len(), 2);
    for (plan, job) in plans.iter().zip(&jobs) {
        assert_eq!(linked(job), (plan["linker"].clone(), plan["glibc"].clone()));
    }
    assert_eq!(jobs[0].unit.glibc, Some(GlibcVersion(2, 31)));
    assert_eq!((&jobs[1].unit.kit, jobs[1].unit.glibc), (&Kit::RustLld, None));
}

#[test]
fn a_standard_library_from_source_is_linked_by_zig_and_planned_so_once_it_is_known() {
    let machine = Machine::with(&[]);
    // rustup is only asked when something is built.
    let (plans, jobs) = machine.prepare(&platform(MUSL), &[], None);
    assert_eq!((&plans[0]["linker"], jobs[0].unit.standard), (&"rust-lld".into(), Standard::Built));
    assert_eq!(linked(&jobs[0]).0, "zig");
    let (plans, jobs) = machine.prepare(&platform(MUSL), &[], None);
    assert_eq!((&plans[0]["linker"], &linked(&jobs[0]).0), (&"zig".into(), &"zig".into()));
    // Of a target that no channel carries it is known from the start.
    let text =
        format!("platforms = [\"linux/s390x\"]\n[platform.\"linux/s390x\"]\ntriple = \"{S390X_MUSL}\"");
    let (plans, jobs) = machine.prepare(&text, &[], None);
    assert_eq!((&plans[0]["linker"], &linked(&jobs[0]).0), (&"zig".into(), &"zig".into()));
}
