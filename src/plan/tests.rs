//! What links a platform's programs, and for which glibc.

use std::path::Path;

use super::sample;
use super::*;
use crate::target::abi::GlibcVersion;
use crate::toolchain::{CompilerFacts, Libraries, LinkerFacts};

const DISTRIBUTION: &str = "only it links against libraries of a distribution";

const NOTHING: LinkerFacts = LinkerFacts::NOTHING;

/// The plan of the first platform of an `xbuild.toml`, on a base with this glibc.
fn planned(text: &str, linker: LinkerFacts, glibc: Option<GlibcVersion>) -> Result<PlatformPlan, PlanError> {
    planned_against(text, linker, glibc, None)
}

/// The same with a sysroot.
fn planned_against(
    text: &str,
    linker: LinkerFacts,
    glibc: Option<GlibcVersion>,
    sysroot: Option<SysrootFacts>,
) -> Result<PlatformPlan, PlanError> {
    let settings = sample::settings(text, Path::new("/project"));
    let platform = PlatformFacts {
        wanted: &settings.platforms[0],
        linker,
        cpu: None,
        processor_flags: Vec::new(),
        development: Vec::new(),
        standard_library: StandardLibrary::Installed,
    };
    let base = BaseFacts {
        name: "base".into(),
        digest: None,
        content: "nothing".into(),
        glibc,
        added: Vec::new(),
        releases: Vec::new(),
    };
    plan_platform(&settings, &sample::facts(), &platform, &(base, sysroot))
}

#[test]
fn rust_lld_links_what_it_can_and_zig_the_rest() {
    let musl =
        "platforms = [\"linux/arm64\"]\n[platform.\"linux/arm64\"]\ntriple = \"aarch64-unknown-linux-musl\"";
    let gnu = "platforms = [\"linux/arm64\"]";
    let with = |text: &str, linker| planned(text, linker, Some(GlibcVersion(2, 36))).unwrap();
    let c_code = || LinkerFacts { c_code: Some("x-sys".into()), ..NOTHING };
    let configured = || LinkerFacts { configured: true, ..NOTHING };
    for (text, facts, linker, from) in [
        (musl, NOTHING, Linker::RustLld, "musl, and no crate compiles C code"),
        (musl, c_code(), Linker::Zig, "it also compiles the C code of `x-sys`"),
        (
            musl,
            LinkerFacts { builds_standard: true, ..NOTHING },
            Linker::Zig,
            "the standard library is built from its source, and comes without start files then",
        ),
        (musl, LinkerFacts { rust_lld: false, ..NOTHING }, Linker::Zig, "the Rust toolchain has no rust-lld"),
        (gnu, NOTHING, Linker::Lld, "the fastest, and no crate compiles C code"),
        (gnu, c_code(), Linker::Zig, "it also compiles the C code of `x-sys`"),
        (
            gnu,
            LinkerFacts { no_sysroot: Some("no release is so old".into()), ..NOTHING },
            Linker::Zig,
            "no release is so old",
        ),
        (gnu, LinkerFacts { rust_lld: false, ..NOTHING }, Linker::Zig, "the Rust toolchain has no rust-lld"),
        (gnu, LinkerFacts { pinned: true, ..NOTHING }, Linker::Zig, "the lock pins it"),
        (
            musl,
            LinkerFacts { pinned: true, ..NOTHING },
            Linker::RustLld,
            "musl, and no crate compiles C code",
        ),
        (gnu, configured(), Linker::Configured, "cargo's configuration names a linker for the triple"),
    ] {
        let plan = with(text, facts.clone());
        assert_eq!((plan.linker, plan.linker_from.as_str()), (linker, from), "{text} {facts:?}");
    }
    for (choice, linker) in [("zig", Linker::Zig), ("cargo", Linker::Configured)] {
        for text in [musl, gnu] {
            for facts in [NOTHING, configured(), c_code()] {
                let plan = with(&format!("toolchain = \"{choice}\"\n{text}"), facts);
                assert_eq!(plan.linker, linker);
                assert!(plan.linker_from.contains("xbuild.toml"), "{}", plan.linker_from);
            }
        }
    }
}

