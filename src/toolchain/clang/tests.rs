use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};

use semver::Version;

use super::run::{command, told};
use super::wrapper::{Spec, Wrapper};
use super::*;
use crate::error::Explain;
use crate::packages::Sysroot;
use crate::target::catalog::Target;
use crate::toolchain::driver::neutral::project_maps;

const TARGETS: [(&str, &str); 3] = [
    ("aarch64-unknown-linux-gnu", "aarch64-linux-gnu"),
    ("armv7-unknown-linux-gnueabihf", "arm-linux-gnueabihf"),
    ("x86_64-unknown-linux-gnu", "x86_64-linux-gnu"),
];

#[test]
fn every_distributions_version_is_understood() {
    for (said, version) in [
        ("Debian clang version 14.0.6\nTarget: x86_64-pc-linux-gnu\n", Some((14, 0, 6))),
        ("Debian clang version 16.0.6 (15~deb12u1)\n", Some((16, 0, 6))),
        ("Ubuntu clang version 18.1.3 (1ubuntu1)\n", Some((18, 1, 3))),
        (
            "Ubuntu clang version 15.0.0-++20220813052912+eaf0aa1f1fbd-1~exp1~20220813173018.344\n",
            Some((15, 0, 0)),
        ),
        ("clang version 17.0.6 (Fedora 17.0.6-2.fc39)\n", Some((17, 0, 6))),
        ("clang version 18.1.8 (Red Hat, Inc. 18.1.8-1.el9)\n", Some((18, 1, 8))),
        ("Alpine clang version 19.1.4\n", Some((19, 1, 4))),
        ("Apple clang version 15.0.0 (clang-1500.3.9.4)\n", Some((15, 0, 0))),
        ("clang version 20.0.0git (https://github.com/llvm/llvm-project 0123abc)\n", Some((20, 0, 0))),
        ("Android (10552028, based on r487747d) clang version 17.0.2\n", Some((17, 0, 2))),
        ("clang version 3.8\n", Some((3, 8, 0))),
        ("gcc (Debian 12.2.0-14+deb12u1) 12.2.0\nbuilt by clang version 14\n", None),
        ("clang version unknown\n", None),
        ("", None),
    ] {
        let version = version.map(|(major, minor, patch)| Version::new(major, minor, patch));
        assert_eq!(version_in(said), version, "{said}");
    }
}

/// A machine with programs that print a version, or nothing but fail.
struct Machine(fs::TempDir);

