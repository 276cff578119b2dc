//! Precedence and interpretation of values, from files' texts to settings.

mod debian;

use std::path::Path;
use std::time::Duration;

use super::*;
use crate::config::document::{parse_project, parse_user};
use crate::config::{Document, Project, UserFile};
use crate::error::{ExitCode, Explain};
use crate::origin::{Origin, Source, Sourced};
use crate::sys::env::Environment;
use crate::target::abi::GlibcVersion;
use crate::toolchain::provided::ProvidedWay;

/// The sources of one resolution; `Default` is a project without any configuration.
#[derive(Default)]
struct Given<'a> {
    flags: Flags,
    environment: &'a [(&'a str, &'a str)],
    /// `xbuild.toml`, then the workspace's.
    project: &'a [&'a str],
    user: Option<&'a str>,
}

fn source(dir: &str, name: &str, text: &str) -> Source {
    Source { path: Path::new(dir).join(name), shown: name.into(), text: text.to_owned(), foreign: false }
}

impl Given<'_> {
    fn resolve(&self) -> Result<Settings, Error> {
        let names = ["xbuild.toml", "workspace.toml"];
        let documents = self.project.iter().zip(names).map(|(text, name)| {
            parse_project(source("/project", name, text)).unwrap_or_else(|error| panic!("{error}"))
        });
        let project = Project { manifest_path: "/project/Cargo.toml".into(), documents: documents.collect() };
        let user: Option<Document<UserFile>> =
            self.user.map(|text| parse_user(source("/home/me/.config/xbuild", "config.toml", text)).unwrap());
        let home = [("HOME", "/home/me")];
        let environment: Environment = home.iter().chain(self.environment).copied().collect();
        let host = Host { platform: "linux/amd64".parse().unwrap(), dir: "/directory".into(), color: false };
        resolve(&self.flags, &environment, &project, user.as_ref(), &host)
    }

    fn settings(&self) -> Settings {
        self.resolve().unwrap_or_else(|error| panic!("{error}"))
    }

    /// The error's message, hint and exit code.
    fn error(&self) -> (String, String, ExitCode) {
        let error = self.resolve().unwrap_err();
        (error.to_string(), error.hint().unwrap_or_default(), error.exit_code())
    }
}

fn with_project<'a>(text: &'a &'a str) -> Given<'a> {
    Given { project: std::slice::from_ref(text), ..Given::default() }
}

fn flags(change: impl FnOnce(&mut Flags)) -> Flags {
    let mut flags = Flags::default();
    change(&mut flags);
    flags
}

fn strings(texts: &[&str]) -> Vec<String> {
    texts.iter().map(|text| (*text).to_owned()).collect()
}

fn names(settings: &Settings) -> Vec<String> {
    settings.platforms.iter().map(|platform| platform.platform.to_string()).collect()
}

fn triples(settings: &Settings) -> Vec<&str> {
    settings.platforms.iter().map(|platform| platform.target.value.triple.as_str()).collect()
}

#[test]
fn nothing_at_all_builds_three_platforms_on_bookworm() {
    let settings = Given::default().settings();
    assert_eq!(names(&settings), ["linux/amd64", "linux/arm/v7", "linux/arm64"]);
    assert_eq!(
        triples(&settings),
        ["x86_64-unknown-linux-gnu", "armv7-unknown-linux-gnueabihf", "aarch64-unknown-linux-gnu"]
    );
    for platform in &settings.platforms {
        assert_eq!(platform.base.origin, Origin::Default);
        assert!(
            matches!(&platform.base.value, BaseSource::Packages { suite, suites, .. } if suite == "bookworm" && suites.is_empty())
        );
        assert_eq!(platform.glibc, Sourced::default_of(None));
        assert_eq!(platform.image, ImageSettings::default());
    }
    assert_eq!(settings.payload.profile, "release");
    assert_eq!(settings.timeout, DEFAULT_TIMEOUT);
    assert_eq!(settings.outputs, []);
    assert_eq!(settings.machine.cache, Path::new("/home/me/.cache/xbuild"));
    assert_eq!(settings.machine.provided.ways, ProvidedWay::ALL);
}

