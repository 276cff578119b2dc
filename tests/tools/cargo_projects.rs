//! xbuild builds what cargo builds: ambiguous package names, features, examples, and sources in any directory.

use std::fs;
use std::path::Path;

use xbuild::error::ExitCode;

use crate::support::command::xbuild;
use crate::support::layout::Layout;
use crate::support::project::Project;
use crate::support::{names, scratch, tools};

/// A platform that needs no toolchain but rustup's, on an empty base.
const QUICK: &str = "platforms = [\"linux/arm64\"]\nbase = \"scratch\"\n";

/// The manifest of a package in a workspace.
fn manifest(name: &str, rest: &str) -> String {
    format!("[package]\nname = \"{name}\"\nversion = \"0.1.0\"\nedition = \"2021\"\n\n{rest}")
}

/// A workspace with these members, each a program that prints its name.
fn workspace(members: &[&str]) -> Project {
    let list: Vec<_> = members.iter().map(|name| format!("\"{name}\"")).collect();
    let root = format!("[workspace]\nmembers = [{}]\nresolver = \"2\"\n", list.join(", "));
    let mut project = Project::empty().file("Cargo.toml", &root).file("xbuild.toml", QUICK);
    for name in members {
        project = project
            .file(&format!("{name}/Cargo.toml"), &manifest(name, ""))
            .file(&format!("{name}/src/main.rs"), &format!("fn main() {{ println!(\"{name}\") }}\n"));
    }
    project
}

#[test]
fn a_member_has_the_name_of_its_own_dependency_or_of_the_standard_library() {
    let project = workspace(&["core", "itoa"])
        .file(
            "itoa/Cargo.toml",
            &manifest("itoa", "[dependencies]\nupstream = { package = \"itoa\", path = \"../up\" }\n"),
        )
        .file("itoa/src/main.rs", "fn main() { println!(\"{}\", upstream::text(42)) }\n")
        .file("up/Cargo.toml", &manifest("itoa", "").replace("0.1.0", "1.0.15"))
        .file("up/src/lib.rs", "pub fn text(number: u32) -> String { number.to_string() }\n");
    // The dependency is not a member, though it is in the workspace's directory.
    let root = fs::read_to_string(project.path("Cargo.toml")).expect("our own file");
    let project = project.file("Cargo.toml", &format!("{root}exclude = [\"up\"]\n"));
    for package in ["itoa", "itoa@0.1", "core", "c*"] {
        project.build().args(["--package", package]).run().success();
    }
    project.build().words("--workspace --bins --exclude itoa@0.1.0").run().success();
    assert_eq!(names(&project.path("target/xbuild")), ["core", "itoa"]);
    let run = project.build().words("--package itoa@2").run();
    run.fails(ExitCode::NoBinary, &["no package `itoa@2`", "`core`, `itoa`"]);
}

#[test]
fn programs_go_by_their_features_and_examples_are_programs() {
    let manifest = manifest(
        "shop",
        "[features]\ndev-tools = []\n\n[[bin]]\nname = \"server\"\npath = \"src/main.rs\"\n\n[[bin]]\nname = \"seed\"\n\
         path = \"src/seed.rs\"\nrequired-features = [\"dev-tools\"]\n\n[workspace]\n",
    );
    let main = "fn main() {}\n";
    let project = Project::empty()
        .file("Cargo.toml", &manifest)
        .file("src/main.rs", main)
        .file("src/seed.rs", "#[cfg(feature = \"dev-tools\")]\nfn main() {}\n")
        .file("examples/tour.rs", main)
        .file("xbuild.toml", QUICK);
    let programs = |words: &str| {
        let run = project.build().words(words).run().success();
        let layout = Layout::valid(&project.default_layout("shop"));
        let config = layout.image(&run.digest(), "linux/arm64").config;
        config["history"][0]["created_by"].as_str().expect("a layer of ours").to_owned()
    };
    assert_eq!(programs(""), "xbuild: server");
    assert_eq!(programs("--bins"), "xbuild: server");
    assert_eq!(programs("--bin seed --features dev-tools"), "xbuild: seed");
    assert_eq!(programs("--example tour"), "xbuild: tour");
    let run = project.build().words("--bin seed").run();
    run.fails(ExitCode::NoBinary, &["requires the features `dev-tools`", "--features dev-tools"]);
    let run = project.build().words("--bin tour").run();
    run.fails(ExitCode::NoBinary, &["no program `tour`", "--example tour"]);
}

