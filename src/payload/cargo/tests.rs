//! Whole runs with a shell script in place of cargo.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::sync::Mutex;

use semver::Version;

use super::*;
use crate::event::{Event, Level, Reporter};
use crate::payload::cargo::project::{Binary, Maker, PackageFacts, Part, ProgramKind};
use crate::sys::download::Client;
use crate::sys::env::Environment;
use crate::target::abi::GlibcVersion;
use crate::toolchain::Linker;
use crate::toolchain::zig::{Zig, ZigWay};

mod levels;

const ARM64: &str = "aarch64-unknown-linux-gnu";
const AMD64: &str = "x86_64-unknown-linux-gnu";
const ARMV7_MUSL: &str = "armv7-unknown-linux-musleabihf";

/// Functions for the scripts: `artifact TRIPLE [DIRECTORY]` reports a program, `library` a library.
const FUNCTIONS: &str = r#"#!/bin/sh
here=$(dirname "$0")
echo "$*" >> "$here/calls"
env > "$here/variables"
message() {
    echo '{"reason":"compiler-artifact","package_id":"path+file:///w#app@1.0.0","manifest_path":"/w/Cargo.toml",'\
'"target":{"kind":["'$1'"],"crate_types":["'$1'"],"name":"app","src_path":"/w/x.rs","edition":"2024",'\
'"doc":true,"doctest":false,"test":true},"profile":{"opt_level":"3","debuginfo":0,"debug_assertions":false,'\
'"overflow_checks":false,"test":false},"features":[],"filenames":[],"executable":'$2',"fresh":false}'
}
artifact() { message bin "\"/w/target/${2:-}$1/release/app\""; }
library() { message lib null; }
made() {
    echo '{"reason":"build-script-executed","package_id":"part","linked_libs":[],"linked_paths":[],"cfgs":[],'\
'"env":[],"out_dir":"/w/target/'$1'/build/part-12/out"}'
}
plugin() {
    message cdylib null | sed -e 's/path+file[^"]*/plug/' -e 's#"filenames":\[\]#"filenames":["/w/target/'$1'/release/libplug.so"]#'
}
"#;

#[derive(Default)]
struct Recorded(Mutex<Vec<Event>>);

impl Reporter for Recorded {
    fn report(&self, event: Event) {
        self.0.lock().unwrap().push(event);
    }
}

struct Fake {
    dir: fs::TempDir,
    rust: Rust,
    project: Project,
    settings: PayloadSettings,
    environment: Environment,
    units: Vec<Unit>,
    on_failure: OnFailure,
    /// The events of the last run.
    products: RefCell<Vec<Product>>,
}

fn unit(triple: &str, linker: Linker) -> Unit {
    let target = Target::by_triple(triple).unwrap();
    let zig =
        Zig { program: "/no/such/zig".into(), version: Version::new(0, 17, 1), way: ZigWay::Configured };
    let (kit, glibc) = match linker {
        Linker::Zig => (Kit::Provided(zig), target.zig.minimum_glibc.map(|_| GlibcVersion(2, 28))),
        Linker::RustLld => (Kit::RustLld, None),
        Linker::Lld => unreachable!("no test here links with a sysroot"),
        Linker::Configured => (Kit::Configured, None),
    };
    let standard = if triple == ARMV7_MUSL { Standard::Built } else { Standard::Installed };
    Unit {
        platform: target.platform.clone(),
        target,
        glibc,
        standard,
        kit,
        limit: None,
        parts: BTreeSet::new(),
    }
}

