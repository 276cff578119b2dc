//! The whole client against a miniature archive on loopback: from a signed release to a root filesystem.

mod old;
mod sysroots;
mod turns;

use std::path::PathBuf;
use std::sync::Mutex;

use sha2::{Digest as _, Sha256};

use super::base::AssembledBase;
use super::sources::{Mirrors, Source};
use super::testing::{Deb, MiniArchive, Published, Signer};
use super::urls::Snapshot;
use super::{Archive, BaseRequest, BaseSet, DownloadUrls, Error, ResolvedBase, assemble_base};
use crate::error::{ExitCode, Explain};
use crate::event::{Event, Level, MirrorOrigin, Reporter, Silent};
use crate::host::Host;
use crate::layer::{Content, EntryKind};
use crate::sys::cancel::Cancel;
use crate::sys::download::Client;
use crate::sys::env::Environment;
use crate::sys::fs;
use crate::target::abi::GlibcVersion;

/// Notes that were reported.
#[derive(Default)]
struct Notes(Mutex<Vec<String>>);

impl Reporter for Notes {
    fn report(&self, event: Event) {
        if let Event::Note { level: Level::Warning, text, .. } = event {
            self.0.lock().unwrap().push(text);
        }
    }
}

/// An archive with everything that the recipe needs, and a user of it.
struct Setup {
    archive: MiniArchive,
    dir: tempfile::TempDir,
    indexes: Vec<(String, String)>,
    suites: Vec<String>,
}

impl Setup {
    fn new() -> Self {
        Self::with(Vec::new())
    }

    fn with(more: Vec<Published>) -> Self {
        let archive = MiniArchive::new();
        let dir = tempfile::tempdir().unwrap();
        let packages: Vec<Published> = packages().into_iter().chain(more).collect();
        let indexes = archive.publish("testing", &["arm64", "armhf"], &packages);
        let setup = Self { archive, dir, indexes, suites: vec!["testing".into()] };
        setup.trust(&setup.archive.signer);
        setup
    }

    fn keyring(&self) -> PathBuf {
        self.dir.path().join("keyring.asc")
    }

    fn cache(&self) -> PathBuf {
        self.dir.path().join("debian")
    }

    fn trust(&self, signer: &Signer) {
        fs::write_atomic(&self.keyring(), signer.armoured().as_bytes(), 0o644).unwrap();
    }

    fn open(&self, offline: bool) -> Result<Archive, Error> {
        let sources: Vec<Source> = self
            .suites
            .iter()
            .map(|suite| Source {
                mirror: self.archive.address().into(),
                from: MirrorOrigin::Configured,
                others: Vec::new(),
                suite: suite.clone(),
                components: vec!["main".into()],
                keyrings: vec![self.keyring()],
            })
            .collect();
        self.on_host(offline, &Silent, |host| Archive::open(&sources, host))
    }

