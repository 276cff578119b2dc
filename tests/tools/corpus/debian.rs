//! Debian's own programs, whole and with parts missing.

use super::image::{Item, link, program};
use super::programs::{PORTS, Port};
use super::world::{BOOKWORM, Case, TRIXIE, World};

pub(super) fn cases(world: &World) -> Vec<Case> {
    let bookworm = PORTS.iter().flat_map(|port| bookworm(world, port));
    // For armhf, the mirrors may have an index of trixie that does not match its release.
    bookworm.chain(PORTS[..2].iter().flat_map(|port| trixie(world, port))).collect()
}

#[allow(clippy::too_many_lines, reason = "a list")]
fn bookworm(world: &World, port: &Port) -> Vec<Case> {
    let mut cases = Vec::new();
    for (package, line) in BOOKWORM {
        let about = "the package with its dependencies";
        cases.push(world.image(("bookworm", port), package, about, &[package, "libc6"], line));
    }
    let on = ("bookworm", port);
    let libraries = format!("usr/lib/{}", port.multiarch);
    let broken = |name, about, package, line: &[&str], items: Vec<Item>| {
        world.image(on, name, about, &[package], line).layer(items)
    };
    let gone = |name: &str| vec![Item::Whiteout(format!("{libraries}/{name}"))];
    cases.extend([
        world.split(on, "dash-split", "no merged /usr", &["dash"], &["/bin/dash", "-c", ":"]),
        broken(
            "jq-no-onig",
            "a library of a library is removed",
            "jq",
            &["jq", "--version"],
            gone("libonig.so.5"),
        ),
        broken("jq-no-jq", "its own library is removed", "jq", &["jq", "--version"], gone("libjq.so.1")),
        broken(
            "curl-no-ssl",
            "a library of a library is removed",
            "curl",
            &["curl", "--version"],
            gone("libssl.so.3"),
        ),
        broken(
            "sqlite3-no-libm",
            "a part of glibc is removed",
            "sqlite3",
            &["sqlite3", "--version"],
            gone("libm.so.6"),
        ),
        broken("dash-no-libc", "glibc is removed", "dash", &["/bin/sh", "-c", ":"], gone("libc.so.6")),
        broken(
            "dash-opaque",
            "the directory of libraries is opaque",
            "dash",
            &["/bin/sh", "-c", ":"],
            vec![Item::Opaque(libraries.clone())],
        ),
        broken(
            "dash-no-usr-links",
            "the links into a merged /usr are removed",
            "dash",
            &["/usr/bin/dash", "-c", ":"],
            vec![Item::Whiteout("lib".into()), Item::Whiteout("lib64".into())],
        ),
        broken(
            "file-dangling",
            "the library's link leads nowhere",
            "file",
            &["file", "--version"],
            vec![link(&format!("{libraries}/libmagic.so.1"), "libmagic.so.1.9.9")],
        ),
        broken(
            "xz-replaced",
            "the library is one of another name",
            "xz-utils",
            &["xz", "--version"],
            vec![link(&format!("{libraries}/liblzma.so.5"), "libc.so.6")],
        ),
    ]);
    let libc = world.userland("bookworm", port).file("libc6", &format!("{libraries}/libc.so.6"));
    cases.push(
        broken(
            "dash-libc-again",
            "glibc is removed by one layer and put back by the next",
            "dash",
            &["/bin/sh", "-c", ":"],
            gone("libc.so.6"),
        )
        .layer([program(&format!("{libraries}/libc.so.6"), &libc)]),
    );
    cases.push(world.image(
        on,
        "libc",
        "a library that is a program too",
        &["libc6"],
        &[&format!("/{libraries}/libc.so.6")],
    ));
    cases
}

fn trixie(world: &World, port: &Port) -> Vec<Case> {
    let mut cases = Vec::new();
    for (package, line) in TRIXIE {
        let about = "the package with its dependencies";
        cases.push(world.image(("trixie", port), package, about, &[package, "libc6"], line));
    }
    let (old, new) = (world.userland("bookworm", port), world.userland("trixie", port));
    let mixed = [
        ("jq", "usr/bin/jq", &["/usr/bin/jq", "--version"][..]),
        ("dash", "usr/bin/dash", &["/usr/bin/dash", "-c", ":"]),
        ("sqlite3", "usr/bin/sqlite3", &["/usr/bin/sqlite3", "--version"]),
        ("xz-utils", "usr/bin/xz", &["/usr/bin/xz", "--version"]),
    ];
    for (package, path, line) in mixed {
        let items = [program(path, &new.file(package, path))];
        let name = format!("{package}-of-trixie");
        let about = "trixie's program on bookworm's libraries";
        cases.push(world.image(("bookworm", port), &name, about, &[package], line).layer(items));
        // It starts, and then itself requires its library's exact source version.
        if package == "sqlite3" {
            continue;
        }
        let items = [program(path, &old.file(package, path))];
        let name = format!("{package}-of-bookworm");
        let about = "bookworm's program on trixie's libraries";
        cases.push(world.image(("trixie", port), &name, about, &[package], line).layer(items));
    }
    let libraries = format!("usr/lib/{}", port.multiarch);
    let libc = old.file("libc6", &format!("{libraries}/libc.so.6"));
    let about = "trixie's programs and loader with bookworm's libc.so.6";
    cases.push(
        world
            .image(("trixie", port), "sqlite3-old-libc", about, &["sqlite3"], &["sqlite3", "--version"])
            .layer([program(&format!("{libraries}/libc.so.6"), &libc)]),
    );
    cases
}