impl Machine {
    fn new(programs: &[(&str, &str)]) -> Self {
        let machine = Self(tempfile::tempdir().unwrap());
        fs::create_dir(machine.0.path().join("etc")).unwrap();
        fs::write_atomic(&machine.0.path().join("etc/os-release"), b"ID=fedora\n", 0o644).unwrap();
        for (name, said) in programs {
            let script = format!(
                "#!/bin/sh\ncase $1 in --version) echo '{said}';; -print-resource-dir) echo /lib/{name};; esac\n"
            );
            fs::write_atomic(&machine.path(name), script.as_bytes(), 0o755).unwrap();
        }
        machine
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn find(&self, variables: &[(&str, &str)]) -> Result<Found, NotFound> {
        let path = self.0.path().to_str().unwrap();
        let environment = variables.iter().copied().chain([("PATH", path)]).collect();
        find(&Request { configured: None, environment: &environment, root: self.0.path() }, &Cancel::new())
    }

    /// The name of the program that is found.
    fn name(&self, variables: &[(&str, &str)]) -> String {
        let found = self.find(variables).unwrap();
        found.program.file_name().unwrap().to_str().unwrap().to_owned()
    }
}

#[test]
fn the_newest_is_found_and_of_two_alike_the_one_without_a_number() {
    let tools = [("ar", ""), ("ranlib", "")];
    let with = |programs: &[(&str, &str)]| Machine::new(&[programs, &tools].concat());
    let (fourteen, sixteen) = ("Debian clang version 14.0.6", "clang version 16.0.6 (Fedora)");
    assert_eq!(with(&[("clang", fourteen)]).name(&[]), "clang");
    assert_eq!(with(&[("clang-14", fourteen), ("clang-16", sixteen)]).name(&[]), "clang-16");
    assert_eq!(with(&[("clang", fourteen), ("clang-16", sixteen)]).name(&[]), "clang-16");
    assert_eq!(with(&[("clang", sixteen), ("clang-16", sixteen)]).name(&[]), "clang");
    // What is too old, or is another program, is no obstacle to one that is not.
    let odd = [("clang", "gcc 12"), ("clang-15", "clang version 13.0.1"), ("clang-14", fourteen)];
    assert_eq!(with(&odd).name(&[]), "clang-14");
    assert_eq!(with(&[("clang-41", sixteen), ("clang-14", fourteen)]).name(&[]), "clang-14");
}

#[test]
fn one_that_is_named_is_the_one() {
    let machine = Machine::new(&[
        ("clang", "clang version 16.0.6"),
        ("mine", "clang version 15.0.0"),
        ("ar", ""),
        ("ranlib", ""),
    ]);
    let mine = machine.path("mine");
    assert_eq!(machine.name(&[(VARIABLE, mine.to_str().unwrap())]), "mine");
    assert_eq!(machine.name(&[(VARIABLE, "mine")]), "mine");
    assert_eq!(machine.name(&[(VARIABLE, "")]), "clang");
    let error = machine.find(&[(VARIABLE, "yours")]).unwrap_err();
    assert!(matches!(error, NotFound::Missing { .. }), "{error}");
}

#[test]
fn an_archiver_of_the_same_version_comes_first() {
    let clang = ("clang-16", "clang version 16.0.6");
    let names = |programs: &[(&str, &str)]| {
        let machine = Machine::new(programs);
        let found = machine.find(&[]).unwrap();
        [found.ar, found.ranlib].map(|path| path.file_name().unwrap().to_str().unwrap().to_owned())
    };
    let all = [clang, ("ar", ""), ("ranlib", ""), ("llvm-ar-16", ""), ("llvm-ranlib-16", "")];
    assert_eq!(names(&all), ["llvm-ar-16", "llvm-ranlib-16"]);
    assert_eq!(names(&all[..3]), ["ar", "ranlib"]);
    let other = [clang, ("ar", ""), ("ranlib", ""), ("llvm-ar-14", ""), ("llvm-ranlib-14", "")];
    assert_eq!(names(&other), ["ar", "ranlib"]);
    let error = Machine::new(&[clang, ("ar", "")]).find(&[]).unwrap_err();
    assert!(matches!(&error, NotFound::NoArchiver { name, .. } if name == "ranlib"), "{error}");
}

#[test]
fn what_is_no_fitting_clang_is_an_error_with_a_command() {
    let hint = |what: &str| {
        format!("install {what} with `dnf install clang`, or set {VARIABLE} to the path of another one")
    };
    let error = Machine::new(&[]).find(&[]).unwrap_err();
    assert!(matches!(error, NotFound::NotInstalled { .. }), "{error}");
    assert_eq!(error.hint(), Some(hint("it")));
    let error = Machine::new(&[("clang", "Debian clang version 13.0.1")]).find(&[]).unwrap_err();
    assert!(matches!(&error, NotFound::TooOld { version, .. } if version.major == 13), "{error}");
    assert_eq!(error.hint(), Some(hint("a newer one")));
    let error = Machine::new(&[("clang", "gcc (Debian 12.2.0) 12.2.0")]).find(&[]).unwrap_err();
    assert!(
        matches!(&error, NotFound::NotClang { said, .. } if said == "gcc (Debian 12.2.0) 12.2.0"),
        "{error}"
    );
    assert_eq!(error.hint(), Some(hint("Clang")));
}

/// A directory with the files by which Clang recognises a sysroot, and a header with code.
fn sysroot(dir: &Path, multiarch: &str) -> Sysroot {
    let gcc = format!("usr/lib/gcc/{multiarch}/12");
    let libc = ["crt1.o", "Scrt1.o", "crti.o", "crtn.o"].map(|name| format!("usr/lib/{multiarch}/{name}"));
    let compilers = ["crtbegin.o", "crtbeginS.o", "crtend.o", "crtendS.o", "libgcc.a"];
    let headers = ["usr/include/c++/12/vector".to_owned(), format!("usr/include/{multiarch}/c++/12/bits.h")];
    let files = libc.into_iter().chain(compilers.map(|name| format!("{gcc}/{name}"))).chain(headers);
    for file in files {
        let path = dir.join(file);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write_atomic(&path, b"", 0o644).unwrap();
    }
    let code = b"#include <stddef.h>\nstatic inline const char *where(size_t n) { return __FILE__ + n; }\n";
    fs::write_atomic(&dir.join("usr/include/own.h"), code, 0o644).unwrap();
    Sysroot {
        path: dir.to_owned(),
        identity: "sha256:1".into(),
        release: "bookworm".into(),
        multiarch: multiarch.into(),
        gcc,
        owners: BTreeMap::new(),
    }
}

fn made_up() -> Found {
    Found {
        program: "/c/clang-16".into(),
        version: Version::new(16, 0, 6),
        resources: Some("/c/lib/clang/16".into()),
        ar: "/c/llvm-ar".into(),
        ranlib: "/c/llvm-ranlib".into(),
    }
}

fn spec_with(clang: &Found, (triple, multiarch): (&str, &str), dir: &Path) -> Spec {
    let target = Target::by_triple(triple).unwrap();
    Spec::new(clang, target, &sysroot(dir, multiarch), Path::new("/l/ld.lld"))
}

fn words(text: &str) -> Vec<OsString> {
    text.split_whitespace().map(OsString::from).collect()
}

/// What Clang is told for arm64, with `S` for the sysroot, and what is remarked.
fn told_for(tool: &str, text: &str) -> (String, Vec<String>) {
    let dir = tempfile::tempdir().unwrap();
    let spec = spec_with(&made_up(), TARGETS[0], dir.path());
    let (arguments, remarks) =
        told(&spec, OsStr::new(tool), &words(text), &words("-ffile-prefix-map=/w=/build")).unwrap();
    let words: Vec<_> = arguments.iter().map(|word| word.to_str().unwrap()).collect();
    let text = words.join(" ").replace(dir.path().to_str().unwrap(), "S");
    (text, remarks.into_iter().map(|remark| remark.argument).collect())
}

const FIRST: &str = "--no-default-config --target=aarch64-linux-gnu --sysroot=S --gcc-toolchain=S/usr \
    --start-no-unused-arguments -fPIE -march=armv8-a -moutline-atomics --end-no-unused-arguments";
const MAPS: &str =
    "-ffile-prefix-map=/w=/build -ffile-prefix-map=S=/sysroot -ffile-prefix-map=/c/lib/clang/16=/clang";
const LINK: &str =
    "-fuse-ld=lld --ld-path=/l/ld.lld -Wl,-z,relro,-z,now -Wl,--build-id=none -Wl,--hash-style=gnu";

#[test]
fn everything_is_said_before_the_callers_arguments() {
    for (tool, given, expected) in [
        ("cc", "-c a.c -o a.o", format!("{FIRST} {MAPS} -c a.c -o a.o")),
        ("c++", "-c a.cc", format!("--driver-mode=g++ {FIRST} {MAPS} -c a.cc")),
        ("cc", "a.o -o a", format!("{FIRST} -pie {LINK} a.o -o a")),
        ("cc", "a.c -o a", format!("{FIRST} -pie {LINK} {MAPS} a.c -o a")),
        ("cc", "-shared a.o", format!("{FIRST} {LINK} -shared a.o")),
        ("cc", "-### a.o", format!("{FIRST} -pie {LINK} -### a.o")),
        ("cc", "-E -dM -x c -", format!("{FIRST} {MAPS} -E -dM -x c -")),
        ("cc", "--version", format!("{FIRST} --version")),
        ("cc", "-print-file-name=libc.so", format!("{FIRST} -print-file-name=libc.so")),
    ] {
        assert_eq!(told_for(tool, given), (expected, Vec::new()), "{given}");
    }
}

#[test]
fn what_only_the_wrapper_may_say_is_dropped_with_a_remark_where_it_differs() {
    let base = format!("{FIRST} {MAPS} -c a.c");
    for (given, remarks) in [
        ("--target=aarch64-unknown-linux-gnu -c a.c", &[][..]),
        ("-target aarch64-linux-gnu -c a.c", &[]),
        ("--target=x86_64-unknown-linux-gnu -c a.c", &["--target=x86_64-unknown-linux-gnu"]),
        ("-target armv7-linux -c a.c", &["-target armv7-linux"]),
        ("--sysroot=/other -c a.c", &["--sysroot=/other"]),
        ("--sysroot /other -c a.c", &["--sysroot /other"]),
        ("--gcc-toolchain=/usr -c a.c", &["--gcc-toolchain=/usr"]),
        ("-fuse-ld=lld -c a.c", &[]),
        ("-fuse-ld=gold -c a.c", &["-fuse-ld=gold"]),
    ] {
        let remarks: Vec<String> = remarks.iter().map(|text: &&str| (*text).to_owned()).collect();
        assert_eq!(told_for("cc", given), (base.clone(), remarks), "{given}");
    }
    // The value of another option is none of these.
    let (text, remarks) = told_for("cc", "-o --sysroot -c a.c");
    assert!(text.ends_with("-o --sysroot -c a.c") && remarks.is_empty(), "{text}");
}

#[test]
fn another_cxx_library_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let spec = spec_with(&made_up(), TARGETS[0], dir.path());
    let refused = told(&spec, OsStr::new("c++"), &words("-stdlib=libc++ -c a.cc"), &[]).unwrap_err();
    assert!(matches!(refused, crate::toolchain::driver::run::Error::NoLibcxx(_)), "{refused}");
}

