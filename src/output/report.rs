//! Reports for other programs on the image that a run has made: `--metadata-file`, `--iidfile`, `--image-refs`.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;

use serde_json::{Map, Value, json};

use super::OutputError;
use super::archive::familiar;
use crate::oci::{Descriptor, Digest, Reference};
use crate::sys::cancel::Cancel;
use crate::sys::{fs, staging};
use crate::target::platform::Platform;

/// An image that was published.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Published {
    /// The index or manifest, with the annotations of its entry in a layout.
    pub root: Descriptor,
    /// Each platform's manifest and the digest of its configuration, in platform order.
    pub platforms: BTreeMap<Platform, (Descriptor, Digest)>,
    /// Its names, as they were given.
    pub names: Vec<String>,
    /// Repositories that have it only by its digest.
    pub untagged: Vec<String>,
    /// Its ID in the engine that it was loaded into, if it was.
    pub loaded: Option<Digest>,
}

impl Published {
    /// The image's ID as docker build prints it. If it was loaded, this is its ID in the engine, so that `docker run`
    /// accepts it; otherwise its configuration's digest if there is one platform, and the index's digest if there are
    /// several.
    #[must_use]
    pub fn id(&self) -> &Digest {
        if let Some(id) = &self.loaded {
            return id;
        }
        let mut configs = self.platforms.values().map(|(_, config)| config);
        match (configs.next(), configs.next()) {
            (Some(config), None) => config,
            _ => &self.root.digest,
        }
    }

    /// docker buildx's metadata: one flat object. Fields that buildx has for a single platform exist for each platform
    /// here, with the platform after the key, as buildx itself does for provenance.
    #[must_use]
    pub fn metadata(&self) -> Value {
        let mut document = Map::new();
        let mut insert = |key: String, value: Value| drop(document.insert(key, value));
        insert("containerimage.digest".into(), json!(self.root.digest));
        insert("containerimage.descriptor".into(), json!(self.root));
        for (platform, (manifest, config)) in &self.platforms {
            insert(format!("containerimage.digest/{platform}"), json!(manifest.digest));
            insert(format!("containerimage.descriptor/{platform}"), json!(manifest));
            insert(format!("containerimage.config.digest/{platform}"), json!(config));
            if self.platforms.len() == 1 {
                insert("containerimage.config.digest".into(), json!(config));
            }
        }
        if !self.names.is_empty() || !self.untagged.is_empty() {
            insert("image.name".into(), json!(self.full_names().join(",")));
        }
        document.into()
    }

    /// All references by digest, one per line: for each repository that of the index, then that of each platform's
    /// manifest.
    #[must_use]
    pub fn references(&self) -> String {
        let mut repositories: Vec<String> = Vec::new();
        for reference in
            self.names.iter().chain(&self.untagged).filter_map(|name| name.parse::<Reference>().ok())
        {
            repositories.extend(reference.repository().map(familiar));
        }
        repositories.dedup();
        let manifests = self.platforms.values().map(|(manifest, _)| &manifest.digest);
        let digests: Vec<&Digest> = std::iter::once(&self.root.digest).chain(manifests).collect();
        let mut text = String::new();
        for repository in &repositories {
            for digest in &digests {
                // Writing to a string cannot fail.
                writeln!(text, "{repository}@{digest}").ok();
            }
        }
        text
    }

    /// The names in full, `registry/repository:tag`, then the untagged repositories; a tag alone is unchanged.
    fn full_names(&self) -> Vec<String> {
        let tagged = self.names.iter().map(|name| {
            let full = name.parse::<Reference>().ok().and_then(|reference| reference.name());
            full.unwrap_or_else(|| name.clone())
        });
        let untagged = self.untagged.iter().map(|name| {
            let reference = name.parse::<Reference>().ok();
            reference.as_ref().and_then(Reference::repository).unwrap_or(name).to_owned()
        });
        tagged.chain(untagged).collect()
    }
}

/// Writes a report completely or not at all.
pub(crate) fn write(path: &Path, text: &str, cancel: &Cancel) -> Result<(), OutputError> {
    staging::write(path, 0o644, cancel, |file| Ok(file.write_all(text.as_bytes())?))
}

/// Checks in advance that a report may be written.
pub(crate) fn check(path: &Path, cancel: &Cancel) -> Result<(), OutputError> {
    if fs::metadata(path).is_ok_and(|metadata| metadata.is_dir()) {
        return Err(OutputError::Directory(path.to_owned()));
    }
    // As in docker buildx, its directory is not made, so a typing error in the path is noticed at once.
    if let Some(dir) = path.parent().filter(|dir| !dir.as_os_str().is_empty()) {
        fs::metadata(dir)?;
    }
    Ok(staging::check(path, cancel)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn published(platforms: &[&str], names: &[&str]) -> Published {
        let of = |text: &str| Descriptor::new("m", Digest::of(text.as_bytes()), 3);
        let platforms = platforms
            .iter()
            .map(|name| (name.parse().unwrap(), (of(name), Digest::of(format!("config {name}").as_bytes()))))
            .collect();
        let names = names.iter().map(|name| (*name).to_owned()).collect();
        Published { root: of("index"), platforms, names, untagged: Vec::new(), loaded: None }
    }

    #[test]
    fn one_platform_has_an_id_and_several_have_the_indexs() {
        let one = published(&["linux/amd64"], &["a"]);
        assert_eq!(*one.id(), Digest::of(b"config linux/amd64"));
        assert_eq!(one.metadata()["containerimage.config.digest"], json!(one.id()));
        let mut two = published(&["linux/amd64", "linux/arm/v7"], &["a:1", "ghcr.io/me/b:2", ":v3"]);
        assert_eq!(*two.id(), two.root.digest);
        two.loaded = Some(Digest::of(b"as the engine has it"));
        assert_eq!(Some(two.id()), two.loaded.as_ref());
        let metadata = two.metadata();
        assert_eq!(metadata.get("containerimage.config.digest"), None);
        assert_eq!(metadata["containerimage.digest"], json!(two.root.digest));
        assert_eq!(metadata["containerimage.digest/linux/arm/v7"], json!(Digest::of(b"linux/arm/v7")));
        assert_eq!(metadata["containerimage.descriptor"]["size"], 3);
        assert_eq!(metadata["image.name"], "docker.io/library/a:1,ghcr.io/me/b:2,:v3");
        assert!(metadata.as_object().unwrap().values().all(|value| !value.is_null()));
        two.untagged = vec!["me/c".into()];
        assert_eq!(two.metadata()["image.name"], "docker.io/library/a:1,ghcr.io/me/b:2,:v3,docker.io/me/c");
    }

    #[test]
    fn references_name_the_index_and_every_platform() {
        let two = published(&["linux/amd64", "linux/arm64"], &["a:1", "a:2", "ghcr.io/me/b", ":v3"]);
        let lines: Vec<String> = two.references().lines().map(str::to_owned).collect();
        assert_eq!(lines.len(), 6);
        assert_eq!(lines[0], format!("a@{}", two.root.digest));
        assert_eq!(lines[1], format!("a@{}", Digest::of(b"linux/amd64")));
        assert_eq!(lines[5], format!("ghcr.io/me/b@{}", Digest::of(b"linux/arm64")));
        assert_eq!(published(&["linux/amd64"], &[]).references(), "");
    }
}
