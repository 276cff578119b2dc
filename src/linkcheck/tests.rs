//! Whole checks of small root filesystems, each made of a few files.

use super::remedy::package_of_library;
use super::*;
use crate::elf::sample::Sample;
use crate::oci::Algorithm;
use crate::rootfs::{Limits, scan};

const GLIBC: &str = "lib64/ld-linux-x86-64.so.2";
const MUSL: &str = "lib/ld-musl-x86_64.so.1";

/// An image under construction: a layer, and what it starts.
struct Image {
    tar: tar::Builder<Vec<u8>>,
    execution: Execution,
    added: BTreeSet<String>,
    platform: &'static str,
}

impl Image {
    fn new() -> Self {
        let execution = Execution { entrypoint: vec!["/app".into()], ..Execution::default() };
        let (tar, added) = (tar::Builder::new(Vec::new()), BTreeSet::new());
        Self { tar, execution, added, platform: "linux/amd64" }
    }

    /// An image with glibc: its loader, which searches `/lib64` and `/usr/lib64`, and its library.
    fn glibc() -> Self {
        let dirs =
            b"\0\x01\x02/lib64/\0/usr/lib64/\0\0/etc/ld.so.cache\0glibc-hwcaps\0 release version 2.38.\0";
        let loader = Sample { tail: dirs.to_vec(), ..Sample::library("ld-linux-x86-64.so.2") };
        let loader = loader.defining(&["_dl_signal_error@GLIBC_PRIVATE", "__tls_get_addr@GLIBC_2.3"]);
        let libc = Sample::library("libc.so.6").needs(&["ld-linux-x86-64.so.2"]);
        let libc = libc.defining(&["puts@GLIBC_2.2.5", "stat@GLIBC_2.33", "secret@GLIBC_PRIVATE"]);
        Self::new().elf(GLIBC, &loader).elf("lib64/libc.so.6", &libc)
    }

    fn musl() -> Self {
        let libc = Sample::library("libc.musl-x86_64.so.1").defining(&["__libc_start_main", "stdin", "puts"]);
        Self::new().elf(MUSL, &libc).link("lib/libc.musl-x86_64.so.1", "ld-musl-x86_64.so.1")
    }

    fn put(mut self, path: &str, mode: u32, bytes: &[u8]) -> Self {
        let mut header = tar::Header::new_gnu();
        header.set_size(bytes.len() as u64);
        header.set_mode(mode);
        self.tar.append_data(&mut header, path, bytes).unwrap();
        self
    }

    fn elf(self, path: &str, sample: &Sample) -> Self {
        self.put(path, 0o755, &sample.bytes())
    }

    fn text(self, path: &str, text: &str) -> Self {
        self.put(path, 0o755, text.as_bytes())
    }

    fn link(mut self, path: &str, target: &str) -> Self {
        let mut header = tar::Header::new_gnu();
        header.set_entry_type(tar::EntryType::Symlink);
        header.set_size(0);
        self.tar.append_link(&mut header, path, target).unwrap();
        self
    }

    fn env(mut self, variable: &str) -> Self {
        self.execution.env.push(variable.into());
        self
    }

    fn add(mut self, path: &str) -> Self {
        self.added.insert(path.into());
        self
    }

    fn report(self) -> Report {
        let bytes = self.tar.into_inner().unwrap();
        let cancel = Cancel::new();
        let layer = scan(bytes.as_slice(), Algorithm::Sha256, Limits::LAYER, &cancel).unwrap();
        // An index that was serialised is equal to the one that was read.
        let kept: crate::rootfs::LayerIndex =
            serde_json::from_slice(&serde_json::to_vec(&layer).unwrap()).unwrap();
        assert_eq!(kept, layer);
        let mut root = Root::default();
        root.lay(&layer, &cancel).unwrap();
        let request = Request {
            platform: &self.platform.parse().unwrap(),
            root: &root,
            execution: &self.execution,
            added: &self.added,
            origin: &Origin::Packages { release: "bookworm".into() },
        };
        check(&request, &cancel).unwrap()
    }