#[test]
fn each_source_wins_over_the_next() {
    let project = ["base = \"apt:project\"", "base = \"apt:workspace\""];
    let user = Some("base = \"apt:user\"");
    let environment = [("XBUILD_BASE", "apt:environment")];
    let flags = flags(|flags| flags.base = strings(&["apt:flag"]));
    let suite = |given: Given<'_>| {
        let base = given.settings().platforms[0].base.clone();
        match base.value {
            BaseSource::Packages { suite, .. } => (suite, base.origin.to_string()),
            other => panic!("{other:?}"),
        }
    };
    let pair = |suite: &str, origin: &str| (suite.to_owned(), origin.to_owned());
    assert_eq!(
        suite(Given { flags, environment: &environment, project: &project, user }),
        pair("flag", "--base")
    );
    assert_eq!(
        suite(Given { environment: &environment, project: &project, user, ..Given::default() }),
        pair("environment", "$XBUILD_BASE")
    );
    assert_eq!(
        suite(Given { project: &project, user, ..Given::default() }),
        pair("project", "xbuild.toml:1:8")
    );
    assert_eq!(
        suite(Given { project: &["", project[1]], user, ..Given::default() }),
        pair("workspace", "workspace.toml:1:8")
    );
    assert_eq!(suite(Given { user, ..Given::default() }), pair("user", "config.toml:1:8"));
    assert_eq!(suite(Given::default()), pair("bookworm", "default"));
}

#[test]
fn platforms_are_normalised_sorted_and_taken_once() {
    let given = Given {
        flags: flags(|flags| flags.platforms = strings(&["armhf,aarch64", "linux/arm64/v8", "local"])),
        ..Given::default()
    };
    assert_eq!(names(&given.settings()), ["linux/amd64", "linux/arm/v7", "linux/arm64"]);
}

#[test]
fn all_means_all_that_the_base_allows() {
    let all = |base: &str| {
        let flags = flags(|flags| {
            flags.platforms = strings(&["all"]);
            flags.base = strings(&[base]);
        });
        names(&Given { flags, ..Given::default() }.settings())
    };
    let debian = all("apt:trixie");
    let has = |platform: &str| debian.iter().any(|known| known == platform);
    // Debian has a port for one of them, but not for the other.
    assert!(has("linux/riscv64") && !has("linux/loong64"), "{debian:?}");
    let musl = ["linux/amd64", "linux/arm/v7", "linux/arm64", "linux/ppc64le", "linux/riscv64"];
    assert_eq!(all("scratch"), musl);
}

#[test]
fn scratch_takes_the_musl_triples_and_refuses_a_platform_without_one() {
    let settings = with_project(&"base = \"scratch\"").settings();
    assert_eq!(
        triples(&settings),
        ["x86_64-unknown-linux-musl", "armv7-unknown-linux-musleabihf", "aarch64-unknown-linux-musl"]
    );
    let (message, hint, code) = with_project(&"base = \"scratch\"\nplatforms = [\"linux/386\"]").error();
    assert_eq!(
        message,
        "linux/386 has no target for static programs, which the base `scratch` needs (from xbuild.toml:1:8)"
    );
    assert_eq!(
        (hint.as_str(), code),
        ("use a base with a C library: --base apt:bookworm", ExitCode::UnservedPlatform)
    );
}

