//! Roots like Alpine's: musl, whose loader searches other directories than glibc's; and static programs.

use super::image::{Item, file, merged_usr, program};
use super::programs::{HELLO, Link, NEEDS_ONE, NEEDS_TWO, ONE, OTHER, PORTS, Port, TWO, WEAK, to_rpath};
use super::world::{Case, World};

const LINE: &[&str] = &["/opt/app/bin/app"];
const LIBRARY: &str = "libone.so";

pub(super) fn cases(world: &World) -> Vec<Case> {
    PORTS.iter().flat_map(|port| of_port(world, port)).collect()
}

#[allow(clippy::too_many_lines, reason = "a list")]
fn of_port(world: &World, port: &Port) -> Vec<Case> {
    let programs = &world.programs;
    let dynamic = &["-dynamic"][..];
    let hello = programs.program(port.musl, HELLO, &Link { flags: dynamic, ..Link::default() });
    let still = programs.program(port.musl, HELLO, &Link { flags: &["-static"], ..Link::default() });
    let glibc = programs.program(port.abi, HELLO, &Link::default());
    let one = programs.library(port.musl, LIBRARY, ONE, &Link::default());
    let other = programs.library(port.musl, LIBRARY, OTHER, &Link::default());
    let needs = |source: &str, flags: &[&str]| {
        programs.program(port.musl, source, &Link { flags, with: &[(LIBRARY, &one)], ..Link::default() })
    };
    let plain = needs(NEEDS_ONE, dynamic);
    let runpath = needs(NEEDS_ONE, &["-dynamic", "-Wl,-rpath,$ORIGIN/../lib"]);
    let two =
        programs.library(port.musl, "libtwo.so", TWO, &Link { with: &[(LIBRARY, &one)], ..Link::default() });
    let needs_two = programs.program(
        port.musl,
        NEEDS_TWO,
        &Link {
            flags: &["-dynamic", "-Wl,-rpath,$ORIGIN/../lib", "-Wl,--as-needed"],
            with: &[("libtwo.so", &two), (LIBRARY, &one)],
            ..Link::default()
        },
    );
    let on = |name: &str, about, app: &[u8], items: Vec<Item>| {
        let name = format!("musl-{name}");
        let case = world.image(("bookworm", port), &name, about, &["musl"], LINE);
        case.layer([program("opt/app/bin/app", app)].into_iter().chain(items))
    };
    let at = |dir: &str, bytes: &[u8]| vec![file(&format!("{dir}/{LIBRARY}"), bytes)];
    let with = |mut items: Vec<Item>, item: Item| {
        items.push(item);
        items
    };
    let architecture = port.musl_loader["lib/ld-musl-".len()..].split('.').next().expect("a name");
    let path_name = format!("etc/ld-musl-{architecture}.path");
    let path_file = |text: &str| file(&path_name, text);
    // Debian's musl has a path file, Alpine's does not.
    let alpine = |items: Vec<Item>| with(items, Item::Whiteout(path_name.clone()));
    let both = || with(at("opt/app/lib", &one), file("opt/app/lib/libtwo.so", two.clone()));
    let empty = |name: &str, about, app: &[u8]| {
        World::empty(("bookworm", port), name, about, LINE).layer([program("opt/app/bin/app", app)])
    };
    vec![
        on("hello", "a program of ours", &hello, vec![]),
        on("of-glibc", "a program for glibc without glibc", &glibc, vec![]),
        on(
            "removed",
            "the loader is removed",
            &hello,
            vec![Item::Whiteout(port.musl_loader.replacen("lib/", "usr/lib/", 1))],
        ),
        on(
            "usr-local",
            "/usr/local/lib is one of musl's directories",
            &plain,
            alpine(at("usr/local/lib", &one)),
        ),
        on("usr-lib", "/usr/lib is another", &plain, alpine(at("usr/lib", &one))),
        on("lib64", "/lib64 is none", &plain, alpine(at("usr/lib64", &one))),
        on("debian", "Debian's path file leaves /usr/lib out", &plain, at("usr/lib", &one)),
        on("debian-own", "Debian's path file has its directory", &plain, {
            at(&format!("usr/lib/{}", port.multiarch.replace("gnu", "musl")), &one)
        }),
        on("nowhere", "the library is nowhere", &plain, vec![]),
        on("env", "LD_LIBRARY_PATH", &plain, at("opt/app/lib", &one)).env("LD_LIBRARY_PATH=/opt/app/lib"),
        on("runpath", "RUNPATH with $ORIGIN", &runpath, at("opt/app/lib", &one)),
        on("chain", "musl's RUNPATH is for the libraries of libraries, too", &needs_two, both()),
        on("chain-rpath", "as its RPATH is", &to_rpath(&needs_two), both()),
        on(
            "path-file",
            "a path file",
            &plain,
            with(at("opt/app/lib", &one), path_file("/nowhere\n/opt/app/lib\n")),
        ),
        on("path-file-else", "a path file takes the place of the directories", &plain, {
            with(at("usr/lib", &one), path_file("/nowhere:/opt\n"))
        }),
        on("symbol", "the library lacks a function", &plain, alpine(at("usr/lib", &other))),
        on("weak", "a weak function is nowhere", &needs(WEAK, dynamic), alpine(at("usr/lib", &other))),
        on("text", "the library is a text", &plain, alpine(at("usr/lib", b"INPUT(libone.a)\n"))),
        on("both", "a musl program beside glibc's libraries", &hello, vec![]).packages(
            world,
            port,
            &["musl", "libc6"],
        ),
        on("glibc-both", "a glibc program beside musl", &glibc, vec![]).packages(
            world,
            port,
            &["musl", "libc6"],
        ),
        empty("static", "a static program and nothing else", &still),
        empty("static-user", "the same for another user", &still).user("65532:65532"),
        empty("dynamic-alone", "a dynamic program and nothing else", &glibc),
        empty("musl-alone", "a dynamic musl program and nothing else", &hello).layer(merged_usr()),
    ]
}
