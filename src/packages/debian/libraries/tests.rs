//! Which packages crates need, and that the data is well-formed.

use super::*;
use crate::packages::check_package_name;

fn needs(krate: (&str, Option<&str>), features: &[&str], pkg_config: &[&str], release: &str) -> Vec<String> {
    let features: BTreeSet<String> = features.iter().map(|&feature| feature.to_owned()).collect();
    let (name, links) = krate;
    let krate = NativeCrate { name, links, features: &features, pkg_config: pkg_config.to_vec() };
    development(&[krate], &BTreeSet::from([name]), release).into_iter().map(|wanted| wanted.package).collect()
}

fn linked(name: &str, links: &str, features: &[&str]) -> Vec<String> {
    needs((name, Some(links)), features, &[], "bookworm")
}

const NONE: [&str; 0] = [];

#[test]
fn a_crate_needs_the_package_of_the_library_that_it_links() {
    assert_eq!(linked("openssl-sys", "openssl", &[]), ["libssl-dev"]);
    assert_eq!(linked("pq-sys", "pq", &["default", "pkg-config"]), ["libpq-dev"]);
    // Another crate for the same library, of which nothing else is known.
    assert_eq!(linked("my-pq", "pq", &[]), ["libpq-dev"]);
    assert_eq!(linked("rayon-core", "rayon-core", &[]), NONE);
    assert_eq!(linked("unheard-of-sys", "unheard-of", &[]), NONE);
}

#[test]
fn a_crate_with_a_copy_of_its_own_needs_none() {
    assert_eq!(linked("openssl-sys", "openssl", &["vendored"]), NONE);
    assert_eq!(linked("libsqlite3-sys", "sqlite3", &["bundled"]), NONE);
    assert_eq!(linked("pq-sys", "pq", &["bundled_without_openssl"]), NONE);
    // They compile theirs if they do not find the library, or in any case.
    assert_eq!(linked("libz-sys", "z", &[]), NONE);
    assert_eq!(linked("libgit2-sys", "git2", &[]), NONE);
    assert_eq!(linked("lz4-sys", "lz4", &[]), NONE);
    // The metadata of this one name a library that it does not look for.
    assert_eq!(needs(("zmq-sys", Some("zmq")), &[], &["libzmq"], "trixie"), NONE);
}

#[test]
fn features_decide() {
    assert_eq!(linked("zstd-sys", "zstd", &["legacy"]), NONE);
    assert_eq!(linked("zstd-sys", "zstd", &["legacy", "pkg-config"]), ["libzstd-dev"]);
    assert_eq!(linked("libsqlite3-sys", "sqlite3", &["bundled", "sqlcipher"]), ["libsqlcipher-dev"]);
    assert_eq!(linked("libbpf-sys", "bpf", &["vendored-libbpf"]), ["libelf-dev", "zlib1g-dev"]);
    assert_eq!(linked("hidapi", "hidapi", &["linux-static-hidraw"]), ["libudev-dev"]);
    let gmp = ["mpfr", "mpc", "use-system-libs"];
    assert_eq!(linked("gmp-mpfr-sys", "gmp", &gmp), ["libgmp-dev", "libmpc-dev", "libmpfr-dev"]);
    assert_eq!(linked("gmp-mpfr-sys", "gmp", &gmp[..2]), NONE);
    assert_eq!(linked("fuser", "fuse", &["libfuse", "libfuse2"]), ["libfuse-dev"]);
    // Crates with the same `links` and other features.
    assert_eq!(linked("rusty_ffmpeg", "ffmpeg", &[]), NONE);
    let next = linked("ffmpeg-sys-next", "ffmpeg", &["swscale"]);
    assert_eq!(next, ["libavcodec-dev", "libavutil-dev", "libswscale-dev"]);
}

#[test]
fn a_crate_in_the_graph_can_bring_the_library() {
    let features = BTreeSet::from(["vendored".to_owned()]);
    let ftdi = [NativeCrate {
        name: "libftdi1-sys",
        links: Some("ftdi1"),
        features: &features,
        pkg_config: Vec::new(),
    }];
    let packages = |present: &[&str]| {
        let wanted = development(&ftdi, &present.iter().copied().collect(), "trixie");
        wanted.into_iter().map(|wanted| wanted.package).collect::<Vec<_>>()
    };
    assert_eq!(packages(&["libftdi1-sys"]), ["libusb-1.0-0-dev"]);
    assert_eq!(packages(&["libftdi1-sys", "libusb1-sys"]), NONE);
}

#[test]
fn names_of_pkg_config_lead_to_packages_of_the_release() {
    let gtk = |release| needs(("gtk4-like-sys", None), &[], &["gtk4", "gio-2.0", "unheard-of"], release);
    assert_eq!(gtk("trixie"), ["libglib2.0-dev", "libgtk-4-dev"]);
    // It does not have GTK 4.
    assert_eq!(gtk("bullseye"), ["libglib2.0-dev"]);
    assert_eq!(gtk("a-later-one"), ["libglib2.0-dev", "libgtk-4-dev"]);
}

#[test]
fn a_package_is_wanted_once_for_the_first_crate() {
    let features = BTreeSet::new();
    let of = |name, links, pkg_config| NativeCrate { name, links, features: &features, pkg_config };
    let crates = [
        of("z-sys", Some("pq"), vec![]),
        of("pcap", None, vec![]),
        of("pq-sys", Some("pq"), vec![]),
        of("glib-sys", None, vec!["glib-2.0"]),
    ];
    let wanted: Vec<String> = development(&crates, &BTreeSet::new(), "bookworm")
        .into_iter()
        .map(|wanted| format!("{}: {}", wanted.package, wanted.why))
        .collect();
    let expected = [
        "libglib2.0-dev: `glib-sys` asks pkg-config for glib-2.0",
        "libpcap-dev: `pcap` is linked with it",
        "libpq-dev: `pq-sys` links pq",
    ];
    assert_eq!(wanted, expected);
}

