//! Tests of writing, merging, editing and comparing locks.

use std::path::Path;

use semver::Version;

use super::*;
use crate::config::Project;
use crate::config::document::parse_project;
use crate::error::{ExitCode, Explain};
use crate::event::MirrorOrigin;
use crate::layout::Selector;
use crate::origin::Source;
use crate::packages::debian::sources::Mirror;
use crate::packages::debian::{BaseSet, Package, SuiteOrigin};
use crate::packages::{ReleaseRequest, SysrootRequest};
use crate::settings::{self, BaseSource, Flags, Host, PlatformSettings};
use crate::sys::env::Environment;

fn package(name: &str, version: &str) -> Package {
    Package {
        name: name.into(),
        version: version.into(),
        pool: Pool::Debian,
        path: format!("pool/main/{name}_{version}.deb"),
        sha256: [u8::try_from(version.len()).unwrap(); 32],
        size: 10,
        installed_size: Some(20),
        why: format!("for {name}"),
        libraries: Vec::new(),
        added: false,
    }
}

fn set(libc: &str) -> BaseSet {
    let mut packages = vec![package("base-files", "12"), package("libc6", libc), package("gcc-base", "12")];
    packages.push(Package {
        libraries: vec!["libz.so.1".into()],
        pool: Pool::Security,
        ..package("zlib1g", "1")
    });
    crate::packages::debian::sort_packages(&mut packages);
    let suite = |suite: &str, date| SuiteOrigin {
        suite: suite.into(),
        date: Some(date),
        signers: vec!["B".into(), "A".into(), "B".into()],
        snapshot: None,
        mirror: Mirror { address: "http://m.example/debian".into(), from: MirrorOrigin::Host },
    };
    BaseSet {
        architecture: "arm64".into(),
        release: "bookworm".into(),
        suites: vec![suite("bookworm", 1_783_764_997), suite("bookworm-security", 1_783_000_000)],
        packages,
        lacking: std::collections::BTreeMap::new(),
    }
}

fn platform(text: &str) -> Platform {
    text.parse().unwrap()
}

fn apt(on: &str, libc: &str) -> Pin {
    Pin::Assembled(Box::new(AssembledPin::of(
        "apt:bookworm",
        &platform(on),
        &["main".into()],
        &[],
        &set(libc),
    )))
}

fn image(on: &str, seed: &str) -> Pin {
    Pin::Image(Box::new(ImagePin {
        base: "oci:base:1".into(),
        platform: platform(on),
        name: Some("1".into()),
        index: Some(Digest::of(b"index")),
        digest: Digest::of(seed.as_bytes()),
        size: 400,
        media_type: "application/vnd.oci.image.manifest.v1+json".into(),
        additions: None,
    }))
}

fn lock() -> Lock {
    let rust = RustPin { version: Version::new(1, 95, 0), commit: Some("abc".into()) };
    let zig = ToolchainPin {
        version: Version::new(0, 17, 1),
        package: Some(Digest::of(b"zig")),
        files: Some(Digest::of(b"files")),
    };
    Lock { rust: Some(rust), provided: Some(zig), ..Lock::default() }
        .with(image("linux/arm64", "manifest"))
        .with(apt("linux/arm64", "2.36-9"))
}

fn parse(text: &str) -> Result<Lock, LockError> {
    text::parse("xbuild.lock", text)
}

#[test]
fn a_lock_has_one_text_whatever_the_order_it_was_made_in() {
    let one = Lock::default()
        .with(apt("linux/arm64", "1"))
        .with(image("linux/amd64", "a"))
        .with(apt("linux/amd64", "1"));
    let other = Lock::default()
        .with(apt("linux/amd64", "1"))
        .with(apt("linux/arm64", "1"))
        .with(image("linux/amd64", "a"));
    assert_eq!(text::render(&one), text::render(&other));
    let text = text::render(&lock());
    let parsed = parse(&text).unwrap();
    assert_eq!(parsed, lock());
    assert_eq!(text::render(&parsed), text);
    // These two change with the recipe.
    let Pin::Assembled(pin) = apt("linux/arm64", "2.36-9") else { panic!() };
    let shown = text
        .replace(&pin.recipe.to_string(), "sha256:recipe")
        .replace(&pin.digest.to_string(), "sha256:base");
    snapbox::assert_data_eq!(shown, snapbox::file!["snapshots/xbuild.lock"].raw());
}