    /// The kind of each finding, errors first.
    fn checks(self) -> Vec<&'static str> {
        self.report().findings.iter().map(|finding| finding.problem.check()).collect()
    }
}

fn app(needed: &[&str]) -> Sample {
    Sample::program("/lib64/ld-linux-x86-64.so.2", needed)
}

fn musl_app(needed: &[&str]) -> Sample {
    Sample::program("/lib/ld-musl-x86_64.so.1", needed)
}

#[test]
fn a_program_whose_libraries_are_there_runs() {
    let app = app(&["libc.so.6"]).referring("puts@GLIBC_2.2.5", "libc.so.6");
    let report = Image::glibc().elf("app", &app).report();
    assert_eq!(report.findings, []);
    assert_eq!(report.checked, ["/app"]);
    let app = musl_app(&["libc.musl-x86_64.so.1"]).referring("puts", "");
    assert_eq!(Image::musl().elf("app", &app).checks(), [""; 0]);
    // musl treats any of glibc's names as its own, and does not know versions.
    let app = musl_app(&["libc.so.6"]).referring("puts@GLIBC_2.34", "libc.so.6");
    assert_eq!(Image::musl().elf("app", &app).checks(), [""; 0]);
}

#[test]
fn what_is_missing_is_said_with_who_needs_it_where_it_was_looked_for_and_what_helps() {
    let report = Image::glibc().elf("app", &app(&["libssl.so.3"])).report();
    let finding = &report.findings[0];
    assert!(report.fails());
    assert_eq!(
        finding.problem,
        Problem::MissingLibrary {
            library: "libssl.so.3".into(),
            needed_by: "/app".into(),
            searched: vec!["/lib64".into(), "/usr/lib64".into()],
            skipped: Vec::new(),
            elsewhere: Vec::new(),
        }
    );
    let remedy = "Debian's libssl3 has it: add it with `packages = [\"libssl3\"]` under [debian]";
    assert_eq!(finding.remedy, remedy);
    assert_eq!(
        finding.problem.to_string(),
        "libssl.so.3, which /app needs, is not found; looked for in /lib64, /usr/lib64"
    );
    let library = Sample::library("libssl.so.3");
    let report =
        Image::glibc().elf("opt/lib/libssl.so.3", &library).elf("app", &app(&["libssl.so.3"])).report();
    assert!(report.findings[0].remedy.contains("LD_LIBRARY_PATH = \"/opt/lib\""), "{:?}", report.findings);
}

#[test]
fn directories_are_searched_in_the_loaders_order() {
    let library = |name: &str| Sample::library(name);
    let with = |app: Sample, path: &str| Image::glibc().elf(path, &library("liba.so")).elf("app", &app);
    let missing = ["missing-library"];
    assert_eq!(with(app(&["liba.so"]), "opt/liba.so").checks(), missing);
    assert_eq!(with(app(&["liba.so"]), "opt/liba.so").env("LD_LIBRARY_PATH=/x:/opt/").checks(), [""; 0]);
    let runpath = Sample { runpath: Some("$ORIGIN/opt:/y".into()), ..app(&["liba.so"]) };
    assert_eq!(with(runpath.clone(), "opt/liba.so").checks(), [""; 0]);
    let lib = Sample { rpath: Some("/opt/${LIB}".into()), ..app(&["liba.so"]) };
    assert_eq!(with(lib, "opt/lib64/liba.so").checks(), [""; 0]);
    // RUNPATH applies to what a file itself needs. RPATH also applies to what that needs, unless that has a RUNPATH.
    let below = |sample: Sample| {
        let between = Sample::library("libb.so").needs(&["liba.so"]);
        with(sample, "opt/liba.so").elf("lib64/libb.so", &between)
    };
    assert_eq!(below(Sample { needed: vec!["libb.so".into()], ..runpath }).checks(), missing);
    let rpath = Sample { rpath: Some("/opt".into()), ..app(&["libb.so"]) };
    assert_eq!(below(rpath.clone()).checks(), [""; 0]);
    let between = Sample { runpath: Some("/z".into()), ..Sample::library("libb.so").needs(&["liba.so"]) };
    let image = Image::glibc().elf("opt/liba.so", &library("liba.so")).elf("lib64/libb.so", &between);
    assert_eq!(image.elf("app", &rpath).checks(), missing);
    // For musl both apply to both.
    let between = Sample::library("libb.so").needs(&["liba.so"]);
    let musl = Sample { runpath: Some("/opt".into()), ..musl_app(&["libb.so"]) };
    let image = Image::musl().elf("opt/liba.so", &library("liba.so")).elf("lib/libb.so", &between);
    assert_eq!(image.elf("app", &musl).checks(), [""; 0]);
}