#[test]
fn libraries_that_are_asked_for_are_compiled_against_or_it_is_an_error() {
    let gnu = "platforms = [\"linux/arm64\"]";
    let base = Some(GlibcVersion(2, 36));
    let asked = LinkerFacts { libraries: Libraries::Asked, c_code: Some("x-sys".into()), ..NOTHING };
    let found = LinkerFacts { compiler: Some(CompilerFacts::Found("clang 16.0.6".into())), ..asked.clone() };
    let plan = planned(gnu, found.clone(), base).unwrap();
    assert_eq!((plan.linker, plan.linker_from.as_str()), (Linker::Lld, DISTRIBUTION));
    let compiler = plan.compiler.unwrap();
    assert_eq!(
        (compiler.name.as_str(), compiler.from.as_str()),
        ("clang 16.0.6", "for the C code of `x-sys`")
    );
    let none = CompilerFacts::Missing { why: "there is none".into(), hint: Some("install it".into()) };
    let error =
        planned(gnu, LinkerFacts { compiler: Some(none.clone()), ..asked.clone() }, base).unwrap_err();
    assert!(error.to_string().contains("nothing compiles C code for it: there is none"), "{error}");
    assert_eq!(error.hint().unwrap(), "install it; or leave `build-packages` out");
    assert_eq!(error.exit_code(), ExitCode::Toolchain);
    // If crates are merely known to look for some, they may find them elsewhere, or compile their own.
    let looked_for = |facts| LinkerFacts { libraries: Libraries::Found, ..facts };
    assert_eq!(planned(gnu, looked_for(found.clone()), base).unwrap().linker, Linker::Lld);
    let without = LinkerFacts { compiler: Some(none.clone()), ..asked };
    for facts in [without, LinkerFacts { pinned: true, ..found.clone() }] {
        let plan = planned(gnu, looked_for(facts), base).unwrap();
        assert_eq!(plan.linker_from, "it also compiles the C code of `x-sys`");
    }
    // Without libraries there is another way.
    let clang = format!("toolchain = \"clang\"\n{gnu}");
    let error = planned(&clang, LinkerFacts { compiler: Some(none), ..NOTHING }, base).unwrap_err();
    assert!(error.hint().unwrap().contains("install it; or use `toolchain = \"zig\"`"), "{error}");
    for toolchain in ["zig", "cargo"] {
        let text = format!("toolchain = \"{toolchain}\"\n{gnu}");
        let error = planned(&text, found.clone(), base).unwrap_err();
        assert!(error.to_string().contains("`build-packages` asks for libraries"), "{error}");
        assert_eq!(error.exit_code(), ExitCode::Config);
        // What crates are merely known to look for is no reason.
        assert!(planned(&text, looked_for(found.clone()), base).is_ok());
    }
}

