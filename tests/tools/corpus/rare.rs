//! How loaders treat rare files and variables: each case is a line of glibc's `dl-load.c` or musl's `dynlink.c`.

use super::image::{Item, file, merged_usr, program};
use super::programs::{AMD64_MUSL, HELLO, Link, NEEDS_ONE, ONE, PORTS, Port, retag};
use super::world::{Case, World};

const APP: &str = "opt/app/bin/app";
const LINE: &[&str] = &["/opt/app/bin/app"];
const LIBRARY: &str = "libone.so.1";
/// A library that calls through a table, which must be relocated.
const TABLE: &str = "static int a(void) { return 1; }\nstatic int b(void) { return 2; }\n\
     __attribute__((visibility(\"hidden\"))) int (*const table[])(void) = { a, b, a, b };\n\
     int one(void) { volatile int i = 0; return table[i](); }\n";
/// A library that needs another one, without needing its C library.
const CALLS: &str = "int one(void);\nint two(void) { return one() + 1; }\n";
/// A program that uses private interfaces of glibc, if asked to.
const PRIVATE: &str = "#include <stdio.h>\nextern long own(int, void *, unsigned long);\n\
     __asm__(\".symver own, __read_nocancel@GLIBC_PRIVATE\");\n\
     int main(int n, char **v) { if (n > 9) own(0, v, 1); return puts(\"it runs\") < 0; }\n";

pub(super) fn cases(world: &World) -> Vec<Case> {
    let mut cases: Vec<Case> = PORTS.iter().flat_map(|port| everywhere(world, port)).collect();
    cases.extend(native(world));
    cases.extend(musl(world));
    cases
}

fn at(dir: &str, bytes: &[u8]) -> Vec<Item> {
    vec![file(format!("{dir}/{LIBRARY}").trim_start_matches('/'), bytes)]
}