impl Fake {
    fn new(script: &str, units: Vec<Unit>) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let cargo = dir.path().join("cargo");
        fs::write_atomic(&cargo, format!("{FUNCTIONS}{script}\n").as_bytes(), 0o755).unwrap();
        let rust = Rust {
            rustc: "rustc".into(),
            cargo,
            version: Version::new(1, 95, 0),
            commit: Some("0123456789".into()),
            host: AMD64.into(),
            sysroot: dir.path().join("sysroot"),
            rustup: None,
        };
        let name = |text: &str| text.to_owned();
        let project = Project {
            workspace_root: "/w".into(),
            target_directory: "/w/target".into(),
            build_directory: None,
            left_out: Vec::new(),
            makers: BTreeMap::new(),
            specs: [(name("path+file:///w#app@1.0.0"), name("app"))].into(),
            binaries: vec![Binary {
                name: name("app"),
                package: name("app"),
                kind: ProgramKind::Bin,
                package_id: name("path+file:///w#app@1.0.0"),
            }],
            package: PackageFacts {
                name: name("app"),
                version: name("1.0.0"),
                description: None,
                license: None,
                repository: None,
                authors: None,
                homepage: None,
                documentation: None,
            },
        };
        let settings = PayloadSettings { profile: name("release"), ..PayloadSettings::default() };
        let environment = Environment::default();
        let (on_failure, products) = (OnFailure::KeepGoing, RefCell::default());
        Self { dir, rust, project, settings, environment, units, on_failure, products }
    }

    fn run_with(&self, cancel: &Cancel, reporter: &dyn Reporter) -> Result<Outcome, Error> {
        let cache = self.dir.path().join("cache");
        let manifest_path = self.dir.path().join("Cargo.toml");
        let configuration = Configuration::load(self.dir.path(), &self.environment, &self.rust).unwrap();
        let request = CompileRequest {
            rust: &self.rust,
            host: Host {
                environment: &self.environment,
                cache: &cache,
                client: &Client::new(true),
                cancel,
                reporter,
            },
            configuration: &configuration,
            settings: &self.settings,
            manifest_path: &manifest_path,
            project: &self.project,
            graph: &Graph::default(),
            tools: &[],
            units: &self.units,
            program: Path::new("/no/such/xbuild"),
            offline: false,
            on_failure: self.on_failure,
            color: false,
            source_date_epoch: None,
        };
        compile(&request, &mut |product| self.products.borrow_mut().push(product.clone()))
    }

    fn run(&self) -> Outcome {
        self.run_with(&Cancel::new(), &Recorded::default()).unwrap_or_else(|error| panic!("{error}"))
    }

    /// A variable that the last cargo was given.
    fn variable(&self, name: &str) -> String {
        let text = fs::read_to_string(self.dir.path().join("variables")).unwrap();
        let value = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix('='));
        value.unwrap_or_else(|| panic!("no {name} in {text}")).to_owned()
    }

    /// cargo's command lines.
    fn calls(&self) -> Vec<String> {
        let text = fs::read_to_string(self.dir.path().join("calls")).unwrap();
        text.lines().map(str::to_owned).collect()
    }
}

fn triples(outcome: &Outcome, fake: &Fake) -> Vec<String> {
    outcome.artifacts.iter().map(|artifact| fake.units[artifact.unit].target.triple.clone()).collect()
}

#[test]
fn one_cargo_process_compiles_all_and_artifacts_are_told_apart_by_their_paths() {
    let fake = Fake::new(
        &format!("library; artifact {ARM64}; artifact {AMD64}; artifact unknown-triple"),
        vec![unit(AMD64, Linker::Zig), unit(ARM64, Linker::Configured)],
    );
    let outcome = fake.run();
    assert_eq!(triples(&outcome, &fake), [ARM64, AMD64]);
    assert!(outcome.failures.is_empty());
    let calls = fake.calls();
    assert_eq!(calls.len(), 1);
    for expected in [
        "build --message-format=json-render-diagnostics",
        "--package app --bin app",
        "--profile release",
        "--keep-going",
        "--target x86_64-unknown-linux-gnu",
        "--target aarch64-unknown-linux-gnu",
    ] {
        assert!(calls[0].contains(expected), "{expected} is not in {}", calls[0]);
    }
    for triple in ["X86_64", "AARCH64"] {
        let flags = fake.variable(&format!("CARGO_TARGET_{triple}_UNKNOWN_LINUX_GNU_RUSTFLAGS"));
        assert!(flags.contains("--remap-path-prefix=/w=/workspace"), "{flags}");
        assert!(!flags.contains("-Clinker"), "build scripts are told of a linker: {flags}");
    }
    let rustc: crate::toolchain::driver::rustc::Rustc =
        serde_json::from_str(&fake.variable("XBUILD_RUSTC")).unwrap();
    assert!(rustc.targets[AMD64].last().unwrap().starts_with("-Clinker="), "{rustc:?}");
    assert!(rustc.targets[ARM64].is_empty(), "the configured linker stays: {rustc:?}");
    assert!(fake.variable("RUSTC").ends_with("/wrappers/rustc/rustc"));
}