#[test]
fn what_is_pinned_is_what_was_chosen() {
    let Pin::Assembled(pin) = apt("linux/arm64", "2.36-9") else { panic!() };
    assert_eq!(pin.set().packages, set("2.36-9").packages);
    assert_eq!(pin.digest.to_string(), set("2.36-9").plain().identity());
    // A day after the newest release's date.
    assert_eq!(pin.snapshot.as_deref(), Some("20260712T101637Z"));
    assert_eq!(pin.index[0].date.as_deref(), Some("2026-07-11T10:16:37Z"));
    assert_eq!(pin.index[0].signers, ["A", "B"]);
    let mut dated = set("1");
    dated.suites[1].snapshot = Some("20260101T000000Z".into());
    let pin = AssembledPin::of("apt:bookworm", &platform("arm64"), &[], &[], &dated);
    assert_eq!(pin.snapshot.as_deref(), Some("20260101T000000Z"));
}

#[test]
fn what_an_older_lock_says_of_a_package_beside_its_digest_is_not_believed() {
    let text = text::render(&lock());
    let older = text.replacen("installed-size = 20\n", "installed-size = 20\nreplaces = \"libc6\"\n", 1);
    assert_ne!(older, text);
    let parsed = parse(&older).unwrap();
    assert_eq!(parsed, lock());
    assert_eq!(text::render(&parsed), text);
}

#[test]
fn an_unfinished_merge_is_told_by_its_line() {
    let text = text::render(&lock());
    let conflicted = text.replacen(
        "version = \"1.95.0\"",
        "<<<<<<< HEAD\nversion = \"1.95.0\"\n=======\nversion = \"1.96.0\"\n>>>>>>> x",
        1,
    );
    let error = parse(&conflicted).unwrap_err();
    assert_eq!(error.to_string(), "`xbuild.lock` has merge conflict markers, from line 6 on");
    assert_eq!(error.exit_code(), ExitCode::LockFile);
    assert!(error.hint().unwrap().contains("then run `xbuild lock`"));
}

#[test]
fn a_later_format_is_refused_before_anything_of_it_is_judged() {
    for (version, found) in [("4\nnew-key = 1", "4"), ("0", "0"), ("-1", "-1")] {
        let error = parse(&format!("version = {version}\n")).unwrap_err();
        let LockError::Version { found: said, known: 3, .. } = &error else { panic!("{error}") };
        assert_eq!(said, found);
        assert!(error.hint().unwrap().contains("update xbuild"));
    }
    for version in 1..=3 {
        assert_eq!(parse(&format!("version = {version}\n")).unwrap(), Lock::default());
    }
}

#[test]
fn what_is_not_a_lock_is_refused_with_its_place() {
    let error = parse("version = 1\n\n[rust]\nversion = \"1.95.0\"\ncomit = \"x\"\n").unwrap_err();
    let LockError::Syntax { text, span, .. } = &error else { panic!("{error}") };
    assert_eq!(&text[span.clone()], "comit");
    assert!(error.to_string().contains("unknown field `comit`"), "{error}");
    assert_eq!(error.snippets().len(), 1);
    for text in ["", "version = 1\n[rust", "version = \"1\"", "version = 1\n[rust]\nversion = \"x\""] {
        assert_eq!(parse(text).unwrap_err().exit_code(), ExitCode::LockFile, "{text}");
    }
}

