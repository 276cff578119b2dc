//! Archives of images: of layouts, and of `docker save`.

use super::*;

/// `docker save`'s archive of one image, with a different manifest.
fn docker(dir: &Path, manifest: &str, more: &[(&str, &[u8])]) {
    let tar = tar_of(|builder| {
        let mut add = |name: &str, content: &[u8]| {
            let mut header = tar::Header::new_gnu();
            header.set_mode(0o644);
            header.set_size(content.len() as u64);
            builder.append_data(&mut header, name, content).expect("in memory");
        };
        add("manifest.json", manifest.as_bytes());
        add("config.json", CONFIGURATION.as_bytes());
        for (name, content) in more {
            add(name, content);
        }
    });
    write(&dir.join("a.tar"), tar);
}

const CONFIGURATION: &str =
    r#"{"os":"linux","architecture":"amd64","rootfs":{"type":"layers","diff_ids":[]}}"#;

#[test]
#[allow(clippy::too_many_lines, reason = "a table")]
fn archives() {
    use ExitCode::{CorruptImage, NoImage};
    hold(&[
        (
            "no archive",
            |f| write(&f.join("a.tar"), "text\n".repeat(400)),
            "inspect a.tar",
            CorruptImage,
            "not a tar archive",
        ),
        ("an empty file", |f| write(&f.join("a.tar"), ""), "inspect a.tar", NoImage, "has neither a file"),
        (
            "another kind of compression",
            |f| write(&f.join("a.tar"), [0x04, 0x22, 0x4d, 0x18, 1, 2, 3, 4]),
            "inspect a.tar",
            CorruptImage,
            "lz4",
        ),
        (
            "a cut stream",
            |f| {
                let bytes = zstd::encode_all(&[7; 4096][..], 1).expect("in memory");
                write(&f.join("a.tar"), &bytes[..bytes.len() - 4]);
            },
            "inspect a.tar",
            CorruptImage,
            "it is broken",
        ),
        (
            "a cut member",
            |f| write(&f.join("a.tar"), &raw(b"oci-layout", b'0', 4096, b"", &[7; 600])[..1024]),
            "inspect a.tar",
            CorruptImage,
            "ends",
        ),
        (
            "a long name without end",
            |f| write(&f.join("a.tar"), raw(b"././@LongLink", b'L', 1 << 40, b"", &vec![b'a'; 2 << 20])),
            "inspect a.tar",
            CorruptImage,
            "more than",
        ),
        (
            "records without end",
            |f| write(&f.join("a.tar"), raw(b"x", b'x', 3 << 20, b"", &vec![b'1'; 3 << 20])),
            "inspect a.tar",
            CorruptImage,
            "1048576 bytes",
        ),
        (
            "a layout without its index",
            |f| {
                write(
                    &f.join("a.tar"),
                    whole(&[raw(b"oci-layout", b'0', 30, b"", br#"{"imageLayoutVersion":"1.0.0"}"#)]),
                );
            },
            "inspect a.tar",
            NoImage,
            "it has no file `index.json`",
        ),
        (
            "an index that is a link to itself",
            |f| {
                write(
                    &f.join("a.tar"),
                    whole(&[
                        raw(b"oci-layout", b'0', 2, b"", b"{}"),
                        raw(b"index.json", b'2', 0, b"index.json", b""),
                    ]),
                );
            },
            "inspect a.tar",
            NoImage,
            "it has no file `index.json`",
        ),
        (
            "an index of 5 MiB",
            |f| {
                write(
                    &f.join("a.tar"),
                    whole(&[
                        raw(b"oci-layout", b'0', 2, b"", b"{}"),
                        raw(b"index.json", b'0', 5 << 20, b"", &vec![b' '; 5 << 20]),
                    ]),
                );
            },
            "inspect a.tar",
            CorruptImage,
            "has more than 4194304 bytes",
        ),
        (
            "more files than are read",
            |f| {
                write(
                    &f.join("a.tar"),
                    whole(
                        &(0..70_000)
                            .map(|number| raw(format!("{number}").as_bytes(), b'0', 0, b"", b""))
                            .collect::<Vec<_>>(),
                    ),
                );
            },
            "inspect a.tar",
            CorruptImage,
            "more than 65536 entries",
        ),
        (
            "a manifest that is no list",
            |f| docker(f, "{}", &[]),
            "inspect a.tar",
            CorruptImage,
            "manifest.json",
        ),
        (
            "a configuration elsewhere",
            |f| docker(f, r#"[{"Config":"../../etc/passwd","Layers":[]}]"#, &[]),
            "inspect a.tar",
            CorruptImage,
            "is missing",
        ),
        (
            "a layer that is missing",
            |f| {
                docker(f, r#"[{"Config":"c","Layers":["x"]}]"#, &[("c", br#"{"rootfs":{"diff_ids":["sha256:0000000000000000000000000000000000000000000000000000000000000000"]}}"#)]);
            },
            "inspect a.tar",
            CorruptImage,
            "`x`, which manifest.json names, is missing",
        ),
        (
            "layers that the configuration has not",
            |f| docker(f, r#"[{"Config":"config.json","Layers":["x","y"]}]"#, &[]),
            "inspect a.tar",
            CorruptImage,
            "2 layers, but 0 `diff_ids`",
        ),
        (
            "a manifest of 5 MiB",
            |f| docker(f, &" ".repeat(5 << 20), &[]),
            "inspect a.tar",
            CorruptImage,
            "at most 4194304 are read",
        ),
        (
            "twenty thousand images of one file",
            |f| {
                docker(
                    f,
                    &format!("[{}]", vec![r#"{"Config":"config.json","Layers":[]}"#; 20_000].join(",")),
                    &[],
                );
            },
            "inspect a.tar:none",
            NoImage,
            "has no image `none`",
        ),
        (
            "a size of less than nothing",
            |f| {
                let mut entry = raw(b"oci-layout", b'0', 0, b"", b"");
                entry[124..136].copy_from_slice(&[0xff; 12]);
                let sum: u32 = entry[..512]
                    .iter()
                    .enumerate()
                    .map(|(at, byte)| if (148..156).contains(&at) { 32 } else { u32::from(*byte) })
                    .sum();
                entry[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
                write(&f.join("a.tar"), whole(&[entry]));
            },
            "inspect a.tar",
            CorruptImage,
            "is not a valid number",
        ),
    ]);
}
