//! The directories that glibc's loader searches for libraries, and what it requires of them.

use super::image::{Item, file, link, program};
use super::programs::{
    ARMEL, ARMHF_V8, HELLO, Link, NEEDS_ONE, NEEDS_TWO, NEW, ONE, OTHER, PORTS, Port, TWO, V8, VERSION_1,
    VERSION_2, WEAK, patch, to_rpath,
};
use super::world::{Case, World};

const APP: &str = "opt/app/bin/app";
const LINE: &[&str] = &["/opt/app/bin/app"];
const LIBRARY: &str = "libone.so.1";

pub(super) fn cases(world: &World) -> Vec<Case> {
    let mut cases: Vec<Case> = PORTS.iter().flat_map(|port| Parts::new(world, port).cases(port)).collect();
    cases.extend(processors(world));
    cases
}

/// The programs and libraries of one architecture.
struct Parts<'a> {
    world: &'a World,
    port: &'a Port,
    hello: Vec<u8>,
    one: Vec<u8>,
    needs_one: Vec<u8>,
}

impl<'a> Parts<'a> {
    fn new(world: &'a World, port: &'a Port) -> Self {
        let programs = &world.programs;
        let one = programs.library(port.abi, LIBRARY, ONE, &Link::default());
        let with = Link { with: &[(LIBRARY, &one)], ..Link::default() };
        let needs_one = programs.program(port.abi, NEEDS_ONE, &with);
        let hello = programs.program(port.abi, HELLO, &Link::default());
        Self { world, port, hello, one, needs_one }
    }

    /// Only glibc, with a program.
    fn on(&self, name: &str, about: &'static str, app: &[u8], more: Vec<Item>) -> Case {
        let case = self.world.image(("bookworm", self.port), name, about, &["libc6"], LINE);
        case.layer([program(APP, app)].into_iter().chain(more))
    }

    /// A program that needs the library, which must be found in this way.
    fn search(&self, name: &str, about: &'static str, flags: &[&str], more: Vec<Item>) -> Case {
        let with = Link { with: &[(LIBRARY, &self.one)], flags, ..Link::default() };
        let app = self.world.programs.program(self.port.abi, NEEDS_ONE, &with);
        self.on(name, about, &app, more)
    }

    fn at(&self, dir: &str) -> Vec<Item> {
        vec![file(&format!("{dir}/{LIBRARY}"), self.one.clone())]
    }

    fn cases(&self, port: &Port) -> Vec<Case> {
        let mut cases = self.searches(port);
        cases.extend(self.chains());
        cases.extend(self.contents(port));
        cases.extend(self.programs(port));
        cases
    }