#[test]
fn a_platforms_table_wins_over_the_general_values_and_an_option_over_both() {
    let project = r#"
        glibc = "2.31"
        [image]
        env = { A = "general", B = "general" }
        user = "1000"
        [platform.armhf]
        glibc = "2.28"
        base = "oci:bases/arm:v1"
        timeout = "20m"
        [platform.armhf.image]
        env = { A = "special" }
        workdir = "/srv/"
        [platform."linux/arm64"]
        triple = "aarch64-unknown-linux-musl"
    "#;
    let settings = with_project(&project).settings();
    let [amd64, v7, arm64] = settings.platforms.as_slice() else { panic!("{settings:?}") };
    assert_eq!((amd64.glibc.value, v7.glibc.value), (Some(GlibcVersion(2, 31)), Some(GlibcVersion(2, 28))));
    assert_eq!(
        v7.base.value,
        BaseSource::Layout { path: "/project/bases/arm".into(), selector: Selector::Name("v1".into()) }
    );
    assert_eq!((amd64.timeout, v7.timeout), (None, Some(Duration::from_secs(1200))));
    assert_eq!(v7.image.env, [("A", "special"), ("B", "general")].map(|(a, b)| (a.into(), b.into())).into());
    assert_eq!((v7.image.workdir.as_deref(), v7.image.user.as_deref()), (Some("/srv"), Some("1000")));
    assert_eq!(arm64.target.value.triple, "aarch64-unknown-linux-musl");
    assert_eq!(arm64.target.origin.to_string(), "xbuild.toml:14:18");
    let given = Given {
        flags: flags(|flags| flags.glibc = strings(&["2.36", "arm64=2.17"])),
        ..with_project(&project)
    };
    let glibc: Vec<_> = given.settings().platforms.iter().map(|platform| platform.glibc.value).collect();
    assert_eq!(glibc, [Some(GlibcVersion(2, 36)), Some(GlibcVersion(2, 36)), Some(GlibcVersion(2, 17))]);
}

#[test]
fn time_limits_are_for_all_for_each_or_for_one() {
    let given = Given {
        flags: flags(|flags| flags.timeout = strings(&["45m", "each=20m", "linux/arm/v7=1h 30m"])),
        ..Given::default()
    };
    let settings = given.settings();
    let minutes = |limit: Option<Duration>| limit.map(|limit| limit.as_secs() / 60);
    assert_eq!(settings.timeout, Duration::from_secs(45 * 60));
    assert_eq!(
        settings.platforms.iter().map(|platform| minutes(platform.timeout)).collect::<Vec<_>>(),
        [Some(20), Some(90), Some(20)]
    );
}

#[test]
fn options_for_platforms_that_are_not_built_are_refused() {
    let given =
        Given { flags: flags(|flags| flags.timeout = strings(&["linux/s390x=20m"])), ..Given::default() };
    let (message, hint, code) = given.error();
    assert_eq!(message, "linux/s390x is not one of the platforms to build (from --timeout)");
    assert_eq!((hint.as_str(), code), ("add it: --platform linux/s390x", ExitCode::Usage));
}

#[test]
fn a_choice_of_programs_on_the_command_line_replaces_the_files() {
    let project = "[payload]\nall-bins = true\nfeatures = [\"a\"]";
    let given = Given {
        flags: flags(|flags| {
            flags.bins = strings(&["one"]);
            flags.features = strings(&["b,c d"]);
        }),
        ..with_project(&project)
    };
    let cargo = given.settings().payload;
    assert_eq!((cargo.bins, cargo.all_bins), (strings(&["one"]), false));
    assert_eq!(cargo.features, strings(&["b", "c", "d"]));
}

