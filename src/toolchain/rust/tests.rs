use super::*;
use crate::event::{Reporter, Silent};
use crate::sys::download::Client;

const VERSION: &str = "rustc 1.95.0 (59807616e 2026-04-14)\nbinary: rustc\n\
    commit-hash: 59807616e1fa2540724bfbac14d7976d7e4a3860\ncommit-date: 2026-04-14\n\
    host: x86_64-unknown-linux-gnu\nrelease: 1.95.0\nLLVM version: 22.1.2\n";

/// A fake toolchain, with a rustup that runs `script`.
struct Fake {
    dir: fs::TempDir,
    rust: Rust,
}

impl Fake {
    fn new(script: Option<&str>) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let sysroot = dir.path().join("toolchains/stable-x");
        fs::create_dir_all(&sysroot).unwrap();
        let program = dir.path().join("rustup");
        if let Some(script) = script {
            let script = format!("#!/bin/sh\nsysroot='{}'\n{script}\n", sysroot.display());
            fs::write_atomic(&program, script.as_bytes(), 0o755).unwrap();
        }
        let (version, host, commit) = parse_version(VERSION).unwrap();
        let rustup = script.map(|_| Rustup { program, toolchain: "stable-x".into() });
        let rust =
            Rust { rustc: "rustc".into(), cargo: "cargo".into(), version, commit, host, sysroot, rustup };
        Self { dir, rust }
    }

    fn provide(&self, triple: &str, offline: bool) -> Result<Standard, Error> {
        self.provide_with("cache", triple, offline)
    }

    fn provide_with(&self, cache: &str, triple: &str, offline: bool) -> Result<Standard, Error> {
        let target = Target::by_triple(triple).unwrap();
        self.provide_for(cache, (&target.platform, target), offline, &Silent)
    }

    fn provide_for(
        &self,
        cache: &str,
        wanted: (&Platform, &Target),
        offline: bool,
        reporter: &dyn Reporter,
    ) -> Result<Standard, Error> {
        let (environment, cancel) = (&Environment::default(), &Cancel::new());
        let (cache, client) = (&self.dir.path().join(cache), &Client::new(offline));
        provide(&self.rust, wanted, Host { environment, cache, client, cancel, reporter })
    }
}

#[test]
fn reads_what_rustc_says() {
    let (version, host, commit) = parse_version(VERSION).unwrap();
    assert_eq!((version, host.as_str()), (Version::new(1, 95, 0), "x86_64-unknown-linux-gnu"));
    assert_eq!(commit.unwrap().len(), 40);
    // A distribution's build.
    let (version, _, commit) =
        parse_version("rustc 1.97.0-nightly\ncommit-hash: unknown\nhost: h\nrelease: 1.97.0-nightly\n")
            .unwrap();
    assert_eq!((version.to_string().as_str(), commit), ("1.97.0-nightly", None));
    assert_eq!(parse_version("hello"), None);
}

#[test]
fn a_toolchain_that_is_not_installed_is_named_in_the_hint() {
    let reason = "error: toolchain '1.60.0-x86_64-unknown-linux-gnu' is not installed\nhelp: run…".into();
    let error = Error::Broken { dir: "/p".into(), reason };
    let hint = error.hint().unwrap();
    assert!(hint.contains("rustup toolchain install 1.60.0-x86_64-unknown-linux-gnu"), "{hint}");
}

#[test]
fn rustup_adds_what_is_missing() {
    let fake = Fake::new(Some(
        "[ \"$*\" = 'target add --toolchain stable-x aarch64-unknown-linux-gnu' ] || exit 9\n\
         mkdir -p $sysroot/lib/rustlib/$5/lib && touch $sysroot/lib/rustlib/$5/lib/libstd-1.rlib",
    ));
    assert_eq!(fake.provide("aarch64-unknown-linux-gnu", false).unwrap(), Standard::Installed);
    // It is installed now, so neither the network nor rustup is needed.
    assert_eq!(fake.provide("aarch64-unknown-linux-gnu", true).unwrap(), Standard::Installed);
}

#[test]
fn a_target_that_is_being_installed_is_not_there() {
    let fake = Fake::new(Some("exit 1"));
    let rustlib = fake.rust.sysroot.join("lib/rustlib");
    let write = |path: &str, text: &str| {
        fs::create_dir_all(rustlib.join(path).parent().unwrap()).unwrap();
        fs::write_atomic(&rustlib.join(path), text.as_bytes(), 0o644).unwrap();
    };
    write("aarch64-unknown-linux-gnu/lib/libstd-1.rlib", "");
    assert!(fake.rust.has("aarch64-unknown-linux-gnu").unwrap(), "a distribution has no lists");
    write("components", "rust-std-x86_64-unknown-linux-gnu\n");
    assert!(!fake.rust.has("aarch64-unknown-linux-gnu").unwrap());
    let listed = ["libstd-1.rlib", "libcore-1.rlib"]
        .map(|name| format!("file:lib/rustlib/aarch64-unknown-linux-gnu/lib/{name}\n"));
    write("manifest-rust-std-aarch64-unknown-linux-gnu", &listed.concat());
    assert!(!fake.rust.has("aarch64-unknown-linux-gnu").unwrap());
    write("aarch64-unknown-linux-gnu/lib/libcore-1.rlib", "");
    assert!(fake.rust.has("aarch64-unknown-linux-gnu").unwrap());
}

