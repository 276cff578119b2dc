//! apt's configuration as found on machines.

use super::*;
use crate::sys::loopback::{Reply, Server};

/// A machine with these files below `/etc`.
fn machine(files: &[(&str, &str)]) -> tempfile::TempDir {
    let root = tempfile::tempdir().unwrap();
    for (name, text) in files {
        let path = root.path().join("etc").join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write_atomic(&path, text.as_bytes(), 0o644).unwrap();
    }
    root
}

fn read(files: &[(&str, &str)]) -> Host {
    let debian = [("os-release", "ID=debian\n")];
    Host::read(machine(&[&debian, files].concat()).path())
}

fn addresses(mirrors: &[HostMirror]) -> Vec<&str> {
    mirrors
        .iter()
        .map(|mirror| match &mirror.address {
            Address::Mirror(text) | Address::List(text) => text.as_str(),
        })
        .collect()
}

/// Debian's key in the form of a field.
fn inline(key: &str) -> String {
    let lines = key.trim_end().lines();
    lines.fold(String::new(), |text, line| format!("{text}\n {}", if line.is_empty() { "." } else { line }))
}

const DEBIANS: &str = include_str!("../../../../keys/debian-archive-bookworm-automatic.asc");

#[test]
fn only_debian_itself_is_asked() {
    let list = ("apt/sources.list", "deb http://one.example/debian bookworm main\n");
    for id in
        ["ID=ubuntu\nID_LIKE=debian", "ID=raspbian", "ID=devuan", "ID=linuxmint", "ID=kali", "NAME=Debian"]
    {
        assert_eq!(Host::read(machine(&[("os-release", id), list]).path()), Host::default(), "{id}");
    }
    assert_eq!(Host::read(machine(&[list]).path()), Host::default());
    for id in ["ID=debian", "NAME=x\nID=\"debian\"\n"] {
        let host = Host::read(machine(&[("os-release", id), list]).path());
        assert_eq!(addresses(&host.archive), ["http://one.example/debian"], "{id}");
    }
}

#[test]
fn the_files_of_both_formats_are_read_in_their_order() {
    let host = read(&[
        ("apt/sources.list", "deb [arch=amd64] http://one.example/debian/ bookworm main\n"),
        (
            "apt/sources.list.d/two.sources",
            "Types: deb\nURIs: http://two.example/debian http://three.example/debian\n\
             Suites: bookworm bookworm-security\nComponents: main\n\n\
             Types: deb\nURIs: http://two.example/debian-security\nSuites: bookworm-security\nComponents: main\n",
        ),
        ("apt/sources.list.d/off.sources.disabled", "deb http://off.example/debian bookworm main\n"),
        ("apt/sources.list.d/broken.sources", "what is this"),
    ]);
    let archive = ["http://one.example/debian", "http://two.example/debian", "http://three.example/debian"];
    assert_eq!(addresses(&host.archive), archive);
    assert_eq!(addresses(&host.security), ["http://two.example/debian-security"]);
    assert_eq!(host.archive[1].suites, ["bookworm"]);
    assert_eq!(host.passed, [] as [String; 0]);
}

#[test]
fn a_list_of_mirrors_on_the_machine_is_read() {
    // As in Debian's cloud images.
    let sources = "Types: deb deb-src\nURIs: mirror+file:///etc/apt/mirrors/debian.list\n\
                   Suites: bookworm bookworm-updates bookworm-backports\nComponents: main\n\n\
                   Types: deb deb-src\nURIs: mirror+file:/etc/apt/mirrors/debian-security.list\n\
                   Suites: bookworm-security\nComponents: main\n\n\
                   Types: deb\nURIs: mirror+file:///etc/apt/mirrors/none.list\nSuites: bookworm\nComponents: main\n";
    let host = read(&[
        ("apt/sources.list.d/debian.sources", sources),
        (
            "apt/mirrors/debian.list",
            "http://b.example/debian\tpriority:2\nhttp://a.example/debian\tpriority:1\nfile:/srv/debian\n",
        ),
        ("apt/mirrors/debian-security.list", "https://a.example/debian-security\n"),
    ]);
    assert_eq!(addresses(&host.archive), ["http://a.example/debian", "http://b.example/debian"]);
    assert_eq!(addresses(&host.security), ["https://a.example/debian-security"]);
    assert_eq!(
        host.passed,
        [
            "`file:` can only be read by apt",
            "`/etc/apt/mirrors/none.list`, a list of mirrors, cannot be read"
        ]
    );
}

