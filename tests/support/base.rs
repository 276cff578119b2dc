//! A small base image, written by hand: an OCI layout with one layer per platform.

use std::fs;
use std::io::Write;
use std::path::Path;

use serde_json::{Value, json};

use super::layout::{REF_NAME, digest_of};

/// The reference name of the image.
pub(crate) const TAG: &str = "base";

/// Writes the layout. Every image has one file, `/etc/base`, `/lib` as a link to `/usr/lib`, a sticky `/tmp`, some
/// configuration, and fields that are in no specification.
pub(crate) fn write(layout: &Path, platforms: &[&str]) {
    write_as(layout, platforms, "the base");
}

/// The same with another text in its file. Existing content stays, without its tag.
pub(crate) fn write_as(layout: &Path, platforms: &[&str], text: &str) {
    fs::create_dir_all(layout.join("blobs/sha256")).expect("a directory of the test");
    fs::write(layout.join("oci-layout"), r#"{"imageLayoutVersion":"1.0.0"}"#)
        .expect("a directory of the test");
    let manifests: Vec<Value> = platforms.iter().map(|platform| image(layout, platform, text)).collect();
    let mut index = blob(
        layout,
        "application/vnd.oci.image.index.v1+json",
        &document(&json!({
            "schemaVersion": 2,
            "mediaType": "application/vnd.oci.image.index.v1+json",
            "manifests": manifests,
        })),
    );
    index["annotations"] = json!({ REF_NAME: TAG });
    let root = document(&json!({ "schemaVersion": 2, "manifests": [index] }));
    fs::write(layout.join("index.json"), root).expect("a directory of the test");
}

fn image(layout: &Path, platform: &str, text: &str) -> Value {
    let (tar, compressed) = layer(&format!("{text} for {platform}\n"));
    let mut parts = platform.split('/');
    let mut identity = json!({ "os": parts.next(), "architecture": parts.next() });
    if let Some(variant) = parts.next() {
        identity["variant"] = json!(variant);
    }
    let mut config = json!({
        "config": {
            "Cmd": ["/bin/base"],
            "Env": ["PATH=/usr/local/bin:/usr/bin:/bin", "FROM_BASE=yes"],
            "Labels": { "from-base": "yes" },
            "StopSignal": "SIGUSR1",
            "org.example.unknown": { "kept": true },
        },
        "history": [{ "created_by": "by hand" }],
        "rootfs": { "type": "layers", "diff_ids": [digest_of(&tar)] },
        "org.example.unknown": [1, 2, 3],
    });
    for (key, value) in identity.as_object().expect("an object") {
        config[key] = value.clone();
    }
    let config = blob(layout, "application/vnd.oci.image.config.v1+json", &document(&config));
    let layer = blob(layout, "application/vnd.oci.image.layer.v1.tar+gzip", &compressed);
    let media_type = "application/vnd.oci.image.manifest.v1+json";
    let manifest =
        json!({ "schemaVersion": 2, "mediaType": media_type, "config": config, "layers": [layer] });
    let mut descriptor = blob(layout, media_type, &document(&manifest));
    descriptor["platform"] = identity;
    descriptor
}

/// A layer: its tar, the stored bytes, and the media type that is declared for them.
pub(crate) struct Layer {
    pub(crate) tar: Vec<u8>,
    pub(crate) stored: Vec<u8>,
    pub(crate) media_type: &'static str,
}

/// Writes a layout of one image for linux/amd64 with the base's own layer and more layers on top.
pub(crate) fn write_layers(layout: &Path, layers: &[Layer], fields: &Value) {
    write_layers_for("amd64", layout, layers, fields);
}

/// The same for another architecture.
pub(crate) fn write_layers_for(architecture: &str, layout: &Path, layers: &[Layer], fields: &Value) {
    fs::create_dir_all(layout.join("blobs/sha256")).expect("a directory of the test");
    fs::write(layout.join("oci-layout"), r#"{"imageLayoutVersion":"1.0.0"}"#)
        .expect("a directory of the test");
    let (tar, stored) = layer("the base\n");
    let own = Layer { tar, stored, media_type: "application/vnd.oci.image.layer.v1.tar+gzip" };
    let layers: Vec<&Layer> = std::iter::once(&own).chain(layers).collect();
    let diff_ids: Vec<String> = layers.iter().map(|layer| digest_of(&layer.tar)).collect();
    let mut config = fields.clone();
    config["os"] = json!("linux");
    config["architecture"] = json!(architecture);
    config["rootfs"] = json!({ "type": "layers", "diff_ids": diff_ids });
    let config = blob(layout, "application/vnd.oci.image.config.v1+json", &document(&config));
    let layers: Vec<Value> =
        layers.iter().map(|layer| blob(layout, layer.media_type, &layer.stored)).collect();
    let media_type = "application/vnd.oci.image.manifest.v1+json";
    let manifest = json!({ "schemaVersion": 2, "mediaType": media_type, "config": config, "layers": layers });
    let mut manifest = blob(layout, media_type, &document(&manifest));
    manifest["platform"] = json!({ "os": "linux", "architecture": architecture });
    let root = document(&json!({ "schemaVersion": 2, "manifests": [manifest] }));
    fs::write(layout.join("index.json"), root).expect("a directory of the test");
}

/// A layer's tar, and the same compressed.
fn layer(text: &str) -> (Vec<u8>, Vec<u8>) {
    let mut builder = tar::Builder::new(Vec::new());
    // A merged /usr, and a directory whose mode matters.
    let mut add = |path: &str, mode, kind, link: &str| {
        let mut header = tar::Header::new_ustar();
        header.set_mode(mode);
        header.set_size(0);
        header.set_entry_type(kind);
        if link.is_empty() {
            builder.append_data(&mut header, path, std::io::empty()).expect("in memory");
        } else {
            builder.append_link(&mut header, path, link).expect("in memory");
        }
    };
    add("usr/lib", 0o755, tar::EntryType::Directory, "");
    add("lib", 0o777, tar::EntryType::Symlink, "usr/lib");
    add("tmp", 0o1777, tar::EntryType::Directory, "");
    let mut header = tar::Header::new_ustar();
    header.set_mode(0o644);
    header.set_size(text.len() as u64);
    builder.append_data(&mut header, "etc/base", text.as_bytes()).expect("in memory");
    let tar = builder.into_inner().expect("in memory");
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    encoder.write_all(&tar).expect("in memory");
    (tar, encoder.finish().expect("in memory"))
}

pub(crate) fn document(value: &Value) -> Vec<u8> {
    value.to_string().into_bytes()
}

/// Stores a blob. Returns its descriptor.
pub(crate) fn blob(layout: &Path, media_type: &str, bytes: &[u8]) -> Value {
    let digest = digest_of(bytes);
    fs::write(layout.join("blobs").join(digest.replace(':', "/")), bytes).expect("a directory of the test");
    json!({ "mediaType": media_type, "digest": digest, "size": bytes.len() })
}