    #[allow(clippy::too_many_lines, reason = "a list")]
    fn searches(&self, port: &Port) -> Vec<Case> {
        let multiarch = format!("usr/lib/{}", port.multiarch);
        let conf = || file("etc/ld.so.conf", "/opt/app/lib\n");
        let with_conf = |mut items: Vec<Item>| {
            items.push(conf());
            items
        };
        let cached = |name: &str, about| {
            let packages = ["libc6", "libc-bin"];
            let case = self.world.image(("bookworm", port), name, about, &packages, LINE);
            case.layer([program(APP, &self.needs_one), conf()].into_iter().chain(self.at("opt/app/lib")))
        };
        let origin = &["-Wl,-rpath,$ORIGIN/../lib"];
        let own = self.needs_one.as_slice();
        vec![
            self.on("lib-multiarch", "the library is in the multiarch directory", own, self.at(&multiarch)),
            self.on("lib-usr-lib", "the library is in /usr/lib", own, self.at("usr/lib")),
            self.on("lib-nowhere", "the library is nowhere", own, vec![]),
            self.on("lib-usr-local", "/usr/local/lib without a cache", own, self.at("usr/local/lib")),
            self.on("lib-conf", "ld.so.conf without a cache", own, with_conf(self.at("opt/app/lib"))),
            cached("lib-cache", "ld.so.conf with a cache").ldconfig(),
            cached("lib-cache-stale", "the cache names a library that is removed")
                .ldconfig()
                .late([Item::Whiteout(format!("opt/app/lib/{LIBRARY}"))]),
            self.on("lib-env", "LD_LIBRARY_PATH", own, self.at("opt/app/lib"))
                .env("LD_LIBRARY_PATH=/nowhere:/opt/app/lib"),
            self.on("lib-env-elsewhere", "LD_LIBRARY_PATH of another directory", own, self.at("opt/app/lib"))
                .env("LD_LIBRARY_PATH=/opt/app"),
            self.search("runpath-origin", "RUNPATH with $ORIGIN", origin, self.at("opt/app/lib")),
            self.search("runpath-braces", "RUNPATH with ${ORIGIN}", &["-Wl,-rpath,${ORIGIN}/../lib"], {
                self.at("opt/app/lib")
            }),
            self.search("runpath-absolute", "RUNPATH of a directory", &["-Wl,-rpath,/opt/app/lib"], {
                self.at("opt/app/lib")
            }),
            self.search("runpath-elsewhere", "RUNPATH of another directory", &["-Wl,-rpath,/opt/lib"], {
                self.at("opt/app/lib")
            }),
            self.search(
                "runpath-second",
                "RUNPATH's second directory",
                &["-Wl,-rpath,/nowhere:/opt/app/lib"],
                self.at("opt/app/lib"),
            ),
            self.search("runpath-lib", "RUNPATH with $LIB", &["-Wl,-rpath,/opt/app/$LIB"], {
                self.at(&format!("opt/app/lib/{}", port.multiarch))
            }),
            self.search("runpath-platform", "RUNPATH with $PLATFORM", &["-Wl,-rpath,/opt/app/$PLATFORM"], {
                let name = match port.debian {
                    "amd64" => "haswell",
                    "arm64" => "aarch64",
                    _ => "v7l",
                };
                let plain = if port.debian == "amd64" { self.at("opt/app/x86_64") } else { vec![] };
                self.at(&format!("opt/app/{name}")).into_iter().chain(plain).collect()
            }),
            self.search("runpath-link", "started by a link to it: $ORIGIN is where it really is", origin, {
                self.at("opt/app/lib")
            })
            .layer([link("usr/local/bin/app", "/opt/app/bin/app")])
            .line(&["app"]),
            self.search("runpath-over-env", "LD_LIBRARY_PATH before RUNPATH", origin, {
                let other = self.library(OTHER, LIBRARY);
                self.at("opt/app/lib")
                    .into_iter()
                    .chain([file(&format!("opt/other/{LIBRARY}"), other)])
                    .collect()
            })
            .env("LD_LIBRARY_PATH=/opt/other"),
        ]
    }

    fn library(&self, source: &str, name: &str) -> Vec<u8> {
        self.world.programs.library(self.port.abi, name, source, &Link::default())
    }

    /// Libraries that need libraries.
    fn chains(&self) -> Vec<Case> {
        let programs = &self.world.programs;
        let two = |flags| {
            let with = Link { with: &[(LIBRARY, &self.one)], flags, ..Link::default() };
            programs.library(self.port.abi, "libtwo.so.2", TWO, &with)
        };
        let plain = two(&[]);
        let own = two(&["-Wl,-rpath,$ORIGIN"]);
        let app = |two: &[u8], flags| {
            // The linker need not find the library's library; the loader must.
            let with = Link { with: &[("libtwo.so.2", two), (LIBRARY, &self.one)], flags, ..Link::default() };
            programs.program(self.port.abi, NEEDS_TWO, &with)
        };
        let flags = &["-Wl,-rpath,$ORIGIN/../lib", "-Wl,--as-needed"];
        let with_runpath = app(&plain, flags);
        let with_rpath = to_rpath(&with_runpath);
        let both = |two: &[u8]| {
            let mut items = self.at("opt/app/lib");
            items.push(file("opt/app/lib/libtwo.so.2", two.to_vec()));
            items
        };
        let only_two = vec![file("opt/app/lib/libtwo.so.2", plain.clone())];
        vec![
            self.on("chain-runpath", "RUNPATH is not for the libraries of libraries", &with_runpath, {
                both(&plain)
            }),
            self.on("chain-rpath", "RPATH is for the libraries of libraries, too", &with_rpath, both(&plain)),
            self.on("chain-own", "the library has a RUNPATH of its own", &with_runpath, both(&own)),
            self.on("chain-rpath-runpath", "the library's RUNPATH ends the program's RPATH", &with_rpath, {
                let other = two(&["-Wl,-rpath,/nowhere"]);
                both(&other)
            }),
            self.on("chain-missing", "a library's library is missing", &with_rpath, only_two),
        ]
    }