#[test]
fn what_was_edited_or_merged_wrongly_is_damaged() {
    let text = text::render(&lock());
    let reason = |text: &str| match parse(text).unwrap_err() {
        error @ LockError::Damaged { .. } => error.to_string(),
        other => panic!("{other}"),
    };
    let edited = text.replace("2.36-9\"", "2.36-10\"");
    assert!(reason(&edited).contains("the packages of apt:bookworm for linux/arm64 have the digest sha256:"));
    let at = text.find("[[image]]").unwrap();
    let (head, entries) = text.split_at(at);
    let twice = format!("{head}{}{entries}", &entries[..entries.find("[[apt]]").unwrap()]);
    assert_eq!(reason(&twice), "`xbuild.lock` is damaged: it has oci:base:1 for linux/arm64 twice");
    for path in ["/etc/passwd", "pool/../x.deb", "pool//x.deb", "pool/x.deb?y", "pool/x y.deb"] {
        let text = text.replace("pool/main/zlib1g_1.deb", path);
        assert!(reason(&text).contains(&format!("the path `{path}` of zlib1g")), "{path}");
    }
    assert!(reason(&text.replace("20260712T101637Z", "../x")).contains("not a time like"));
    // Another recipe gives other digests, so only those of this version can be checked.
    let recipe = crate::packages::debian::recipe_digest();
    let foreign = edited.replace(&recipe, &Digest::of(b"another recipe").to_string());
    parse(&foreign).unwrap();
}

#[test]
fn differences_say_what_moved_from_what_to_what() {
    let old = lock().with(apt("linux/amd64", "2.36-9"));
    let mut new = lock().with(image("linux/arm64", "moved")).with(image("linux/amd64", "x"));
    new.rust = Some(RustPin { version: Version::new(1, 96, 0), commit: None });
    new.provided = None;
    let mut moved = set("2.36-10");
    moved.suites[1].date = Some(1_784_000_000);
    moved.packages.retain(|package| package.name != "gcc-base");
    moved.packages.push(package("new", "1"));
    let pin =
        AssembledPin::of("apt:bookworm", &platform("arm64"), &["main".into(), "contrib".into()], &[], &moved);
    let new = new.with(Pin::Assembled(Box::new(pin)));
    let lines: Vec<String> = compare::compare(&old, &new).iter().map(ToString::to_string).collect();
    let digests = format!("{} → {}", Digest::of(b"manifest"), Digest::of(b"moved"));
    let expected = [
        "rust: 1.95.0 (abc) → 1.96.0".to_owned(),
        format!("zig: 0.17.1 ({}) is not used any more", Digest::of(b"zig")),
        format!("oci:base:1 for linux/amd64: {} is new", Digest::of(b"x")),
        "apt:bookworm for linux/amd64: not used any more".into(),
        format!("oci:base:1 for linux/arm64: {digests}"),
        "apt:bookworm for linux/arm64: components: main → main, contrib".into(),
        "apt:bookworm for linux/arm64: gcc-base 12 is not used any more".into(),
        "apt:bookworm for linux/arm64: libc6 2.36-9 → 2.36-10".into(),
        "apt:bookworm for linux/arm64: new 1 is new".into(),
        "apt:bookworm for linux/arm64: the release of bookworm-security: 2026-07-02T13:46:40Z → \
         2026-07-14T03:33:20Z"
            .into(),
    ];
    assert_eq!(lines, expected);
    assert_eq!(compare::compare(&old, &old), []);
    // The same version with other bytes is distinguished by its digest.
    let Pin::Assembled(mut pin) = apt("linux/amd64", "2.36-9") else { panic!() };
    pin.package[0].sha256 = [7; 32];
    let rebuilt = compare::compare(&old, &old.clone().with(Pin::Assembled(pin)));
    assert!(matches!(&rebuilt[..], [Difference::Package { .. }]), "{rebuilt:?}");
    assert!(rebuilt[0].to_string().ends_with(&format!("({})", "07".repeat(32))), "{}", rebuilt[0]);
}

#[test]
fn the_compiler_of_this_machine_is_pinned_by_its_version() {
    let pin = |major| Some(CompilerPin { version: Version::new(major, 0, 6) });
    let old = Lock { compiler: pin(16), ..lock() };
    assert_eq!(parse(&text::render(&old)).unwrap(), old);
    assert_eq!(old.clone().without("clang"), lock());
    let lines =
        |new: &Lock| -> Vec<String> { compare::compare(&old, new).iter().map(ToString::to_string).collect() };
    assert_eq!(lines(&Lock { compiler: pin(19), ..lock() }), ["clang: 16.0.6 → 19.0.6"]);
    assert_eq!(lines(&lock()), ["clang: 16.0.6 is not used any more"]);
}

const LINKING: SysrootRequest<'_> = SysrootRequest::for_linking("arm64");

