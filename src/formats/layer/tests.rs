use std::io::Read;
use std::sync::Mutex;

use super::*;

const ALL: [Compression; 3] =
    [Compression::Gzip { level: 5 }, Compression::Zstd { level: 3 }, Compression::None];

fn file(path: &str, content: Content) -> Entry {
    Entry { path: path.into(), kind: EntryKind::File(content), mode: 0o755, uid: 0, gid: 0 }
}

/// Text that compresses like code and spans several blocks.
fn large() -> Vec<u8> {
    (0..400_000_u32).flat_map(|i| (i / 7).wrapping_mul(2_654_435_761).to_le_bytes()).collect()
}

fn spec(dir: &Path, compression: Compression) -> LayerSpec {
    let path = dir.join("large");
    let large = large();
    fs::write_atomic(&path, &large, 0o600).unwrap();
    LayerSpec {
        entries: vec![
            file("usr/bin/app", Content::Path { path, size: large.len() as u64 }),
            file("etc/app.conf", Content::Bytes(b"a = 1\n"[..].into())),
        ],
        mtime: 1_700_000_000,
        compression,
        created_by: "xbuild: payload".into(),
        ..LayerSpec::default()
    }
}

fn decompress(compression: Compression, bytes: &[u8]) -> Vec<u8> {
    let mut tar = Vec::new();
    match compression {
        Compression::Gzip { .. } => flate2::read::MultiGzDecoder::new(bytes).read_to_end(&mut tar).unwrap(),
        Compression::Zstd { .. } => zstd::Decoder::new(bytes).unwrap().read_to_end(&mut tar).unwrap(),
        Compression::None => tar.write(bytes).unwrap(),
    };
    tar
}

#[test]
fn the_descriptor_and_the_diff_id_are_those_of_the_bytes() {
    for compression in ALL {
        let dir = tempfile::tempdir().unwrap();
        let blobs = tempfile::tempdir().unwrap();
        let spec = spec(dir.path(), compression);
        let last = Mutex::new(0);
        let layer = write(&spec, blobs.path(), &Cancel::new(), &|done| *last.lock().unwrap() = done).unwrap();
        let blob = fs::read(&layer.path).unwrap();
        assert_eq!(layer.descriptor.digest, Digest::of(&blob));
        assert_eq!(layer.descriptor.size, blob.len() as u64);
        assert_eq!(layer.path.file_name().unwrap().to_str(), Some(layer.descriptor.digest.hex()));
        assert_eq!(fs::MetadataExt::mode(&fs::metadata(&layer.path).unwrap()) & 0o777, 0o644);
        let tar = decompress(compression, &blob);
        assert_eq!(layer.diff_id, Digest::of(&tar));
        assert_eq!((layer.uncompressed_size, *last.lock().unwrap()), (tar.len() as u64, tar.len() as u64));
        let mut archive = ::tar::Archive::new(&tar[..]);
        let paths: Vec<_> =
            archive.entries().unwrap().map(|e| e.unwrap().path().unwrap().display().to_string()).collect();
        assert_eq!(paths, ["etc/", "etc/app.conf", "usr/", "usr/bin/", "usr/bin/app"]);
        assert_eq!(fs::read_dir(blobs.path()).unwrap().count(), 1, "no temporary file is left");
    }
}

#[test]
fn the_bytes_are_the_same_on_any_number_of_threads() {
    let dir = tempfile::tempdir().unwrap();
    for compression in ALL {
        let mut spec = spec(dir.path(), compression);
        let digests: BTreeSet<Digest> = [1, 2, 3, 8]
            .into_iter()
            .map(|threads| {
                spec.entries.reverse();
                let layer = write_on(&spec, dir.path(), threads, &Cancel::new(), &|_| ()).unwrap();
                layer.descriptor.digest
            })
            .collect();
        assert_eq!(digests.len(), 1, "{compression:?}");
    }
}

#[test]
fn layers_are_written_side_by_side_from_a_small_pool() {
    let dir = tempfile::tempdir().unwrap();
    let spec = spec(dir.path(), Compression::default());
    let pool = rayon::ThreadPoolBuilder::new().num_threads(2).build().unwrap();
    let digests: Mutex<BTreeSet<Digest>> = Mutex::default();
    pool.scope(|scope| {
        for _ in 0..6 {
            scope.spawn(|_| {
                let layer = write(&spec, dir.path(), &Cancel::new(), &|_| ()).unwrap();
                digests.lock().unwrap().insert(layer.descriptor.digest);
            });
        }
    });
    assert_eq!(digests.into_inner().unwrap().len(), 1);
}

#[test]
fn a_failure_leaves_nothing_behind() {
    let dir = tempfile::tempdir().unwrap();
    let blobs = tempfile::tempdir().unwrap();
    let mut spec = spec(dir.path(), Compression::default());
    if let EntryKind::File(Content::Path { size, .. }) = &mut spec.entries[0].kind {
        *size += 1;
    }
    let error = write(&spec, blobs.path(), &Cancel::new(), &|_| ()).unwrap_err();
    assert!(matches!(error, Error::SizeChanged { .. }));
    let cancel = Cancel::new();
    cancel.interrupt();
    let error = write(&spec, blobs.path(), &cancel, &|_| ()).unwrap_err();
    assert_eq!(error.exit_code(), ExitCode::Interrupted);
    assert_eq!(fs::read_dir(blobs.path()).unwrap().count(), 0);
}

#[test]
fn a_missing_file_and_an_unwritable_place_are_told_apart() {
    let dir = tempfile::tempdir().unwrap();
    let content = Content::Path { path: dir.path().join("none"), size: 1 };
    let spec = LayerSpec { entries: vec![file("a", content)], ..LayerSpec::default() };
    let error = write(&spec, dir.path(), &Cancel::new(), &|_| ()).unwrap_err();
    assert_eq!(error.exit_code(), ExitCode::MissingFile);
    assert!(error.to_string().contains("none"), "{error}");
    let error = write(&spec, &dir.path().join("gone"), &Cancel::new(), &|_| ()).unwrap_err();
    assert!(matches!(error, Error::Write(_)));
}

#[test]
fn a_full_disk_has_its_own_code() {
    let full = fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
    for compression in ALL {
        let mut codec = Codec::new(full.try_clone().unwrap(), compression, 2);
        // Gzip writes its header immediately, the others write later.
        let error = match &mut codec {
            Ok(codec) => codec.write_all(&large()).err(),
            Err(_) => None,
        };
        let error = match (codec, error) {
            (_, Some(error)) => Error::Write(error),
            (Ok(codec), None) => Error::Write(codec.finish().map(drop).unwrap_err()),
            (Err(error), None) => error,
        };
        assert_eq!(error.exit_code(), ExitCode::DiskFull, "{compression:?}: {error}");
        assert!(error.hint().unwrap().contains("space"));
    }
}

#[test]
fn levels_that_do_not_exist_are_refused() {
    for compression in [
        Compression::Gzip { level: 0 },
        Compression::Gzip { level: 13 },
        Compression::Zstd { level: 0 },
        Compression::Zstd { level: 20 },
    ] {
        let error = Codec::new(io::sink(), compression, 1).err();
        assert!(matches!(error, Some(Error::Level { .. })), "{compression:?}");
    }
}