#[test]
fn musl_looks_where_its_path_file_says() {
    let image =
        || Image::musl().elf("opt/liba.so", &Sample::library("liba.so")).elf("app", &musl_app(&["liba.so"]));
    assert_eq!(image().checks(), ["missing-library"]);
    assert_eq!(image().text("etc/ld-musl-x86_64.path", "/lib\n/opt\n").checks(), [""; 0]);
}

#[test]
fn a_library_of_another_class_is_passed_over_and_no_library_is_given_up_on() {
    let other = Sample { class: 32, machine: 3, ..Sample::library("liba.so") };
    let image = || Image::glibc().elf("lib64/liba.so", &other).elf("app", &app(&["liba.so"]));
    let report = image().report();
    assert!(report.findings[0].problem.to_string().contains("passed over /lib64/liba.so (it has 32 bits)"));
    assert_eq!(image().elf("usr/lib64/liba.so", &Sample::library("liba.so")).checks(), [""; 0]);
    let script = Image::glibc().text("lib64/liba.so", "GROUP ( liba.so.1 )\n").elf("app", &app(&["liba.so"]));
    assert_eq!(script.checks(), ["unusable-library"]);
    let image = Image::musl().elf("lib/liba.so", &other).elf("usr/lib/liba.so", &Sample::library("liba.so"));
    assert_eq!(image.elf("app", &musl_app(&["liba.so"])).checks(), ["unusable-library"]);
}

#[test]
fn versions_and_symbols_must_be_there() {
    let newer = app(&["libc.so.6"]).referring("stat@GLIBC_2.38", "libc.so.6");
    let report = Image::glibc().elf("app", &newer).add("app").report();
    assert_eq!(
        report.findings[0].problem,
        Problem::MissingVersion {
            version: "GLIBC_2.38".into(),
            library: "/lib64/libc.so.6".into(),
            needed_by: "/app".into(),
            newest: Some("GLIBC_2.33".into()),
        }
    );
    assert_eq!(report.findings.len(), 1, "{:?}", report.findings);
    assert!(report.findings[0].remedy.contains("glibc = \"2.33\""));
    let unknown = app(&["libc.so.6"]).referring("gets@GLIBC_2.2.5", "libc.so.6");
    let report = Image::glibc().elf("app", &unknown).report();
    assert!(report.findings[0].problem.to_string().ends_with("needs: gets@GLIBC_2.2.5"));
    let private = app(&["libc.so.6"]).referring("secret@GLIBC_PRIVATE", "libc.so.6");
    assert_eq!(Image::glibc().elf("app", &private).checks(), ["private-version"]);
    let weak = Sample { weak: vec!["gets".into()], ..app(&["libc.so.6"]) };
    assert_eq!(Image::glibc().elf("app", &weak).checks(), [""; 0]);
    let packed = Sample { relr: true, ..app(&["libc.so.6"]) };
    assert_eq!(Image::glibc().elf("app", &packed).checks(), ["packed-relocations"]);
    let elsewhere = app(&["libc.so.6"]).referring("x@V_1", "libx.so.1");
    assert_eq!(Image::glibc().elf("app", &elsewhere).checks()[0], "version-of-nothing");
    // A library without versions satisfies references without a version. A reference with a version skips it.
    let image = || Image::glibc().elf("lib64/libx.so.1", &Sample::library("libx.so.1").defining(&["x"]));
    let unversioned = app(&["libx.so.1"]).referring("x", "");
    assert_eq!(image().elf("app", &unversioned).checks(), [""; 0]);
    let versioned = app(&["libx.so.1"]).referring("x@V_1", "libx.so.1");
    assert_eq!(image().elf("app", &versioned).checks(), ["missing-symbol"]);
}

