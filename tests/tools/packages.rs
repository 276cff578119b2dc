//! Debian's packages in an image: chosen as apt chooses them, and placed so that they work.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::fs;
use std::path::PathBuf;

use serde_json::Value;
use xbuild::error::ExitCode;
use xbuild::event::{Event, Reporter};
use xbuild::internal::base::apt::{ReleaseRequest, open};
use xbuild::internal::host::Host;
use xbuild::internal::packages::debian::DebianSettings;
use xbuild::internal::packages::debian::{Archive, BaseRequest, BaseSet};
use xbuild::internal::sys::download::Client;
use xbuild::{Cancel, Environment};

use crate::support::command::{Run, tool};
use crate::support::layout::Layout;
use crate::support::podman::Pulled;
use crate::support::project::Project;
use crate::support::tools::architecture;
use crate::support::{mirror, repository, scratch_root};

/// Packages that users often install in images, and packages with virtual packages, alternatives and long dependency
/// chains.
const PACKAGES: [&str; 14] = [
    "curl",
    "default-mysql-client",
    "ffmpeg",
    "git",
    "imagemagick",
    "jq",
    "libpq5",
    "libsqlite3-0",
    "media-types",
    "nginx",
    "openjdk-17-jre-headless",
    "postfix",
    "python3",
    "tini",
];

struct Silent;

impl Reporter for Silent {
    fn report(&self, _: Event) {}
}

fn release_of(release: &str) -> Archive {
    let suites = [release.to_owned()];
    let request = ReleaseRequest { release, suites: &suites, components: &[], moment: None };
    let opened = with_cache(|host| open(&request, &DebianSettings::default(), host));
    opened.unwrap_or_else(|error| panic!("{release}: {error}"))
}