/// A workspace with a crate vendored above it, a source file outside it, a build directory that cargo's configuration
/// sets, and optionally a crate beside it that is reached by a link. Every one may panic.
fn spread_out(dir: &Path, beside: bool) {
    let panics = |name: &str| format!("pub fn {name}(at: usize) -> u8 {{ b\"{name}\".to_vec()[at] }}\n");
    let (dependency, call) =
        if beside { ("engine = { path = \"../../link/engine\" }\n", "engine::engine(n)") } else { ("", "0") };
    let configuration = "[source.crates-io]\nreplace-with = \"vendored\"\n[source.vendored]\ndirectory = \"vendor\"\n\
                         [build]\nbuild-dir = \"../building\"\n";
    let app = format!(
        "[dependencies]\nshout = \"0.1\"\n{dependency}\n[lib]\npath = \"../../shared/lib.rs\"\n\n[workspace]\n"
    );
    let build = format!(
        "fn main() {{ std::fs::write(std::env::var(\"OUT_DIR\").unwrap() + \"/made.rs\", {:?}).unwrap() }}\n",
        panics("made")
    );
    let main = format!(
        "fn main() {{ let n = std::env::args().count(); \
         println!(\"{{}}\", shout::shout(n) + {call} + app::shared(n) + app::made(n)) }}\n"
    );
    let files = [
        ("place/.cargo/config.toml", configuration.to_owned()),
        ("place/vendor/shout/Cargo.toml", manifest("shout", "")),
        ("place/vendor/shout/.cargo-checksum.json", "{\"files\":{},\"package\":null}".to_owned()),
        ("place/vendor/shout/src/lib.rs", panics("shout")),
        ("beside/engine/Cargo.toml", manifest("engine", "")),
        ("beside/engine/src/lib.rs", panics("engine")),
        ("place/app/Cargo.toml", manifest("app", &app)),
        ("shared/lib.rs", panics("shared") + "include!(concat!(env!(\"OUT_DIR\"), \"/made.rs\"));\n"),
        ("place/app/build.rs", build),
        ("place/app/src/main.rs", main),
        ("place/app/xbuild.toml", QUICK.to_owned()),
    ];
    for (path, text) in files {
        let path = dir.join(path);
        fs::create_dir_all(path.parent().expect("a path in a directory")).expect("a directory of the test");
        fs::write(path, text).expect("a directory of the test");
    }
    std::os::unix::fs::symlink("beside", dir.join("link")).expect("a directory of the test");
}

/// The digest of such a project. Its program contains no path of this machine except these texts.
fn built_of(dir: &Path, texts: &[&str]) -> String {
    let app = dir.join("place/app");
    let run = xbuild().dir(&app).words("build").env("SOURCE_DATE_EPOCH", "1").run().success();
    assert!(!run.stderr.contains("machine-path"), "{}", run.stderr);
    let bytes = fs::read(app.join("target/aarch64-unknown-linux-musl/release/app")).expect("the program");
    let text = String::from_utf8_lossy(&bytes);
    for mapped in texts {
        assert!(text.contains(mapped), "{mapped} is not in the program");
    }
    let own = dir.to_str().expect("our own name");
    assert!(!text.contains(own), "{own} is in the program");
    run.digest()
}

#[test]
fn sources_from_anywhere_give_the_same_program_in_every_place() {
    let texts = [
        "/vendor/shout/src/lib.rs",
        "shared/lib.rs",
        "/target/aarch64-unknown-linux-musl/release/build/app-",
    ];
    let (one, two) = (scratch(), scratch());
    spread_out(one.path(), false);
    let deeper = two.path().join("much/deeper");
    spread_out(&deeper, false);
    assert_eq!(built_of(one.path(), &texts), built_of(&deeper, &texts));
    // cargo itself makes the path of a package outside the workspace a part of symbol names, but not of texts.
    let three = scratch();
    spread_out(three.path(), true);
    built_of(three.path(), &["/packages/engine/src/lib.rs"]);
}

