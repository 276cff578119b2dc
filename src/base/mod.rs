//! Base images: what a platform's layers lie on, whatever it comes from.
//!
//! A base is first resolved, which tells what `plan` needs to know of it (its identity, its glibc) and takes little,
//! and then fetched, which makes sure that every blob of it is on this disk and whole.

pub mod apt;

use std::collections::BTreeSet;
use std::sync::Arc;

use serde_json::Value;

use crate::image::ImageLayer;
use crate::plan::GlibcVersion;

/// A base image for one platform, complete on this disk.
#[derive(Clone, Debug, PartialEq)]
pub struct BaseImage {
    /// Its name, for the annotation `org.opencontainers.image.base.name`; none for `scratch`.
    pub name: Option<String>,
    /// Its digest, for the annotation `org.opencontainers.image.base.digest`.
    pub digest: Option<String>,
    /// Its configuration as it is, with fields that we don't know; `null` for `scratch`.
    pub config: Value,
    /// Its layers, lowest first.
    pub layers: Vec<ImageLayer>,
    /// The folders that it has, as paths without a leading slash.
    pub folders: Arc<BTreeSet<String>>,
    /// The newest glibc version that its `libc.so.6` provides.
    pub glibc: Option<GlibcVersion>,
}

impl BaseImage {
    /// No base: an empty root filesystem.
    #[must_use]
    pub fn scratch() -> Self {
        Self {
            name: None,
            digest: None,
            config: Value::Null,
            layers: Vec::new(),
            folders: Arc::default(),
            glibc: None,
        }
    }
}