    /// Properties that libraries must have.
    #[allow(clippy::too_many_lines, reason = "a list")]
    fn contents(&self, port: &Port) -> Vec<Case> {
        let programs = &self.world.programs;
        let versioned = |script| {
            let link = Link { versions: Some(script), ..Link::default() };
            programs.library(port.abi, LIBRARY, ONE, &link)
        };
        let (version_1, version_2) = (versioned(VERSION_1), versioned(VERSION_2));
        let linked = |library: &[u8]| {
            let with = Link { with: &[(LIBRARY, library)], ..Link::default() };
            programs.program(port.abi, NEEDS_ONE, &with)
        };
        let dir = format!("usr/lib/{}", port.multiarch);
        let at = |bytes: &[u8]| vec![file(&format!("{dir}/{LIBRARY}"), bytes)];
        let own = self.needs_one.as_slice();
        let weak =
            programs.program(port.abi, WEAK, &Link { with: &[(LIBRARY, &self.one)], ..Link::default() });
        let other = self.library(OTHER, LIBRARY);
        let foreign = PORTS.iter().find(|other| other.platform != port.platform).expect("three ports");
        let foreign_one = programs.library(foreign.abi, LIBRARY, ONE, &Link::default());
        let path = format!("{dir}/{LIBRARY}");
        let mut cases = vec![
            self.on("symbol-missing", "the library lacks a function", own, at(&other)),
            self.on("symbol-weak", "a weak function is nowhere", &weak, at(&other)),
            self.on("version-same", "the library has the version", &linked(&version_2), at(&version_2)),
            self.on("version-older", "the library is older", &linked(&version_2), at(&version_1)),
            self.on(
                "version-newer",
                "the library dropped an old interface",
                &linked(&version_1),
                at(&version_2),
            ),
            self.on("version-none", "the library came to have versions", own, at(&version_1)),
            self.on(
                "version-lost",
                "the library has no versions any more",
                &linked(&version_1),
                at(&self.one),
            ),
            self.on("lib-text", "the library is a text", own, at(b"INPUT(libone.so)\n")),
            self.on("lib-empty", "the library is empty", own, at(b"")),
            self.on("lib-cut", "the library is cut short", own, at(&self.one[..400])),
            self.on(
                "lib-directory",
                "the library is a directory",
                own,
                vec![Item::Directory(path.clone(), 0o755)],
            ),
            self.on("lib-foreign", "the library is of another architecture", own, at(&foreign_one)),
            self.on("lib-foreign-first", "the same, but the right one comes later", own, {
                let mut items = at(&self.one);
                items.push(file(&format!("opt/foreign/{LIBRARY}"), foreign_one.clone()));
                items
            })
            .env("LD_LIBRARY_PATH=/opt/foreign"),
            self.on("lib-chain", "the library is a chain of links", own, {
                let mut items = self.at("opt/app/lib");
                items.push(link(&path, "/usr/lib/second"));
                items.push(link("usr/lib/second", &format!("../../opt/app/lib/{LIBRARY}")));
                items
            }),
            self.on("lib-dangling", "the library's link leads nowhere", own, vec![link(&path, "second")]),
            self.on("lib-loop", "the library's link leads to itself", own, vec![link(&path, LIBRARY)]),
            self.on("lib-hard", "the library is a second name", own, {
                let mut items = self.at("opt/app/lib");
                items.push(Item::Hard(path.clone(), format!("opt/app/lib/{LIBRARY}")));
                items
            }),
            self.on("lib-private", "the library is for root only", own, {
                vec![Item::File(path.clone(), 0o600, self.one.clone())]
            })
            .user("65532"),
            self.on("preload-missing", "LD_PRELOAD of what is not there", &self.hello, vec![])
                .env("LD_PRELOAD=/opt/none.so"),
        ];
        if port.debian == "armhf" {
            let soft = programs.library(ARMEL, LIBRARY, ONE, &Link::default());
            cases.push(
                self.on("lib-soft-float", "the library passes floats in integer registers", own, {
                    at(&soft)
                }),
            );
        }
        cases
    }