#[test]
fn loaders_are_told_apart() {
    assert_eq!(Image::new().elf("app", &app(&[])).checks(), ["missing-loader"]);
    let report = Image::glibc().elf("app", &musl_app(&[])).report();
    let text = report.findings[0].problem.to_string();
    assert!(text.starts_with("it is a musl program, and the image has glibc"), "{text}");
    assert_eq!(Image::musl().elf("app", &app(&[])).checks(), ["other-libc"]);
    let dangling = Image::new().link(GLIBC, "../lib/ld.so").elf("app", &app(&[])).report();
    let text = dangling.findings[0].problem.to_string();
    assert!(text.ends_with("is a link to /lib/ld.so, which is not there"), "{text}");
    let foreign = Sample { machine: 183, ..Sample::library("ld-linux-x86-64.so.2") };
    assert_eq!(Image::new().elf(GLIBC, &foreign).elf("app", &app(&[])).checks(), ["wrong-architecture"]);
    let stub = Sample::library("libgcompat.so.0");
    assert_eq!(Image::new().elf(GLIBC, &stub).elf("app", &app(&[])).checks(), ["unknown-loader"]);
    let image = Image::new().put(GLIBC, 0o644, &Sample::library("ld-linux-x86-64.so.2").bytes());
    assert_eq!(image.elf("app", &app(&[])).checks(), ["loader-not-executable"]);
}

#[test]
fn files_are_for_the_platform() {
    let foreign = Sample { machine: 183, ..app(&[]) };
    assert_eq!(Image::glibc().elf("app", &foreign).checks(), ["wrong-architecture"]);
    let library = Sample { machine: 183, ..Sample::library("liba.so") };
    let image = Image::glibc().elf("app", &app(&[])).elf("opt/liba.so", &library);
    assert_eq!(image.add("opt/liba.so").checks(), ["wrong-architecture"]);
    // 32-bit x86 runs on 64-bit x86, though it may not be intended.
    let old = Sample { class: 32, machine: 3, interpreter: None, program: true, ..Sample::library("") };
    let report = Image::glibc().elf("app", &old).report();
    assert!(!report.fails() && report.findings[0].severity == Severity::Warning);
    let soft = |flags| {
        let arm = |sample: Sample| Sample { class: 32, machine: 40, flags, ..sample };
        let loader = Sample::library("ld-linux-armhf.so.3").defining(&["_dl_signal_error"]);
        let image = Image { platform: "linux/arm/v7", ..Image::new() };
        let hard = Sample { class: 32, machine: 40, flags: 0x0500_0400, ..loader };
        image
            .elf("lib/ld-linux-armhf.so.3", &hard)
            .elf("app", &arm(Sample::program("/lib/ld-linux-armhf.so.3", &[])))
    };
    assert_eq!(soft(0x0500_0200).checks(), ["float-abi"]);
    assert_eq!(soft(0x0500_0400).checks(), [""; 0]);
}

