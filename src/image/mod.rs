//! One platform's image: a base, layers on top and a patched configuration. Pure.
//!
//! The base's configuration is patched as a JSON value, so that unknown fields are preserved. The result has OCI's
//! media types, whatever the base's were; the layers' bytes are unchanged.

pub(crate) mod index;
mod patch;
#[cfg(test)]
pub(crate) mod testing;

use std::collections::BTreeMap;
use std::path::PathBuf;

use oci_spec::image::{ImageConfiguration, ImageManifest};
use serde_json::{Map, Value, json};

use crate::oci::name::RepositoryName;
use crate::oci::{Descriptor, Digest, Encoded, media_type};
use crate::target::platform::Platform;

pub use patch::{Healthcheck, ImageSettings};

/// The `PATH` of an image whose base sets none: the one that container engines assume.
const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Fields of a configuration that describe the image itself and how Docker built it. They are removed, as the new image
/// is another one, built in another way. The history is preserved, as it describes the layers that are still there.
const OF_THE_BASE: [&str; 10] = [
    "author",
    "comment",
    "container",
    "container_config",
    "docker_version",
    "id",
    "parent",
    "throwaway",
    "moby.buildkit.buildinfo.v1",
    "moby.buildkit.cache.v0",
];
/// The same among the execution parameters: triggers for a next build from a Dockerfile, the image that the base was
/// built from, and the names of the container that it was built in.
const OF_THE_BASES_BUILD: [&str; 4] = ["OnBuild", "Image", "Hostname", "Domainname"];
/// Labels that describe the image itself: OCI's, the older ones of label-schema.org, and Docker's for its author.
const ABOUT_THE_IMAGE: [&str; 2] = ["org.opencontainers.image.", "org.label-schema."];
const MAINTAINER: &str = "maintainer";

/// A layer of an image: an existing blob.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ImageLayer {
    /// Media type, digest and size of the blob.
    pub descriptor: Descriptor,
    /// The digest of the uncompressed bytes.
    pub diff_id: Digest,
    /// The blob on disk. If it has an origin, it may not have been fetched yet.
    pub blob: PathBuf,
    /// The repository with the blob, from which it is fetched when its bytes are needed.
    pub origin: Option<RepositoryName>,
}

/// A layer that is added on top of the base.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct AddedLayer {
    /// The layer.
    pub layer: ImageLayer,
    /// `created_by` of its history entry.
    pub created_by: String,
}

/// The input for assembling an image.
#[derive(Clone, Debug)]
pub(crate) struct Parts<'a> {
    /// The platform.
    pub platform: &'a Platform,
    /// The base's configuration; an empty object for `scratch`.
    pub base_config: &'a Value,
    /// The base's layers, lowest first.
    pub base_layers: &'a [ImageLayer],
    /// The layers on top, lowest first.
    pub layers: &'a [AddedLayer],
    /// The patch on the base's configuration.
    pub settings: &'a ImageSettings,
    /// The timestamp, in seconds since 1970.
    pub created: i64,
    /// The manifest's annotations, without those in `settings`.
    pub annotations: &'a BTreeMap<String, String>,
}

/// One platform's image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Image {
    /// The platform.
    pub platform: Platform,
    /// The manifest.
    pub manifest: Encoded,
    /// The configuration.
    pub config: Encoded,
    /// Every layer, lowest first.
    pub layers: Vec<ImageLayer>,
    /// The annotations of its entry in the index.
    pub descriptor_annotations: BTreeMap<String, String>,
}

/// Why an image cannot be assembled.
#[derive(Debug, thiserror::Error)]
pub enum ImageError {
    /// The base's configuration is not an object, or a part of it has the wrong type.
    #[error("the base's configuration is invalid: `{field}` is not {expected}")]
    BaseConfig {
        /// The field.
        field: &'static str,
        /// What it should be.
        expected: &'static str,
    },
    /// The timestamp is beyond the year 9999.
    #[error("{0} seconds since 1970 is not a date")]
    Created(i64),
    /// oci-spec rejects a document: some field of the base's configuration has the wrong type.
    #[error("the image would not be a valid OCI image: {0}")]
    Refused(String),
}