#[test]
fn a_list_of_mirrors_elsewhere_is_asked_for_and_kept() {
    let server = Server::start(|request| match (request.number, request.path.as_str()) {
        (0, "/list") => Reply::Whole(b"http://a.example/debian\nhttps://b.example/debian\n".to_vec()),
        _ => Reply::Status(404),
    });
    let address = server.url.trim_start_matches("http:");
    for scheme in ["mirror", "mirror+http"] {
        let host = read(&[("apt/sources.list", &format!("deb {scheme}:{address}/list bookworm main\n"))]);
        assert_eq!(addresses(&host.archive), [format!("{}/list", server.url)]);
    }
    let host = read(&[("apt/sources.list", &format!("deb mirror+http:{address}/list bookworm main\n"))]);
    let cache = tempfile::tempdir().unwrap();
    let open = |client: &Client| host.clone().with_lists(cache.path(), client, &Cancel::new()).unwrap();
    let both = ["http://a.example/debian", "https://b.example/debian"];
    assert_eq!(addresses(&open(&Client::new(false)).archive), both);
    // The list is gone, so the copy is used.
    assert_eq!(addresses(&open(&Client::new(false)).archive), both);
    assert_eq!(addresses(&open(&Client::new(true)).archive), both);
    let empty = tempfile::tempdir().unwrap();
    let none = host.clone().with_lists(empty.path(), &Client::new(true), &Cancel::new()).unwrap();
    assert_eq!(none.archive, []);
    assert!(none.passed[0].contains("--offline"), "{:?}", none.passed);
}

#[test]
fn whose_signature_is_wanted_decides() {
    let signer = crate::packages::debian::testing::Signer::new();
    let foreign = signer.armoured();
    let fingerprint = Keyring::parse("x", DEBIANS.as_bytes()).unwrap().fingerprints().pop_first().unwrap();
    let of = |address: &str, signed_by: &str| {
        let text = format!(
            "Types: deb\nURIs: {address}\nSuites: bookworm\nComponents: main\nSigned-By: {signed_by}\n"
        );
        let files = [
            ("apt/sources.list.d/a.sources", text.as_str()),
            ("apt/keyrings/debian.asc", DEBIANS),
            ("apt/keyrings/other.asc", foreign.as_str()),
        ];
        !read(&files).archive.is_empty()
    };
    // A company's own proxy is recognised by Debian's key.
    for (signed_by, ours) in [
        ("/usr/share/keyrings/debian-archive-keyring.gpg", true),
        ("/usr/share/keyrings/debian-archive-bookworm-stable.gpg", true),
        ("/etc/apt/keyrings/debian.asc", true),
        (fingerprint.as_str(), true),
        (inline(DEBIANS).as_str(), true),
        ("/etc/apt/keyrings/other.asc", false),
        ("/etc/apt/keyrings/none.asc", false),
        (signer.fingerprint().as_str(), false),
        (inline(&foreign).as_str(), false),
        ("\n -----BEGIN PGP PUBLIC KEY BLOCK-----\n .\n x", false),
    ] {
        assert_eq!(of("http://proxy.example/repository/apt", signed_by), ours, "{signed_by}");
        assert_eq!(of("http://a.example/debian", signed_by), ours, "{signed_by}");
    }
}

#[test]
fn what_is_not_debians_archive_or_only_for_apt_is_passed_over() {
    for line in [
        "deb https://download.example/linux/debian bookworm stable\n",
        "deb http://a.example/apt bookworm main\n",
        "deb http://a.example/debian-security bookworm main\n",
        "deb http://a.example/debian bookworm-security main\n",
    ] {
        let host = read(&[("apt/sources.list", line)]);
        assert_eq!(host, Host::default(), "{line}");
    }
    for (line, word) in [
        ("deb cdrom:[Debian GNU/Linux 12 - DVD]/ bookworm main\n", "`cdrom:` can only be read by apt"),
        ("deb tor+http://a.example/debian bookworm main\n", "`tor+http:` can only be read by apt"),
        ("deb file:/srv/debian bookworm main\n", "`file:` can only be read by apt"),
        (
            "deb http://me:secret@a.example/debian bookworm main\n",
            "a URL with a password is only used by apt",
        ),
        (
            "deb mirror+https://me:secret@a.example/list bookworm main\n",
            "a URL with a password is only used by apt",
        ),
        (
            "deb [check-valid-until=no] http://a.example/archive/debian/20250520T000000Z bookworm main\n",
            "`http://a.example/archive/debian/20250520T000000Z` is a snapshot and has nothing current",
        ),
    ] {
        let host = read(&[("apt/sources.list", line)]);
        assert_eq!((host.archive.len(), host.passed.as_slice()), (0, &[word.to_owned()][..]), "{line}");
    }
}