/// A package whose build script makes only a shared library for the target and a data file.
const MAKES_A_LIBRARY: &str = r#"
use std::{env, fs, process::Command};

fn main() {
    let out = env::var("OUT_DIR").unwrap();
    let target = env::var("TARGET").unwrap().replace('-', "_");
    let compiler = env::var(format!("CC_{target}")).unwrap();
    fs::write(format!("{out}/part.c"), "int part(int x) { return x + 1; }").unwrap();
    fs::write(format!("{out}/words.txt"), &target).unwrap();
    let status = Command::new(compiler)
        .args(["-shared", "-fPIC", "-Wl,-soname,libpart.so", "-o"])
        .args([format!("{out}/libpart.so"), format!("{out}/part.c")])
        .status()
        .unwrap();
    assert!(status.success());
    println!("cargo::rustc-link-search=native={out}");
    println!("cargo::rustc-link-lib=dylib=part");
}
"#;

/// A program with such a library in a package `part`, another library that it may load as a plugin, and optionally a
/// run path to search.
fn with_libraries(run_path: Option<&str>) -> Project {
    let app_build = run_path
        .map_or(String::new(), |path| format!("println!(\"cargo::rustc-link-arg-bins=-Wl,-rpath,{path}\");"));
    workspace(&["app", "part", "plugin"])
        .file(
            "xbuild.toml",
            "toolchain = \"zig\"\nplatforms = [\"linux/arm64\"]\npayload = { packages = [\"app\"] }\n",
        )
        .file("app/Cargo.toml", &manifest("app", "[dependencies]\npart = { path = \"../part\" }\n"))
        .file("app/build.rs", &format!("fn main() {{ {app_build} }}\n"))
        .file("app/src/main.rs", "fn main() { println!(\"{}\", part::part(41)) }\n")
        .file("part/build.rs", MAKES_A_LIBRARY)
        .file("part/src/main.rs", "fn main() {}\n")
        .file(
            "part/src/lib.rs",
            "unsafe extern \"C\" { #[link_name = \"part\"] fn raw(x: i32) -> i32; }\n\
             pub fn part(x: i32) -> i32 { unsafe { raw(x) } }\n",
        )
        .file("plugin/Cargo.toml", &manifest("plugin", "[lib]\ncrate-type = [\"cdylib\"]\n"))
        .file("plugin/src/lib.rs", "#[unsafe(no_mangle)]\npub extern \"C\" fn plug() {}\n")
}

/// The files of an image below a directory.
fn files(project: &Project, package: &str, below: &str) -> Vec<String> {
    let dir = scratch();
    let root = tools::unpack(&project.default_layout(package), "linux/arm64", dir.path());
    names(&root.join(below))
}

#[test]
fn the_hint_for_a_library_that_the_build_makes_can_be_followed() {
    let project = with_libraries(Some("$ORIGIN/../lib"));
    let run = project.build().run();
    let wanted = "`from-build = \"part:libpart.so\"` and `to = \"/usr/local/lib/\"`";
    run.fails(ExitCode::Unrunnable, &["libpart.so", "is not found", "the build makes it", wanted]);
    let own = fs::read_to_string(project.path("xbuild.toml")).expect("our own file");
    let followed = "[[files]]\nfrom-build = \"part:libpart.so\"\nto = \"/usr/local/lib/\"\n";
    let more = "[[files]]\nfrom-build = \"part@0.1:*.txt\"\nto = \"/srv\"\n\
                [[files]]\nfrom-build = \"plugin:libplugin.so\"\nto = \"/srv/plugins/\"\n";
    project.write("xbuild.toml", &format!("{own}{followed}{more}"));
    let first = project.build().run().success().digest();
    assert_eq!(files(&project, "app", "usr/local/lib"), ["libpart.so"]);
    assert_eq!(files(&project, "app", "srv"), ["plugins", "words.txt"]);
    assert_eq!(files(&project, "app", "srv/plugins"), ["libplugin.so"]);
    // If everything is fresh, cargo reports the files all the same, and a clean checkout gives the same result.
    assert_eq!(project.build().run().success().digest(), first);
    fs::remove_dir_all(project.path("target")).expect("cargo's own directory");
    assert_eq!(project.build().run().success().digest(), first);
    // Without a run path the program searches its loader's directories.
    let project = with_libraries(None);
    project.build().run().fails(ExitCode::Unrunnable, &["`to = \"/usr/lib/\"`"]);
}