#[test]
fn sysroots_are_pinned_each_for_its_platform() {
    let sysroot = |on: &str, libc: &str| SysrootPin::of(&platform(on), &[], &LINKING, (&set(libc), &[]));
    let old = lock().with_sysroot(sysroot("linux/arm64", "2.36-9"));
    let text = text::render(&old);
    // Releases that know no sysroots read locks that have none.
    assert!(text.contains("\nversion = 3\n") && text::render(&lock()).contains("\nversion = 2\n"));
    assert_eq!(parse(&text).unwrap(), old);
    assert_eq!(old.clone().without("sysroot"), lock());
    let new = old
        .clone()
        .with_sysroot(sysroot("linux/arm64", "2.36-10"))
        .with_sysroot(sysroot("linux/amd64", "2.36-10"));
    let lines = |old: &Lock, new: &Lock| -> Vec<String> {
        compare::compare(old, new).iter().map(ToString::to_string).collect()
    };
    assert_eq!(
        lines(&old, &new),
        [
            "sysroot for linux/amd64: bookworm, 4 packages is new",
            "sysroot for linux/arm64: libc6 2.36-9 → 2.36-10"
        ]
    );
    assert_eq!(lines(&old, &lock()), ["sysroot for linux/arm64: not used any more"]);
    let twice = text.replace("[[sysroot]]", "[[sysroot]]\nplatform = \"linux/arm64\"\ndebian = { architecture = \"arm64\", release = \"bookworm\", suites = [], components = [], packages = [] }\n\n[[sysroot]]");
    assert!(parse(&twice).unwrap_err().to_string().contains("the sysroot of linux/arm64 twice"));
    let escaping = text.replace("path = \"pool/main/zlib1g_1.deb\"", "path = \"../zlib1g_1.deb\"");
    assert!(parse(&escaping).unwrap_err().to_string().contains("the path `../zlib1g_1.deb` of zlib1g"));
}

#[test]
fn a_pinned_sysroot_is_used_for_what_it_was_pinned_for() {
    let (components, suites) = (["main".to_owned()], ["bookworm".to_owned(), "bookworm-security".to_owned()]);
    let pin = SysrootPin::of(&platform("linux/arm64"), &components, &LINKING, (&set("2.36-9"), &[]));
    let request =
        ReleaseRequest { release: "bookworm", suites: &suites, components: &components, moment: None };
    assert!(pin.is_for(&request, &LINKING));
    assert!(pin.is_for(&ReleaseRequest { components: &[], ..request }, &LINKING));
    // Packages for one architecture are not used for another, whatever an edited lock contains.
    assert!(!pin.is_for(&request, &SysrootRequest::for_linking("amd64")));
    assert!(!pin.is_for(&ReleaseRequest { release: "trixie", ..request }, &LINKING));
    assert!(!pin.is_for(&ReleaseRequest { suites: &[], ..request }, &LINKING));
    let packages = ["libssl-dev".to_owned()];
    for other in
        [SysrootRequest { c_code: true, ..LINKING }, SysrootRequest { packages: &packages, ..LINKING }]
    {
        assert!(!pin.is_for(&request, &other), "{other:?}");
    }
    let moment = |moment| ReleaseRequest { moment: Some(moment), ..request };
    let own = pin.packages.snapshot.clone().unwrap();
    assert!(pin.is_for(&moment(&own), &LINKING));
    assert!(!pin.is_for(&moment("20260101T000000Z"), &LINKING));
}

/// The platforms of a project with this configuration.
fn platforms(text: &str) -> Vec<PlatformSettings> {
    let source = Source {
        path: "/p/xbuild.toml".into(),
        shown: "xbuild.toml".into(),
        text: text.to_owned(),
        foreign: false,
    };
    let project =
        Project { manifest_path: "/p/Cargo.toml".into(), documents: vec![parse_project(source).unwrap()] };
    let environment: Environment = [("HOME", "/h")].into_iter().collect();
    let host = Host { platform: platform("amd64"), dir: "/p".into(), color: false };
    settings::resolve(&Flags::default(), &environment, &project, None, &host).unwrap().platforms
}