impl crate::error::Explain for ImageError {
    fn exit_code(&self) -> crate::error::ExitCode {
        match self {
            Self::BaseConfig { .. } | Self::Refused(_) => crate::error::ExitCode::CorruptBase,
            Self::Created(_) => crate::error::ExitCode::Config,
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::BaseConfig { .. } | Self::Refused(_) => Some("choose another base with --base".into()),
            Self::Created(_) => Some("set SOURCE_DATE_EPOCH to seconds since 1970".into()),
        }
    }
}

impl Image {
    /// Assembles the configuration and the manifest.
    pub(crate) fn assemble(parts: &Parts<'_>) -> Result<Self, ImageError> {
        let created = timestamp(parts.created)?;
        let config = Encoded::new(media_type::CONFIG, &config(parts, &created)?);
        let mut layers = parts.base_layers.to_vec();
        layers.extend(parts.layers.iter().map(|added| added.layer.clone()));
        for layer in &mut layers {
            layer.descriptor.media_type = media_type::of_layer(&layer.descriptor.media_type).to_owned();
        }
        let mut annotations = parts.annotations.clone();
        annotations.extend(parts.settings.annotations.clone());
        annotations.extend(parts.settings.manifest_annotations.clone());
        let descriptors: Vec<_> = layers.iter().map(|layer| &layer.descriptor).collect();
        let manifest = json!({
            "schemaVersion": 2,
            "mediaType": media_type::MANIFEST,
            "config": config.descriptor,
            "layers": descriptors,
            "annotations": annotations,
        });
        let manifest = Encoded::new(media_type::MANIFEST, &manifest);
        // A second opinion: a document that another implementation of the specification rejects is never published.
        ImageConfiguration::from_reader(config.bytes.as_slice())
            .map_err(|error| ImageError::Refused(error.to_string()))?;
        ImageManifest::from_reader(manifest.bytes.as_slice())
            .map_err(|error| ImageError::Refused(error.to_string()))?;
        let descriptor_annotations = parts.settings.descriptor_annotations.clone();
        Ok(Self { platform: parts.platform.clone(), manifest, config, layers, descriptor_annotations })
    }

    /// The size of all its blobs in bytes.
    #[must_use]
    pub(crate) fn size(&self) -> u64 {
        let layers: u64 = self.layers.iter().map(|layer| layer.descriptor.size).sum();
        layers + self.manifest.descriptor.size + self.config.descriptor.size
    }
}

/// Formats a time as in RFC 3339, which the specification requires for every date.
pub(crate) fn timestamp(seconds: i64) -> Result<String, ImageError> {
    let time = jiff::Timestamp::from_second(seconds).map_err(|_| ImageError::Created(seconds))?;
    Ok(time.to_string())
}

/// The image's configuration (config.md).
fn config(parts: &Parts<'_>, created: &str) -> Result<Value, ImageError> {
    let mut document = match parts.base_config {
        Value::Object(map) => map.clone(),
        Value::Null => Map::new(),
        _ => return Err(ImageError::BaseConfig { field: "the document", expected: "an object" }),
    };
    for field in OF_THE_BASE {
        document.remove(field);
    }
    document.insert("created".into(), created.into());
    document.insert("os".into(), parts.platform.os().into());
    document.insert("architecture".into(), parts.platform.architecture().into());
    match parts.platform.variant() {
        Some(variant) => document.insert("variant".into(), variant.into()),
        None => document.remove("variant"),
    };
    let parameters = object(&mut document, "config")?;
    disinherit(parameters)?;
    patch_config(parameters, parts.settings)?;
    let diff_ids = parts.base_layers.iter().chain(parts.layers.iter().map(|added| &added.layer));
    let diff_ids: Vec<_> = diff_ids.map(|layer| layer.diff_id.to_string()).collect();
    document.insert("rootfs".into(), json!({ "type": "layers", "diff_ids": diff_ids }));
    let history = history(document.get("history"), parts, created)?;
    document.insert("history".into(), history);
    Ok(document.into())
}