#[test]
fn a_library_leads_to_its_package() {
    assert_eq!(package_of_library("pq"), Some("libpq-dev"));
    assert_eq!(package_of_library("libpq"), Some("libpq-dev"));
    assert_eq!(package_of_library("ssl"), Some("libssl-dev"));
    assert_eq!(package_of_library("gtk4"), Some("libgtk-4-dev"));
    // The newest release does not have it.
    assert_eq!(package_of_library("webkit2gtk-4.0"), Some("libwebkit2gtk-4.0-dev"));
    assert_eq!(package_of_library("unheard-of"), None);
}

#[test]
fn the_data_is_well_formed() {
    let data = &*PARSED;
    let mut seen = BTreeSet::new();
    let key = |library: &Library| {
        let first = library.crates.first().cloned();
        library.links.clone().or(first).expect("an entry is for a library or for crates")
    };
    assert!(
        data.libraries.is_sorted_by_key(key),
        "entries are sorted by `links`, or else by the first crate"
    );
    for library in &data.libraries {
        let name = key(library);
        assert!(library.links.is_some() == library.crates.is_empty(), "{name}: either `links` or `crates`");
        assert!(library.crates.is_sorted(), "{name}");
        assert!(!library.packages.is_empty() || library.copy == Some(OwnCopy::Always), "{name}: packages");
        assert!(library.with.is_disjoint(&library.unless), "{name}: a feature is on and off");
        assert!(library.read.contains(|c: char| c.is_ascii_digit()), "{name}: a version");
        let packages: Vec<_> = library.packages.iter().map(|package| format!("{package:?}")).collect();
        assert!(packages.is_sorted(), "{name}: packages are sorted");
        let entry = format!("{name} {packages:?} {:?} {:?}", library.crates, library.with);
        assert!(seen.insert(entry.clone()), "twice: {entry}");
        library.packages.iter().for_each(check);
    }
    data.pkg_config.values().chain(data.linker.values()).for_each(check);
    for section in ["\n[pkg-config]\n", "\n[linker]\n"] {
        let (_, lines) = DATA.split_once(section).unwrap();
        let names: Vec<_> = lines.lines().take_while(|line| !line.is_empty()).map(name).collect();
        assert!(names.is_sorted(), "{section} is sorted");
        assert!(names.len() >= 60, "{section}");
    }
    assert!(crates_by_name().any(|name| name == "pcap"));
    let libraries: BTreeSet<String> = data.libraries.iter().map(key).collect();
    assert!(libraries.len() >= 70, "{}", libraries.len());
}

fn name(line: &str) -> &str {
    line.split_once(" = ").map_or(line, |(name, _)| name.trim_matches('"'))
}

fn check(package: &PerRelease) {
    let names: Vec<&String> = match package {
        PerRelease::Same(name) => vec![name],
        PerRelease::Each(names) => {
            assert!(names.keys().all(|release| RELEASES.contains(&release.as_str())), "{package:?}");
            assert!(!names.is_empty());
            names.values().collect()
        }
    };
    for name in names {
        assert_eq!(check_package_name(name), Ok(()), "{name}");
    }
}

/// The beginning and the end of the table.
const MARKS: (&str, &str) =
    ("<!-- written by a test with XBUILD_BLESS=1 -->\n", "\n<!-- the end of the table -->");

#[test]
fn the_table_of_the_manual_is_the_data() {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/libraries.md");
    let manual = crate::sys::fs::read_to_string(&path).unwrap();
    let (before, rest) = manual.split_once(MARKS.0).unwrap();
    let (_, after) = rest.split_once(MARKS.1).unwrap();
    let fresh = format!("{before}{}{}{}{after}", MARKS.0, table(), MARKS.1);
    if crate::sys::env::Environment::of_process().var("XBUILD_BLESS").is_some() {
        crate::sys::fs::write_atomic(&path, fresh.as_bytes(), 0o644).unwrap();
    } else {
        assert!(manual == fresh, "docs/libraries.md is stale: run XBUILD_BLESS=1 cargo test");
    }
}

fn table() -> String {
    let mut lines = vec!["| Crates | Packages | When |".to_owned(), "|---|---|---|".to_owned()];
    let code = |name: &str| format!("`{name}`");
    let codes = |names: &mut dyn Iterator<Item = String>| names.collect::<Vec<_>>().join(", ");
    for library in &PARSED.libraries {
        let by_name = codes(&mut library.crates.iter().map(|name| code(name)));
        let crates = library.links.as_ref().map_or(by_name, |links| format!("that link {}", code(links)));
        let packages = codes(&mut library.packages.iter().map(|package| match package {
            PerRelease::Same(name) => code(name),
            PerRelease::Each(names) => {
                let each = names.iter().map(|(release, name)| format!("{} ({release})", code(name)));
                each.collect::<Vec<_>>().join(", ")
            }
        }));
        let with = library.with.iter().map(|feature| format!("with {}", code(feature)));
        let unless = library.unless.iter().map(|feature| format!("without {}", code(feature)));
        let crates_of_graph =
            library.unless_crates.iter().map(|name| format!("if {} is not in the graph", code(name)));
        let when = match library.copy {
            Some(OwnCopy::Always) => "never: they compile their own copy".to_owned(),
            Some(OwnCopy::IfMissing) => {
                "never: they compile their own copy if the library is missing".to_owned()
            }
            None => codes(&mut with.chain(unless).chain(crates_of_graph)),
        };
        lines.push(format!("| {crates} | {packages} | {when} |").replace("|  |", "| |"));
    }
    lines.join("\n")
}