    /// Properties that kernel and loader require of the program.
    fn programs(&self, port: &Port) -> Vec<Case> {
        let programs = &self.world.programs;
        let foreign = PORTS.iter().find(|other| other.platform != port.platform).expect("three ports");
        let foreign_hello = programs.program(foreign.abi, HELLO, &Link::default());
        let musl = programs.program(port.musl, HELLO, &Link { flags: &["-dynamic"], ..Link::default() });
        let new = programs.program(port.new, NEW, &Link::default());
        let hello = self.hello.as_slice();
        let other_loader = patch(hello, port.loader, &port.loader.replace("ld-linux", "ld-lunix"));
        let foreign_loader = self.world.userland("bookworm", foreign);
        let foreign_loader = foreign_loader.file("libc6", &loader_path(foreign));
        let loader = loader_path(port);
        let mut cases = vec![
            self.on("hello", "a program of ours", hello, vec![]),
            self.on("new-glibc", "it needs a newer glibc", &new, vec![]),
            self.on("foreign", "a program of another architecture", &foreign_hello, vec![]),
            self.on("musl-on-glibc", "a musl program without musl", &musl, vec![]),
            self.on("no-loader", "its loader has another name", &other_loader, vec![]),
            self.on("loader-removed", "the loader is removed", hello, vec![Item::Whiteout(loader.clone())]),
            self.on("loader-foreign", "the loader is of another architecture", hello, {
                vec![program(&loader, &foreign_loader)]
            }),
            self.on("loader-text", "the loader is a text", hello, vec![program(&loader, b"ld.so\n")]),
            self.on("cut", "the program is cut short", &hello[..800], vec![]),
            self.on("library-as-program", "a library is no program", &self.one, vec![]),
            self.on("user-private", "the program is for root only", hello, vec![])
                .layer([Item::File(APP.into(), 0o700, hello.to_vec())])
                .user("65532"),
            self.on("user-directory", "the program's directory is for root only", hello, vec![])
                .layer([Item::Directory("opt/app".into(), 0o700)])
                .user("65532:65532"),
            self.on("user", "another user than root", hello, vec![]).user("65532"),
            self.on("not-executable", "the program may not be executed", hello, vec![])
                .layer([file(APP, hello)])
                .user("65532"),
        ];
        if port.debian == "armhf" {
            let soft = programs.program(ARMEL, HELLO, &Link::default());
            cases.push(self.on("soft-float", "a program for armel", &soft, vec![]));
            let v8 = programs.program(ARMHF_V8, V8, &Link::default());
            cases.push(self.on("v8", "a program for v8 on v7", &v8, vec![]).cpu("linux/arm/v7", "cortex-a7"));
            cases.push(self.on("v8-on-v8", "a program for v8 on v8", &v8, vec![]).cpu("linux/arm/v8", "max"));
        } else {
            let case =
                self.world.image(("trixie", port), "new-glibc", "it needs that glibc", &["libc6"], LINE);
            cases.push(case.layer([program(APP, &new)]));
        }
        cases
    }
}

/// The real path of a loader, with a merged `/usr`.
fn loader_path(port: &Port) -> String {
    let name = port.loader.rsplit('/').next().expect("a path");
    format!("usr/lib/{}/{name}", port.multiarch)
}

/// Cases for features that only some amd64 processors have.
fn processors(world: &World) -> Vec<Case> {
    let port = &PORTS[0];
    let parts = Parts::new(world, port);
    let v3 = world.programs.native(HELLO, &["-Wl,-z,x86-64-v3"]);
    let needed = |case: Case| case.cpu("linux/amd64", "qemu64");
    let modern = |case: Case| case.cpu("linux/amd64/v3", "Haswell");
    let hwcaps = |level: &str| parts.at(&format!("usr/lib/{}/glibc-hwcaps/x86-64-{level}", port.multiarch));
    let own = parts.needs_one.as_slice();
    vec![
        needed(parts.on("isa-v3-on-v1", "a program that says it needs x86-64-v3", &v3, vec![])),
        modern(parts.on("isa-v3-on-v3", "the same on such a processor", &v3, vec![])),
        needed(parts.on("hwcaps-v2-on-v1", "the library is for x86-64-v2 only", own, hwcaps("v2"))),
        modern(parts.on("hwcaps-v2-on-v3", "the same on a better processor", own, hwcaps("v2"))),
        modern(parts.on("hwcaps-v3-on-v3", "the library is for x86-64-v3 only", own, hwcaps("v3"))),
        needed(parts.on("hwcaps-both", "a library for x86-64-v3, and one for all", own, {
            let everywhere = parts.at(&format!("usr/lib/{}", port.multiarch));
            hwcaps("v3").into_iter().chain(everywhere).collect()
        })),
    ]
}
