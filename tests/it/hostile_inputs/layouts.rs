//! Layouts: their index, their documents and their blobs.

use super::*;

fn documents(dir: &Path, alter: Alter<'_>) {
    layout_of(dir, &whole(&[raw(b"a", b'0', 1, b"", b"a")]), LAYER, alter);
}

/// Changes one document.
fn altered(dir: &Path, stage: &'static str, change: &dyn Fn(&mut Value)) {
    documents(dir, &|at, document| {
        if at == stage {
            change(document);
        }
    });
}

fn plain(dir: &Path) {
    documents(dir, &|_, _| ());
}

/// The blob of an entry or a descriptor.
fn blob_of(dir: &Path, descriptor: &Value) -> std::path::PathBuf {
    let digest = descriptor["digest"].as_str().expect("a digest").replace(':', "/");
    dir.join("image/blobs").join(digest)
}

fn json_of(path: &Path) -> Value {
    serde_json::from_slice(&fs::read(path).expect("a document")).expect("JSON")
}

fn manifest_blob(dir: &Path) -> std::path::PathBuf {
    blob_of(dir, &json_of(&dir.join("image/index.json"))["manifests"][0])
}

#[test]
#[allow(clippy::too_many_lines, reason = "a table")]
fn layouts_and_their_documents() {
    use ExitCode::{CorruptImage, NoImage, Unsound};
    hold(&[
        (
            "a list for an index",
            |f| {
                plain(f);
                write(&f.join("image/index.json"), "[]");
            },
            "inspect image",
            CorruptImage,
            "index.json",
        ),
        (
            "an empty index",
            |f| {
                plain(f);
                write(&f.join("image/index.json"), "");
            },
            "inspect image",
            CorruptImage,
            "EOF while parsing",
        ),
        (
            "bytes for an index",
            |f| {
                plain(f);
                write(&f.join("image/index.json"), [0xff; 64]);
            },
            "inspect image",
            CorruptImage,
            "is not a valid document",
        ),
        (
            "an index of brackets",
            |f| {
                plain(f);
                write(&f.join("image/index.json"), "[".repeat(200_000));
            },
            "inspect image",
            CorruptImage,
            "recursion limit",
        ),
        (
            "an index of blanks",
            |f| {
                plain(f);
                write(&f.join("image/index.json"), " ".repeat(5 << 20));
            },
            "inspect image",
            CorruptImage,
            "has more than 4194304 bytes",
        ),
        (
            "an index that is a pipe",
            |f| {
                plain(f);
                pipe(&f.join("image/index.json"));
            },
            "inspect image",
            ExitCode::Io,
            "a pipe, a socket or a device",
        ),
        (
            "a marker that is a pipe",
            |f| {
                plain(f);
                pipe(&f.join("image/oci-layout"));
            },
            "inspect oci:image",
            ExitCode::Io,
            "a pipe, a socket or a device",
        ),
        (
            "a marker of another version",
            |f| {
                plain(f);
                write(&f.join("image/oci-layout"), r#"{"imageLayoutVersion":"2.0"}"#);
            },
            "inspect oci:image",
            NoImage,
            "its version is `2.0`",
        ),
        (
            "a marker that says nothing",
            |f| {
                plain(f);
                write(&f.join("image/oci-layout"), "{}");
            },
            "inspect oci:image",
            NoImage,
            "`oci-layout` has no version",
        ),
        (
            "a manifest that is a pipe",
            |f| {
                plain(f);
                pipe(&manifest_blob(f));
            },
            "verify image",
            Unsound,
            "missing-blob",
        ),
        (
            "a manifest that is a directory",
            |f| {
                plain(f);
                let blob = manifest_blob(f);
                fs::remove_file(&blob).expect("a blob");
                fs::create_dir(blob).expect("a directory");
            },
            "copy image oci:out",
            CorruptImage,
            "is missing",
        ),
        (
            "a manifest of eight exabytes",
            |f| altered(f, "entry", &|entry| entry["size"] = json!(i64::MAX)),
            "inspect image",
            CorruptImage,
            "at most 4194304 are read",
        ),
        (
            "a manifest of less than nothing",
            |f| altered(f, "entry", &|entry| entry["size"] = json!(-1)),
            "inspect image",
            CorruptImage,
            "index.json",
        ),
        (
            "a digest that is a path",
            |f| altered(f, "entry", &|entry| entry["digest"] = json!("sha256:../../../../etc/passwd")),
            "inspect image",
            CorruptImage,
            "digest",
        ),
        (
            "a digest of an unknown kind",
            |f| altered(f, "entry", &|entry| entry["digest"] = json!(format!("md5:{:032}", 0))),
            "inspect image",
            CorruptImage,
            "digest",
        ),
        (
            "a digest in capitals",
            |f| {
                altered(f, "entry", &|entry| {
                    entry["digest"] = json!(entry["digest"].as_str().expect("a text").to_uppercase());
                });
            },
            "inspect image",
            CorruptImage,
            "digest",
        ),
        (
            "an index whose list is none",
            |f| altered(f, "index", &|index| index["manifests"] = json!({})),
            "inspect image",
            CorruptImage,
            "index.json",
        ),
        (
            "a manifest without a configuration",
            |f| altered(f, "manifest", &|manifest| manifest["config"] = json!(7)),
            "inspect image",
            CorruptImage,
            "`config`",
        ),
        (
            "layers that are no list",
            |f| altered(f, "manifest", &|manifest| manifest["layers"] = json!({})),
            "inspect image",
            CorruptImage,
            "`layers`",
        ),
        (
            "a layer that says it is larger",
            |f| altered(f, "manifest", &|manifest| manifest["layers"][0]["size"] = json!(1_i64 << 40)),
            "verify image",
            Unsound,
            "wrong-size",
        ),
        (
            "a layer that is a path",
            |f| altered(f, "manifest", &|manifest| manifest["layers"][0]["digest"] = json!("sha256:..")),
            "copy image oci:out",
            CorruptImage,
            "`layers`",
        ),
        (
            "a layer of an unknown kind",
            |f| altered(f, "manifest", &|manifest| manifest["layers"][0]["mediaType"] = json!("text/plain")),
            "verify image",
            Unsound,
            "unknown-media-type",
        ),
        (
            "bytes that were altered",
            |f| {
                plain(f);
                let manifest = json_of(&manifest_blob(f));
                write(&blob_of(f, &manifest["layers"][0]), vec![7; 2048]);
            },
            "verify image",
            Unsound,
            "wrong-digest",
        ),
        (
            "a configuration of too few layers",
            |f| altered(f, "config", &|config| config["rootfs"]["diff_ids"] = json!([])),
            "verify image",
            Unsound,
            "layer-count",
        ),
        (
            "a configuration of numbers",
            |f| altered(f, "config", &|config| config["os"] = json!(1)),
            "verify image",
            Unsound,
            "does not have an `os`",
        ),
        (
            "a configuration that is a list",
            |f| altered(f, "config", &|config| *config = json!([])),
            "verify image",
            Unsound,
            "it is not an object",
        ),
        (
            "a configuration of 5 MiB",
            |f| altered(f, "config", &|config| config["x"] = json!("x".repeat(5 << 20))),
            "verify image",
            Unsound,
            "document-too-large",
        ),
        (
            "two images for one platform",
            |f| {
                altered(f, "index", &|index| {
                    let mut other = index["manifests"][0].clone();
                    other["digest"] = json!(digest_of(b"other"));
                    index["manifests"].as_array_mut().expect("a list").push(other);
                });
            },
            "inspect image",
            NoImage,
            "has not one image",
        ),
        (
            "a name that is a command for a terminal",
            |f| altered(f, "entry", &|entry| entry["annotations"] = json!({ REF_NAME: "\u{1b}[2Jx" })),
            "inspect image:y",
            NoImage,
            "has no image `y`",
        ),
        (
            "a digest that nothing leads to",
            plain,
            "inspect image@sha256:0000000000000000000000000000000000000000000000000000000000000000",
            NoImage,
            "has no image",
        ),
        ("an image that is nowhere", |_| (), "inspect oci:image", NoImage, "does not exist"),
        (
            "an engine's name that is an option",
            |_| (),
            "inspect podman:--help",
            ExitCode::Usage,
            "cannot begin with a dash",
        ),
        (
            "the same of Docker",
            |_| (),
            "inspect docker-daemon:-v",
            ExitCode::Usage,
            "cannot begin with a dash",
        ),
    ]);
}
