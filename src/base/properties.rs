//! For every base that is accepted: the image made from it passes our own `verify`, and whatever was not meant to
//! change is unchanged.

use std::collections::BTreeMap;
use std::path::Path;

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;
use serde_json::{Map, Value, json};

use super::BaseImage;
use super::layout::{LayoutRequest, resolve};
use crate::event::Silent;
use crate::host::Host;
use crate::image::testing::any_object;
use crate::image::{AddedLayer, Image, ImageLayer, ImageSettings, Parts, index};
use crate::layout::{LayoutWriter, Selector};
use crate::oci::{Descriptor, Digest, Encoded, media_type};
use crate::registry;
use crate::sys::cancel::Cancel;
use crate::sys::download::Client;
use crate::sys::env::Environment;
use crate::sys::fs;
use crate::target::catalog::{Libc, Target};
use crate::target::platform::Platform;
use crate::transport::{Location, Opener};
use crate::verify::{self, What};

/// Members of a configuration that the new image sets itself.
const REPLACED: [&str; 7] = ["config", "created", "os", "architecture", "variant", "rootfs", "history"];
const DROPPED: [&str; 3] = ["author", "docker_version", "container_config"];
const DROPPED_PARAMETERS: [&str; 4] = ["OnBuild", "Image", "Hostname", "Domainname"];

/// A base as any other tool may have written it.
#[derive(Clone, Debug)]
struct Base {
    config: Value,
    manifest: Value,
    docker: bool,
    /// The number of zero blocks in each layer: archives without files.
    layers: Vec<usize>,
}

fn any_parameters() -> BoxedStrategy<Value> {
    any_object(&json!({
        "User": [null, "", "7:7"], "WorkingDir": [null, "", "/w"], "StopSignal": [null, "", "SIGTERM", "15"],
        "Entrypoint": [null, [], ["/x"]], "Cmd": [null, [], ["a", ""]], "Shell": [null, ["/bin/sh", "-c"]],
        "Env": [null, [], ["A=1"], ["A=", "PATH=/bin", "A=2"], ["PATH="], ["B=x=y", " =1"]],
        "ExposedPorts": [null, {}, { "80/tcp": {}, "53": {} }], "Volumes": [null, {}, { "/data": {} }],
        "Labels": [null, {}, { "": "", "a": "b", "maintainer": "m", "org.opencontainers.image.title": "t" }],
        "Healthcheck": [null, {}, { "Test": ["NONE"] }, { "Test": ["CMD", "x"], "Interval": 3_000_000_000_u64, "Retries": 0, "x": 1 }],
        "ArgsEscaped": [null, true, false], "OnBuild": [null, [], ["RUN x"]], "Image": ["", "sha256:1"],
        "Hostname": ["", "h"], "Domainname": [""], "Tty": [false], "OpenStdin": [true], "AttachStdin": [false],
        "StopTimeout": [null, 10], "NetworkDisabled": [true], "MacAddress": [""], "Memory": [0], "CpuShares": [0],
        "x-unknown": [null, { "y": [1.5, -1, u64::MAX, "\u{0}é"] }],
    }))
}

fn any_history() -> impl Strategy<Value = Option<Value>> {
    let entry = any_object(&json!({
        "created": ["2026-11-24T00:00:00.123456789Z", "0001-01-01T00:00:00Z"], "created_by": ["", "RUN x"],
        "author": ["a"], "comment": ["", "buildkit.dockerfile.v0"], "empty_layer": [true, false], "x": [1],
    }));
    prop_oneof![
        Just(None),
        Just(Some(Value::Null)),
        vec(entry, 0..5).prop_map(|entries| Some(json!(entries)))
    ]
}

fn any_base() -> impl Strategy<Value = Base> {
    let config = any_object(&json!({
        "created": [null, "2026-11-24T00:00:00.123456789Z", "0001-01-01T00:00:00Z", "2026-11-24T01:00:00+01:00"],
        "variant": [null, "", "v8"], "os.version": [null, "", "1"], "os.features": [null, [], ["f"]],
        "author": [null, "a"], "docker_version": ["", "20.10.7"], "container_config": [null, { "Cmd": ["x"] }],
        "x-unknown": [null, [], { "y": 1 }],
    }));
    let manifest = any_object(&json!({
        "annotations": [null, {}, { "a": "b" }], "artifactType": ["application/vnd.example"], "x-unknown": [null, [1]],
        "mediaType": [""],
    }));
    let parameters = prop_oneof![Just(None), Just(Some(Value::Null)), any_parameters().prop_map(Some)];
    let layers = vec(2..5_usize, 0..4);
    (config, parameters, any_history(), manifest, any::<bool>(), layers).prop_map(
        |(mut config, parameters, history, manifest, docker, layers)| {
            for (name, value) in [("config", parameters), ("history", history)] {
                if let Some(value) = value {
                    config[name] = value;
                }
            }
            Base { config, manifest, docker, layers }
        },
    )
}