#[test]
fn a_cargo_whose_configuration_links_is_left_alone() {
    let fake = Fake::new(&format!("artifact {ARM64}"), vec![unit(ARM64, Linker::Configured)]);
    fake.run();
    let variables = fs::read_to_string(fake.dir.path().join("variables")).unwrap();
    assert!(!variables.contains("XBUILD_RUSTC=") && !variables.contains("/wrappers/"), "{variables}");
}

#[test]
fn variables_of_cargos_configuration_are_the_users_word() {
    let fake = Fake::new(&format!("artifact {AMD64}"), vec![unit(AMD64, Linker::Zig)]);
    fs::create_dir(fake.dir.path().join(".cargo")).unwrap();
    let config = "[env]\nCC_x86_64_unknown_linux_gnu = { value = 'tools/cc', relative = true }\n\
        SOURCE_DATE_EPOCH = { value = '1', force = true }\n";
    fs::write_atomic(&fake.dir.path().join(".cargo/config.toml"), config.as_bytes(), 0o644).unwrap();
    fake.run();
    let variables = fs::read_to_string(fake.dir.path().join("variables")).unwrap();
    assert!(!variables.contains("\nCC_x86_64_unknown_linux_gnu="), "{variables}");
    assert!(variables.contains("\nCXX_x86_64_unknown_linux_gnu="), "{variables}");
}

#[test]
fn a_linker_that_fails_is_told_where_it_is_named() {
    let script = "printf '   Compiling app v1.0.0\\nerror: linker `clang` not found\\n\\n' >&2; exit 101";
    let config = format!("\n[target.{AMD64}]\nlinker = 'clang'\n");
    for (linker, expected) in [(Linker::Configured, "--toolchain zig"), (Linker::Zig, "build scripts")] {
        let fake = Fake::new(script, vec![unit(AMD64, linker)]);
        fs::create_dir(fake.dir.path().join(".cargo")).unwrap();
        let path = fake.dir.path().join(".cargo/config.toml");
        fs::write_atomic(&path, config.as_bytes(), 0o644).unwrap();
        let hint = fake.run().failures[0].1.hint().unwrap();
        let place = format!("`target.{AMD64}.linker` in {}:3", path.display());
        assert!(hint.contains(&place) && hint.contains(expected), "{hint}");
    }
}

#[test]
fn what_the_user_asks_of_cargo_is_passed_on() {
    let mut fake = Fake::new(&format!("artifact {ARM64}"), vec![unit(ARM64, Linker::Configured)]);
    fake.settings = PayloadSettings {
        profile: "small".into(),
        features: vec!["a".into(), "b/c".into()],
        no_default_features: true,
        locked: true,
        offline: true,
        jobs: Some(3),
        target_dir: Some("/else".into()),
        ..PayloadSettings::default()
    };
    fake.on_failure = OnFailure::FailFast;
    fake.run();
    let call = &fake.calls()[0];
    for expected in [
        "--target-dir /else",
        "--profile small",
        "--features a,b/c",
        "--no-default-features",
        "--locked",
        "--offline",
        "--jobs 3",
    ] {
        assert!(call.contains(expected), "{expected} is not in {call}");
    }
    assert!(!call.contains("--keep-going") && !call.contains("--frozen"));
}

#[test]
fn a_target_whose_standard_library_is_built_and_a_second_glibc_go_apart() {
    let older = Unit { glibc: Some(GlibcVersion(2, 28)), ..unit(AMD64, Linker::Zig) };
    let newer = Unit { glibc: Some(GlibcVersion(2, 36)), ..unit(AMD64, Linker::Zig) };
    let script = format!(
        "case \"$*\" in\n*build-std*) artifact {ARMV7_MUSL} build-std/;;\n\
         *glibc-2.36*) artifact {AMD64} glibc-2.36/;;\n*) artifact {AMD64};;\nesac"
    );
    let fake = Fake::new(&script, vec![newer, unit(ARMV7_MUSL, Linker::Zig), older]);
    let outcome = fake.run();
    assert!(outcome.failures.is_empty(), "{:?}", outcome.failures);
    let mut paths: Vec<_> =
        outcome.artifacts.iter().map(|artifact| (artifact.unit, artifact.path.to_str().unwrap())).collect();
    paths.sort_unstable();
    assert_eq!(
        paths,
        [
            (0, "/w/target/glibc-2.36/x86_64-unknown-linux-gnu/release/app"),
            (1, "/w/target/build-std/armv7-unknown-linux-musleabihf/release/app"),
            (2, "/w/target/x86_64-unknown-linux-gnu/release/app"),
        ]
    );
    let calls = fake.calls();
    assert_eq!(calls.iter().filter(|call| call.contains("-Zbuild-std=std,panic_unwind")).count(), 1);
}