/// The base's history with one entry for each added layer.
fn history(base: Option<&Value>, parts: &Parts<'_>, created: &str) -> Result<Value, ImageError> {
    let mut history = match base {
        None | Some(Value::Null) => Vec::new(),
        Some(Value::Array(entries)) => entries.clone(),
        Some(_) => return Err(ImageError::BaseConfig { field: "history", expected: "a list" }),
    };
    // Readers match entries with layers. A base without a history, which is allowed, gets placeholder entries. Surplus
    // entries of a base did not create any layer, so they are marked as empty.
    let mut layers = 0;
    for entry in history.iter_mut().filter(|entry| entry["empty_layer"] != true) {
        layers += 1;
        if layers > parts.base_layers.len() && entry.is_object() {
            entry["empty_layer"] = true.into();
        }
    }
    for _ in layers..parts.base_layers.len() {
        history.push(json!({ "created_by": "a layer of the base image" }));
    }
    for added in parts.layers {
        history.push(json!({ "created": created, "created_by": added.created_by, "comment": "xbuild" }));
    }
    Ok(history.into())
}

/// Removes the execution parameters that belong to the base alone.
fn disinherit(config: &mut Map<String, Value>) -> Result<(), ImageError> {
    for field in OF_THE_BASES_BUILD {
        config.remove(field);
    }
    match config.get_mut("Labels") {
        None | Some(Value::Null) => {}
        Some(Value::Object(labels)) => labels.retain(|name, _| {
            name != MAINTAINER && !ABOUT_THE_IMAGE.iter().any(|prefix| name.starts_with(prefix))
        }),
        Some(_) => return Err(ImageError::BaseConfig { field: "Labels", expected: "an object" }),
    }
    Ok(())
}

/// The execution parameters (config.md, `config`).
fn patch_config(config: &mut Map<String, Value>, settings: &ImageSettings) -> Result<(), ImageError> {
    if let Some(entrypoint) = &settings.entrypoint {
        config.insert("Entrypoint".into(), json!(entrypoint));
        // The base's arguments were meant for the base's entrypoint, and so was the way they are quoted.
        config.remove("Cmd");
        config.remove("ArgsEscaped");
    }
    for (field, list) in [("Cmd", &settings.cmd)] {
        if let Some(list) = list {
            config.insert(field.into(), json!(list));
        }
    }
    for (field, text) in
        [("WorkingDir", &settings.workdir), ("User", &settings.user), ("StopSignal", &settings.stop_signal)]
    {
        if let Some(text) = text {
            config.insert(field.into(), json!(text));
        }
    }
    for (field, names) in [("ExposedPorts", &settings.expose), ("Volumes", &settings.volumes)] {
        if !names.is_empty() {
            let map = object(config, field)?;
            map.extend(names.iter().map(|name| (name.clone(), json!({}))));
        }
    }
    if !settings.labels.is_empty() {
        let labels = object(config, "Labels")?;
        labels.extend(settings.labels.iter().map(|(name, value)| (name.clone(), json!(value))));
    }
    if let Some(check) = &settings.healthcheck {
        config.insert("Healthcheck".into(), healthcheck(check));
    }
    let variables = environment(config.get("Env"), &settings.env)?;
    config.insert("Env".into(), json!(variables));
    Ok(())
}