#[test]
fn what_cannot_be_read_is_not_taken_for_missing() {
    let fake = Fake::new(Some("exit 0"));
    let rustlib = fake.rust.sysroot.join("lib/rustlib");
    // A directory instead of a list cannot be read, not even by root.
    fs::create_dir_all(rustlib.join("manifest-rust-std-aarch64-unknown-linux-gnu")).unwrap();
    fs::write_atomic(&rustlib.join("components"), b"", 0o644).unwrap();
    let error = fake.provide("aarch64-unknown-linux-gnu", false).unwrap_err();
    assert!(matches!(error, Error::Io(_)), "{error}");
    assert!(error.to_string().contains("manifest-rust-std-aarch64-unknown-linux-gnu"), "{error}");
    // And a file instead of the libraries' directory.
    let fake = Fake::new(Some("exit 0"));
    let target = fake.rust.sysroot.join("lib/rustlib/aarch64-unknown-linux-gnu");
    fs::create_dir_all(&target).unwrap();
    fs::write_atomic(&target.join("lib"), b"", 0o644).unwrap();
    let error = fake.provide("aarch64-unknown-linux-gnu", false).unwrap_err();
    assert!(matches!(error, Error::Io(_)), "{error}");
}

#[test]
fn two_that_add_to_one_toolchain_do_so_one_after_the_other() {
    let fake = Fake::new(Some(
        "mkdir $sysroot/busy || exit 9\nsleep 0.2\nrmdir $sysroot/busy\n\
         mkdir -p $sysroot/lib/rustlib/$5/lib && touch $sysroot/lib/rustlib/$5/lib/libstd-1.rlib",
    ));
    let triples = ["aarch64-unknown-linux-gnu", "armv7-unknown-linux-gnueabihf", "x86_64-unknown-linux-musl"];
    std::thread::scope(|scope| {
        // Each has a cache of its own, as two jobs on one machine may.
        let adding = triples.map(|triple| scope.spawn(|| fake.provide_with(triple, triple, false)));
        for added in adding {
            assert_eq!(added.join().unwrap().unwrap(), Standard::Installed);
        }
    });
}

#[test]
fn what_another_rustup_has_undone_is_added_again() {
    let fake = Fake::new(Some(
        "mkdir $sysroot/first && exit 0\n\
         mkdir -p $sysroot/lib/rustlib/$5/lib && touch $sysroot/lib/rustlib/$5/lib/libstd-1.rlib",
    ));
    assert_eq!(fake.provide("aarch64-unknown-linux-gnu", false).unwrap(), Standard::Installed);
}

#[test]
fn what_is_added_is_for_the_platform_that_was_asked_for() {
    #[derive(Default)]
    struct Told(std::sync::Mutex<Vec<Event>>);
    impl Reporter for Told {
        fn report(&self, event: Event) {
            self.0.lock().unwrap().push(event);
        }
    }
    let fake = Fake::new(Some(
        "mkdir -p $sysroot/lib/rustlib/$5/lib && touch $sysroot/lib/rustlib/$5/lib/libstd-1.rlib",
    ));
    let target = Target::by_triple("x86_64-unknown-linux-musl").unwrap();
    let (platform, told) = ("linux/amd64/v3".parse().unwrap(), Told::default());
    fake.provide_for("cache", (&platform, target), false, &told).unwrap();
    let told = told.0.into_inner().unwrap();
    let named =
        |event: &Event| matches!(event, Event::Note { platform: Some(named), .. } if *named == platform);
    assert!(!told.is_empty() && told.iter().all(named), "{told:?}");
}

#[test]
fn what_the_channel_does_not_carry_is_built_and_remembered() {
    let fake = Fake::new(Some(
        "if [ \"$1\" = target ]; then echo 'unsuccessful status code: 404' >&2; exit 1; fi\n\
         mkdir -p $sysroot/lib/rustlib/src/rust/library/std\n\
         touch $sysroot/lib/rustlib/src/rust/library/std/Cargo.toml",
    ));
    assert_eq!(fake.provide("armv7-unknown-linux-musleabihf", false).unwrap(), Standard::Built);
    assert_eq!(fake.provide("armv7-unknown-linux-musleabihf", true).unwrap(), Standard::Built);
}

#[test]
fn another_failure_of_rustup_is_not_taken_for_a_missing_target() {
    let fake = Fake::new(Some("echo 'could not resolve host' >&2; exit 1"));
    let error = fake.provide("aarch64-unknown-linux-gnu", false).unwrap_err();
    assert!(matches!(&error, Error::Rustup { reason, .. } if reason.contains("resolve")), "{error}");
    let error = fake.provide("aarch64-unknown-linux-gnu", true).unwrap_err();
    assert_eq!(error.exit_code(), ExitCode::Offline);
}

#[test]
fn a_success_that_brings_nothing_is_no_success() {
    let fake = Fake::new(Some("exit 0"));
    let error = fake.provide("aarch64-unknown-linux-gnu", false).unwrap_err();
    assert!(error.to_string().contains("still lacks"), "{error}");
}

#[test]
fn without_rustup_the_distributions_packages_are_named() {
    let error = Fake::new(None).provide("armv7-unknown-linux-gnueabihf", false).unwrap_err();
    let hint = error.hint().unwrap();
    assert!(hint.contains("apt-get install libstd-rust-dev:armhf"), "{hint}");
    assert!(hint.contains("rust-std-static-armv7-unknown-linux-gnueabihf"), "{hint}");
}