#[test]
fn neon_code_is_found_and_said_where_it_is() {
    // vld1.32 {d0-d1}, [r0]; vadd.i32 q0, q0, q0; vst1.32 {d0-d1}, [r0]; bx lr
    let code = [0xf420_0a8f_u32, 0xf220_0840, 0xf400_0a8f, 0xe12f_ff1e];
    let code: Vec<u8> = code.iter().flat_map(|word| word.to_le_bytes()).collect();
    let neon = Sample {
        class: 32,
        machine: 40,
        flags: 0x0500_0400,
        interpreter: None,
        tail: code,
        starts_at_tail: true,
        ..app(&["libc.so.6"])
    };
    let on = |platform| Image { platform, ..Image::new() }.elf("app", &neon);
    // Whether a static program without symbols checks for it cannot be known.
    let alone = Sample { needed: Vec::new(), ..neon.clone() };
    let report = Image { platform: "linux/arm/v7", ..Image::new() }.elf("app", &alone).report();
    assert_eq!((report.fails(), report.unseen), (false, vec![Unseen::Neon { file: "/app".into() }]));
    let report = on("linux/arm/v7").report();
    assert!(report.fails());
    let text = report.findings[0].problem.to_string();
    assert!(text.starts_with("/app was built for NEON (in 0x"), "{text}");
    assert!(text.ends_with("and the platform promises VFPv3-D16"), "{text}");
    assert!(report.findings[0].remedy.contains("-mfpu=vfpv3-d16"), "{}", report.findings[0].remedy);
    assert_eq!(on("linux/arm/v8").checks(), [""; 0]);
}

#[test]
fn scripts_need_their_interpreters() {
    let with = |line: &str| {
        Image::glibc().elf("bin/python3", &app(&[])).elf("usr/bin/env", &app(&[])).text("app", line)
    };
    assert_eq!(with("#!/bin/python3 -u\n").checks(), [""; 0]);
    assert_eq!(with("#! /usr/bin/env python3\n").checks(), [""; 0]);
    assert_eq!(with("#!/usr/bin/env -S A=1 python3 -u\n").checks(), [""; 0]);
    assert_eq!(with("#!/bin/sh\n").checks(), ["missing-interpreter"]);
    assert_eq!(with("#!/usr/bin/env ruby\n").checks(), ["not-found"]);
    assert_eq!(with("#!/usr/bin/env python3 -u\n").checks(), ["not-found"]);
    assert_eq!(with("echo hello\n").checks(), ["no-interpreter"]);
    let report = with("#!/bin/python3\r\n").report();
    assert!(report.findings[0].problem.to_string().contains("Windows line endings"));
    // Interpreters may be scripts, but not endlessly.
    assert_eq!(with("#!/app\n").checks(), [""; 0]);
}

#[test]
fn the_command_is_found_as_the_images_user() {
    let image = |mode| Image::glibc().put("app", mode, &app(&[]).bytes());
    let run = |image: Image, words: &[&str], user: &str| {
        let entrypoint = words.iter().map(|&word| word.to_owned()).collect();
        let execution = Execution { entrypoint, user: user.into(), ..image.execution.clone() };
        Image { execution, ..image }.checks()
    };
    assert_eq!(run(image(0o755), &["app"], ""), ["not-found"]);
    assert_eq!(run(image(0o755).env("PATH=/bin:/"), &["app"], "65532"), [""; 0]);
    assert_eq!(run(image(0o700), &["/app"], ""), [""; 0]);
    assert_eq!(run(image(0o700), &["/app"], "65532:65532"), ["not-executable"]);
    assert_eq!(run(image(0o755), &["/app"], "nobody"), ["unknown-user"]);
    let passwd = image(0o710).text("etc/passwd", "web:*:5:6::/:\n").text("etc/group", "staff:*:0:web\n");
    assert_eq!(run(passwd, &["/app"], "web"), [""; 0]);
    let starter = image(0o755).elf("usr/bin/tini", &app(&[]));
    assert_eq!(run(starter, &["/usr/bin/tini", "-g", "--", "/nothing"], ""), ["not-found"]);
    // A library that the user may not read does not count.
    let hidden = Image::glibc().put("lib64/liba.so", 0o600, &Sample::library("liba.so").bytes());
    let hidden = hidden.elf("app", &app(&["liba.so"]));
    assert_eq!(run(hidden, &["/app"], "65532"), ["missing-library"]);
    let workdir = image(0o755);
    let execution = Execution { workdir: "/srv".into(), ..workdir.execution.clone() };
    assert_eq!(Image { execution, ..workdir }.checks(), ["missing-workdir"]);
}