#[test]
fn the_moment_of_a_snapshot_is_written_in_several_ways() {
    let moment = |text: &str| {
        let given = format!("[debian]\nsnapshot = \"{text}\"");
        let platform = with_project(&given.as_str()).settings().platforms[0].clone();
        match platform.base.value {
            BaseSource::Packages { snapshot, .. } if snapshot == platform.sources.snapshot => {
                snapshot.unwrap()
            }
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(moment("20260801T123456Z"), "20260801T123456Z");
    assert_eq!(moment("2026-08-01"), "20260801T000000Z");
    assert_eq!(moment("2026-08-01T02:00:00+02:00"), "20260801T000000Z");
    for text in ["", "yesterday", "20261301T000000Z", "20260801", "http://s.example/archive"] {
        let given = format!("[debian]\nsnapshot = \"{text}\"");
        let (message, hint, code) = with_project(&given.as_str()).error();
        assert!(message.contains("is not a moment of Debian's snapshots"), "{message}");
        assert!(hint.contains("20260801T000000Z"));
        assert_eq!(code, ExitCode::Config);
    }
}

#[test]
fn the_projects_suites_must_be_of_its_release_and_the_users_are_picked() {
    let suites = |given: &Given<'_>| match given.settings().platforms[0].base.value.clone() {
        BaseSource::Packages { suites, .. } => suites,
        other => panic!("{other:?}"),
    };
    assert_eq!(suites(&with_project(&"[debian]\nsuites = [\"bookworm\"]")), ["bookworm"]);
    let user = Some("[debian]\nsuites = [\"trixie\", \"bookworm-updates\"]");
    assert_eq!(suites(&Given { user, ..Given::default() }), ["bookworm-updates"]);
    let (message, _, code) = with_project(&"[debian]\nsuites = [\"trixie\"]").error();
    assert_eq!(
        (message.as_str(), code),
        (
            "the suite `trixie` does not belong to the base's release, bookworm (from xbuild.toml:2:11)",
            ExitCode::Config
        )
    );
}

#[test]
fn the_image_is_read_in_full() {
    let project = r#"
        [image]
        entrypoint = ["/usr/local/bin/app", "serve"]
        cmd = ["--verbose"]
        expose = [8080, "53/udp", "8080/tcp"]
        volumes = ["/data"]
        labels = { a = "1" }
        stop-signal = "SIGINT"
        [image.annotations]
        "org.opencontainers.image.title" = "app"
        [image.healthcheck]
        command = ["/usr/local/bin/app", "check"]
        interval = "30s"
        retries = 3
        [[files]]
        from = "./static/**/*.html"
        to = "/srv/www/"
        mode = "0640"
        owner = "65532"
        exclude = ["drafts"]
        [[platform."linux/amd64".files]]
        from = "amd64.conf"
        to = "/etc/app.conf"
    "#;
    let given =
        Given { flags: flags(|flags| flags.labels = strings(&["a=2", "b=x=y"])), ..with_project(&project) };
    let settings = given.settings();
    let image = &settings.platforms[0].image;
    assert_eq!(image.entrypoint.as_deref(), Some(&strings(&["/usr/local/bin/app", "serve"])[..]));
    assert_eq!(image.expose, ["53/udp", "8080/tcp"]);
    assert_eq!(image.labels, [("a", "2"), ("b", "x=y")].map(|(a, b)| (a.into(), b.into())).into());
    assert_eq!(image.stop_signal.as_deref(), Some("SIGINT"));
    let check = image.healthcheck.clone().unwrap();
    assert_eq!(check.test, ["CMD", "/usr/local/bin/app", "check"]);
    assert_eq!((check.interval, check.retries), (Some(Duration::from_secs(30)), Some(3)));
    let [html, conf] = settings.platforms[0].files.as_slice() else { panic!() };
    assert_eq!((html.from.as_str(), html.to.as_str()), ("static/**/*.html", "/srv/www/"));
    assert_eq!((html.mode, html.owner), (Some(0o640), Owner { uid: 65532, gid: 65532 }));
    assert_eq!((conf.root.as_path(), conf.mode), (Path::new("/project"), None));
    assert_eq!(settings.platforms[1].files.len(), 1);
}

#[test]
#[allow(clippy::too_many_lines, reason = "a table")]
fn wrong_values_say_where_and_what_would_be_right() {
    for (project, message, hint, code) in [
        ("glibc = \"3\"", "`3` is not a version of glibc (from xbuild.toml:1:9)", "write it as `2.28`", 3),
        (
            "platforms = []",
            "the list of platforms is empty (from xbuild.toml:1:1)",
            "name at least one, or leave the list out for the default",
            3,
        ),
        (
            "platforms = [\"linux/amd46\"]",
            "unknown platform `linux/amd46` (from xbuild.toml:1:14)",
            "did you mean `linux/amd64`?",
            14,
        ),
        (
            "toolchain = \"zigg\"",
            "unknown toolchain `zigg` (from xbuild.toml:1:13)",
            "did you mean `zig`?",
            3,
        ),
        (
            "compression = \"gzip:11\"",
            "`11` is not a level of compression (from xbuild.toml:1:15)",
            "gzip has the levels 1 to 9",
            3,
        ),
        (
            "tags = [\"App:1\"]",
            "`App:1` is not a name for an image (from xbuild.toml:1:9)",
            "write the repository in lower case",
            3,
        ),
        (
            "timeout = \"45\"",
            "`45` is not a time span (from xbuild.toml:1:11)",
            "write it with its unit: `90s`, `45m`, `1h 30m`",
            3,
        ),
        (
            "[[files]]\nfrom = \"../secret\"\nto = \"/a\"",
            "the path `../secret` leads out of the project (from xbuild.toml:2:8)",
            "copy the file into the project, below the configuration file",
            17,
        ),
        (
            "[[files]]\nfrom = \"a\"\nto = \"/a/../b\"",
            "the path `/a/../b` leads out of the image (from xbuild.toml:3:6)",
            "write it as an absolute path without `..`",
            17,
        ),
        (
            "[platform.arm64]\n[platform.\"linux/arm64\"]",
            "linux/arm64 has two tables (from xbuild.toml:2:11)",
            "write its settings into one table",
            3,
        ),
        (
            "[platform.arm64]\ntriple = \"x86_64-unknown-linux-gnu\"",
            "`x86_64-unknown-linux-gnu` is a target of linux/amd64, not of linux/arm64 (from xbuild.toml:2:10)",
            "`xbuild targets` lists the triples of each platform",
            3,
        ),
    ] {
        let (found, found_hint, found_code) = with_project(&project).error();
        assert_eq!((found.as_str(), found_hint.as_str(), found_code.number()), (message, hint, code));
    }
}

#[test]
fn the_environments_values_are_checked_as_the_files_are() {
    let code = |name, value| Given { environment: &[(name, value)], ..Given::default() }.error().2;
    assert_eq!(code("SOURCE_DATE_EPOCH", "yesterday"), ExitCode::Config);
    assert_eq!(code("XBUILD_TIMEOUT", "never"), ExitCode::Config);
    assert_eq!(code("XBUILD_DEBIAN_MIRROR", "ftp://x/"), ExitCode::Config);
    let environment =
        [("SOURCE_DATE_EPOCH", "1700000000"), ("XBUILD_DEBIAN_MIRROR", "http://m.example/debian/")];
    let settings = Given { environment: &environment, ..Given::default() }.settings();
    assert_eq!(settings.source_date_epoch, Some(1_700_000_000));
    assert_eq!(settings.machine.packages.mirror.as_deref(), Some("http://m.example/debian"));
}

#[test]
fn the_users_paths_start_from_the_file_or_the_home() {
    let user = Some(
        "cache-dir = \"~/caches/x\"\n[zig]\npath = \"tools/zig\"\nways = [\"cache\", \"configured\", \"cache\"]",
    );
    let machine = Given { user, ..Given::default() }.settings().machine;
    assert_eq!(machine.cache, Path::new("/home/me/caches/x"));
    assert_eq!(machine.provided.path.as_deref(), Some(Path::new("/home/me/.config/xbuild/tools/zig")));
    assert_eq!(machine.provided.ways, [ProvidedWay::Cache, ProvidedWay::Configured]);
}

#[test]
fn bases_have_their_forms() {
    let dir = Path::new("/f");
    let layout = |path: &str, selector| BaseSource::Layout { path: path.into(), selector };
    let tag = Selector::Name("1.0".into());
    assert_eq!(values::base("oci:../b:1.0", dir), Ok(layout("/f/../b", tag)));
    assert_eq!(values::base("oci:/b.tar", dir), Ok(layout("/b.tar", Selector::Only)));
    let digest = crate::oci::Digest::of(b"x");
    let one = Selector::Digest(digest.clone());
    assert_eq!(values::base(&format!("oci:b@{digest}"), dir), Ok(layout("/f/b", one)));
    for text in ["oci:", "oci:b:", "oci::1", "oci:b@1", "oci:@sha256:0"] {
        assert!(matches!(values::base(text, dir), Err(Problem::Form { .. })), "{text}");
    }
    for (text, meant) in [
        ("debian:bookworm", "docker.io/library/debian:bookworm"),
        ("ghcr.io/team/base", "ghcr.io/team/base:latest"),
        ("localhost:5000/base:1", "localhost:5000/base:1"),
    ] {
        let Ok(BaseSource::Registry { name }) = values::base(text, dir) else { panic!("{text}") };
        assert_eq!(name.to_string(), meant);
    }
    assert!(matches!(values::base("Debian", dir), Err(Problem::Name { .. })));
    assert!(matches!(values::base("scrach", dir), Err(Problem::Form { .. })));
    assert!(matches!(values::base("apt:", dir), Err(Problem::Form { .. })));
}

#[test]
fn tags_follow_the_grammar_of_references() {
    for good in ["app", "app:1.0", "localhost:5000/team/app", "[::1]:5000/a/b:x", "r.example/a__b-c.d:V1_x"] {
        assert_eq!(values::tag(good).as_deref(), Ok(good));
    }
    for bad in ["", "App", "app:", "app@sha256:00", "a//b", "a/_b", "app:-x", "a:b/c:d e", "a___b"] {
        assert!(values::tag(bad).is_err(), "{bad}");
    }
}

#[test]
fn the_example_of_the_manual_resolves() {
    let text = include_str!("../../docs/xbuild.example.toml");
    let settings = with_project(&text).settings();
    assert_eq!(settings.platforms.len(), 3);
    assert_eq!(settings.platforms[1].files.len(), 5);
}

#[test]
fn outputs_agree_with_each_other_and_with_the_platforms() {
    let resolved = |words: &str| {
        let mut flags = Flags { platforms: vec!["amd64,arm64".into()], ..Flags::default() };
        for word in words.split_whitespace() {
            match word.split_once('|') {
                Some(("c", codec)) => flags.compression = Some(codec.into()),
                Some(("a", annotation)) => flags.annotations.push(annotation.into()),
                Some(("p", platform)) => flags.platforms = vec![platform.into()],
                Some(("load", _)) => flags.load = Some(None),
                _ => flags.outputs.push(word.into()),
            }
        }
        Given { flags, ..Given::default() }.resolve()
    };
    let settings = resolved("b a a type=oci,dest=x,compression=zstd,annotation-index.k=v load|").unwrap();
    assert_eq!(settings.outputs.len(), 4, "each once: {:?}", settings.outputs);
    assert_eq!(settings.outputs[0], Output::layout("/directory/a"));
    assert!(matches!(settings.outputs[3].kind, OutputKind::Engine(EngineOutput { engine: None })));
    assert_eq!(settings.compression, Compression::Zstd(None));
    assert_eq!(settings.index_annotations.get("k").map(String::as_str), Some("v"));
    assert_eq!(
        resolved("type=oci,dest=x,compression=zstd c|zstd").unwrap().compression,
        Compression::Zstd(None)
    );
    assert!(resolved("type=docker,dest=x p|amd64").is_ok());
    for words in [
        "type=oci,dest=x,compression=zstd c|gzip",
        "type=oci,dest=x,compression=zstd type=oci,dest=y,compression=gzip",
        "- type=oci",
        "type=docker,dest=x",
        "x type=oci,dest=x",
        "x a|manifest[linux/s390x]:k=v",
    ] {
        let error = resolved(words).unwrap_err();
        assert_eq!(error.exit_code(), crate::error::ExitCode::Usage, "{words}: {error}");
        assert!(error.hint().is_some(), "{words}");
    }
}

#[test]
fn paths_in_cargos_variables_count_from_where_the_user_stands() {
    let cargo = |environment: &[(&str, &str)]| {
        let given = Given { environment, ..Given::default() };
        given.settings().payload
    };
    let dir = |environment: &[(&str, &str)]| cargo(environment).target_dir;
    assert_eq!(dir(&[]), None);
    assert_eq!(dir(&[("CARGO_TARGET_DIR", "out")]), Some("/directory/out".into()));
    assert_eq!(dir(&[("CARGO_TARGET_DIR", "/out")]), Some("/out".into()));
    let both = [("CARGO_BUILD_TARGET_DIR", "a"), ("CARGO_TARGET_DIR", "b")];
    assert_eq!(dir(&both), Some("/directory/b".into()));
    assert_eq!(dir(&both[..1]), Some("/directory/a".into()));
    let given = Given {
        environment: &both,
        flags: flags(|flags| flags.target_dir = Some("c".into())),
        ..Given::default()
    };
    assert_eq!(given.settings().payload.target_dir, Some("/directory/c".into()));
    let variables = [
        ("CARGO_BUILD_BUILD_DIR", "build"),
        ("CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_LINKER", "./cc"),
        ("CARGO_TARGET_ARMV7_UNKNOWN_LINUX_GNUEABIHF_LINKER", "cc"),
        ("RUSTC_WRAPPER", "sccache"),
    ];
    let absolute = [
        ("CARGO_BUILD_BUILD_DIR".to_owned(), "/directory/build".into()),
        ("CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_LINKER".to_owned(), "/directory/./cc".into()),
    ];
    assert_eq!(cargo(&variables).variables, absolute);
    assert!(cargo(&[("CARGO_BUILD_BUILD_DIR", "{workspace-root}/b")]).variables.is_empty());
}

#[test]
fn a_choice_of_programs_or_packages_replaces_the_files() {
    let text = "payload = { packages = ['a'], bins = ['x'], examples = ['e'], exclude = ['z'] }";
    let with = |change: fn(&mut Flags)| {
        Given { flags: flags(change), project: &[text], ..Given::default() }.settings().payload
    };
    let file = with(|_| ());
    assert_eq!((file.bins, file.examples), (strings(&["x"]), strings(&["e"])));
    // A user who leaves something out means all the rest.
    assert_eq!((file.workspace, file.packages, file.exclude), (true, vec![], strings(&["z"])));
    let given = with(|flags| flags.examples = strings(&["f"]));
    assert_eq!((given.bins, given.examples), (vec![], strings(&["f"])));
    let given = with(|flags| flags.packages = strings(&["b@1"]));
    assert_eq!((given.workspace, given.packages), (false, strings(&["b@1"])));
}

#[test]
fn files_come_from_the_project_or_from_a_build() {
    let text = "files = [{ from = 'a', to = '/a' }, { from-build = 'git+https://example.com/x?rev=1#part@1.2:lib/*.so', to = '/b/' }]";
    let settings = with_project(&text).settings();
    let files: Vec<_> = settings.platforms[0]
        .files
        .iter()
        .map(|file| (file.from_build.as_deref(), file.from.as_str()))
        .collect();
    assert_eq!(files, [(None, "a"), (Some("git+https://example.com/x?rev=1#part@1.2"), "lib/*.so")]);
    for (files, word) in [
        ("{ from = 'a', from-build = 'p:b', to = '/a' }", "both"),
        ("{ to = '/a' }", "neither"),
        ("{ from-build = 'p', to = '/a' }", "after a colon"),
        ("{ from-build = 'p:/etc/passwd', to = '/a' }", "after a colon"),
        ("{ from-build = 'p:../secret', to = '/a' }", "leads out"),
    ] {
        let text = format!("files = [{files}]");
        let (message, hint, code) = with_project(&text.as_str()).error();
        assert!(message.contains(word) || hint.contains(word), "{files}: {message}; {hint}");
        assert!(matches!(code, ExitCode::Config | ExitCode::PathEscape), "{files}");
    }
}