#[test]
fn a_variants_processors_come_after_the_targets() {
    let dir = tempfile::tempdir().unwrap();
    let target = Target::by_triple(TARGETS[2].0).unwrap();
    let variant = target.variant(&"linux/amd64/v3".parse().unwrap());
    let spec = spec_with(&made_up(), TARGETS[2], dir.path()).for_processor(variant, false);
    let (arguments, _) = told(&spec, OsStr::new("cc"), &words("-c a.c"), &[]).unwrap();
    let at = |word: &str| arguments.iter().position(|argument| argument == word).unwrap();
    assert!(at("-march=x86-64") < at("-march=x86-64-v3"));
}

#[test]
fn build_systems_find_the_sysroot_and_nothing_of_the_host() {
    let dir = tempfile::tempdir().unwrap();
    let (root, cache) = (dir.path().join("s"), dir.path().join("cache"));
    let target = Target::by_triple(TARGETS[0].0).unwrap();
    let spec = spec_with(&made_up(), TARGETS[0], &root);
    let install = |spec: Spec| Wrapper::install(spec, target, Path::new("/x/xbuild"), &cache).unwrap();
    let wrapper = install(spec.clone());
    let script = fs::read_to_string(&wrapper.tools.cc).unwrap();
    assert!(script.contains(" __clang ") && script.ends_with("spec.json cc \"$@\"\n"), "{script}");
    assert!(wrapper.tools.cc.ends_with("clang-cc") && wrapper.tools.cxx.ends_with("clang-c++"));
    let shown = root.to_str().unwrap();
    let cmake = fs::read_to_string(&wrapper.tools.cmake).unwrap();
    for line in [
        format!("set(CMAKE_SYSROOT [==[{shown}]==])"),
        format!("set(CMAKE_FIND_ROOT_PATH [==[{shown}]==])"),
        "set(CMAKE_LIBRARY_ARCHITECTURE aarch64-linux-gnu)".to_owned(),
    ] {
        assert!(cmake.lines().any(|own| own == line), "{line}\n{cmake}");
    }
    let libraries = format!("{shown}/usr/lib/aarch64-linux-gnu/pkgconfig:{shown}/usr/share/pkgconfig");
    assert_eq!(
        wrapper.tools.pkg_config_variables(),
        [
            ("PKG_CONFIG_LIBDIR", Some(libraries.into())),
            ("PKG_CONFIG_PATH", Some(OsString::new())),
            ("PKG_CONFIG_SYSROOT_DIR", Some(root.clone().into())),
        ]
    );
    assert_eq!(wrapper.tools.pkg_config, None);
    assert_eq!(
        spec.bindgen_arguments(),
        format!("'--target=aarch64-linux-gnu' '--sysroot={shown}' '--gcc-toolchain={shown}/usr'")
    );
    let on_host = install(spec.on(TARGETS[0].0));
    assert_ne!(on_host.tools.cc, wrapper.tools.cc);
    assert!(on_host.tools.pkg_config.is_some() && on_host.tools.cc.with_file_name("side").exists());
    let bytes = fs::read(on_host.tools.cc.with_file_name("spec.json")).unwrap();
    assert_eq!(serde_json::from_slice::<Spec>(&bytes).unwrap(), on_host.spec);
}