/// The base's variables in their order with their values changed, then the new ones sorted by name. There is always a
/// `PATH`.
fn environment(base: Option<&Value>, changes: &BTreeMap<String, String>) -> Result<Vec<String>, ImageError> {
    let wrong = || ImageError::BaseConfig { field: "Env", expected: "a list of strings" };
    let mut variables = match base {
        None | Some(Value::Null) => Vec::new(),
        Some(Value::Array(list)) => {
            let texts = list.iter().map(|text| text.as_str().map(ToOwned::to_owned).ok_or_else(wrong));
            texts.collect::<Result<Vec<_>, _>>()?
        }
        Some(_) => return Err(wrong()),
    };
    let is = |variable: &str, name: &str| variable.split('=').next() == Some(name);
    if !changes.contains_key("PATH") && !variables.iter().any(|variable| is(variable, "PATH")) {
        variables.push(format!("PATH={DEFAULT_PATH}"));
    }
    for (name, value) in changes {
        let new = format!("{name}={value}");
        match variables.iter().position(|variable| is(variable, name)) {
            Some(at) => {
                variables[at] = new;
                // If the base sets a variable several times, engines use the last one.
                let later = variables.split_off(at + 1);
                variables.extend(later.into_iter().filter(|variable| !is(variable, name)));
            }
            None => variables.push(new),
        }
    }
    // Engines do not start a program with such a variable.
    if variables.iter().any(|variable| variable.find('=').is_none_or(|at| at == 0)) {
        return Err(ImageError::BaseConfig { field: "Env", expected: "a list of NAME=value" });
    }
    Ok(variables)
}

/// Docker's health check: durations in nanoseconds.
fn healthcheck(check: &Healthcheck) -> Value {
    let mut document = Map::from_iter([("Test".to_owned(), json!(check.test))]);
    for (field, duration) in [
        ("Interval", check.interval),
        ("Timeout", check.timeout),
        ("StartPeriod", check.start_period),
        ("StartInterval", check.start_interval),
    ] {
        if let Some(duration) = duration {
            document.insert(field.into(), json!(u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)));
        }
    }
    if let Some(retries) = check.retries {
        document.insert("Retries".into(), json!(retries));
    }
    document.into()
}

/// The object in a field, which is created if it is missing.
fn object<'a>(
    map: &'a mut Map<String, Value>,
    field: &'static str,
) -> Result<&'a mut Map<String, Value>, ImageError> {
    let value = map.entry(field).or_insert_with(|| json!({}));
    if value.is_null() {
        *value = json!({});
    }
    value.as_object_mut().ok_or(ImageError::BaseConfig { field, expected: "an object" })
}

#[cfg(test)]
mod tests {
    use super::*;

    use std::time::Duration;

    fn layer(name: &str, media_type: &str) -> ImageLayer {
        ImageLayer {
            descriptor: Descriptor::new(media_type, Digest::of(name.as_bytes()), 10),
            diff_id: Digest::of(format!("{name} diff").as_bytes()),
            blob: format!("/blobs/{name}").into(),
            origin: None,
        }
    }

    fn assemble(base: &Value, settings: &ImageSettings) -> (Value, Value) {
        let image = Image::assemble(&Parts {
            platform: &"linux/arm/v7".parse().unwrap(),
            base_config: base,
            base_layers: &[layer("base", "application/vnd.docker.image.rootfs.diff.tar.gzip")],
            layers: &[AddedLayer {
                layer: layer("payload", media_type::LAYER_GZIP),
                created_by: "xbuild: payload".into(),
            }],
            settings,
            created: 1_700_000_000,
            annotations: &BTreeMap::from([("a".into(), "1".into()), ("b".into(), "2".into())]),
        })
        .unwrap();
        let parse = |document: &Encoded| serde_json::from_slice(&document.bytes).unwrap();
        (parse(&image.manifest), parse(&image.config))
    }