#[test]
fn a_run_takes_what_it_needs_and_is_told_what_is_not_there() {
    let dir = Path::new("/p");
    let suites = "[debian]\nsuites = [\"bookworm\", \"bookworm-security\"]\n";
    let pins = |text: &str| Pins::of(&lock(), &platforms(text), dir, true);
    let fits = pins(&format!("platforms = [\"linux/arm64\"]\n{suites}"));
    assert_eq!((fits.bases.len(), fits.unmet.len()), (1, 0));
    let unmet = |text: &str| pins(text).unmet.iter().map(ToString::to_string).collect::<Vec<_>>();
    assert_eq!(
        unmet(&format!("platforms = [\"linux/arm64\", \"linux/amd64\"]\n{suites}")),
        ["apt:bookworm for linux/amd64: not pinned"]
    );
    // Another configuration of the same base does not match the pin.
    assert_eq!(
        unmet("platforms = [\"linux/arm64\"]\n"),
        ["apt:bookworm for linux/arm64: suites: bookworm, bookworm-security → bookworm, bookworm-updates, \
          bookworm-security"]
    );
    // Nor does another snapshot if one is configured.
    let at =
        |moment: &str| unmet(&format!("platforms = [\"linux/arm64\"]\n{suites}snapshot = \"{moment}\"\n"));
    assert_eq!(at("20260712T101637Z"), [""; 0]);
    assert_eq!(
        at("2026-08-01"),
        ["apt:bookworm for linux/arm64: snapshot: 20260712T101637Z → 20260801T000000Z"]
    );
    assert_eq!(unmet("platforms = [\"linux/arm64\"]\nbase = \"scratch\""), [""; 0]);
    assert_eq!(pins("platforms = [\"linux/arm64\"]\nbase = \"oci:base:1\"").bases.len(), 1);
    let mut other = lock();
    other.assembled[0].recipe = Digest::of(b"another recipe");
    let settings = platforms(&format!("platforms = [\"linux/arm64\"]\n{suites}"));
    let unmet = Pins::of(&other, &settings, dir, true).unmet;
    assert!(matches!(&unmet[..], [Difference::Setting { what: "recipe", .. }]), "{unmet:?}");
    // Packages for one architecture are not used for another, whatever an edited lock contains.
    other = lock();
    other.assembled[0].platform = platform("amd64");
    let settings = platforms(&format!("platforms = [\"linux/amd64\"]\n{suites}"));
    let unmet = Pins::of(&other, &settings, dir, true).unmet;
    assert_eq!(unmet[0].to_string(), "apt:bookworm for linux/amd64: architecture: arm64 → amd64");
}

#[test]
fn a_path_is_named_as_the_lock_sees_it() {
    let name = |path: &str, dir: &str| {
        let base = BaseSource::Layout { path: path.into(), selector: Selector::Only };
        base_name(&base, Path::new(dir)).unwrap()
    };
    assert_eq!(name("/p/images/base", "/p"), "oci:images/base");
    assert_eq!(name("/p/./images/../base", "/p/x/.."), "oci:base");
    assert_eq!(name("/p/base", "/p/deep/directory"), "oci:../../base");
    assert_eq!(name("/elsewhere", "/p"), "oci:../elsewhere");
    assert_eq!(name("/p", "/p"), "oci:.");
    let digest = crate::oci::Digest::of(b"x");
    for (selector, shown) in [
        (Selector::Name("1".into()), "oci:b:1".to_owned()),
        (Selector::Digest(digest.clone()), format!("oci:b@{digest}")),
    ] {
        let base = BaseSource::Layout { path: "/p/b".into(), selector };
        assert_eq!(base_name(&base, Path::new("/p")), Some(shown));
    }
}

#[test]
fn an_unknown_name_leads_to_what_was_meant() {
    let error = LockError::UnknownName {
        given: "libc6".into(),
        of_base: Some("apt:bookworm".into()),
        known: vec!["rust".into()],
    };
    assert!(error.hint().unwrap().ends_with("`xbuild lock --update apt:bookworm`"));
    let error =
        LockError::UnknownName { given: "x".into(), of_base: None, known: vec!["rust".into(), "zig".into()] };
    assert_eq!(error.hint().unwrap(), "choose one of rust, zig");
    let error = LockError::UnknownName { given: "./app".into(), of_base: None, known: Vec::new() };
    assert!(error.hint().unwrap().contains("`xbuild lock ./app --update`"));
    assert_eq!(error.exit_code(), ExitCode::Usage);
}