#[test]
fn what_no_build_makes_is_told_with_what_it_makes() {
    let project = with_libraries(None);
    let own = fs::read_to_string(project.path("xbuild.toml")).expect("our own file");
    let with = |from: &str| format!("{own}[[files]]\nfrom-build = \"{from}\"\nto = \"/usr/lib/\"\n");
    project.write("xbuild.toml", &with("part:libprat.so"));
    let run = project.build().run();
    run.fails(ExitCode::MissingFile, &["libprat.so", "xbuild.toml:", "libpart.so", "words.txt"]);
    project.write("xbuild.toml", &with("prat:libpart.so"));
    project.build().run().fails(ExitCode::NoBinary, &["`prat`", "xbuild.toml:", "did you mean `part`?"]);
    project.write("xbuild.toml", &with("libpart.so"));
    project.build().run().fails(ExitCode::Config, &["libpart.so", "after a colon"]);
}

#[test]
fn libraries_of_rust_come_along() {
    let project = workspace(&["app", "engine"])
        .file("xbuild.toml", "platforms = [\"linux/arm64\"]\npayload = { packages = [\"app\"] }\n")
        .file(".cargo/config.toml", "[build]\nrustflags = [\"-C\", \"prefer-dynamic\"]\n")
        .file("app/Cargo.toml", &manifest("app", "[dependencies]\nengine = { path = \"../engine\" }\n"))
        .file("app/src/main.rs", "fn main() { println!(\"{}\", engine::run()) }\n")
        .file("engine/Cargo.toml", &manifest("engine", "[lib]\ncrate-type = [\"dylib\"]\n"))
        .file("engine/src/lib.rs", "#[inline(never)]\npub fn run() -> u32 { 7 }\n");
    let run = project.build().run();
    run.fails(
        ExitCode::Unrunnable,
        &[
            "`from-build = \"engine:libengine.so\"` and `to = \"/usr/lib/\"`",
            "`from-build = \"std:libstd-*.so\"`",
        ],
    );
    let own = fs::read_to_string(project.path("xbuild.toml")).expect("our own file");
    let files_of = "[[files]]\nfrom-build = \"engine:libengine.so\"\nto = \"/usr/lib/\"\n\
                    [[files]]\nfrom-build = \"std:libstd-*.so\"\nto = \"/usr/lib/\"\n";
    project.write("xbuild.toml", &format!("{own}{files_of}"));
    project.build().run().success();
    let there = files(&project, "app", "usr/lib");
    assert!(there.contains(&"libengine.so".to_owned()), "{there:?}");
}

#[test]
fn a_path_of_the_machine_that_a_program_opens_is_told() {
    let project = Project::quick("reader")
        .file("data/greeting.txt", "hi\n")
        .file("build.rs", "fn main() { std::fs::write(std::env::var(\"OUT_DIR\").unwrap() + \"/made.txt\", \"x\").unwrap() }\n")
        .file(
            "src/main.rs",
            "fn main() {\n    let one = concat!(env!(\"CARGO_MANIFEST_DIR\"), \"/data/greeting.txt\");\n    \
             let two = concat!(env!(\"OUT_DIR\"), \"/made.txt\");\n    \
             for path in [one, two] { println!(\"{}\", std::fs::read_to_string(path).unwrap()); }\n}\n",
        );
    let run = project.build().words("--platform linux/arm64").run().success();
    let manifest = format!("{}/data/greeting.txt of the machine", project.dir().display());
    for words in ["warning[machine-path]", &manifest, "/out/made.txt of the machine", "`env!(\"OUT_DIR\")`"] {
        assert!(run.stderr.contains(words), "{words} is not in {}", run.stderr);
    }
    // The source location of a panic is not a path that the program opens.
    let project = Project::quick("panics")
        .file("src/main.rs", "fn main() { println!(\"{}\", [1, 2][std::env::args().count()]) }\n");
    let run = project.build().words("--platform linux/arm64").run().success();
    assert!(!run.stderr.contains("machine-path"), "{}", run.stderr);
}