    #[test]
    fn what_the_base_has_and_we_do_not_know_survives() {
        let base = json!({
            "architecture": "arm", "variant": "v6", "os.version": "1", "x-unknown": [1],
            "config": { "Healthcheck": { "Test": ["NONE"] }, "Shell": ["/bin/sh"], "Labels": { "l": "base" }, "Cmd": ["old"],
                "Env": ["B=1", "PATH=/bin", "A=1"] },
            "history": [{ "created_by": "base", "comment": "c" }, { "created_by": "none", "empty_layer": true }],
            "rootfs": { "type": "layers", "diff_ids": ["sha256:old"] }
        });
        let settings = ImageSettings {
            entrypoint: Some(vec!["/x".into()]),
            env: BTreeMap::from([("A".into(), "2".into()), ("C".into(), "3".into())]),
            labels: BTreeMap::from([("m".into(), "ours".into())]),
            ..ImageSettings::default()
        };
        let (_, config) = assemble(&base, &settings);
        assert_eq!((&config["x-unknown"], &config["os.version"]), (&json!([1]), &json!("1")));
        assert_eq!((&config["architecture"], &config["variant"]), (&json!("arm"), &json!("v7")));
        assert_eq!(config["created"], "2023-11-14T22:13:20Z");
        let inner = &config["config"];
        assert_eq!((&inner["Healthcheck"]["Test"], &inner["Shell"]), (&json!(["NONE"]), &json!(["/bin/sh"])));
        assert_eq!(inner["Labels"], json!({ "l": "base", "m": "ours" }));
        assert_eq!(inner["Env"], json!(["B=1", "PATH=/bin", "A=2", "C=3"]));
        assert_eq!((&inner["Entrypoint"], inner.get("Cmd")), (&json!(["/x"]), None));
        assert_eq!(config["history"].as_array().unwrap().len(), 3);
        assert_eq!(config["history"][2]["created_by"], "xbuild: payload");
        let diff_ids = [layer("base", ""), layer("payload", "")].map(|layer| layer.diff_id.to_string());
        assert_eq!(config["rootfs"]["diff_ids"], json!(diff_ids));
    }

    #[test]
    fn what_the_base_says_of_itself_is_not_said_of_the_new_image() {
        let base = json!({
            "author": "the base", "container": "c0ffee", "docker_version": "20.10.7", "id": "1", "parent": "2",
            "container_config": { "Cmd": ["/bin/sh"] }, "throwaway": true, "comment": "c",
            "moby.buildkit.buildinfo.v1": "e30=", "moby.buildkit.cache.v0": "e30=", "os.version": "1",
            "config": {
                "OnBuild": ["RUN echo of the base"], "Image": "sha256:2", "Hostname": "c0ffee", "Domainname": "",
                "ArgsEscaped": true, "StopSignal": "SIGQUIT", "Volumes": { "/data": {} }, "User": "7", "Tty": true,
                "Labels": {
                    "org.opencontainers.image.version": "22.04", "org.opencontainers.image.title": "base",
                    "org.opencontainers.image.source": "https://example.com/base", "maintainer": "the base",
                    "org.opencontainers.image.base.name": "x", "org.label-schema.vcs-ref": "1", "team": "x",
                    "org.opencontainers.imagery": "kept"
                },
            },
            "history": [{ "created_by": "base", "author": "the base" }],
        });
        let settings = ImageSettings {
            entrypoint: Some(vec!["/x".into()]),
            labels: BTreeMap::from([("org.opencontainers.image.title".into(), "ours".into())]),
            ..ImageSettings::default()
        };
        let (_, config) = assemble(&base, &settings);
        let mut keys: Vec<&str> = config.as_object().unwrap().keys().map(String::as_str).collect();
        keys.sort_unstable();
        let expected =
            ["architecture", "config", "created", "history", "os", "os.version", "rootfs", "variant"];
        assert_eq!(keys, expected);
        let mut inner: Vec<&str> = config["config"].as_object().unwrap().keys().map(String::as_str).collect();
        inner.sort_unstable();
        assert_eq!(inner, ["Entrypoint", "Env", "Labels", "StopSignal", "Tty", "User", "Volumes"]);
        assert_eq!(
            config["config"]["Labels"],
            json!({
                "org.opencontainers.image.title": "ours", "org.opencontainers.imagery": "kept", "team": "x"
            })
        );
        assert_eq!(config["history"][0], json!({ "created_by": "base", "author": "the base" }));
    }