#[allow(clippy::too_many_lines, reason = "a list")]
fn everywhere(world: &World, port: &Port) -> Vec<Case> {
    let programs = &world.programs;
    let one = programs.library(port.abi, LIBRARY, ONE, &Link::default());
    let needing = |library: &[u8]| {
        programs.program(port.abi, NEEDS_ONE, &Link { with: &[(LIBRARY, library)], ..Link::default() })
    };
    let own = needing(&one);
    let on = |name: &str, about, app: &[u8], more: Vec<Item>| {
        let case = world.image(("bookworm", port), name, about, &["libc6"], LINE);
        case.layer([program(APP, app)].into_iter().chain(more))
    };
    let slash = |soname: &str| needing(&programs.library(port.abi, soname, ONE, &Link::default()));
    let other_name = programs.library(port.abi, "libother.so", ONE, &Link::default());
    let dir = format!("usr/lib/{}", port.multiarch);
    let (platform, feature, least) = match port.debian {
        "amd64" => ("x86_64", "haswell", Some("qemu64")),
        "arm64" => ("aarch64", "tls/atomics", Some("cortex-a53")),
        _ => ("v7l", "neon", Some("cortex-r5f")),
    };
    let below = |name: &str| at(&format!("{dir}/{name}"), &one);
    let mut cases = vec![
        on(
            "env-empty-part",
            "an empty part of LD_LIBRARY_PATH is the directory to start in",
            &own,
            at("", &one),
        )
        .env("LD_LIBRARY_PATH=/nowhere:"),
        on("env-empty", "an empty LD_LIBRARY_PATH is none", &own, at("", &one)).env("LD_LIBRARY_PATH="),
        on("env-semicolon", "parts may be divided by semicolons", &own, at("opt/app/lib", &one))
            .env("LD_LIBRARY_PATH=/nowhere;/opt/app/lib"),
        on("env-origin", "LD_LIBRARY_PATH with $ORIGIN", &own, at("opt/app/lib", &one))
            .env("LD_LIBRARY_PATH=$ORIGIN/../lib"),
        on("needed-path", "the library is needed by its path", &slash("/opt/app/lib/libone.so.1"), {
            at("opt/app/lib", &one)
        }),
        on("needed-path-not", "the same, and it is elsewhere", &slash("/opt/app/lib/libone.so.1"), {
            at(&dir, &one)
        }),
        on("needed-path-origin", "needed by a path with $ORIGIN", &slash("$ORIGIN/../lib/libone.so.1"), {
            at("opt/app/lib", &one)
        }),
        on("needed-path-relative", "needed by a path from where it starts", &slash("opt/lib/libone.so.1"), {
            at("opt/lib", &one)
        }),
        on("soname-preloaded", "a library of that name is loaded already", &own, {
            vec![file("opt/app/lib/anything.so", one.clone())]
        })
        .env("LD_PRELOAD=/opt/app/lib/anything.so"),
        on("soname-other", "what is loaded already has another name", &own, {
            vec![file("opt/app/lib/anything.so", other_name.clone())]
        })
        .env("LD_PRELOAD=/opt/app/lib/anything.so"),
        on("preload-file", "/etc/ld.so.preload with comments", &own, {
            let text = "# /opt/not.so\n/opt/app/lib/anything.so # and more\n";
            vec![file("opt/app/lib/anything.so", one.clone()), file("etc/ld.so.preload", text)]
        })
        .warns(&[]),
        on("legacy-tls", "in a directory that glibc knew until 2.36", &own, below("tls")),
        on("legacy-platform", "the same, by the name of the platform", &own, below(platform)),
        on("legacy-both", "the same, by both", &own, below(&format!("tls/{platform}"))),
    ];
    let lacks = on("legacy-feature", "the same, by what this processor lacks", &own, below(feature));
    cases.extend(least.map(|cpu| Case { cpu: Some(cpu), ..lacks }));
    if port.debian != "armhf" {
        let case =
            world.image(("trixie", port), "legacy-tls", "newer ones do not look there", &["libc6"], LINE);
        cases.push(case.layer([program(APP, &own)].into_iter().chain(below("tls"))));
    }
    cases
}