    /// Does something with the cache of this setup.
    fn on_host<T>(&self, offline: bool, reporter: &dyn Reporter, with: impl FnOnce(Host<'_>) -> T) -> T {
        let (environment, cancel) = (&Environment::default(), &Cancel::new());
        with(Host { environment, cache: self.dir.path(), client: &Client::new(offline), cancel, reporter })
    }

    fn choose(&self, architecture: &str, extra: &[&str]) -> Result<BaseSet, Error> {
        let extra: Vec<String> = extra.iter().map(|name| (*name).into()).collect();
        let request = BaseRequest { architecture, extra: &extra, sysroot: None };
        let archive = self.open(false)?;
        self.on_host(false, &Silent, |host| archive.resolve_base(&request, host))
    }

    fn resolve(&self, architecture: &str, extra: &[&str]) -> Result<ResolvedBase, Error> {
        Ok(self.choose(architecture, extra)?.plain())
    }

    fn mirror(&self) -> DownloadUrls {
        let mirrors = Mirrors { archive: vec![self.archive.address().into()], security: Vec::new() };
        DownloadUrls { mirrors, snapshot: None }
    }

    fn assemble(&self, resolved: &ResolvedBase) -> Result<AssembledBase, Error> {
        self.assemble_from(&self.mirror(), resolved)
    }

    fn assemble_from(&self, urls: &DownloadUrls, resolved: &ResolvedBase) -> Result<AssembledBase, Error> {
        self.on_host(false, &Silent, |host| assemble_base(resolved, urls, host))
    }

    /// The only file in a directory of the cache, apart from locks.
    fn cached(&self, dir: &str) -> PathBuf {
        let entries = fs::read_dir(self.cache().join(dir)).unwrap();
        let mut files: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
        files.retain(|path| path.extension().is_none_or(|extension| extension != "lock"));
        assert_eq!(files.len(), 1, "{files:?}");
        files.remove(0)
    }
}

fn packages() -> Vec<Published> {
    let certificate = "-----BEGIN CERTIFICATE-----\nMAA=\n-----END CERTIFICATE-----\n\
                       -----BEGIN CERTIFICATE-----\nMAA=\n-----END CERTIFICATE-----";
    vec![
        Published::new("base-files", "12", "Pre-Depends: awk\n", |deb| {
            deb.control("postinst", "#!/bin/sh\n")
                .control("conffiles", "/etc/debian_version\n")
                .directory("bin", 0o755)
                .directory("etc", 0o755)
                .directory("tmp", 0o1777)
                .directory("var/run", 0o755)
                .file("etc/debian_version", b"12.15\n", 0o644)
                .file("usr/lib/os-release", b"ID=debian\nVERSION_ID=\"12\"\n", 0o644)
                .symlink("etc/os-release", "../usr/lib/os-release")
        }),
        Published::new("libc6", "2.36-9+deb12u1", "Depends: libgcc-s1\n", |deb| {
            deb.control("postinst", "#!/bin/sh\n")
                .file("lib/x/libc.so.6", b"libc", 0o755)
                .hard_link("usr/lib/x/libc.so", "lib/x/libc.so.6")
                .file("usr/share/doc/libc6/copyright", b"LGPL", 0o644)
                .file("usr/share/doc/libc6/changelog", b"long", 0o644)
                .file("usr/share/man/man1/x.1", b"read me", 0o644)
                .hard_link("usr/lib/x/kept", "usr/share/man/man1/x.1")
        }),
        Published::new("libgcc-s1", "12", "Depends: libc6 (>= 2.35), gcc-base (= 12)\n", |deb| {
            deb.file("lib/x/libgcc_s.so.1", b"gcc", 0o644).symlink("usr/share/doc/libgcc-s1", "gcc-base")
        }),
        Published::new("gcc-base", "12", "", |deb| {
            deb.file("usr/share/doc/gcc-base/copyright", b"GPL", 0o644)
        }),
        Published::new("ca-certificates", "1", "Depends: openssl, debconf | debconf-2.0\n", |deb| {
            deb.file("usr/share/ca-certificates/m/A.crt", certificate.as_bytes(), 0o644)
        }),
        Published::new("tzdata", "1", "Depends: debconf\n", |deb| {
            deb.file("usr/share/zoneinfo/Etc/UTC", b"TZif", 0o644)
        }),
        Published::new("netbase", "1", "", |deb| deb.file("etc/services", b"http 80/tcp\n", 0o644)),
    ]
}

fn text(base: &AssembledBase, path: &str) -> String {
    let entry = base.entries.iter().find(|entry| entry.path == path);
    match entry.map(|entry| &entry.kind) {
        Some(EntryKind::File(Content::Bytes(bytes))) => String::from_utf8(bytes.to_vec()).unwrap(),
        other => panic!("{path}: {other:?}"),
    }
}

#[test]
fn a_base_comes_from_signed_packages() {
    let setup = Setup::new();
    let resolved = setup.resolve("arm64", &[]).unwrap();
    let names: Vec<&str> = resolved.packages.iter().map(|package| package.name.as_str()).collect();
    assert_eq!(
        names,
        ["base-files", "libc6", "libgcc-s1", "ca-certificates", "tzdata", "netbase", "gcc-base"]
    );
    assert_eq!(resolved.packages[6].why, "needed by libgcc-s1");
    assert_eq!((resolved.glibc(), resolved.release.as_str()), (Some(GlibcVersion(2, 36)), "testing"));

    let base = setup.assemble(&resolved).unwrap();
    assert!(base.entries.is_sorted_by(|a, b| a.path < b.path));
    let find = |path: &str| base.entries.iter().find(|entry| entry.path == path);
    assert_eq!(find("bin").unwrap().kind, EntryKind::Symlink("usr/bin".into()));
    assert_eq!(find("var/run").unwrap().kind, EntryKind::Symlink("/run".into()));
    assert_eq!(find("tmp").unwrap().mode, 0o1777);
    assert_eq!(find("home/nonroot").unwrap().uid, 65532);
    assert_eq!(find("usr/lib/x/libc.so.6").unwrap().kind, EntryKind::HardLink("usr/lib/x/libc.so".into()));
    // Documentation is removed, licences stay, and so does a file that had a name in both.
    assert!(find("usr/share/doc/libc6/changelog").is_none() && find("usr/share/man/man1/x.1").is_none());
    assert_eq!(text(&base, "usr/share/doc/libc6/copyright"), "LGPL");
    assert!(find("usr/share/doc/libgcc-s1").is_some());
    assert_eq!(text(&base, "usr/lib/x/kept"), "read me");
    // What scripts would have done.
    assert!(text(&base, "etc/ssl/certs/ca-certificates.crt").ends_with("-----END CERTIFICATE-----\n"));
    assert!(text(&base, "etc/passwd").contains("\nnonroot:*:65532:65532:"));
    // What scanners read: nothing that was left out, and no configuration files.
    assert!(
        text(&base, "var/lib/dpkg/status.d/libc6")
            .starts_with("Package: libc6\nStatus: install ok installed\n")
    );
    let sums = text(&base, "var/lib/dpkg/status.d/base-files.md5sums");
    assert_eq!(sums, "2baee4227086de1b2958f65861e58a4e  usr/lib/os-release\n");
}

#[test]
fn the_identity_follows_packages_and_nothing_else() {
    let (one, two) = (Setup::new(), Setup::new());
    let resolved = one.resolve("arm64", &[]).unwrap();
    // Another mirror, another key, the same packages.
    assert_eq!(resolved.identity(), two.resolve("arm64", &[]).unwrap().identity());
    assert_ne!(resolved.identity(), one.resolve("armhf", &[]).unwrap().identity());
    let extra =
        Setup::with(vec![Published::new("more", "1", "", |deb| deb.file("usr/lib/x/more", b"", 0o644))]);
    let with_more = extra.resolve("arm64", &["more", "more"]).unwrap();
    assert_ne!(resolved.identity(), with_more.identity());
    assert_eq!(with_more.packages.iter().filter(|package| package.name == "more").count(), 1);
    // And the same identity gives the same bytes.
    let digest = |base: &AssembledBase| Sha256::digest(format!("{:?}", base.entries));
    assert_eq!(digest(&one.assemble(&resolved).unwrap()), digest(&two.assemble(&resolved).unwrap()));
}

#[test]
fn what_is_cached_is_not_asked_for_again() {
    let setup = Setup::new();
    let resolved = setup.resolve("arm64", &[]).unwrap();
    setup.assemble(&resolved).unwrap();
    assert!(setup.archive.requests().len() > 8);
    assert_eq!(setup.resolve("arm64", &[]).unwrap(), resolved);
    setup.assemble(&resolved).unwrap();
    assert_eq!(setup.archive.requests(), ["dists/testing/InRelease"]);
}

#[test]
fn without_the_network_the_cache_serves_and_its_gaps_are_named() {
    let setup = Setup::new();
    assert_eq!(setup.open(true).unwrap_err().exit_code(), ExitCode::Offline);
    let resolved = setup.resolve("arm64", &[]).unwrap();
    setup.assemble(&resolved).unwrap();
    setup.archive.requests();
    let archive = setup.open(true).unwrap();
    let resolve = |architecture| {
        let request = BaseRequest { architecture, extra: &[], sysroot: None };
        setup.on_host(true, &Silent, |host| archive.resolve_base(&request, host))
    };
    assert_eq!(resolve("arm64").unwrap().plain(), resolved);
    setup.on_host(true, &Silent, |host| assemble_base(&resolved, &setup.mirror(), host)).unwrap();
    assert_eq!(resolve("armhf").unwrap_err().exit_code(), ExitCode::Offline);
    assert!(setup.archive.requests().is_empty());
    // A cached release is verified like any other.
    setup.trust(&Signer::new());
    assert_eq!(setup.open(true).unwrap_err().exit_code(), ExitCode::BadSignature);
}

#[test]
fn an_altered_or_unknown_release_is_refused() {
    let setup = Setup::new();
    let release = String::from_utf8(served(&setup, "dists/testing/InRelease")).unwrap();
    let altered = release.replace("Origin: Test", "Origin: Evil");
    setup.archive.put("dists/testing/InRelease", Some(altered.into_bytes()));
    let error = setup.open(false).unwrap_err();
    assert_eq!(error.exit_code(), ExitCode::BadSignature, "{error}");
    assert!(error.to_string().contains("does not match the text"), "{error}");
    assert!(!setup.cache().join("releases").read_dir().unwrap().any(|_| true));

    setup.archive.put("dists/testing/InRelease", Some(release.into_bytes()));
    setup.trust(&Signer::new());
    let error = setup.open(false).unwrap_err();
    assert_eq!(error.exit_code(), ExitCode::BadSignature, "{error}");
    assert!(error.to_string().contains(&setup.archive.signer.fingerprint()), "{error}");
}

/// A file as the mirror serves it.
fn served(setup: &Setup, path: &str) -> Vec<u8> {
    let url = format!("{}/{path}", setup.archive.address());
    Client::new(false).small(&url, 1 << 20, &Cancel::new()).unwrap()
}

#[test]
fn an_index_out_of_step_is_refused_with_both_digests() {
    let setup = Setup::new();
    let (hashed, plain) = &setup.indexes[0];
    let good = served(&setup, plain);
    let mut bad = good.clone();
    bad[20] ^= 1;
    setup.archive.put(hashed, Some(bad.clone()));
    setup.archive.put(plain, Some(bad.clone()));
    let error = setup.resolve("arm64", &[]).unwrap_err();
    assert_eq!(error.exit_code(), ExitCode::OutOfStep);
    let message = error.to_string();
    for part in
        ["testing/main", "arm64", &hex::encode(Sha256::digest(&good)), &hex::encode(Sha256::digest(&bad))]
    {
        assert!(message.contains(part), "{message}");
    }
    // The other architecture matches.
    setup.resolve("armhf", &[]).unwrap();
    // A longer and a missing file do not match either.
    for content in [Some([good.clone(), b"x".to_vec()].concat()), None] {
        setup.archive.put(hashed, content.clone());
        setup.archive.put(plain, content);
        let error = setup.resolve("arm64", &[]).unwrap_err();
        assert!(matches!(error, Error::OutOfStep(_)), "{error}");
    }
    // One of the two URLs is enough.
    setup.archive.put(plain, Some(good));
    setup.archive.put(hashed, Some(bad));
    setup.resolve("arm64", &[]).unwrap();
}

#[test]
fn the_hint_of_a_suite_out_of_step_names_the_way_round() {
    let error = Error::OutOfStep(Box::new(super::error::OutOfStep {
        mirror: "m".into(),
        suite: "bookworm-security".into(),
        component: "main".into(),
        architecture: "armhf".into(),
        expected: "a".into(),
        found: "b".into(),
    }));
    let hint = error.hint().unwrap();
    assert!(
        hint.ends_with("leave bookworm-security out with `suites = [\"bookworm\"]` under [debian]"),
        "{hint}"
    );
}

#[test]
fn an_altered_cache_heals() {
    let setup = Setup::new();
    let resolved = setup.resolve("arm64", &[]).unwrap();
    fs::write_atomic(&setup.cached("resolved"), b"0000\n{}", 0o644).unwrap();
    fs::write_atomic(&setup.cached("indexes"), b"altered", 0o644).unwrap();
    assert_eq!(setup.resolve("arm64", &[]).unwrap(), resolved);
    setup.assemble(&resolved).unwrap();
    let package = setup.cache().join(format!("packages/{}.deb", hex::encode(resolved.packages[1].sha256)));
    fs::write_atomic(&package, b"altered", 0o644).unwrap();
    setup.archive.requests();
    setup.assemble(&resolved).unwrap();
    assert_eq!(setup.archive.requests(), ["pool/libc6_2.36-9+deb12u1.deb"]);
}

#[test]
fn an_altered_or_missing_package_is_refused_by_name() {
    let setup = Setup::new();
    let resolved = setup.resolve("arm64", &[]).unwrap();
    setup.archive.put("pool/tzdata_1.deb", Some(vec![0; 10]));
    let error = setup.assemble(&resolved).unwrap_err();
    assert_eq!(error.exit_code(), ExitCode::CorruptDownload);
    assert!(error.to_string().starts_with("arm64: cannot get tzdata 1: "), "{error}");
    setup.archive.put("pool/tzdata_1.deb", None);
    let error = setup.assemble(&resolved).unwrap_err();
    assert_eq!(error.exit_code(), ExitCode::Network);
    assert!(error.hint().unwrap().contains("dropped this version"));
}

#[test]
fn a_missing_architecture_lists_what_there_is() {
    let mut setup = Setup::new();
    let error = setup.resolve("riscv64", &[]).unwrap_err();
    assert_eq!(error.exit_code(), ExitCode::NotInBase);
    assert_eq!(error.to_string(), "Debian testing has no riscv64; it has arm64, armhf");
    // Updates that no longer have it are skipped, which is reported.
    setup.archive.publish(
        "testing-updates",
        &["arm64"],
        &[Published::new("libc6", "2.36-10", "Depends: libgcc-s1\n", |deb| deb)],
    );
    setup.suites.push("testing-updates".into());
    assert_eq!(setup.resolve("arm64", &[]).unwrap().packages[1].version, "2.36-10");
    let notes = Notes::default();
    let request = BaseRequest { architecture: "armhf", extra: &[], sysroot: None };
    let archive = setup.open(false).unwrap();
    let set = setup.on_host(false, &notes, |host| archive.resolve_base(&request, host));
    let resolved = set.unwrap().plain();
    assert_eq!(resolved.packages[1].version, "2.36-9+deb12u1");
    assert_eq!(*notes.0.lock().unwrap(), ["Debian testing-updates has no packages for armhf and is skipped"]);
}

#[test]
fn a_script_that_the_recipe_does_not_know_is_refused() {
    let daemon = Published::new("daemon", "1", "Depends: library\n", |deb| {
        deb.control("postinst", "#!/bin/sh\nadduser --system daemon\n")
    });
    let library = Published::new("library", "2", "", |deb| deb.control("postinst", "#!/bin/sh\nexit 0\n"));
    let gomp = Published::new("libgomp1", "1", "", |deb| deb.control("postinst", "#!/bin/sh\n"));
    let setup = Setup::with(vec![daemon, library, gomp]);
    let set = setup.choose("arm64", &["daemon"]).unwrap();
    let needed = ["libgomp.so.1".to_owned()].into();
    let error = setup.assemble(&set.base(&needed).unwrap()).unwrap_err();
    assert!(matches!(error, Error::Script { ref package, .. } if package == "libgomp1"), "{error}");
    // For a requested package it is reported instead.
    let unrun = setup.assemble(&set.plain()).unwrap().unrun;
    assert_eq!(unrun.len(), 1);
    assert_eq!(
        (unrun[0].package.as_str(), unrun[0].effects.as_slice()),
        ("daemon", &["make users or groups (adduser)".to_owned()][..])
    );
}

#[test]
fn what_is_asked_for_joins_the_base_and_changes_nothing_of_it() {
    let setup = Setup::with(vec![
        // One that the base needs, if it was chosen together with the base.
        Published::new("debconf", "1", "", |deb| deb),
        Published::new("tool", "1", "Depends: libtool (>= 1), libc6, awk\n", |deb| deb),
        Published::new("libtool", "2", "Provides: libtool-abi (= 2)\n", |deb| deb),
        Published::new("gawk", "1", "Provides: awk\n", |deb| deb),
        Published::new("mawk", "1", "Provides: awk\nPriority: required\n", |deb| deb),
        Published::new("rival", "1", "Conflicts: libc6\n", |deb| deb),
    ]);
    let plain = setup.choose("arm64", &[]).unwrap();
    let set = setup.choose("arm64", &["tool", "tzdata", "libtool-abi"]).unwrap();
    let added: Vec<(&str, &str)> =
        set.added().map(|package| (package.name.as_str(), package.why.as_str())).collect();
    assert_eq!(
        added,
        [("libtool", "it is asked for"), ("mawk", "needed by tool"), ("tool", "it is asked for")]
    );
    let of_base: Vec<_> = set.packages.iter().filter(|package| !package.added).cloned().collect();
    assert_eq!(of_base, plain.packages);
    assert_eq!(plain.added().count(), 0);
    let error = setup.choose("arm64", &["rival"]).unwrap_err();
    assert_eq!(error.exit_code(), ExitCode::Package);
    assert!(error.to_string().contains("rival 1 conflicts with libc6 2.36-9+deb12u1"), "{error}");
}

#[test]
fn unknown_packages_are_told_all_at_once_with_what_is_meant() {
    let setup = Setup::with(vec![
        Published::new("libsqlite3-0", "1", "", |deb| deb),
        Published::new("gawk", "1", "Provides: awk\n", |deb| deb),
        Published::new("mawk", "1", "Provides: awk\n", |deb| deb),
    ]);
    let error = setup.choose("arm64", &["libsqlite3", "awk", "tzdata"]).unwrap_err();
    assert_eq!(error.exit_code(), ExitCode::Package);
    assert_eq!(
        error.to_string(),
        "`awk` is not a package for arm64 in testing, but several provide it: gawk, mawk; Debian has no package \
         `libsqlite3` for arm64 in testing"
    );
    assert_eq!(error.hint().unwrap(), "`awk`: name one of them; `libsqlite3`: did you mean `libsqlite3-0`?");
    let error = setup.choose("arm64", &["nothing-like-it"]).unwrap_err();
    assert!(error.hint().unwrap().contains("apt-cache search"));
}

#[test]
fn stops_when_told_to() {
    let setup = Setup::new();
    let archive = setup.open(false).unwrap();
    let cancel = Cancel::new();
    cancel.interrupt();
    let request = BaseRequest { architecture: "arm64", extra: &[], sysroot: None };
    let error = setup.on_host(false, &Silent, |host| {
        archive.resolve_base(&request, Host { cancel: &cancel, ..host }).unwrap_err()
    });
    assert_eq!(error.exit_code(), ExitCode::Interrupted);
    let resolved = setup.resolve("arm64", &[]).unwrap();
    let urls = setup.mirror();
    let error = setup.on_host(false, &Silent, |host| {
        assemble_base(&resolved, &urls, Host { cancel: &cancel, ..host }).unwrap_err()
    });
    assert_eq!(error.exit_code(), ExitCode::Interrupted);
}

#[test]
fn what_a_payload_may_need_is_chosen_with_the_rest() {
    let standard = Published::new("libstdc++6", "12", "Depends: gcc-base (= 12), extra\n", |deb| {
        deb.file("usr/lib/x/libstdc++.so.6", b"c++", 0o644)
    });
    let extra = Published::new("extra", "1", "", |deb| deb.file("usr/lib/x/extra", b"", 0o644));
    let setup = Setup::with(vec![standard, extra]);
    let set = setup.choose("arm64", &[]).unwrap();
    let needed = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
    let names = |base: &ResolvedBase| -> Vec<String> {
        base.packages.iter().skip(6).map(|package| package.name.clone()).collect()
    };
    assert_eq!(names(&set.plain()), ["gcc-base"]);
    let base = set.base(&needed(&["libstdc++.so.6", "libnothing.so.1"])).unwrap();
    assert_eq!(names(&base), ["extra", "gcc-base", "libstdc++6"]);
    assert_ne!(base.identity(), set.plain().identity());
    // This archive lacks the package, which is only reported when a payload needs it.
    assert_eq!(set.obtainable(&needed(&["libz.so.1", "libc.so.6"])), needed(&["libz.so.1"]));
    let error = set.base(&needed(&["libz.so.1"])).unwrap_err();
    assert_eq!(error.to_string(), "arm64: zlib1g: no source has zlib1g");
    assert_eq!(error.exit_code(), ExitCode::Package);
}

#[test]
fn a_pinned_package_outlives_its_mirror() {
    let setup = Setup::new();
    let resolved = setup.resolve("arm64", &[]).unwrap();
    let deb = served(&setup, "pool/tzdata_1.deb");
    setup.archive.put("pool/tzdata_1.deb", None);
    let root = setup.archive.address().to_owned();
    let snapshot = Some(Snapshot { root, date: "20260801T000000Z".into() });
    let urls = DownloadUrls { snapshot, ..setup.mirror() };
    // Neither the mirror nor the snapshots have it.
    let error = setup.assemble_from(&urls, &resolved).unwrap_err();
    assert_eq!(error.exit_code(), ExitCode::Package, "{error}");
    let text = error.to_string();
    assert!(text.starts_with("arm64: cannot get tzdata 1, which the mirror has dropped: `http://"), "{text}");
    assert!(text.contains("\n  it is not at http://"), "{text}");
    assert!(error.hint().unwrap().contains("xbuild lock --update"));
    // The snapshots have a different file.
    let path = "debian/20260801T000000Z/pool/tzdata_1.deb";
    setup.archive.put(path, Some(vec![0; deb.len()]));
    let error = setup.assemble_from(&urls, &resolved).unwrap_err();
    assert_eq!(error.exit_code(), ExitCode::CorruptDownload, "{error}");
    // The snapshots have it.
    setup.archive.put(path, Some(deb));
    setup.archive.requests();
    setup.assemble_from(&urls, &resolved).unwrap();
    assert!(setup.archive.requests().contains(&path.to_owned()));
}

#[test]
fn a_release_that_moves_on_moves_no_pin() {
    use crate::lock::{AssembledPin, Lock, Pin, compare, text};
    let mut setup = Setup::new();
    let main = ["main".to_owned()];
    let pin =
        |set: &BaseSet| AssembledPin::of("apt:testing", &"linux/arm64".parse().unwrap(), &main, &[], set);
    let lock = |pin: AssembledPin| Lock::default().with(Pin::Assembled(Box::new(pin)));
    let before = setup.choose("arm64", &[]).unwrap();
    let written = text::render(&lock(pin(&before)));
    let libc = Published::new("libc6", "2.36-10", "Depends: libgcc-s1\n", |deb| {
        deb.file("lib/x/libc.so.6", b"new", 0o755)
    });
    setup.archive.publish("testing-updates", &["arm64"], &[libc]);
    setup.suites.push("testing-updates".into());
    let after = setup.choose("arm64", &[]).unwrap();
    // Pinned packages are laid out exactly as before, and no index is requested.
    setup.archive.requests();
    let pinned = text::parse("xbuild.lock", &written).unwrap().assembled[0].set();
    assert_eq!(pinned.plain().identity(), before.plain().identity());
    let laid = |set: &BaseSet| format!("{:?}", setup.assemble(&set.plain()).unwrap().entries);
    let old = laid(&pinned);
    assert!(setup.archive.requests().iter().all(|path| path.starts_with("pool/")));
    assert_eq!(old, laid(&before));
    assert_ne!(old, laid(&after));
    let moved: Vec<String> =
        compare::compare(&lock(pin(&before)), &lock(pin(&after))).iter().map(ToString::to_string).collect();
    let of = "apt:testing for linux/arm64";
    let expected = [
        format!("{of}: suites: testing → testing, testing-updates"),
        format!("{of}: libc6 2.36-9+deb12u1 → 2.36-10"),
    ];
    assert_eq!(moved, expected);
}

#[test]
fn a_package_itself_says_what_it_replaces() {
    let owner = |of_index: &str, of_package: &str| {
        let setup = Setup::with(vec![
            Published::new("first", "1", "", |deb| deb.file("usr/share/x", b"first", 0o644)),
            Published::new("second", "1", of_index, |_| {
                Deb::saying("second", "1", of_package).file("usr/share/x", b"second", 0o644)
            }),
            Published::new("debconf", "1", "", |deb| deb),
        ]);
        let set = setup.choose("arm64", &["first", "second"]).unwrap();
        setup.assemble(&set.plain()).map(|base| text(&base, "usr/share/x"))
    };
    assert_eq!(owner("", "Replaces: first\n").unwrap(), "second");
    assert_eq!(owner("Replaces: other\n", "Replaces: other,\n first (<< 2)\n").unwrap(), "second");
    // The package's digest does not cover an index or a lock.
    for said in ["", "Replaces: other\n", "Replaces: first (<< 1)\n"] {
        let error = owner("Replaces: first\n", said).unwrap_err();
        assert!(error.to_string().contains("`/usr/share/x` is in first and in second"), "{error}");
    }
}