#[test]
fn the_published_schema_is_the_types() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/xbuild.lock.schema.json");
    let schema = serde_json::to_string_pretty(&schemars::schema_for!(Lock)).unwrap() + "\n";
    if Environment::of_process().var("XBUILD_BLESS").is_some() {
        crate::sys::fs::write_atomic(&path, schema.as_bytes(), 0o644).unwrap();
    }
    assert!(
        crate::sys::fs::read_to_string(&path).unwrap_or_default() == schema,
        "docs/xbuild.lock.schema.json is stale: run XBUILD_BLESS=1 cargo test"
    );
}

proptest::proptest! {
    /// Any modification of a lock's bytes gives either a valid lock or an error with its own code.
    #[test]
    fn a_spoilt_lock_is_never_more_than_an_error(
        at in proptest::prelude::any::<proptest::sample::Index>(),
        byte in proptest::prelude::any::<u8>(),
        cut in proptest::prelude::any::<proptest::sample::Index>(),
    ) {
        let mut bytes = text::render(&lock()).into_bytes();
        let place = at.index(bytes.len());
        bytes[place] = byte;
        let end = cut.index(bytes.len());
        for bytes in [&bytes[..], &bytes[..end]] {
            let text = String::from_utf8_lossy(bytes);
            if let Err(error) = parse(&text) {
                proptest::prop_assert_eq!(error.exit_code(), ExitCode::LockFile);
            }
        }
    }
}

#[test]
fn what_would_go_back_is_told() {
    let at = |days: i64| {
        let mut set = set("2.36-9");
        for suite in &mut set.suites {
            suite.date = suite.date.map(|date| date + days * 86_400);
        }
        Pin::Assembled(Box::new(AssembledPin::of(
            "apt:bookworm",
            &platform("linux/amd64"),
            &["main".into()],
            &[],
            &set,
        )))
    };
    let old = lock();
    let older = |pin: Pin, skip: bool| compare::older(&old, (&[pin], &[]), &|_| skip);
    // A release that is pinned for one platform counts for all.
    let found = older(at(-1), false);
    assert!(!found.is_empty());
    for difference in &found {
        assert!(matches!(difference, Difference::Index { .. }), "{difference}");
        assert!(difference.to_string().starts_with("apt:bookworm for linux/amd64: the release of bookworm"));
    }
    for (days, skip) in [(0, false), (1, false), (-1, true)] {
        assert_eq!(older(at(days), skip), [], "{days}");
    }
    assert_eq!(older(image("linux/amd64", "other"), false), []);
    let mut behind = set("2.36-8");
    behind.suites[1].date = Some(1_000_000_000);
    let sysroot = SysrootPin::of(&platform("linux/arm64"), &[], &LINKING, (&behind, &[]));
    let of_sysroot = compare::older(&old, (&[], &[sysroot]), &|_| false);
    let [Difference::Index { base, suite, .. }] = &of_sysroot[..] else { panic!("{of_sysroot:?}") };
    assert_eq!((base.as_str(), suite.as_str()), ("sysroot", "bookworm-security"));
    assert_eq!(compare::older(&Lock::default(), (&[at(-1000)], &[]), &|_| false), []);
    let error = LockError::Older { path: "xbuild.lock".into(), differences: found };
    assert_eq!(error.exit_code(), ExitCode::OutOfStep);
    assert!(
        error.to_string().starts_with("the mirrors' releases are older than those in `xbuild.lock`\n  apt:")
    );
    assert!(error.hint().unwrap().contains("`snapshot`"));
}

#[test]
fn the_files_of_a_toolchain_are_a_difference_of_their_own() {
    let (old, mut new) = (lock(), lock());
    new.provided.as_mut().unwrap().files = Some(Digest::of(b"others"));
    let found: Vec<String> = compare::compare(&old, &new).iter().map(ToString::to_string).collect();
    let (from, to) = (Digest::of(b"files"), Digest::of(b"others"));
    assert_eq!(found, [format!("zig: 0.17.1, its files {from} → 0.17.1, its files {to}")]);
    new.provided.as_mut().unwrap().files = None;
    assert!(compare::compare(&new, &old)[0].to_string().contains("its files not pinned → "));
}