#[test]
fn flags_of_the_environment_are_folded_into_every_target() {
    let script = format!("echo \"RUSTFLAGS=${{RUSTFLAGS-unset}}\" >> \"$here/calls\"; artifact {ARM64}");
    let mut fake = Fake::new(&script, vec![unit(ARM64, Linker::Zig)]);
    fake.environment = [("RUSTFLAGS", "-Ctarget-cpu=neoverse-n1 --cfg x")].into_iter().collect();
    fake.run();
    let calls = fake.calls();
    assert_eq!(calls[1], "RUSTFLAGS=unset");
    let flags = fake.variable("CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_RUSTFLAGS");
    assert!(flags.contains(" -Ctarget-cpu=neoverse-n1 --cfg x "), "{flags}");
}

#[test]
fn a_failure_on_one_target_is_its_own_and_the_others_have_their_programs() {
    let script = format!(
        "artifact {AMD64}\n\
         printf '   Compiling app v1.0.0\\nwarning: unused\\n --> src/a.rs\\n\\n' >&2\n\
         printf 'error[E0080]: evaluation failed\\n --> src/b.rs\\n\\n' >&2\n\
         printf 'error: linking with `cc` failed\\n = note: /w/target/{ARM64}/release/x.o\\n\\n' >&2\n\
         printf 'error: could not compile `app` (bin \"app\") due to 1 previous error\\n' >&2\n\
         exit 101"
    );
    let fake = Fake::new(
        &script,
        vec![
            unit(AMD64, Linker::Configured),
            unit(ARM64, Linker::Configured),
            unit("riscv64gc-unknown-linux-gnu", Linker::Configured),
        ],
    );
    let outcome = fake.run();
    assert_eq!(triples(&outcome, &fake), [AMD64]);
    let errors: Vec<_> = outcome
        .failures
        .iter()
        .map(|(unit, error)| match error {
            UnitError::Compiler { messages, .. } => (*unit, messages.concat()),
            other => panic!("{other}"),
        })
        .collect();
    assert_eq!((errors[0].0, errors[1].0), (1, 2));
    assert!(errors[0].1.contains("E0080") && errors[0].1.contains("linking with"), "{}", errors[0].1);
    assert!(errors[1].1.contains("E0080") && !errors[1].1.contains("linking with"), "{}", errors[1].1);
    assert!(!errors[0].1.contains("unused") && !errors[0].1.contains("could not compile"));
}

#[test]
fn what_is_wrong_for_every_target_is_said_once() {
    let script = "printf '   Compiling app v1.0.0\\nerror[E0425]: no\\n --> src/a.rs\\n\\n' >&2; exit 101";
    let fake = Fake::new(script, vec![unit(AMD64, Linker::Configured), unit(ARM64, Linker::Configured)]);
    let outcome = fake.run();
    let texts: Vec<_> = outcome.failures.iter().map(|(_, error)| error.to_string()).collect();
    assert_eq!(
        texts[0],
        format!("{AMD64} does not compile, as reported above:\n  error[E0425]: no (src/a.rs)")
    );
    assert_eq!(texts[1], format!("{ARM64} does not compile, with the same errors as {AMD64}"));
}