fn any_settings() -> impl Strategy<Value = ImageSettings> {
    let env = BTreeMap::from([("A".to_owned(), "ours".to_owned())]);
    let labels = BTreeMap::from([("ours".to_owned(), String::new())]);
    let all = ImageSettings {
        entrypoint: Some(vec!["/app".into()]),
        env: env.clone(),
        labels,
        expose: vec!["80/tcp".into()],
        volumes: vec!["/data".into(), "/more".into()],
        ..ImageSettings::default()
    };
    select(vec![ImageSettings::default(), ImageSettings { env, ..ImageSettings::default() }, all])
}

fn layer(blocks: usize) -> (Descriptor, Vec<u8>) {
    let bytes = vec![0; blocks * 512];
    (Descriptor::new(media_type::LAYER, Digest::of(&bytes), bytes.len() as u64), bytes)
}

impl Base {
    /// Writes the base as a layout. Returns its configuration.
    fn write(&self, path: &Path, platform: &Platform) -> Value {
        let writer = LayoutWriter::open(path, &Cancel::new()).unwrap();
        let (manifest_type, config_type, layer_type) = if self.docker {
            let layer = "application/vnd.docker.image.rootfs.diff.tar";
            (media_type::DOCKER_MANIFEST, media_type::DOCKER_CONFIG, layer)
        } else {
            (media_type::MANIFEST, media_type::CONFIG, media_type::LAYER)
        };
        let (mut layers, mut diff_ids) = (Vec::new(), Vec::new());
        for blocks in &self.layers {
            let (mut descriptor, bytes) = layer(*blocks);
            writer.add_bytes(&descriptor.digest, &bytes).unwrap();
            diff_ids.push(descriptor.digest.clone());
            descriptor.media_type = layer_type.into();
            layers.push(descriptor);
        }
        let mut config = self.config.clone();
        config["os"] = platform.os().into();
        config["architecture"] = platform.architecture().into();
        config["rootfs"] = json!({ "type": "layers", "diff_ids": diff_ids });
        let encoded = Encoded::new(config_type, &config);
        writer.add_document(&encoded).unwrap();
        let mut manifest = self.manifest.clone();
        manifest["schemaVersion"] = 2.into();
        if manifest.get("mediaType").is_some() {
            manifest["mediaType"] = manifest_type.into();
        }
        manifest["config"] = json!(encoded.descriptor);
        manifest["layers"] = json!(layers);
        writer.commit(&Encoded::new(manifest_type, &manifest), &[":base".to_owned()]).unwrap();
        config
    }
}

/// Writes the image made from a base as a layout. Returns its configuration.
fn build(base: &BaseImage, settings: &ImageSettings, platform: &Platform, to: &Path) -> Value {
    let (descriptor, bytes) = layer(7);
    let blob = to.with_extension("layer");
    fs::write_atomic(&blob, &bytes, 0o644).unwrap();
    let diff_id = descriptor.digest.clone();
    let own = ImageLayer { descriptor, diff_id, blob, origin: None };
    let image = Image::assemble(&Parts {
        platform,
        base_config: &base.config,
        base_layers: &base.layers,
        layers: &[AddedLayer { layer: own, created_by: "xbuild: programs".into() }],
        settings,
        created: 1_700_000_000,
        annotations: &BTreeMap::new(),
    })
    .unwrap();
    let writer = LayoutWriter::open(to, &Cancel::new()).unwrap();
    for layer in &image.layers {
        writer.add_layer(layer).unwrap();
    }
    writer.add_document(&image.config).unwrap();
    writer.add_document(&image.manifest).unwrap();
    let config = serde_json::from_slice(&image.config.bytes).unwrap();
    writer.commit(&index::assemble(&[image], &BTreeMap::new()), &[":1".to_owned()]).unwrap();
    config
}