    #[test]
    fn an_empty_base_gets_a_path_and_a_history() {
        let settings = ImageSettings {
            cmd: Some(vec!["a".into()]),
            user: Some("65532".into()),
            expose: vec!["80/tcp".into()],
            volumes: vec!["/data".into()],
            healthcheck: Some(Healthcheck {
                test: vec!["CMD".into(), "x".into()],
                interval: Some(Duration::from_secs(3)),
                retries: Some(2),
                ..Healthcheck::default()
            }),
            ..ImageSettings::default()
        };
        let (_, config) = assemble(&Value::Null, &settings);
        let inner = &config["config"];
        assert_eq!(inner["Env"], json!([format!("PATH={DEFAULT_PATH}")]));
        assert_eq!(
            (&inner["ExposedPorts"], &inner["Volumes"]),
            (&json!({"80/tcp": {}}), &json!({"/data": {}}))
        );
        assert_eq!(
            inner["Healthcheck"],
            json!({ "Test": ["CMD", "x"], "Interval": 3_000_000_000_u64, "Retries": 2 })
        );
        assert_eq!(config["history"].as_array().unwrap().len(), 2);
    }

    #[test]
    fn the_manifest_is_oci_s_and_the_user_s_annotations_win() {
        let settings = ImageSettings {
            annotations: BTreeMap::from([("b".into(), "3".into())]),
            ..ImageSettings::default()
        };
        let (manifest, _) = assemble(&json!({}), &settings);
        assert_eq!(manifest["layers"][0]["mediaType"], media_type::LAYER_GZIP);
        assert_eq!(manifest["annotations"], json!({ "a": "1", "b": "3" }));
        assert_eq!(manifest["mediaType"], media_type::MANIFEST);
    }

    #[test]
    fn a_history_of_more_than_the_layers_is_paired_with_those_that_there_are() {
        let base =
            json!({ "history": [{ "created_by": "one" }, { "empty_layer": true }, { "created_by": "two" }] });
        let (_, config) = assemble(&base, &ImageSettings::default());
        let empty: Vec<bool> =
            config["history"].as_array().unwrap().iter().map(|entry| entry["empty_layer"] == true).collect();
        assert_eq!(empty, [false, true, true, false]);
        assert_eq!(config["history"][2]["created_by"], "two");
    }

    #[test]
    fn a_variable_that_the_base_has_twice_is_changed_for_good() {
        let base = json!({ "config": { "Env": ["A=1", "PATH=/bin", "A=2", "B=1", "B=2"] } });
        let env = BTreeMap::from([("A".into(), "3".into())]);
        let (_, config) = assemble(&base, &ImageSettings { env, ..ImageSettings::default() });
        assert_eq!(config["config"]["Env"], json!(["A=3", "PATH=/bin", "B=1", "B=2"]));
    }

    #[test]
    fn a_base_of_the_wrong_shape_is_an_error_that_names_the_field() {
        for env in [json!("PATH=/bin"), json!(["PATH=/bin", "UNNAMED"]), json!(["=1"])] {
            let base = json!({ "config": { "Env": env } });
            let parts = Parts {
                platform: &"linux/amd64".parse().unwrap(),
                base_config: &base,
                base_layers: &[],
                layers: &[],
                settings: &ImageSettings::default(),
                created: 0,
                annotations: &BTreeMap::new(),
            };
            assert!(matches!(Image::assemble(&parts), Err(ImageError::BaseConfig { field: "Env", .. })));
        }
    }
}
