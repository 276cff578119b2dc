//! Layers: their headers, paths, links and compression.

use super::*;

fn layered(dir: &Path, tar: &[u8]) {
    layout_of(dir, tar, LAYER, &|_, _| ());
}

/// Entries with their raw headers.
fn links(count: usize) -> Vec<Vec<u8>> {
    let link = |number: usize| {
        raw(format!("l{number}").as_bytes(), b'2', 0, format!("l{}", number - 1).as_bytes(), b"")
    };
    std::iter::once(raw(b"l0/x", b'0', 0, b"", b"")).chain((1..count).map(link)).collect()
}

fn records(text: &[u8]) -> Vec<u8> {
    whole(&[raw(b"x", b'x', text.len() as u64, b"", text), raw(b"a", b'0', 0, b"", b"")])
}

#[test]
#[allow(clippy::too_many_lines, reason = "a table")]
fn layers() {
    use ExitCode::Unsound;
    hold(&[
        (
            "a path that leads out",
            |f| layered(f, &whole(&[raw(b"../x", b'0', 0, b"", b"")])),
            "verify image",
            Unsound,
            "leads out of the image",
        ),
        (
            "a whiteout of a directory's parent",
            |f| layered(f, &whole(&[raw(b"a/.wh...", b'0', 0, b"", b"")])),
            "verify image",
            Unsound,
            "leads out of the image",
        ),
        (
            "a hard link that leads out",
            |f| layered(f, &whole(&[raw(b"a", b'1', 0, b"../../etc/shadow", b"")])),
            "verify image",
            Unsound,
            "leads out of the image",
        ),
        (
            "a link to nothing at all",
            |f| layered(f, &whole(&[raw(b"a", b'2', 0, b"", b"")])),
            "verify image",
            Unsound,
            "a link without a target",
        ),
        (
            "a kind that nobody knows",
            |f| layered(f, &whole(&[raw(b"a", b'Z', 0, b"", b"")])),
            "verify image",
            ExitCode::Unrunnable,
            "refused-entry",
        ),
        (
            "a header whose sum is wrong",
            |f| {
                let mut tar = whole(&[raw(b"a", b'0', 0, b"", b"")]);
                tar[0] = b'b';
                layered(f, &tar);
            },
            "verify image",
            Unsound,
            "broken-layer",
        ),
        (
            "a file that is longer than its layer",
            |f| layered(f, &raw(b"a", b'0', 1 << 30, b"", b"short")),
            "verify image",
            Unsound,
            "broken-layer",
        ),
        (
            "a path that Linux does not take",
            |f| {
                layered(
                    f,
                    &tar_of(|builder| {
                        let mut header = tar::Header::new_gnu();
                        header.set_size(0);
                        builder
                            .append_data(&mut header, "a/".repeat(2_100) + "x", std::io::empty())
                            .expect("in memory");
                    }),
                );
            },
            "verify image",
            Unsound,
            "more than Linux accepts",
        ),
        (
            "records that are cut",
            |f| layered(f, &records(b"99 path=a\n")),
            "verify image",
            Unsound,
            "broken-layer",
        ),
        (
            "records of no length",
            |f| layered(f, &records(b"0 path=a\n")),
            "verify image",
            Unsound,
            "broken-layer",
        ),
        (
            "a record with a size below nothing",
            |f| layered(f, &records(b"11 size=-1\n")),
            "verify image",
            Unsound,
            "broken-layer",
        ),
        (
            "a sparse file of more runs than bytes",
            |f| layered(f, &records(b"28 GNU.sparse.numblocks=9999\n")),
            "verify image",
            Unsound,
            "broken-layer",
        ),
        (
            "a window of two gigabytes",
            |f| {
                let mut encoder = zstd::Encoder::new(Vec::new(), 1).expect("in memory");
                encoder.window_log(31).expect("a window");
                encoder.write_all(&[0; 2048]).expect("in memory");
                layout_of(
                    f,
                    &encoder.finish().expect("in memory"),
                    "application/vnd.oci.image.layer.v1.tar+zstd",
                    &|_, _| (),
                );
            },
            "verify image",
            Unsound,
            "broken-layer",
        ),
        (
            "bytes behind a compressed stream",
            |f| {
                let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
                gzip.write_all(&whole(&[])).expect("in memory");
                let bytes = [gzip.finish().expect("in memory"), vec![7; 100]].concat();
                layout_of(f, &bytes, "application/vnd.oci.image.layer.v1.tar+gzip", &|_, _| ());
            },
            "verify image",
            Unsound,
            "broken-layer",
        ),
        (
            "xz that says it is gzip",
            |f| {
                layout_of(
                    f,
                    &[0xfd, b'7', b'z', b'X', b'Z', 0, 0, 4],
                    "application/vnd.oci.image.layer.v1.tar+gzip",
                    &|_, _| (),
                );
            },
            "verify image",
            Unsound,
            "broken-layer",
        ),
        (
            "a file behind a circle of links",
            |f| {
                layered(
                    f,
                    &whole(&[
                        raw(b"a", b'2', 0, b"b", b""),
                        raw(b"b", b'2', 0, b"a", b""),
                        raw(b"a/x", b'0', 0, b"", b""),
                    ]),
                );
            },
            "verify image",
            ExitCode::Unrunnable,
            "behind links that lead in a circle",
        ),
        (
            "a file behind sixty links",
            |f| layered(f, &whole(&[links(60), vec![raw(b"l59/y", b'0', 0, b"", b"")]].concat())),
            "verify image",
            ExitCode::Unrunnable,
            "behind more than 40 links",
        ),
    ]);
}
