//! Debian packages.

use super::*;

/// A Debian package with these members.
fn package(members: &[(&str, &[u8])]) -> Vec<u8> {
    let mut bytes = b"!<arch>\n".to_vec();
    for (name, content) in members {
        writeln!(bytes, "{name:<16}0           0     0     100644  {:<10}`", content.len())
            .expect("in memory");
        bytes.extend_from_slice(content);
        bytes.resize(bytes.len().next_multiple_of(2), b'\n');
    }
    bytes
}

/// Members of a package whose digest is right, as on a user's own mirror. The library reads them, as a build does.
#[test]
fn packages_of_debian() {
    let control = |text: &str| whole(&[raw(b"./control", b'0', text.len() as u64, b"", text.as_bytes())]);
    let good = control("Package: hello\nVersion: 1.0\nArchitecture: all\n");
    let with_data =
        |data: Vec<u8>| package(&[("debian-binary", b"2.0\n"), ("control.tar", &good), ("data.tar", &data)]);
    let escape = whole(&[raw(b"./../../etc/x", b'0', 0, b"", b"")]);
    let device = whole(&[raw(b"./dev/x", b'3', 0, b"", b"")]);
    let bomb = zstd::encode_all(&vec![0; 200 << 20][..], 1).expect("in memory");
    let cases: [(&str, Vec<u8>, &str); 9] = [
        ("nothing", Vec::new(), "not a Debian package"),
        ("no archive", b"!<arch>\nx".to_vec(), "not a Debian package"),
        ("another format", package(&[("debian-binary", b"3.0\n")]), "not a Debian package"),
        (
            "no control",
            package(&[("debian-binary", b"2.0\n"), ("control.tar", &whole(&[])), ("data.tar", &whole(&[]))]),
            "control",
        ),
        (
            "another package",
            package(&[
                ("debian-binary", b"2.0\n"),
                ("control.tar", &control("Package: other\nVersion: 9\n")),
                ("data.tar", &whole(&[])),
            ]),
            "its control file is that of other 9",
        ),
        ("a path that leads out", with_data(escape), "leads out"),
        ("a device", with_data(device), "dev/x"),
        ("a cut archive", with_data(raw(b"./a", b'0', 4096, b"", b"short")), "broken"),
        (
            "what unpacks without end",
            package(&[("debian-binary", b"2.0\n"), ("control.tar", &good), ("data.tar.zst", &bomb)]),
            "unpacks to more than",
        ),
    ];
    for (what, bytes, says) in cases {
        let cancel = xbuild::Cancel::new();
        let start = std::time::Instant::now();
        let error =
            xbuild::internal::packages::debian::unpack::unpack(&bytes, ("hello", "1.0"), Some(16), &cancel);
        let said = error.map_or_else(|error| error.to_string(), |_| "nothing".into());
        assert!(said.contains(says), "{what}: {said}");
        assert!(start.elapsed() < TIME, "{what}");
    }
}