#[test]
fn added_libraries_are_looked_at_and_must_be_reachable() {
    let needs = Sample::library("liba.so.1").needs(&["libnothing.so.1"]);
    let image = Image::glibc().elf("app", &app(&[])).elf("opt/liba.so.1", &needs).add("opt/liba.so.1");
    assert_eq!(image.checks(), ["missing-library"]);
    let local = || {
        let image = Image::glibc().elf("app", &app(&[])).add("usr/local/lib/liba.so.1");
        image.elf("usr/local/lib/liba.so.1", &Sample::library("liba.so.1"))
    };
    assert_eq!(local().checks(), ["unreachable-library"]);
    assert_eq!(local().env("LD_LIBRARY_PATH=/usr/local/lib").checks(), [""; 0]);
}

#[test]
fn what_a_program_asks_for_when_it_runs_is_warned_about() {
    let asks = Sample { tail: b"SSL_CERT_FILE /usr/share/zoneinfo".to_vec(), ..app(&[]) };
    let image = || Image::glibc().elf("app", &asks);
    let report = image().report();
    assert!(!report.fails());
    assert_eq!(image().checks(), ["no-certificates", "no-time-zones"]);
    let image = image().text("etc/ssl/cert.pem", "").text("usr/share/zoneinfo/UTC", "");
    assert_eq!(image.checks(), [""; 0]);
    let opens = app(&["libc.so.6"]).referring("dlopen", "");
    let report = Image::glibc().elf("app", &opens).report();
    assert_eq!(report.unseen, [Unseen::Dlopen { file: "/app".into() }]);
}

#[test]
fn a_newer_processor_takes_other_files() {
    let image = |dir: &str| {
        let broken = Sample::library("liba.so").needs(&["libnothing.so"]);
        let image = Image::glibc().elf("lib64/liba.so", &Sample::library("liba.so"));
        image.elf(&format!("lib64/glibc-hwcaps/{dir}/liba.so"), &broken).elf("app", &app(&["liba.so"]))
    };
    assert_eq!(image("x86-64-v3").checks(), ["missing-library"]);
    assert_eq!(image("power9").checks(), [""; 0]);
    let only = Image::glibc().elf("lib64/glibc-hwcaps/x86-64-v3/liba.so", &Sample::library("liba.so"));
    assert_eq!(only.elf("app", &app(&["liba.so"])).checks(), ["missing-library"]);
}

#[test]
fn what_is_allowed_does_not_fail() {
    let mut report = Image::glibc().elf("app", &app(&["libcuda.so.1"])).report();
    let allowance = |missing: &str| Allowance {
        check: Some("missing-library".into()),
        file: None,
        missing: Some(missing.into()),
        platform: None,
        reason: "the driver brings it".into(),
        place: String::new(),
    };
    assert_eq!(allow(&mut report.findings, &[allowance("libother*")]), [false]);
    assert!(report.fails());
    assert_eq!(allow(&mut report.findings, &[allowance("libcuda*")]), [true]);
    assert!(!report.fails());
    assert_eq!(report.findings[0].allowed.as_deref(), Some("the driver brings it"));
}