#[test]
fn what_failed_is_told_in_full_when_it_comes_and_summed_up_in_the_end() {
    let script = "printf 'warning: unused key\n' >&2\n\
         printf '   Compiling x-sys v1.0.0\nerror: failed to run custom build command for `x-sys`\n\nCaused by:\n' >&2\n\
         printf '  --- stderr\n\n  a.c:1:10: fatal error: '\\''x.h'\\'' file not found\n' >&2\n\
         printf 'warning: build failed, waiting\nerror: could not compile `b` (lib)\n\n' >&2\n\
         printf 'Caused by:\n  process failed: `rustc` (signal: 9, SIGKILL: kill)\n' >&2; exit 101";
    let fake = Fake::new(script, vec![unit(ARM64, Linker::Configured)]);
    let reporter = Recorded::default();
    let outcome = fake.run_with(&Cancel::new(), &reporter).unwrap();
    let error = &outcome.failures[0].1;
    assert_eq!(
        error.to_string(),
        format!(
            "{ARM64} does not compile, as reported above:\n  error: failed to run custom build command for `x-sys`\n    \
             a.c:1:10: fatal error: 'x.h' file not found\n  error: could not compile `b` (lib)"
        )
    );
    let hint = error.hint().unwrap();
    assert!(hint.contains("includes `x.h`") && hint.contains("`--jobs 1`"), "{hint}");
    let told = reporter.0.into_inner().unwrap();
    let of_errors: Vec<bool> = told
        .iter()
        .filter_map(|event| match event {
            Event::Compiler { error, .. } => Some(*error),
            _ => None,
        })
        .collect();
    assert_eq!(of_errors, [false, true, true, true, false, true, true], "{told:?}");
}

#[test]
fn a_cargo_that_does_not_come_to_compile_is_a_failure_of_the_whole() {
    let script = "printf 'error: the lock file needs to be updated but --locked was passed\\n' >&2; exit 101";
    let fake = Fake::new(script, vec![unit(AMD64, Linker::Configured), unit(ARM64, Linker::Configured)]);
    let reporter = Recorded::default();
    let error = fake.run_with(&Cancel::new(), &reporter).unwrap_err();
    assert!(matches!(&error, Error::Cargo { reason, .. } if reason.contains("lock file")), "{error}");
    let told = reporter.0.into_inner().unwrap();
    assert!(told.iter().all(|event| !matches!(event, Event::Compiler { .. })), "it is told once: {told:?}");
}

#[test]
fn a_program_that_cargo_does_not_mention_is_missing() {
    let fake = Fake::new("library", vec![unit(AMD64, Linker::Configured)]);
    let outcome = fake.run();
    assert!(matches!(&outcome.failures[0], (0, UnitError::Missing { binary, .. }) if binary == "app"));
}

#[test]
fn a_target_whose_time_is_over_is_left_and_the_others_go_on() {
    // The first cargo hangs on arm64; the second is asked only for the rest.
    let script = format!(
        "case \"$*\" in\n*{ARM64}*) printf '   Compiling slow v1.0.0\\n' >&2; sleep 60;;\n\
         *) artifact {AMD64};;\nesac"
    );
    let slow = Unit { limit: Some(Duration::from_millis(300)), ..unit(ARM64, Linker::Configured) };
    let fake = Fake::new(&script, vec![unit(AMD64, Linker::Configured), slow]);
    let outcome = fake.run();
    assert_eq!(triples(&outcome, &fake), [AMD64]);
    let (unit, error) = &outcome.failures[0];
    assert_eq!((*unit, error.exit_code()), (1, ExitCode::TimedOut));
    let text = error.to_string();
    assert!(text.contains("linux/arm64 did not finish within 300ms"), "{text}");
    assert!(text.contains("slow v1.0.0"), "{text}");
}

#[test]
fn a_limit_does_not_end_what_has_its_programs() {
    let script = format!("artifact {ARM64}; sleep 1; artifact {AMD64}");
    let quick = Unit { limit: Some(Duration::from_millis(500)), ..unit(ARM64, Linker::Configured) };
    let fake = Fake::new(&script, vec![unit(AMD64, Linker::Configured), quick]);
    let outcome = fake.run();
    assert!(outcome.failures.is_empty(), "{:?}", outcome.failures);
    assert_eq!(fake.calls().len(), 1);
}

#[test]
fn an_interrupt_ends_cargo() {
    let fake = Fake::new("sleep 60", vec![unit(ARM64, Linker::Configured)]);
    let cancel = Cancel::new();
    let clone = cancel.clone();
    std::thread::spawn(move || {
        std::thread::sleep(Duration::from_millis(200));
        clone.interrupt();
    });
    let error = fake.run_with(&cancel, &Recorded::default()).unwrap_err();
    assert_eq!(error.exit_code(), ExitCode::Interrupted);
}

