//! How an entrypoint is found, and scripts.

use super::image::{Item, file, link, program};
use super::programs::{HELLO, Link, PORTS};
use super::world::{Case, World};

pub(super) fn cases(world: &World) -> Vec<Case> {
    let mut cases = Vec::new();
    for port in &PORTS {
        let hello = world.programs.program(port.abi, HELLO, &Link::default());
        let on = |name: &str, about, line: &[&str], items: Vec<Item>| {
            world.image(("bookworm", port), name, about, &["libc6"], line).layer(items)
        };
        let app = || program("usr/local/bin/app", &hello);
        cases.extend([
            on("path", "found on PATH", &["app"], vec![app()]),
            on("path-not", "on no directory of PATH", &["app"], vec![program("opt/app", &hello)]),
            on("path-own", "PATH of the image", &["app"], vec![program("opt/app", &hello)])
                .env("PATH=/nowhere:/opt"),
            on("path-own-not", "PATH of the image leaves its directory out", &["app"], vec![app()])
                .env("PATH=/usr/bin:/bin"),
            on("missing", "there is no such file", &["/usr/local/bin/app"], vec![]),
            on("directory", "it is a directory", &["/usr/local/bin"], vec![app()]),
            on("removed", "a layer above removes it", &["/usr/local/bin/app"], vec![app()])
                .layer([Item::Whiteout("usr/local/bin/app".into())]),
            on("dir-removed", "a layer above removes its parent", &["/usr/local/bin/app"], vec![app()])
                .layer([Item::Whiteout("usr/local".into())]),
            on(
                "replaced",
                "a layer above replaces it",
                &["/usr/local/bin/app"],
                vec![file("usr/local/bin/app", "nothing")],
            )
            .layer([app()]),
            on(
                "link",
                "a link to it",
                &["/usr/bin/app"],
                vec![app(), link("usr/bin/app", "../local/bin/app")],
            ),
            on(
                "link-absolute",
                "an absolute link to it",
                &["/app"],
                vec![app(), link("app", "/usr/local/bin/app")],
            ),
            on(
                "link-above",
                "a link that climbs above the root",
                &["/app"],
                vec![app(), link("app", "../../../../usr/local/bin/app")],
            ),
            on("link-dangling", "a link to nothing", &["/app"], vec![link("app", "/usr/local/bin/app")]),
            on("link-loop", "links in a circle", &["/app"], vec![link("app", "b"), link("b", "app")]),
            on(
                "link-directory",
                "through a link to a directory",
                &["/sw/app"],
                vec![link("sw", "usr/local/bin"), app()],
            ),
        ]);
        cases.extend(scripts(world, port, &hello));
    }
    cases
}

fn scripts(world: &World, port: &super::programs::Port, hello: &[u8]) -> Vec<Case> {
    let script = |name: &str, about, packages: &[&str], text: &str| {
        let case = world.image(("bookworm", port), name, about, packages, &["/app"]);
        case.layer([program("app", text.as_bytes())])
    };
    let libc = format!("usr/lib/{}/libc.so.6", port.multiarch);
    let mut cases = vec![
        script("script", "a shell script", &["dash"], "#!/bin/sh\n:\n"),
        script("script-blank", "a blank before the interpreter", &["dash"], "#! /bin/sh -e\n:\n"),
        script("script-no-shell", "a shell script without a shell", &["libc6"], "#!/bin/sh\n:\n"),
        script("script-bash", "a script of a shell that is not there", &["dash"], "#!/bin/bash\n:\n"),
        script("script-windows", "a script with line ends of Windows", &["dash"], "#!/bin/sh\r\n:\r\n"),
        script("script-no-libc", "the shell lacks its libc", &["dash"], "#!/bin/sh\n:\n")
            .layer([Item::Whiteout(libc)]),
        script("script-private", "a script that may not be read", &["dash"], "#!/bin/sh\n:\n")
            .layer([Item::File("app".into(), 0o711, b"#!/bin/sh\n:\n".to_vec())])
            .user("65532"),
    ];
    // The emulator cannot start programs that an interpreter starts by itself.
    if port.debian == "amd64" {
        let env = ["coreutils", "perl-base"];
        cases.extend([
            script("script-env", "by way of env", &env, "#!/usr/bin/env perl\nexit 0;\n"),
            script("script-env-s", "by way of env -S", &env, "#!/usr/bin/env -S perl -w\nexit 0;\n"),
            script("script-env-not", "env finds nothing", &["coreutils"], "#!/usr/bin/env perl\nexit 0;\n"),
            script("script-env-two", "env with an argument", &env, "#!/usr/bin/env perl -w\nexit 0;\n"),
            script("script-of-script", "an interpreter that is a script", &["dash"], "#!/opt/inner\n")
                .layer([program("opt/inner", b"#!/bin/sh\nexit 0\n")]),
            script("script-of-broken", "an interpreter that is a broken script", &["dash"], "#!/opt/inner\n")
                .layer([program("opt/inner", b"#!/opt/none\nexit 0\n")]),
            script("script-elf", "an interpreter of ours", &["libc6"], "#!/opt/hello\n")
                .layer([program("opt/hello", hello)]),
            script("no-format", "neither a program nor a script", &["libc6"], "exit 0\n"),
        ]);
    }
    cases
}