#[test]
fn the_cache_of_the_loader_is_read_in_both_formats() {
    let entry = |name: u32, path: u32| {
        [&0x303_i32.to_le_bytes()[..], &name.to_le_bytes(), &path.to_le_bytes()].concat()
    };
    let texts = b"liba.so\0/opt/liba.so\0";
    let old = [&b"ld.so-1.7.0\0"[..], &1_u32.to_le_bytes(), &entry(0, 8), texts].concat();
    let at = 48 + 24;
    let mut new = [&b"glibc-ld.so.cache1.1"[..], &1_u32.to_le_bytes()].concat();
    new.resize(48, 0);
    new.extend(entry(at, at + 8));
    new.resize(at as usize, 0);
    new.extend(texts);
    for cache in [&old, &new] {
        let image =
            || Image::glibc().elf("app", &app(&["liba.so"])).elf("opt/liba.so", &Sample::library("liba.so"));
        assert_eq!(image().checks(), ["missing-library"]);
        assert_eq!(image().put("etc/ld.so.cache", 0o644, cache).checks(), [""; 0]);
        let parsed = Cache::parse(cache, crate::target::catalog::Endianness::Little).unwrap();
        assert_eq!(parsed.find("liba.so")[0].path, "/opt/liba.so");
        for length in 0..cache.len() {
            let cut = Cache::parse(&cache[..length], crate::target::catalog::Endianness::Little);
            assert!(cut.is_none_or(|cut| cut != parsed));
        }
    }
}

#[test]
fn every_kind_of_finding_is_in_the_manual() {
    let manual = include_str!("../../docs/linkcheck.md");
    for check in Problem::CHECKS {
        assert!(manual.contains(&format!("| `{check}` |")), "{check}");
    }
    assert_eq!(package_of_library("libssl.so.3", "trixie"), Some("libssl3t64"));
    assert_eq!(package_of_library("libunistring.so.5", "bookworm"), None);
}

#[test]
fn older_loaders_look_in_other_directories() {
    let glibc = |version: &str| {
        let texts = format!("\0\x01/lib64/\0/usr/lib64/\0{version}\0");
        let loader = Sample { tail: texts.into_bytes(), ..Sample::library("ld-linux-x86-64.so.2") };
        Image::new().elf(GLIBC, &loader.defining(&["_dl_signal_error@GLIBC_PRIVATE"]))
    };
    let in_dir = |version: &str, dir: &str| {
        let image = glibc(version).elf(&format!("lib64/{dir}/liba.so"), &Sample::library("liba.so"));
        image.elf("app", &app(&["liba.so"])).checks()
    };
    let (old, between, new) = (
        "2.31",
        "glibc-hwcaps/\0ld.so (GNU libc) stable release version 2.36.",
        "glibc-hwcaps/\0ld.so (GNU libc) stable release version 2.37.",
    );
    for dir in ["tls", "tls/x86_64", "x86_64"] {
        assert_eq!(in_dir(old, dir), [""; 0], "{dir}");
        assert_eq!(in_dir(between, dir), [""; 0], "{dir}");
        assert_eq!(in_dir(new, dir), ["missing-library"], "{dir}");
    }
    // Not all processors search there.
    for dir in ["haswell", "tls/haswell/x86_64", "avx512_1", "glibc-hwcaps/x86-64-v2"] {
        assert_eq!(in_dir(between, dir), ["missing-library"], "{dir}");
    }
    let broken = Sample::library("liba.so").needs(&["libnothing.so"]);
    let image = |version: &str, dir: &str| {
        let image = glibc(version).elf("lib64/liba.so", &Sample::library("liba.so"));
        image.elf(&format!("lib64/{dir}/liba.so"), &broken).elf("app", &app(&["liba.so"])).checks()
    };
    for (version, dir, found) in [
        (old, "haswell", true),
        (between, "tls/haswell", true),
        (new, "haswell", false),
        (old, "glibc-hwcaps/x86-64-v3", false),
        (new, "glibc-hwcaps/x86-64-v3", true),
    ] {
        let expected: &[&str] = if found { &["missing-library"] } else { &[] };
        assert_eq!(image(version, dir), expected, "{version} {dir}");
    }
}