/// Cases that only this machine's own linker can make, for amd64, where programs run natively.
#[allow(clippy::too_many_lines, reason = "a list")]
fn native(world: &World) -> Vec<Case> {
    let port = &PORTS[0];
    let programs = &world.programs;
    let dir = format!("usr/lib/{}", port.multiarch);
    let one = programs.library(port.abi, LIBRARY, ONE, &Link::default());
    let hello = programs.program(port.abi, HELLO, &Link::default());
    let own = programs.program(port.abi, NEEDS_ONE, &Link { with: &[(LIBRARY, &one)], ..Link::default() });
    let library = |source: &str, flags: &[&str]| {
        let soname = format!("-Wl,-soname,{LIBRARY}");
        let all = ["-shared", "-fPIC", "-O1", "-nostdlib", "-fno-stack-protector", &soname];
        programs.native(source, &all.into_iter().chain(flags.iter().copied()).collect::<Vec<_>>())
    };
    let on = |name: &str, about, app: &[u8], more: Vec<Item>| {
        let case = world.image(("bookworm", port), name, about, &["libc6"], LINE);
        case.layer([program(APP, app)].into_iter().chain(more))
    };
    let with = |mut items: Vec<Item>, name: &str, bytes: &[u8]| {
        items.push(file(&format!("{dir}/{name}"), bytes));
        items
    };
    let filter = library(ONE, &["-Wl,-F,libfilter.so"]);
    let auxiliary = library(ONE, &["-Wl,-f,libfilter.so"]);
    let no_default = {
        let all = ["-shared", "-fPIC", "-O1", "-nostdlib", "-Wl,-soname,libtwo.so.2", "-Wl,-z,nodefaultlib"];
        programs.native_with(CALLS, &all, &[(LIBRARY, &one)])
    };
    let needs_two = {
        let plain = programs.library(
            port.abi,
            "libtwo.so.2",
            CALLS,
            &Link { with: &[(LIBRARY, &one)], ..Link::default() },
        );
        let with: &[(&str, &[u8])] = &[("libtwo.so.2", &plain), (LIBRARY, &one)];
        let flags = &["-Wl,--as-needed"];
        programs.program(port.abi, super::programs::NEEDS_TWO, &Link { flags, with, ..Link::default() })
    };
    let version = Link { versions: Some(super::programs::VERSION_1), ..Link::default() };
    let versioned = programs.library(port.abi, LIBRARY, ONE, &version);
    let with_version =
        programs.program(port.abi, NEEDS_ONE, &Link { with: &[(LIBRARY, &versioned)], ..Link::default() });
    let audited = programs.native(HELLO, &["-O1", "-Wl,--audit,libaudit-nothing.so"]);
    let kernels = {
        let library = programs.library(port.abi, "linux-vdso.so.1", "", &Link::default());
        let with: &[(&str, &[u8])] = &[("libkernel.so", &library)];
        programs.program(port.abi, HELLO, &Link { with, flags: &["-Wl,--no-as-needed"], ..Link::default() })
    };
    let runpath = |path: &str| {
        let flag = format!("-Wl,-rpath,{path}");
        let link = Link { with: &[(LIBRARY, &one)], flags: &[&flag], ..Link::default() };
        programs.program(port.abi, NEEDS_ONE, &link)
    };
    let set_user = |name: &str, about, app: &[u8]| {
        let case = on(name, about, app, at("opt/app/lib", &one));
        case.layer([Item::File(APP.into(), 0o4755, app.to_vec())]).user("65532")
    };
    let still = programs.program(AMD64_MUSL, HELLO, &Link { flags: &["-static"], ..Link::default() });
    vec![
        on("filter", "a library with a filter (DT_FILTER)", &own, {
            with(at(&dir, &filter), "libfilter.so", &one)
        }),
        on("filter-not", "the filter is missing", &own, at(&dir, &filter)),
        on("auxiliary-not", "an auxiliary filter may be missing", &own, at(&dir, &auxiliary)),
        on("no-default", "a library of which the own are not in the loader's directories", &needs_two, {
            with(at(&dir, &one), "libtwo.so.2", &no_default)
        }),
        on("no-default-env", "the same with LD_LIBRARY_PATH", &needs_two, {
            with(at("opt/app/lib", &one), "libtwo.so.2", &no_default)
        })
        .env("LD_LIBRARY_PATH=/opt/app/lib"),
        on("isa-library", "a library that says it needs x86-64-v3", &own, {
            at(&dir, &library(ONE, &["-Wl,-z,x86-64-v3"]))
        })
        .cpu("linux/amd64", "qemu64"),
        on("isa-library-fits", "the same on such a processor", &own, {
            at(&dir, &library(ONE, &["-Wl,-z,x86-64-v3"]))
        })
        .cpu("linux/amd64/v3", "Haswell"),
        on("audit-not", "what is to audit the loader may be missing (DT_AUDIT)", &audited, vec![]),
        on("vdso", "it needs the library that the kernel brings", &kernels, vec![]),
        on(
            "version-of-nothing",
            "what it needs a version of is not needed any more",
            &retag(&with_version, 1, LIBRARY, 21),
            at(&dir, &versioned),
        ),
        set_user("set-user-env", "LD_LIBRARY_PATH is not for who changes the user", &own)
            .env("LD_LIBRARY_PATH=/opt/app/lib"),
        set_user("set-user-origin", "nor is $ORIGIN", &runpath("$ORIGIN/../lib")),
        set_user("set-user-runpath", "an absolute RUNPATH is", &runpath("/opt/app/lib")),
        set_user("set-user-owner", "who is the owner already changes nothing", &runpath("$ORIGIN/../lib"))
            .user("0"),
        on(
            "private-version",
            "it uses private parts of this very glibc",
            &programs.native(PRIVATE, &["-O1"]),
            vec![],
        )
        .warns(&["private-version"]),
        on("unknown-loader", "its loader is a program of its own", &hello, {
            vec![program(&format!("{dir}/ld-linux-x86-64.so.2"), &still)]
        })
        .warns(&["unknown-loader"]),
        on("workdir-missing", "the directory to start in is not there", &hello, vec![])
            .workdir("/srv/data")
            .warns(&["missing-workdir"]),
        on("user-unknown", "a user who is not in the image", &hello, vec![]).user("web"),
    ]
}

