//! Images that differ in one thing each.

use serde_json::{Value, json};

use super::difference::{Change, Place};
use super::*;
use crate::oci::{Encoded, media_type};
use crate::sys::fs::{self, TempDir};

/// A layout with an image for one platform.
struct Sample {
    dir: TempDir,
    digest: Digest,
}

/// A tar archive, built by hand.
fn tar(with: impl FnOnce(&mut tar::Builder<Vec<u8>>)) -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    with(&mut builder);
    builder.into_inner().unwrap()
}

fn put(tar: &mut tar::Builder<Vec<u8>>, path: &str, (mode, mtime): (u32, u64), content: &[u8]) {
    let mut header = tar::Header::new_ustar();
    header.set_mode(mode);
    header.set_mtime(mtime);
    header.set_size(content.len() as u64);
    tar.append_data(&mut header, path, content).unwrap();
}

fn plain(content: &[u8]) -> Vec<u8> {
    tar(|tar| put(tar, "usr/bin/app", (0o755, 7), content))
}

fn sample(layer: &[u8], config: Value) -> Sample {
    packed(media_type::LAYER, layer, config)
}

fn packed(media: &str, layer: &[u8], mut config: Value) -> Sample {
    let dir = tempfile::tempdir().unwrap();
    let blobs = dir.path().join("blobs/sha256");
    fs::create_dir_all(&blobs).unwrap();
    let store = |bytes: &[u8]| {
        let digest = Digest::of(bytes);
        fs::write_atomic(&blobs.join(digest.hex()), bytes, 0o644).unwrap();
        digest
    };
    let layer_digest = store(layer);
    config["rootfs"] = json!({ "type": "layers", "diff_ids": [layer_digest] });
    config["history"] = json!([{ "created_by": "xbuild: the program" }]);
    let config = Encoded::new(media_type::CONFIG, &config);
    store(&config.bytes);
    let manifest = Encoded::new(
        media_type::MANIFEST,
        &json!({
            "schemaVersion": 2,
            "config": config.descriptor,
            "layers": [Descriptor::new(media, layer_digest, layer.len() as u64)],
        }),
    );
    store(&manifest.bytes);
    let mut entry = serde_json::to_value(&manifest.descriptor).unwrap();
    entry["platform"] = json!({ "os": "linux", "architecture": "arm64" });
    let index = Encoded::new(media_type::INDEX, &json!({ "schemaVersion": 2, "manifests": [entry] }));
    store(&index.bytes);
    let root = json!({ "schemaVersion": 2, "manifests": [index.descriptor] });
    fs::write_atomic(&dir.path().join("index.json"), root.to_string().as_bytes(), 0o644).unwrap();
    fs::write_atomic(&dir.path().join("oci-layout"), crate::layout::MARKER_TEXT, 0o644).unwrap();
    Sample { digest: index.descriptor.digest, dir }
}

fn differences(one: &Sample, other: &Sample) -> Vec<Difference> {
    let layouts = [one, other].map(|sample| Layout::open(sample.dir.path()).unwrap());
    compare((&layouts[0], &one.digest), (&layouts[1], &other.digest), &Cancel::new()).unwrap()
}

/// The changes of the only layer; nothing else may differ.
fn changes(one: &[u8], other: &[u8]) -> Vec<Change> {
    let mut found = differences(&sample(one, json!({})), &sample(other, json!({})));
    assert_eq!(found.len(), 1, "{found:?}");
    let Some(Difference::Layer { platform, number: 1, created_by, changes, omitted: 0, .. }) = found.pop()
    else {
        panic!("not a layer")
    };
    assert_eq!((platform.as_str(), created_by.as_deref()), ("linux/arm64", Some("xbuild: the program")));
    changes
}

#[test]
fn the_same_image_has_no_differences() {
    assert!(differences(&sample(&plain(b"x"), json!({})), &sample(&plain(b"x"), json!({}))).is_empty());
}

#[test]
fn a_field_of_the_configuration_is_named() {
    let config = |created: &str| json!({ "created": created, "config": { "Env": ["A=1", "B=2"] } });
    let mut other = config("2026-01-01T00:00:00Z");
    other["config"]["Env"][1] = "B=3".into();
    other["config"]["Labels"] = json!({ "a/b": "1" });
    let found =
        differences(&sample(&plain(b"x"), config("1970-01-01T00:00:00Z")), &sample(&plain(b"x"), other));
    let told: Vec<String> = found.iter().map(ToString::to_string).collect();
    assert_eq!(
        told,
        [
            "linux/arm64: config /config/Env/1: \"B=2\" / \"B=3\"",
            "linux/arm64: config /config/Labels: absent / {\"a/b\":\"1\"}",
            "linux/arm64: config /created: \"1970-01-01T00:00:00Z\" / \"2026-01-01T00:00:00Z\"",
        ]
    );
}

#[test]
fn content_is_told_with_its_place() {
    let found = changes(&plain(b"built at 12:00"), &plain(b"built at 12:01"));
    let place = Place { offset: 13, first: "\"built at 12:00\"".into(), second: "\"built at 12:01\"".into() };
    let path = "usr/bin/app".to_owned();
    assert_eq!(
        found,
        [Change::Content { path, first: 14, second: 14, place: Some(place), sections: vec![] }]
    );
}

#[test]
fn header_fields_are_named() {
    let with = |mode, mtime| tar(|tar| put(tar, "a", (mode, mtime), b"x"));
    let field = |field: &str, first: &str, second: &str| Change::Field {
        path: "a".into(),
        field: field.into(),
        first: first.into(),
        second: second.into(),
    };
    assert_eq!(changes(&with(0o644, 1), &with(0o644, 2)), [field("mtime", "1", "2")]);
    assert_eq!(changes(&with(0o644, 1), &with(0o600, 1)), [field("mode", "0644", "0600")]);
    let attribute = |value: &[u8]| {
        tar(|tar| {
            tar.append_pax_extensions([("SCHILY.xattr.user.a", value)]).unwrap();
            put(tar, "a", (0o644, 1), b"x");
        })
    };
    assert_eq!(changes(&attribute(b"1"), &attribute(b"2")), [field("SCHILY.xattr.user.a", "1", "2")]);
}

#[test]
fn order_missing_paths_and_framing_are_told_apart() {
    let of = |paths: &[&str]| tar(|tar| paths.iter().for_each(|path| put(tar, path, (0o644, 1), b"x")));
    assert_eq!(
        changes(&of(&["a", "b"]), &of(&["b", "a"])),
        [Change::Order { path: "a".into(), first: 1, second: 2 }]
    );
    assert_eq!(
        changes(&of(&["a", "b"]), &of(&["a", "c"])),
        [
            Change::Only { path: "b".into(), only: Side::First },
            Change::Only { path: "c".into(), only: Side::Second }
        ]
    );
    let mut padded = of(&["a"]);
    padded.extend([0; 512]);
    assert_eq!(changes(&of(&["a"]), &padded), [Change::Framing]);
}

#[test]
fn another_compression_is_no_other_content() {
    let gzip = |level| {
        use std::io::Write as _;
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::new(level));
        encoder.write_all(&plain(&[b'x'; 10_000])).unwrap();
        packed(media_type::LAYER_GZIP, &encoder.finish().unwrap(), json!({}))
    };
    let found = differences(&gzip(1), &gzip(9));
    assert!(
        matches!(&found[..], [Difference::Layer { changes, .. }] if changes == &[Change::Compression]),
        "{found:?}"
    );
}
