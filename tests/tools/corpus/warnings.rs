//! Images that start but cause warnings, with real programs, and checks that the hint helps. With these, every kind of
//! finding occurs with real files somewhere in the corpus, which is checked here.

use std::collections::BTreeSet;

use xbuild::Cancel;
use xbuild::linkcheck::{self, Execution, Origin, Problem, Report};
use xbuild::rootfs::{LayerIndex, Root};

use super::image::{Item, file, program, write_layer};
use super::programs::{HELLO, Link, ONE, PORTS};
use super::world::{Case, World};
use crate::support::scratch;

const APP: &str = "opt/app/bin/app";
const LINE: &[&str] = &["/opt/app/bin/app"];

/// Looks for certificates as TLS libraries do.
const CERTIFICATES: &str = "#include <stdio.h>\n#include <stdlib.h>\n\
     int main(void) { const char *f = getenv(\"SSL_CERT_FILE\"); return puts(f ? f : \"it runs\") < 0; }\n";
/// Prints the time of a time zone.
const ZONES: &str = "#include <stdio.h>\n#include <time.h>\n\
     int main(void) { time_t t = 0; return puts(asctime(localtime(&t))) < 0; }\n";
/// Functions of glibc that load its shared files.
const LOADS: &str = "#include <stdio.h>\n#include <netdb.h>\n#include <dlfcn.h>\n#include <iconv.h>\n\
     int main(int n, char **v) { struct addrinfo *a; if (n > 9) { getaddrinfo(v[0], 0, 0, &a); dlopen(v[0], 1);\n\
     iconv_open(v[0], v[1]); } return puts(\"it runs\") < 0; }\n";

pub(super) fn cases(world: &World) -> Vec<Case> {
    let port = &PORTS[0];
    let programs = &world.programs;
    let make = |source: &str| programs.program(port.abi, source, &Link::default());
    let on = |name: &str, about, app: &[u8], more: Vec<Item>| {
        let case = world.image(("bookworm", port), name, about, &["libc6"], LINE);
        case.layer([program(APP, app)].into_iter().chain(more))
    };
    let alone = |name: &str, about, app: &[u8]| {
        World::empty(("bookworm", port), name, about, LINE).layer([program(APP, app)])
    };
    let (certificates, zones) = (make(CERTIFICATES), make(ZONES));
    let glibc = programs.native(LOADS, &["-O1", "-static", "-w"]);
    let stripped = programs.native(LOADS, &["-O1", "-static", "-w", "-s"]);
    let dynamic = make(LOADS);
    let musl = programs.program(port.musl, LOADS, &Link { flags: &["-static"], ..Link::default() });
    let bundle = || vec![file("etc/ssl/certs/ca-certificates.crt", "")];
    vec![
        on("no-certificates", "a TLS client without certificates", &certificates, vec![])
            .warns(&["no-certificates"]),
        on("certificates", "the same with a bundle", &certificates, bundle()).warns(&[]),
        on("certificates-own", "with one where a variable says", &certificates, {
            vec![file("opt/ca.pem", "")]
        })
        .env("SSL_CERT_FILE=/opt/ca.pem")
        .warns(&[]),
        on("no-time-zones", "a clock without time zones", &zones, vec![]).warns(&["no-time-zones"]),
        on("time-zones", "the same with them", &zones, vec![file("usr/share/zoneinfo/UTC", "")]).warns(&[]),
        alone("static-glibc", "a static glibc that loads shared files", &glibc).warns(&["static-glibc"]),
        alone("static-glibc-stripped", "the same without symbols", &stripped).warns(&["static-glibc"]),
        alone("static-musl", "a static musl loads none", &musl).warns(&[]),
        on("dynamic-glibc", "nor is anything wrong with a shared glibc", &dynamic, vec![]).warns(&[]),
    ]
}

/// Kinds that occur only in images that start nothing: checked without running.
pub(super) fn kinds_without_running(world: &World) -> BTreeSet<&'static str> {
    let port = &PORTS[0];
    let hello = world.programs.program(port.abi, HELLO, &Link::default());
    let one = world.programs.library(port.abi, "libone.so.1", ONE, &Link::default());
    let items = [program(APP, &hello), file("usr/local/lib/libone.so.1", one)];
    let checked = |line: &[&str], added: &[&str]| {
        let case = world.image(("bookworm", port), "kinds", "", &["libc6"], line).layer(items.clone());
        let report = check(&case, added);
        report.findings.iter().map(|finding| finding.problem.check()).collect::<Vec<_>>()
    };
    let nothing = checked(&[], &[]);
    assert_eq!(nothing, ["no-command"]);
    let unreachable = checked(LINE, &[APP, "usr/local/lib/libone.so.1"]);
    assert_eq!(unreachable, ["unreachable-library"]);
    assert_eq!(checked(LINE, &[APP]), [""; 0]);
    nothing.into_iter().chain(unreachable).collect()
}

/// The library's findings in a case in which some files were added to a base.
fn check(case: &Case, added: &[&str]) -> Report {
    let (dir, cancel) = (scratch(), Cancel::new());
    let mut image = case.image.clone();
    for (number, items) in case.top.iter().enumerate() {
        image.layers.push(write_layer(dir.path(), number, items));
    }
    let mut root = Root::default();
    for layer in &image.layers {
        let index = LayerIndex::read(&layer.path, &layer.descriptor(), &cancel).expect("a layer of ours");
        root.lay(&index, &cancel).expect("a layer of ours");
    }
    let execution =
        Execution { entrypoint: image.entrypoint.clone(), env: image.env.clone(), ..Execution::default() };
    let request = linkcheck::Request {
        platform: &image.platform.parse().expect("a platform"),
        root: &root,
        execution: &execution,
        added: &added.iter().map(|path| (*path).to_owned()).collect(),
        origin: &Origin::Image,
    };
    linkcheck::check(&request, &cancel).expect("nobody cancels")
}

/// Kinds that no loader can be asked about. One is about engines that unpack layers, and is compared with GNU tar and
/// engines in `layers`; the other is about where a project was built, and occurs in real builds in `cargo_projects`.
const ELSEWHERE: [&str; 2] = ["refused-entry", "machine-path"];

/// Checks that every other kind of finding occurred with real files.
pub(super) fn all_kinds_are_among(found: &BTreeSet<&str>) {
    let known = |kind: &&str| found.contains(kind) || ELSEWHERE.contains(kind);
    let missing: Vec<&str> = Problem::CHECKS.iter().copied().filter(|kind| !known(kind)).collect();
    assert!(missing.is_empty(), "no case of the corpus has these kinds of finding: {}", missing.join(", "));
}