/// The same for musl, which has its own rules.
fn musl(world: &World) -> Vec<Case> {
    let port = &PORTS[0];
    let programs = &world.programs;
    let one = programs.library(port.musl, LIBRARY, ONE, &Link::default());
    let needing = |library: &[u8], flags: &[&str]| {
        let flags: Vec<&str> = ["-dynamic"].into_iter().chain(flags.iter().copied()).collect();
        programs.program(
            port.musl,
            NEEDS_ONE,
            &Link { with: &[(LIBRARY, library)], flags: &flags, ..Link::default() },
        )
    };
    let own = needing(&one, &[]);
    let by_path = programs.library(port.musl, "/opt/app/lib/libone.so.1", ONE, &Link::default());
    let by_path = needing(&by_path, &[]);
    let on = |name: &str, about, app: &[u8], items: Vec<Item>| {
        let case = world.image(("bookworm", port), &format!("musl-{name}"), about, &["musl"], LINE);
        case.layer([program(APP, app)].into_iter().chain(items))
    };
    let flags = ["-shared", "-fPIC", "-O1", "-nostdlib", "-fno-stack-protector", "-Wl,-soname,libone.so.1"];
    let table = |more: &[&str]| {
        programs.native(TABLE, &flags.into_iter().chain(more.iter().copied()).collect::<Vec<_>>())
    };
    let dir = format!("usr/lib/{}", port.multiarch.replace("gnu", "musl"));
    vec![
        on("env-empty-part", "an empty part of LD_LIBRARY_PATH is nothing", &own, at("", &one))
            .env("LD_LIBRARY_PATH=/nowhere:"),
        on("env-semicolon", "a semicolon divides nothing", &own, at("opt/app/lib", &one))
            .env("LD_LIBRARY_PATH=/nowhere;/opt/app/lib"),
        on("env-origin", "$ORIGIN in LD_LIBRARY_PATH is a name", &own, at("opt/app/lib", &one))
            .env("LD_LIBRARY_PATH=$ORIGIN/../lib"),
        on(
            "runpath-spoiled",
            "a RUNPATH with $LIB in it is none",
            &needing(&one, &["-Wl,-rpath,/opt/app/lib:/opt/$LIB"]),
            at("opt/app/lib", &one),
        ),
        on("soname-preloaded", "the name of what is loaded already does not count", &own, {
            vec![file("opt/app/lib/anything.so", one.clone())]
        })
        .env("LD_PRELOAD=/opt/app/lib/anything.so"),
        on("needed-path", "the library is needed by its path", &by_path, at("opt/app/lib", &one)),
        on("relocations", "a library with relocations", &own, at(&dir, &table(&[]))),
        on("relocations-packed", "packed ones, which musl 1.2.3 does not know", &own, {
            at(&dir, &table(&["-Wl,-z,pack-relative-relocs"]))
        }),
        World::empty(("bookworm", port), "musl-set-user", "musl's LD_LIBRARY_PATH likewise", LINE)
            .packages(world, port, &["musl"])
            .layer(merged_usr())
            .layer(at("opt/app/lib", &one))
            .layer([Item::File(APP.into(), 0o4755, own.clone())])
            .user("65532")
            .env("LD_LIBRARY_PATH=/opt/app/lib"),
    ]
}