/// Does something with the cache that all tests share.
fn with_cache<T>(with: impl FnOnce(Host<'_>) -> T) -> T {
    let (environment, cancel) = (&Environment::default(), &Cancel::new());
    let (cache, client) = (&scratch_root().join("cache/xbuild"), &Client::new(false));
    with(Host { environment, cache, client, cancel, reporter: &Silent })
}

fn choose(archive: &Archive, architecture: &str, package: &str) -> BaseSet {
    let extra = [package.to_owned()];
    let request = BaseRequest { architecture, extra: &extra, sysroot: None };
    with_cache(|host| archive.resolve_base(&request, host))
        .unwrap_or_else(|error| panic!("{architecture}: {package}: {error}"))
}

/// An apt with directories of its own, for one architecture.
struct Apt {
    dir: PathBuf,
}

impl Apt {
    /// Downloads its lists once. The installed packages are those of the base.
    fn new(architecture: &str, base: &BaseSet) -> Self {
        let dir = scratch_root().join("cache/apt").join(architecture);
        let path = |name: &str| dir.join(name);
        for name in ["lists/partial", "archives/partial", "etc"] {
            fs::create_dir_all(path(name)).expect("the target directory is ours");
        }
        let mut status = String::new();
        for package in base.packages.iter().filter(|package| package.libraries.is_empty()) {
            // Dependencies that the base leaves out must not concern apt either.
            write!(
                status,
                "Package: {}\nStatus: install ok installed\nVersion: {}\nArchitecture: {architecture}\n\
                 Multi-Arch: same\nMaintainer: x\nDescription: x\n\n",
                package.name, package.version
            )
            .expect("a text");
        }
        fs::write(path("status"), status).expect("the target directory is ours");
        // With Debian's keys from this project, whatever the system.
        let keys = ["automatic", "stable"].map(|name| {
            repository().join(format!("keys/debian-archive-bookworm-{name}.asc")).display().to_string()
        });
        let source = format!("deb [signed-by={}] {} bookworm main\n", keys.join(","), mirror::upstream());
        fs::write(path("etc/sources.list"), source).expect("the target directory is ours");
        let dir_text = dir.display();
        let configuration = format!(
            "Dir \"{dir_text}\";\nDir::State \"{dir_text}\";\nDir::State::Lists \"lists\";\n\
             Dir::State::status \"{dir_text}/status\";\nDir::Cache \"{dir_text}\";\n\
             Dir::Etc \"{dir_text}/etc\";\nDir::Etc::sourceparts \"-\";\nDir::Etc::parts \"-\";\n\
             APT::Architecture \"{architecture}\";\n\
             APT::Architectures {{ \"{architecture}\"; }};\nAcquire::Languages \"none\";\n\
             APT::Sandbox::User \"root\";\nDebug::NoLocking \"true\";\n"
        );
        fs::write(path("apt.conf"), configuration).expect("the target directory is ours");
        let apt = Self { dir };
        let known = fs::read_dir(apt.dir.join("lists")).expect("our own directory");
        let is_index = |name: &str| name.ends_with("_Packages");
        if !known.flatten().any(|entry| entry.file_name().to_str().is_some_and(is_index)) {
            apt.run("apt-get").words("-q update").run().success();
        }
        apt
    }

    fn run(&self, program: &str) -> Run {
        tool(program).env("APT_CONFIG", self.dir.join("apt.conf"))
    }

    /// The packages that it would install for a package: `name version`, sorted.
    fn install(&self, package: &str) -> BTreeSet<String> {
        let text = self.run("apt-get").words("-s --no-install-recommends install").arg(package).text();
        let installed = |line: &str| {
            let (name, rest) = line.strip_prefix("Inst ")?.split_once(' ')?;
            let version = |text: &str| text.split([' ', ']']).next().map(str::to_owned);
            if let Some((old, new)) = rest.strip_prefix('[').and_then(|rest| rest.split_once(" (")) {
                // The status of installed packages has less than the index, so apt would install the same version
                // again.
                assert_eq!(version(old), version(new), "an upgrade: {line}");
                return None;
            }
            Some(format!("{} {}", name.split(':').next()?, version(rest.strip_prefix('(')?)?))
        };
        text.lines().filter_map(installed).collect()
    }
}

#[test]
fn what_is_added_is_what_apt_would_install() {
    let archive = release_of("bookworm");
    let compare = |architecture: &str| {
        let base = choose(&archive, architecture, "libc6");
        assert_eq!(base.added().count(), 0, "libc6 is in the base");
        let apt = Apt::new(architecture, &base);
        for package in PACKAGES {
            let set = choose(&archive, architecture, package);
            let ours: BTreeSet<String> =
                set.added().map(|package| format!("{} {}", package.name, package.version)).collect();
            assert_eq!(ours, apt.install(package), "{architecture}: {package}");
        }
    };
    let compare = &compare;
    std::thread::scope(|scope| {
        for architecture in ["amd64", "arm64", "armhf"] {
            scope.spawn(move || compare(architecture));
        }
    });
}

#[test]
fn what_the_link_check_recommends_is_there_to_be_added() {
    #[derive(serde::Deserialize)]
    struct Table {
        libraries: BTreeMap<String, toml::Value>,
        programs: BTreeMap<String, String>,
    }
    let table: Table =
        toml::from_str(include_str!("../../src/linkcheck/packages.toml")).expect("a data file");
    for release in ["bookworm", "trixie"] {
        let of_release = |value: &toml::Value| {
            let name = value.as_str().or_else(|| value.get(release)?.as_str());
            name.map(str::to_owned)
        };
        let libraries = table.libraries.values().filter_map(of_release);
        let names: BTreeSet<String> = libraries.chain(table.programs.values().cloned()).collect();
        let extra: Vec<String> = names.into_iter().collect();
        let request = BaseRequest { architecture: "amd64", extra: &extra, sysroot: None };
        // Not all of them can be installed together; it is enough that they are known.
        match with_cache(|host| release_of(release).resolve_base(&request, host)) {
            Ok(_) | Err(xbuild::internal::packages::debian::Error::Unsatisfied(_)) => {}
            Err(error) => panic!("{release}: {error}"),
        }
    }
}

/// A program that is linked to `SQLite` as if the library's headers were installed for every target. It is linked to an
/// empty library with the real one's name.
pub(crate) fn linked_to_sqlite(configuration: &str) -> Project {
    const BUILD: &str = r#"
use std::{env, fs, path::PathBuf, process::Command};

fn main() {
    let out = PathBuf::from(env::var("OUT_DIR").unwrap());
    fs::write(out.join("stub.c"), "const char *sqlite3_libversion(void) { return 0; }").unwrap();
    let compiler = format!("CC_{}", env::var("TARGET").unwrap().replace('-', "_"));
    let mut compile = Command::new(env::var(compiler).unwrap());
    compile.args(["-shared", "-nostdlib", "-Wl,-soname,libsqlite3.so.0", "-o"]);
    compile.arg(out.join("libsqlite3.so")).arg(out.join("stub.c"));
    assert!(compile.status().unwrap().success());
    println!("cargo:rustc-link-search=native={}", out.display());
    println!("cargo:rustc-link-lib=dylib=sqlite3");
}
"#;
    const MAIN: &str = r#"
use std::ffi::{CStr, c_char};

unsafe extern "C" {
    fn sqlite3_libversion() -> *const c_char;
}

fn main() {
    let version = unsafe { CStr::from_ptr(sqlite3_libversion()) };
    println!("SQLite {} on {}", version.to_str().unwrap(), std::env::consts::ARCH);
}
"#;
    Project::package("app").file("src/main.rs", MAIN).compiling_c(BUILD).file("xbuild.toml", configuration)
}

#[test]
fn the_hint_for_a_missing_library_can_be_followed() {
    let configuration =
        "platforms = [\"linux/amd64\", \"linux/arm64\"]\n\n[debian]\nsuites = [\"bookworm\"]\n";
    let project = linked_to_sqlite(configuration);
    let run = project.build().run().fails(
        ExitCode::Unrunnable,
        &["missing-library", "libsqlite3.so.0", "linux/amd64", "linux/arm64", "under [debian]"],
    );
    // Follow the hint literally: put the text in the backquotes under [debian].
    let hint = run.stderr.split("add it with `").nth(1).and_then(|rest| rest.split('`').next());
    let hint = hint.unwrap_or_else(|| panic!("no remedy: {}", run.stderr));
    project.write("xbuild.toml", &format!("{configuration}{hint}\n"));
    let digest = project.build().run().success().digest();
    let layout = project.default_layout("app");
    for platform in ["linux/amd64", "linux/arm64"] {
        let said = Pulled::from_layout(&layout, platform).run(&[]).text();
        assert_eq!(said.trim(), format!("SQLite 3.40.1 on {}", architecture(platform)));
        let image =
            Layout::valid(&layout).images(&digest).into_iter().find(|image| image.platform == platform);
        let manifest = image.expect("the platform").manifest;
        let files = Layout::valid(&layout).files(&manifest["layers"][0]);
        assert!(files.contains_key("var/lib/dpkg/status.d/libsqlite3-0"), "{platform}");
    }
}

/// A program of this host on a base of packages, for one platform.
fn on_packages(packages: &str) -> Project {
    let configuration = format!("[debian]\nsuites = [\"bookworm\"]\npackages = [{packages}]\n");
    Project::program("app").file("xbuild.toml", &configuration)
}

fn on_host(run: Run) -> Run {
    run.words("--platform linux/amd64 --toolchain cargo")
}

#[test]
fn packages_are_planned_pinned_and_held_to() {
    let project = on_packages("\"libsqlite3-0\"");
    let unlocked = on_host(project.build()).run().success().digest();
    let plan = on_host(project.xbuild().arg("plan")).run().success().stdout;
    assert!(plan.contains("packages    libsqlite3-0 3.40.1-2"), "{plan}");
    let plan: Value =
        serde_json::from_str(&on_host(project.xbuild().words("plan --json")).text()).expect("JSON");
    assert_eq!(plan["platforms"][0]["base"]["added"][0]["name"], "libsqlite3-0", "{plan}");
    assert_eq!(plan["platforms"][0]["base"]["added"][0]["why"], "it is asked for", "{plan}");
    on_host(project.xbuild().arg("lock")).run().success();
    let lock = fs::read_to_string(project.path("xbuild.lock")).expect("a lock");
    let package = lock.split("[[apt.package]]").find(|package| package.contains("name = \"libsqlite3-0\""));
    let package = package.unwrap_or_else(|| panic!("not pinned: {lock}"));
    for part in
        ["version = \"3.40.1-2", "path = \"pool/main/s/sqlite3/", "size = ", "sha256 = ", "added = true"]
    {
        assert!(package.contains(part), "{package}");
    }
    assert!(lock.contains("packages = [\"libsqlite3-0\"]"), "{lock}");
    for options in ["", "--locked", "--locked --offline"] {
        assert_eq!(on_host(project.build()).words(options).run().success().digest(), unlocked, "{options}");
    }
    // Another list gives another image, and the message names the lock's list.
    let moved = "packages: libsqlite3-0 → libonig5, libsqlite3-0";
    on_host(project.build())
        .words("--locked --debian-package libonig5")
        .run()
        .fails(ExitCode::Locked, &["apt:bookworm for linux/amd64", moved, "hint: run `xbuild lock`"]);
    let run = on_host(project.build()).words("--debian-package libonig5").run().success();
    assert_ne!(run.digest(), unlocked);
    run.tells(&["`xbuild.lock` was completed", moved, "libonig5 6.9.8-1 is new"]);
}

#[test]
fn a_package_that_is_none_is_told_before_anything_is_compiled() {
    let project = on_packages("\"libsqlite3\"");
    let run = on_host(project.build()).run().fails(
        ExitCode::Package,
        &[
            "linux/amd64",
            "no package `libsqlite3` for amd64 in bookworm",
            "hint: did you mean `libsqlite3-0`",
        ],
    );
    assert!(!run.stderr.contains("Compiling"), "{}", run.stderr);
}

#[test]
fn what_a_script_would_have_done_is_told_every_time() {
    let project = on_packages("\"iputils-ping\"");
    for _ in 0..2 {
        let run = on_host(project.build()).run().success();
        run.tells(&["warning", "the script of iputils-ping", "is not run", "(chmod, setcap)", "[[files]]"]);
    }
    let project = on_packages("\"git\"");
    let run = on_host(project.build()).run().success();
    assert!(!run.stderr.contains("script of git "), "{}", run.stderr);
}