#[test]
fn the_glibc_is_within_what_zig_knows() {
    let on = |text: &str, base| {
        let text =
            if text.contains("toolchain") { text.to_owned() } else { format!("toolchain = \"zig\"\n{text}") };
        planned(&text, NOTHING, base).map(|plan| plan.glibc)
    };
    let amd64 = "platforms = [\"linux/amd64\"]";
    assert_eq!(on(amd64, Some(GlibcVersion(2, 36))).unwrap(), Some(GlibcVersion(2, 36)));
    assert_eq!(on(amd64, Some(GlibcVersion(2, 99))).unwrap(), Some(GlibcVersion(2, 44)));
    assert_eq!(on(amd64, Some(GlibcVersion(2, 5))).unwrap(), Some(GlibcVersion(2, 17)));
    assert_eq!(on(amd64, None).unwrap(), Some(GlibcVersion(2, 17)));
    assert_eq!(on("platforms = [\"linux/ppc64le\"]", None).unwrap(), Some(GlibcVersion(2, 32)));
    let musl =
        "platforms = [\"linux/amd64\"]\n[platform.\"linux/amd64\"]\ntriple = \"x86_64-unknown-linux-musl\"";
    assert_eq!(on(musl, Some(GlibcVersion(2, 36))).unwrap(), None);
    assert_eq!(on(&format!("toolchain = \"cargo\"\n{amd64}"), Some(GlibcVersion(2, 36))).unwrap(), None);
    assert_eq!(
        on(&format!("glibc = \"2.31\"\n{amd64}"), Some(GlibcVersion(2, 36))).unwrap(),
        Some(GlibcVersion(2, 31))
    );
    let error = on(&format!("glibc = \"2.41\"\n{amd64}"), Some(GlibcVersion(2, 36))).unwrap_err();
    assert!(matches!(error, PlanError::GlibcTooNew { .. }), "{error}");
    for unknown in ["2.5", "2.99"] {
        let error = on(&format!("glibc = \"{unknown}\"\n{amd64}"), None).unwrap_err();
        assert!(matches!(error, PlanError::GlibcUnknownToLinker { .. }), "{error}");
        assert_eq!(error.exit_code(), ExitCode::Config);
    }
}

#[test]
fn lld_is_used_where_it_is_asked_for_and_an_obstacle_is_an_error() {
    let gnu = "toolchain = \"lld\"\nplatforms = [\"linux/arm64\"]";
    let musl = format!("{gnu}\n[platform.\"linux/arm64\"]\ntriple = \"aarch64-unknown-linux-musl\"");
    let sysroot = SysrootFacts {
        release: "bookworm".into(),
        from: "the release of `base`".into(),
        glibc: Some(GlibcVersion(2, 36)),
        download_size: 5_500_000,
        development: Vec::new(),
        packages: Vec::new(),
    };
    let base = Some(GlibcVersion(2, 41));
    let plan = planned_against(gnu, NOTHING, base, Some(sysroot.clone())).unwrap();
    assert_eq!((plan.linker, plan.glibc), (Linker::Lld, Some(GlibcVersion(2, 36))));
    assert_eq!(plan.glibc_from.as_deref(), Some("the glibc of bookworm"));
    assert_eq!(plan.sysroot, Some(sysroot.clone()));
    // Whatever cargo's configuration says, as with zig.
    let configured = LinkerFacts { configured: true, ..NOTHING };
    let plan = planned_against(gnu, configured, base, Some(sysroot.clone())).unwrap();
    assert_eq!(plan.linker, Linker::Lld);
    assert_eq!(planned(&musl, NOTHING, base).unwrap().linker, Linker::RustLld);
    let c_code = LinkerFacts { c_code: Some("x-sys".into()), ..NOTHING };
    let no_lld = LinkerFacts { rust_lld: false, ..NOTHING };
    let built = LinkerFacts { builds_standard: true, ..NOTHING };
    for (text, facts, said) in [
        (gnu, &c_code, "`x-sys` compiles C code"),
        (gnu, &no_lld, "the Rust toolchain has no rust-lld"),
        (&musl, &c_code, "`x-sys` compiles C code"),
        (&musl, &built, "the standard library is built from its source"),
    ] {
        let error = planned_against(text, facts.clone(), base, Some(sysroot.clone())).unwrap_err();
        let message = error.to_string();
        assert!(message.contains(said) && message.contains("xbuild.toml"), "{message}");
        assert_eq!(error.exit_code(), ExitCode::Config);
        assert!(error.hint().unwrap().contains("toolchain = \"zig\""));
    }
    let error = planned_against(&format!("glibc = \"2.42\"\n{gnu}"), NOTHING, base, Some(sysroot));
    assert!(matches!(error, Err(PlanError::GlibcTooNew { .. })));
}