#[test]
fn an_older_musl_does_not_relocate_what_is_packed() {
    let image = |version: &str| {
        let libc = Sample::library("libc.musl-x86_64.so.1").defining(&["__libc_start_main", "stdin"]);
        let libc = Sample { tail: format!("\0{version}\0").into_bytes(), ..libc };
        let packed = Sample { relr: true, ..Sample::library("liba.so") };
        Image::new().elf(MUSL, &libc).elf("lib/liba.so", &packed).elf("app", &musl_app(&["liba.so"]))
    };
    let report = image("1.2.3").report();
    let text = report.findings[0].problem.to_string();
    assert_eq!(text, "/lib/liba.so has packed relocations (DT_RELR), which musl 1.2.3 does not support");
    assert_eq!(image("1.2.4").checks(), [""; 0]);
    assert_eq!(image("1.2.5").checks(), [""; 0]);
    assert_eq!(image("nothing").checks(), [""; 0]);
}

#[test]
fn programs_that_change_their_user_trust_less() {
    let set_user = |sample: Sample| {
        let image = Image::glibc().put("app", 0o4755, &sample.bytes());
        let image = image.elf("opt/liba.so", &Sample::library("liba.so"));
        let execution = Execution { user: "65532".into(), ..image.execution.clone() };
        Image { execution, ..image }
    };
    let runpath = |path: &str| set_user(Sample { runpath: Some(path.into()), ..app(&["liba.so"]) });
    assert_eq!(runpath("/opt").checks(), [""; 0]);
    assert_eq!(runpath("$ORIGIN/opt").checks(), ["missing-library"]);
    assert_eq!(set_user(app(&["liba.so"])).env("LD_LIBRARY_PATH=/opt").checks(), ["missing-library"]);
    // Running it as its owner changes nothing.
    let image = runpath("$ORIGIN/opt");
    let execution = Execution { user: String::new(), ..image.execution.clone() };
    assert_eq!(Image { execution, ..image }.checks(), [""; 0]);
    // A directory below one of the loader's own is trusted.
    let image = runpath("$ORIGIN/usr/../usr/lib64/x").elf("usr/lib64/x/liba.so", &Sample::library("liba.so"));
    assert_eq!(image.checks(), [""; 0]);
}

#[test]
fn what_is_special_to_one_loader_is_known() {
    // Comments in the preload file, the kernel's library, and an empty part of a path.
    let image = Image::glibc().text("etc/ld.so.preload", "# nothing\n/lib64/liba.so # this\n");
    let image = image.elf("lib64/liba.so", &Sample::library("liba.so"));
    assert_eq!(image.elf("app", &app(&["linux-vdso.so.1"])).checks(), [""; 0]);
    assert_eq!(Image::musl().elf("app", &musl_app(&["linux-vdso.so.1"])).checks(), ["missing-library"]);
    let here = |image: Image, sample: &Sample| {
        let image = image.elf("srv/liba.so", &Sample::library("liba.so")).elf("app", sample);
        let execution = Execution { workdir: "/srv".into(), ..image.execution.clone() };
        Image { execution, ..image }.env("LD_LIBRARY_PATH=/x:").checks()
    };
    assert_eq!(here(Image::glibc(), &app(&["liba.so"])), [""; 0]);
    assert_eq!(here(Image::musl(), &musl_app(&["liba.so"])), ["missing-library"]);
    // For glibc, $ORIGIN in the variable is the program's directory.
    let at = |image: Image, sample: &Sample| {
        let image = image.elf("opt/liba.so", &Sample::library("liba.so")).elf("app", sample);
        image.env("LD_LIBRARY_PATH=${ORIGIN}/opt").checks()
    };
    assert_eq!(at(Image::glibc(), &app(&["liba.so"])), [""; 0]);
    assert_eq!(at(Image::musl(), &musl_app(&["liba.so"])), ["missing-library"]);
    // For musl, one part that it does not understand invalidates the others.
    let spoiled = |path: &str| {
        let sample = Sample { runpath: Some(path.into()), ..musl_app(&["liba.so"]) };
        Image::musl().elf("opt/liba.so", &Sample::library("liba.so")).elf("app", &sample).checks()
    };
    assert_eq!(spoiled("/opt:/x"), [""; 0]);
    assert_eq!(spoiled("/opt:$LIB"), ["missing-library"]);
}