/// Every Clang of this machine that xbuild can use. The tests that need one check nothing if there is none.
fn installed() -> Vec<Found> {
    let environment = Environment::of_process();
    let names = std::iter::once("clang".to_owned()).chain((14..=40).map(|number| format!("clang-{number}")));
    let found: Vec<Found> = names
        .filter_map(|name| {
            let configured = Some(Path::new(&name));
            let request = Request { configured, environment: &environment, root: Path::new("/") };
            find(&request, &Cancel::new()).ok()
        })
        .collect();
    if found.is_empty() {
        println!("skipped: no Clang of version 14 or newer is installed");
    }
    found
}

fn said(clang: &Command) -> String {
    let output = clang.output(&Cancel::new()).unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{said}");
    said
}

#[test]
fn an_installed_clang_uses_nothing_of_the_host() {
    for clang in installed() {
        for target in TARGETS {
            let dir = tempfile::tempdir().unwrap();
            let spec = spec_with(&clang, target, dir.path());
            let root = dir.path().to_str().unwrap();
            for (tool, given, expected) in [
                ("cc", "-### -Werror -c -x c /dev/null -o x.o", format!("{root}/usr/include")),
                ("c++", "-### -Werror -c -x c++ /dev/null -o x.o", "include/c++/12".to_owned()),
                ("cc", "-### -Werror x.o -o x", format!("{root}/usr/lib/{}", target.1)),
                ("c++", "-### -Werror x.o -o x", format!("{root}/usr/lib/gcc/{}/12", target.1)),
            ] {
                let (arguments, _) = told(&spec, OsStr::new(tool), &words(given), &[]).unwrap();
                let text = said(&command(&spec).args(arguments));
                let named: Vec<&str> = text.split('"').skip(1).step_by(2).collect();
                assert!(named.iter().any(|word| word.contains(&expected)), "{given}: {text}");
                let hosts = ["/usr/lib/gcc", "/usr/include", "/usr/local", "/lib/x86_64", "/usr/lib/x86_64"];
                let foreign = named
                    .iter()
                    .filter(|word| !word.contains(root))
                    .find(|word| hosts.iter().any(|host| word.contains(host)));
                assert_eq!(foreign, None, "{given}: {text}");
            }
        }
    }
}