/// The findings of `verify --strict` for the documents and blobs.
fn findings(path: &Path) -> Vec<String> {
    let (environment, cancel) = (Environment::default(), Cancel::new());
    let config = registry::Config { offline: true, ..registry::Config::default() };
    let registry = registry::Client::new(config, &environment);
    let opener = Opener { environment: &environment, registry: &registry, cancel: &cancel };
    let location = Location::parse(&path.display().to_string(), &Path::exists).unwrap();
    let options = verify::Options { strict: true, ..verify::Options::default() };
    let report = verify::verify(&opener.open(&location).unwrap(), &options, &cancel).unwrap();
    let found = report.all().filter(|finding| matches!(finding.what, What::Image(_)));
    found.map(|finding| finding.message.clone()).collect()
}

fn members(value: &Value) -> Map<String, Value> {
    value.as_object().cloned().unwrap_or_default()
}

/// Asserts that what an image inherits from its base is unchanged.
fn assert_kept(base: &Value, new: &Value, settings: &ImageSettings, layers: usize) {
    let mut expected = members(base);
    expected.retain(|name, _| !REPLACED.contains(&name.as_str()) && !DROPPED.contains(&name.as_str()));
    let mut found = members(new);
    found.retain(|name, _| !REPLACED.contains(&name.as_str()));
    assert_eq!(found, expected);
    let mut changed: Vec<&str> = DROPPED_PARAMETERS.into_iter().chain(["Env", "Labels"]).collect();
    if settings.entrypoint.is_some() {
        changed.extend(["Entrypoint", "Cmd", "ArgsEscaped", "ExposedPorts", "Volumes"]);
    }
    let of = |config: &Value| {
        let mut parameters = members(&config["config"]);
        parameters.retain(|name, _| !changed.contains(&name.as_str()));
        parameters
    };
    assert_eq!(of(new), of(base));
    for field in ["ExposedPorts", "Volumes"] {
        let found = members(&new["config"][field]);
        assert!(members(&base["config"][field]).iter().all(|(name, value)| found.get(name) == Some(value)));
    }
    let own = |label: &str| label == "maintainer" || label.starts_with("org.opencontainers.image.");
    let found = members(&new["config"]["Labels"]);
    for (label, value) in members(&base["config"]["Labels"]) {
        assert_eq!(found.get(&label), Some(&value).filter(|_| !own(&label)));
    }
    let variables = |config: &Value| -> Vec<Value> {
        let list = config["config"]["Env"].as_array().cloned().unwrap_or_default();
        let changed = |text: &Value| {
            text.as_str()
                .and_then(|text| text.split('=').next())
                .is_some_and(|name| settings.env.contains_key(name))
        };
        list.into_iter().filter(|text| !changed(text)).collect()
    };
    assert!(variables(new).starts_with(&variables(base)), "{new}");
    let mut filled = 0;
    let history = base["history"].as_array().into_iter().flatten();
    for (entry, found) in history.zip(new["history"].as_array().unwrap()) {
        let mut entry = entry.clone();
        if entry["empty_layer"] != true {
            filled += 1;
            if filled > layers {
                entry["empty_layer"] = true.into();
            }
        }
        assert_eq!(found, &entry);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { max_shrink_iters: 200, failure_persistence: None, ..ProptestConfig::with_cases(28) })]
    #[test]
    fn what_is_made_of_a_base_is_sound_and_keeps_what_it_was(base in any_base(), settings in any_settings()) {
        let platform: Platform = "linux/arm64".parse().unwrap();
        let dir = tempfile::tempdir().unwrap();
        let (from, to) = (dir.path().join("base"), dir.path().join("out"));
        let config = base.write(&from, &platform);
        let request = LayoutRequest {
            path: &from,
            selector: &Selector::Only,
            platform: &platform,
            target: Target::by_platform(&platform, Libc::Gnu).unwrap(),
            pin: None,
            verify_cache: false,
        };
        let (environment, client, cancel) = (Environment::default(), Client::new(true), Cancel::new());
        let (environment, client, cancel) = (&environment, &client, &cancel);
        let host = Host { environment, cache: dir.path(), client, cancel, reporter: &Silent };
        let fetched = resolve(&request, host).unwrap().fetch(cancel).unwrap();
        let made = build(&fetched, &settings, &platform, &to);
        prop_assert_eq!(findings(&to), Vec::<String>::new());
        assert_kept(&config, &made, &settings, base.layers.len());
    }
}