#[test]
fn waiting_for_another_cargo_and_crates_are_reported() {
    let script = format!(
        "printf '    Blocking waiting for file lock on build directory\\n' >&2; sleep 0.1\n\
         library; library; artifact {ARM64}"
    );
    let fake = Fake::new(&script, vec![unit(ARM64, Linker::Configured)]);
    let reporter = Recorded::default();
    fake.run_with(&Cancel::new(), &reporter).unwrap();
    let events = reporter.0.into_inner().unwrap();
    assert!(events.iter().any(|event| matches!(
        event,
        Event::Note { level: Level::Info, text, .. } if text.contains("Blocking waiting for file lock")
    )));
    assert!(events.contains(&Event::Crates { done: 3, total: None, active: String::new() }));
}

#[test]
fn units_are_counted_over_several_processes() {
    let script = format!(
        "printf '    Building [=>   ] 7/9: a(build), b\\r    Building [==>] 9/9: \\r' >&2; sleep 0.1\n\
         case \"$*\" in *{ARM64}*) artifact {ARM64};; *) artifact {AMD64};; esac"
    );
    let built = Unit { standard: Standard::Built, ..unit(ARM64, Linker::Configured) };
    let fake = Fake::new(&script, vec![unit(AMD64, Linker::Configured), built]);
    let reporter = Recorded::default();
    let outcome = fake.run_with(&Cancel::new(), &reporter).unwrap();
    assert!(outcome.failures.is_empty(), "{:?}", outcome.failures);
    let events = reporter.0.into_inner().unwrap();
    let crates: Vec<_> = events
        .iter()
        .filter_map(|event| match event {
            Event::Crates { done, total, active } => Some((*done, *total, active.as_str())),
            _ => None,
        })
        .collect();
    let at = |done, total, active| (done, Some(total), active);
    assert_eq!(crates, [at(7, 9, "a(build), b"), at(9, 9, ""), at(16, 18, "a(build), b"), at(18, 18, "")]);
}

#[test]
fn what_builds_make_for_a_target_is_told() {
    let script = format!(
        "made release; made {ARM64}/release; made unknown/release; plugin {ARM64}; artifact {ARM64}; library"
    );
    let fake = Fake::new(&script, vec![unit(AMD64, Linker::Configured), unit(ARM64, Linker::Configured)]);
    fake.run();
    let made: Vec<Product> = fake.products.take();
    let dir = format!("/w/target/{ARM64}/release/build/part-12/out").into();
    let files = vec![format!("/w/target/{ARM64}/release/libplug.so").into()];
    assert_eq!(made[0], Product::OutDir { unit: 1, package_id: "part".into(), dir });
    assert_eq!(made[1], Product::Library { unit: 1, package_id: "plug".into(), files });
    assert!(matches!(&made[2..], [Product::Program(_)]), "{made:?}");
}

#[test]
fn a_library_that_was_asked_for_and_does_not_compile_is_a_failure() {
    let script = format!(
        "artifact {ARM64}; printf '   Compiling plug v1.0.0\\nerror[E0425]: no\\n --> plug/src/a.rs\\n\\n' >&2; exit 101"
    );
    let parts = [("plug".to_owned(), Part::Library)].into();
    let mut fake = Fake::new(&script, vec![Unit { parts, ..unit(ARM64, Linker::Configured) }]);
    let (package_id, parts) = ("plug".to_owned(), vec![Part::Library]);
    fake.project.makers = [("plug".to_owned(), Maker { package_id, library: true, parts })].into();
    let outcome = fake.run();
    assert!(
        matches!(&outcome.failures[0], (0, UnitError::Compiler { messages, .. }) if messages.concat().contains("E0425"))
    );
    assert!(fake.calls()[0].contains("--package app --package plug --lib --bin app"), "{:?}", fake.calls());
}

/// Threads that watch the work end with it, also in a panic: otherwise the message would never appear.
#[test]
fn a_panic_ends_the_run() {
    let (sender, ended) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        let fake = Fake::new(&format!("artifact {ARM64}"), vec![unit(ARM64, Linker::Configured)]);
        let run = std::panic::AssertUnwindSafe(|| {
            // The lock is held, so that the code that hands over a product panics.
            let _held = fake.products.borrow();
            fake.run_with(&Cancel::new(), &Recorded::default()).is_ok()
        });
        sender.send(std::panic::catch_unwind(run).is_err()).ok();
    });
    assert_eq!(ended.recv_timeout(std::time::Duration::from_secs(60)), Ok(true));
}
