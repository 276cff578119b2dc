//! Images as a description, and as an OCI layout made from it.

use std::fs;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use xbuild::oci::Descriptor;

use super::packages::MERGED;
use crate::support::layout::digest_of;

/// A layer that is stored: a tar archive without compression, so that its digest is its `diff_id` too.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Blob {
    pub(super) path: PathBuf,
    digest: String,
    size: u64,
}

impl Blob {
    pub(super) fn descriptor(&self) -> Descriptor {
        let media_type = "application/vnd.oci.image.layer.v1.tar";
        Descriptor::new(media_type, self.digest.parse().expect("a digest of ours"), self.size)
    }

    pub(super) fn of_file(path: &Path) -> Self {
        let bytes = fs::read(path).expect("a layer of the corpus");
        Self { path: path.to_owned(), digest: digest_of(&bytes), size: bytes.len() as u64 }
    }
}

/// Something that a case adds on top of packages.
#[derive(Clone, Debug)]
pub(super) enum Item {
    /// A file with its mode.
    File(String, u32, Vec<u8>),
    /// A directory with its mode.
    Directory(String, u32),
    /// A symbolic link and its target.
    Link(String, String),
    /// A second name of a file.
    Hard(String, String),
    /// A path of a lower layer that is removed.
    Whiteout(String),
    /// A directory whose content in lower layers is removed.
    Opaque(String),
}

/// An executable program.
pub(super) fn program(path: &str, bytes: &[u8]) -> Item {
    Item::File(path.into(), 0o755, bytes.to_vec())
}

/// A readable file.
pub(super) fn file(path: &str, bytes: impl Into<Vec<u8>>) -> Item {
    Item::File(path.into(), 0o644, bytes.into())
}

pub(super) fn link(path: &str, target: &str) -> Item {
    Item::Link(path.into(), target.into())
}

/// The links of a system with a merged `/usr`.
pub(super) fn merged_usr() -> Vec<Item> {
    MERGED.iter().map(|name| link(name, &format!("usr/{name}"))).collect()
}

/// An image: its layers, lowest first, and its configuration.
#[derive(Clone, Debug)]
pub(super) struct Image {
    pub(super) platform: &'static str,
    pub(super) layers: Vec<Blob>,
    pub(super) entrypoint: Vec<String>,
    pub(super) env: Vec<String>,
    pub(super) user: Option<&'static str>,
    pub(super) workdir: Option<&'static str>,
}

/// The name of the image in its layout.
pub(super) const TAG: &str = "case";

/// Writes a layer of these items into `dir`.
pub(super) fn write_layer(dir: &Path, number: usize, items: &[Item]) -> Blob {
    let path = dir.join(format!("layer-{number}.tar"));
    let mut tar = tar::Builder::new(fs::File::create(&path).expect("a directory of the test"));
    for item in items {
        let mut header = tar::Header::new_gnu();
        header.set_uid(0);
        header.set_gid(0);
        header.set_mtime(1_700_000_000);
        header.set_mode(0o755);
        header.set_size(0);
        let written = match item {
            Item::File(path, mode, bytes) => {
                header.set_mode(*mode);
                header.set_size(bytes.len() as u64);
                tar.append_data(&mut header, path, bytes.as_slice())
            }
            Item::Directory(path, mode) => {
                header.set_mode(*mode);
                header.set_entry_type(tar::EntryType::Directory);
                tar.append_data(&mut header, path, std::io::empty())
            }
            Item::Link(path, target) => {
                header.set_entry_type(tar::EntryType::Symlink);
                tar.append_link(&mut header, path, target)
            }
            Item::Hard(path, target) => {
                header.set_entry_type(tar::EntryType::Link);
                tar.append_link(&mut header, path, target)
            }
            Item::Whiteout(path) => {
                let (dir, name) = path.rsplit_once('/').unwrap_or(("", path));
                let path = Path::new(dir).join(format!(".wh.{name}"));
                tar.append_data(&mut header, path, std::io::empty())
            }
            Item::Opaque(dir) => {
                let path = Path::new(dir).join(".wh..wh..opq");
                tar.append_data(&mut header, path, std::io::empty())
            }
        };
        written.unwrap_or_else(|error| panic!("{item:?}: {error}"));
    }
    tar.finish().expect("a directory of the test");
    Blob::of_file(&path)
}

impl Image {
    /// Writes the image as a layout with one manifest.
    pub(super) fn write(&self, layout: &Path) {
        let blobs = layout.join("blobs/sha256");
        fs::create_dir_all(&blobs).expect("a directory of the test");
        fs::write(layout.join("oci-layout"), r#"{"imageLayoutVersion":"1.0.0"}"#)
            .expect("a directory of the test");
        let mut layers = Vec::new();
        for layer in &self.layers {
            let to = blobs.join(&layer.digest["sha256:".len()..]);
            if !to.exists() {
                fs::hard_link(&layer.path, &to)
                    .or_else(|_| fs::copy(&layer.path, &to).map(|_| ()))
                    .expect("a directory of the test");
            }
            layers.push(json!({
                "mediaType": "application/vnd.oci.image.layer.v1.tar",
                "digest": layer.digest,
                "size": layer.size,
            }));
        }
        let identity = self.identity();
        let mut config = json!({
            "config": { "Entrypoint": self.entrypoint, "Env": self.env },
            "rootfs": {
                "type": "layers",
                "diff_ids": self.layers.iter().map(|layer| &layer.digest).collect::<Vec<_>>(),
            },
        });
        if let Some(user) = self.user {
            config["config"]["User"] = user.into();
        }
        if let Some(workdir) = self.workdir {
            config["config"]["WorkingDir"] = workdir.into();
        }
        for (key, value) in identity.as_object().expect("an object") {
            config[key] = value.clone();
        }
        let config = store(&blobs, "application/vnd.oci.image.config.v1+json", &config);
        let media_type = "application/vnd.oci.image.manifest.v1+json";
        let manifest =
            json!({ "schemaVersion": 2, "mediaType": media_type, "config": config, "layers": layers });
        let mut entry = store(&blobs, media_type, &manifest);
        entry["platform"] = identity;
        entry["annotations"] = json!({ crate::support::layout::REF_NAME: TAG });
        let index = json!({ "schemaVersion": 2, "manifests": [entry] });
        fs::write(layout.join("index.json"), index.to_string()).expect("a directory of the test");
    }

    fn identity(&self) -> Value {
        let mut parts = self.platform.split('/');
        let mut identity = json!({ "os": parts.next(), "architecture": parts.next() });
        if let Some(variant) = parts.next() {
            identity["variant"] = variant.into();
        }
        identity
    }
}

fn store(blobs: &Path, media_type: &str, document: &Value) -> Value {
    let bytes = document.to_string().into_bytes();
    let digest = digest_of(&bytes);
    fs::write(blobs.join(&digest["sha256:".len()..]), &bytes).expect("a directory of the test");
    json!({ "mediaType": media_type, "digest": digest, "size": bytes.len() })
}