/// What Clang makes of a source with debug information, in a project and with a sysroot below a directory of this name.
fn object(clang: &Found, dir: &str, (file, source): (&str, &str)) -> Vec<u8> {
    let temporary = tempfile::tempdir().unwrap();
    let (root, project) = (temporary.path().join(dir), temporary.path().join(format!("project/{dir}")));
    let spec = spec_with(clang, TARGETS[0], &root);
    fs::create_dir_all(&project).unwrap();
    // cc-rs names it with its whole path.
    let path = project.join(file);
    fs::write_atomic(&path, source.as_bytes(), 0o644).unwrap();
    let given = format!("-c -g -O1 {} -o a.o", path.display());
    let maps = project_maps(&Environment::default(), &project);
    let (arguments, _) = told(&spec, OsStr::new("cc"), &words(&given), &maps).unwrap();
    said(&command(&spec).args(arguments).dir(&project).env("PWD", &project));
    fs::read(project.join("a.o")).unwrap()
}

#[test]
fn an_installed_clang_makes_the_same_object_wherever_everything_is() {
    let c = "#include <own.h>\nconst char *f(void) { return where(1); }\nconst char *g(void) { return __FILE__; }\n";
    for clang in installed() {
        for (source, named) in
            [(("a.c", c), "/sysroot/usr/include/own.h"), (("a.S", ".text\n.globl f\nf: nop\n"), "/build")]
        {
            let [one, other] = ["one", "another/deeper"].map(|dir| object(&clang, dir, source));
            assert_eq!(one, other, "{} {}", clang.version, source.0);
            let text = String::from_utf8_lossy(&one).into_owned();
            assert!(
                text.contains(named) && !text.contains("/usr/lib/llvm"),
                "{} {}",
                clang.version,
                source.0
            );
        }
    }
}
