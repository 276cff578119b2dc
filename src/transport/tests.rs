use std::io::Read;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use super::*;
use crate::error::{ExitCode, Explain};
use crate::image::ImageLayer;
use crate::layout::LayoutWriter;
use crate::layout::choose::names_of;
use crate::oci::{Descriptor, Digest, Encoded, media_type};
use crate::output::archive::{Archive, Flavour};
use crate::output::engine::EngineError;
use crate::registry::{Client, Config};
use crate::sys::cancel::Cancel;
use crate::sys::env::Environment;
use crate::sys::fs::{self, TempDir};

/// A layout with one image of these platforms under these names.
pub(super) struct Sample {
    pub(super) dir: TempDir,
    index: Encoded,
    manifests: Vec<Descriptor>,
}

impl Sample {
    pub(super) fn new(platforms: &[&str], names: &[&str]) -> Self {
        Self::with_content(platforms, names, "layer of")
    }

    fn with_content(platforms: &[&str], names: &[&str], content: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let writer = LayoutWriter::open(&dir.path().join("image"), &Cancel::new()).unwrap();
        let mut manifests = Vec::new();
        for platform in platforms {
            let tar = format!("{content} {platform}").into_bytes();
            let digest = Digest::of(&tar);
            let blob = dir.path().join("layer");
            fs::write_atomic(&blob, &tar, 0o644).unwrap();
            let descriptor = Descriptor::new(media_type::LAYER, digest.clone(), tar.len() as u64);
            let layer =
                ImageLayer { descriptor: descriptor.clone(), diff_id: digest.clone(), blob, origin: None };
            writer.add_layer(&layer).unwrap();
            let mut parts = platform.split('/');
            let mut fields = json!({ "os": parts.next(), "architecture": parts.next() });
            if let Some(variant) = parts.next() {
                fields["variant"] = variant.into();
            }
            let mut config = json!({ "rootfs": { "type": "layers", "diff_ids": [digest] } });
            for (key, value) in fields.as_object().unwrap() {
                config[key] = value.clone();
            }
            let config = Encoded::new(media_type::CONFIG, &config);
            writer.add_document(&config).unwrap();
            let manifest = json!({ "schemaVersion": 2, "mediaType": media_type::MANIFEST,
                "config": config.descriptor, "layers": [descriptor] });
            let manifest = Encoded::new(media_type::MANIFEST, &manifest);
            writer.add_document(&manifest).unwrap();
            let mut entry = manifest.descriptor;
            entry.platform = serde_json::from_value(fields).unwrap();
            manifests.push(entry);
        }
        let index = json!({ "schemaVersion": 2, "mediaType": media_type::INDEX, "manifests": manifests });
        let index = Encoded::new(media_type::INDEX, &index);
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        writer.commit(&index, &names).unwrap();
        Self { dir, index, manifests }
    }

    pub(super) fn layout(&self) -> PathBuf {
        self.dir.path().join("image")
    }

    fn archive(&self, flavour: Flavour<'_>, names: &[&str]) -> PathBuf {
        let path = self.dir.path().join("image.tar");
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let (layout, root) = (self.layout(), &self.index.descriptor);
        Archive { layout: &layout, root, names: &names, flavour }.write(&path, &Cancel::new()).unwrap();
        path
    }

    fn blob(&self, digest: &Digest) -> PathBuf {
        crate::layout::blob(&self.layout(), digest)
    }
}

pub(super) fn with_opener<T>(run: impl FnOnce(Opener<'_>) -> T) -> T {
    let (environment, cancel) = (Environment::default(), Cancel::new());
    let registry = Client::new(Config { offline: true, ..Config::default() }, &environment);
    run(Opener { environment: &environment, registry: &registry, cancel: &cancel })
}

pub(super) fn open(text: &str) -> Result<Source, TransportError> {
    let location = Location::parse(text, &Path::exists)?;
    with_opener(|opener| opener.open(&location))
}

pub(super) fn write(image: &Image<'_>, to: &str) -> Result<(), TransportError> {
    let location = Location::parse_destination(to)?;
    with_opener(|opener| opener.write(image, &location, &crate::event::Silent))
}

/// Reads all of an image; the count of documents and of blobs.
pub(super) fn read_all(source: &Source) -> Result<(usize, usize), TransportError> {
    let items = source.reachable(source.root())?;
    let mut counts = (0, 0);
    for item in &items {
        match item {
            Item::Document { descriptor, bytes } => {
                assert_eq!(Digest::of(bytes), descriptor.digest);
                counts.0 += 1;
            }
            Item::Blob(descriptor) | Item::Entry(descriptor) => {
                let mut bytes = Vec::new();
                let fault = |_| panic!("memory can be written to");
                source.blob(descriptor)?.copy(&mut bytes, &Cancel::new(), fault)?;
                assert_eq!(Digest::of(&bytes), descriptor.digest);
                counts.1 += 1;
            }
        }
    }
    // A parent comes after its children.
    assert!(matches!(items.last(), Some(Item::Document { descriptor, .. }) if descriptor == source.root()));
    Ok(counts)
}

#[test]
fn a_layout_and_its_archives_are_the_same_image() {
    let sample = Sample::new(&["linux/amd64", "linux/arm64"], &["example.com/app:1"]);
    let layout = sample.layout();
    let tar = sample.archive(Flavour::Oci, &["example.com/app:1"]);
    let gzip = sample.dir.path().join("image.tgz");
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    std::io::Write::write_all(&mut encoder, &fs::read(&tar).unwrap()).unwrap();
    fs::write_atomic(&gzip, &encoder.finish().unwrap(), 0o644).unwrap();
    for text in [
        format!("oci:{}", layout.display()),
        format!("oci:{}:1", layout.display()),
        format!("oci:{}:example.com/app:1", layout.display()),
        format!("oci:{}@{}", layout.display(), sample.index.digest()),
        layout.display().to_string(),
        format!("oci-archive:{}:1", tar.display()),
        tar.display().to_string(),
        format!("{}:1", gzip.display()),
    ] {
        let source = open(&text).unwrap();
        assert_eq!(source.root().digest, *sample.index.digest(), "{text}");
        assert_eq!(read_all(&source).unwrap(), (3, 4), "{text}");
        let platforms: Vec<String> = source
            .manifests(source.root())
            .unwrap()
            .iter()
            .map(|entry| entry.platform.as_ref().unwrap().to_string())
            .collect();
        assert_eq!(platforms, ["linux/amd64", "linux/arm64"], "{text}");
        let arm = source.manifest_for(&"linux/arm64".parse().unwrap()).unwrap();
        assert_eq!(arm.digest, sample.manifests[1].digest);
    }
    let one = open(&format!("oci:{}@{}", layout.display(), sample.manifests[1].digest)).unwrap();
    assert_eq!(read_all(&one).unwrap(), (1, 2));
}

#[test]
fn an_archive_for_docker_is_read_as_one_image() {
    let sample = Sample::new(&["linux/arm/v7"], &["hello:1"]);
    let path = sample.archive(Flavour::Docker(&sample.manifests[0]), &["hello:1", ":v1"]);
    let source = open(&format!("docker-archive:{}", path.display())).unwrap();
    assert_eq!(read_all(&source).unwrap(), (1, 2));
    let entry = &source.manifests(source.root()).unwrap()[0];
    assert_eq!(entry.platform.as_ref().unwrap().to_string(), "linux/arm/v7");
    assert_eq!(names_of(source.root()), ["hello:1", "1"]);
    // The configuration is unchanged, and with it Docker's ID of the image.
    let config = |source: &Source, manifest: &Descriptor| source.json(manifest).unwrap()["config"].clone();
    let layout = open(&sample.layout().display().to_string()).unwrap();
    assert_eq!(config(&source, &entry.descriptor), config(&layout, &sample.manifests[0]));
    // Opened by its path alone, it is the layout that it also is.
    assert_eq!(open(&path.display().to_string()).unwrap().root().digest, *sample.index.digest());
}

#[test]
fn what_docker_wrote_long_ago_is_read_too() {
    let dir = tempfile::tempdir().unwrap();
    let tar = b"a layer".repeat(200);
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    std::io::Write::write_all(&mut gzip, &tar).unwrap();
    let gzip = gzip.finish().unwrap();
    let diff_id = Digest::of(&tar);
    let config = json!({ "os": "linux", "architecture": "amd64",
        "rootfs": { "type": "layers", "diff_ids": [diff_id, diff_id, diff_id] } })
    .to_string();
    let manifest = json!([{ "Config": "c.json", "RepoTags": null,
        "Layers": ["a/layer.tar", "b/layer.tar", "c/layer.tar"] }])
    .to_string();
    let mut builder = tar::Builder::new(Vec::new());
    let mut add = |name: &str, bytes: &[u8]| {
        let mut header = tar::Header::new_ustar();
        header.set_size(bytes.len() as u64);
        builder.append_data(&mut header, name, bytes).unwrap();
    };
    add("a/layer.tar", &tar);
    add("c/layer.tar", &gzip);
    add("c.json", config.as_bytes());
    add("manifest.json", manifest.as_bytes());
    let mut header = tar::Header::new_ustar();
    header.set_entry_type(tar::EntryType::Symlink);
    header.set_size(0);
    builder.append_link(&mut header, "b/layer.tar", "../a/layer.tar").unwrap();
    let path = dir.path().join("old.tar");
    fs::write_atomic(&path, &builder.into_inner().unwrap(), 0o644).unwrap();
    let source = open(&path.display().to_string()).unwrap();
    assert_eq!(read_all(&source).unwrap(), (1, 3));
    let document = source.json(source.root()).unwrap();
    let media: Vec<&Value> =
        document["layers"].as_array().unwrap().iter().map(|layer| &layer["mediaType"]).collect();
    assert_eq!(media, [media_type::LAYER, media_type::LAYER, media_type::LAYER_GZIP]);
}

/// Asserts the exit code, and that the message and the hint contain these words.
#[track_caller]
pub(super) fn fails(result: Result<impl Sized, TransportError>, code: ExitCode, words: &[&str]) {
    let Err(error) = result else { panic!("it works") };
    assert_eq!(error.exit_code(), code, "{error}");
    let text = format!("{error}\n{}", error.hint().unwrap_or_default());
    for word in words {
        assert!(text.contains(word), "`{word}` is missing: {text}");
    }
}

#[test]
fn what_cannot_be_found_says_what_there_is() {
    let sample = Sample::new(&["linux/amd64"], &["a:1", "a:2"]);
    let layout = sample.layout().display().to_string();
    let dir = sample.dir.path().display().to_string();
    let note = sample.dir.path().join("note.txt");
    fs::write_atomic(&note, b"a note", 0o644).unwrap();
    let two = Sample::new(&["linux/arm64"], &["b:1"]);
    let writer = LayoutWriter::open(&sample.layout(), &Cancel::new()).unwrap();
    let other = Encoded::new(media_type::INDEX, &json!({ "manifests": [] }));
    writer.commit(&other, &["a:3".to_owned()]).unwrap();
    fails(open("oci:/nowhere"), ExitCode::NoImage, &["/nowhere", "does not exist"]);
    fails(open("./nowhere"), ExitCode::NoImage, &["nowhere", "oci:PATH"]);
    fails(open("nowhere"), ExitCode::Offline, &["docker.io/library/nowhere"]);
    fails(open(&format!("oci:{dir}")), ExitCode::NoImage, &["oci-layout"]);
    fails(open(&format!("oci:{layout}:4")), ExitCode::NoImage, &["`4`", "1, 2, 3"]);
    fails(open(&layout), ExitCode::NoImage, &["not one image but 1, 3", &format!("as in {layout}:1")]);
    fails(open(&format!("{layout}@{}", Digest::of(b"x"))), ExitCode::NoImage, &["1, 2, 3"]);
    fails(open(&note.display().to_string()), ExitCode::CorruptImage, &["note.txt"]);
    fails(open(&format!("oci-archive:{layout}")), ExitCode::NoImage, &["it is not a regular file"]);
    let source = open(&two.layout().display().to_string()).unwrap();
    let wanted = "linux/amd64".parse().unwrap();
    fails(source.manifest_for(&wanted), ExitCode::NoImage, &["linux/amd64", "linux/arm64"]);
    let error = open("podman:app").unwrap_err();
    assert!(
        matches!(&error, TransportError::Engine(error) if matches!(**error, EngineError::Missing { .. }))
    );
    assert_eq!(error.exit_code(), ExitCode::Engine);
}

#[test]
fn a_damaged_image_is_never_read_as_whole() {
    let sample = Sample::new(&["linux/amd64"], &["a:1"]);
    let layout = sample.layout().display().to_string();
    let manifest: Value =
        serde_json::from_slice(&fs::read(sample.blob(&sample.manifests[0].digest)).unwrap()).unwrap();
    let layer: Descriptor = serde_json::from_value(manifest["layers"][0].clone()).unwrap();
    let read = || open(&layout).and_then(|source| read_all(&source));
    for digest in [&layer.digest, &sample.manifests[0].digest, sample.index.digest()] {
        let path = sample.blob(digest);
        let whole = fs::read(&path).unwrap();
        let mut altered = whole.clone();
        *altered.last_mut().unwrap() ^= 1;
        for (bytes, word) in [(&altered[..], "altered"), (&whole[1..], "bytes instead of")] {
            fs::write_atomic(&path, bytes, 0o644).unwrap();
            fails(read(), ExitCode::CorruptImage, &[word, digest.hex(), "again"]);
        }
        fs::remove_file(&path).unwrap();
        fails(read(), ExitCode::CorruptImage, &["missing", digest.hex()]);
        fs::write_atomic(&path, &whole, 0o644).unwrap();
        read().unwrap();
    }
    // In an archive, too.
    let tar = sample.archive(Flavour::Oci, &[]);
    let mut bytes = fs::read(&tar).unwrap();
    let content = b"layer of linux";
    let at = bytes.windows(content.len()).position(|window| window == content).unwrap();
    bytes[at] ^= 1;
    fs::write_atomic(&tar, &bytes, 0o644).unwrap();
    let source = open(&tar.display().to_string()).unwrap();
    fails(read_all(&source), ExitCode::CorruptImage, &["altered", layer.digest.hex()]);
    // A reader that ignores errors does not take half a blob for a complete one either.
    let mut blob = source.blob(&layer).unwrap();
    let mut sink = Vec::new();
    assert!(blob.read_to_end(&mut sink).is_err() && blob.read_to_end(&mut sink).is_err());
}

#[test]
fn documents_that_lead_outside_or_nowhere_are_refused() {
    let sample = Sample::new(&["linux/amd64"], &["a:1"]);
    let layout = sample.layout();
    let index = |text: &str| fs::write_atomic(&layout.join("index.json"), text.as_bytes(), 0o644).unwrap();
    let shown = layout.display().to_string();
    index("{");
    fails(open(&shown), ExitCode::CorruptImage, &["index.json"]);
    index(r#"{"manifests":[{"mediaType":"x","digest":"sha256:../../etc/passwd","size":1}]}"#);
    fails(open(&shown), ExitCode::CorruptImage, &["index.json"]);
    index(&" ".repeat(5 << 20));
    fails(open(&shown), ExitCode::CorruptImage, &["index.json", "4194304"]);
    let entry = json!({ "mediaType": media_type::INDEX, "digest": Digest::of(b"x"), "size": 5 << 20 });
    index(&json!({ "manifests": [entry] }).to_string());
    let source = open(&shown).unwrap();
    fails(source.manifests(source.root()), ExitCode::CorruptImage, &["4194304"]);
    // A configuration that is not JSON.
    let config =
        Encoded { descriptor: Descriptor::new(media_type::CONFIG, Digest::of(b"x"), 1), bytes: b"x".into() };
    let manifest = Encoded::new(media_type::MANIFEST, &json!({ "config": config.descriptor, "layers": [] }));
    for document in [&config, &manifest] {
        fs::write_atomic(&sample.blob(document.digest()), &document.bytes, 0o644).unwrap();
    }
    index(&json!({ "manifests": [manifest.descriptor] }).to_string());
    let source = open(&shown).unwrap();
    fails(source.manifests(source.root()), ExitCode::CorruptImage, &["not a valid document"]);
}

#[test]
fn an_image_is_the_same_wherever_it_is_copied() {
    let sample = Sample::new(&["linux/amd64", "linux/arm64"], &["example.com/app:1"]);
    let at = |name: &str| sample.dir.path().join(name).display().to_string();
    let first = open(&at("image")).unwrap();
    write(&Image::whole(&first), &at("copy")).unwrap();
    write(&Image::whole(&first), &format!("oci-archive:{}", at("copy.tar"))).unwrap();
    let archive = open(&at("copy.tar")).unwrap();
    write(&Image::whole(&archive), &format!("oci:{}:again", at("back"))).unwrap();
    for place in
        [at("copy"), format!("{}:example.com/app:1", at("copy.tar")), format!("{}:again", at("back"))]
    {
        let source = open(&place).unwrap();
        assert_eq!(source.root().digest, *sample.index.digest(), "{place}");
        assert_eq!(read_all(&source).unwrap(), (3, 4), "{place}");
    }
    // One platform alone fits into an archive for Docker.
    let arm = Image::of_platforms(&first, &["linux/arm64".parse().unwrap()]).unwrap();
    write(&arm, &format!("docker-archive:{}", at("arm.tar"))).unwrap();
    let docker = open(&format!("docker-archive:{}", at("arm.tar"))).unwrap();
    assert_eq!(
        docker.manifests(docker.root()).unwrap()[0].platform.as_ref().unwrap().to_string(),
        "linux/arm64"
    );
    assert_eq!(names_of(docker.root())[0], "example.com/app:1");
    fails(
        write(&Image::whole(&first), &format!("docker-archive:{}", at("both.tar"))),
        ExitCode::NoImage,
        &["one platform", "linux/amd64, linux/arm64", "--platform linux/amd64"],
    );
    // A damaged image is not copied.
    let blob = sample.blob(&first.manifests(first.root()).unwrap()[1].descriptor.digest);
    fs::write_atomic(&blob, b"{}", 0o644).unwrap();
    fails(write(&Image::whole(&first), &at("spoiled")), ExitCode::CorruptImage, &["again"]);
    assert!(!Path::new(&at("spoiled")).exists());
}

#[test]
fn a_copy_leaves_what_else_is_in_the_layout() {
    let one = Sample::new(&["linux/amd64"], &[]);
    let two = Sample::new(&["linux/arm64"], &["b:2"]);
    let shown = one.layout().display().to_string();
    let second = open(&two.layout().display().to_string()).unwrap();
    for _ in 0..2 {
        write(&Image::whole(&second), &shown).unwrap();
    }
    let location = Location::parse(&shown, &Path::exists).unwrap();
    let mut names = Vec::new();
    let mut look = |source: &Source| {
        names.push(source.names().len());
        Ok(())
    };
    with_opener(|opener| opener.each(&location, &mut look)).unwrap();
    assert_eq!(names, [0, 2]);
    let untagged = open(&format!("{shown}@{}", one.index.digest())).unwrap();
    assert_eq!(read_all(&untagged).unwrap(), (2, 2));
    let names = ["docker.io/library/b:latest".to_owned(), ":mine".to_owned()];
    with_opener(|opener| opener.tag(&second, &two.layout(), &names)).unwrap();
    for name in ["mine", "b:latest", "b:2", "latest"] {
        assert!(open(&format!("{}:{name}", two.layout().display())).is_ok(), "{name}");
    }
}

#[test]
fn runners_images_are_merged_into_one_index() {
    let open_all = |samples: &[&Sample]| -> Vec<Source> {
        samples.iter().map(|sample| open(&sample.layout().display().to_string()).unwrap()).collect()
    };
    let arm = Sample::new(&["linux/arm64"], &["a:arm"]);
    let amd = Sample::new(&["linux/amd64", "linux/arm/v7"], &["a:amd"]);
    let annotations = IndexAnnotations {
        index: [("k".to_owned(), "v".to_owned())].into(),
        manifests: vec![(Some("linux/arm64".parse().unwrap()), "p".into(), "q".into())],
        ..IndexAnnotations::default()
    };
    let sources = open_all(&[&arm, &amd]);
    let merged = merge(None, &sources, &annotations).unwrap();
    let platforms: Vec<String> =
        merged.platforms(&Cancel::new()).unwrap().keys().map(ToString::to_string).collect();
    assert_eq!(platforms, ["linux/amd64", "linux/arm/v7", "linux/arm64"]);
    let document: Value = serde_json::from_slice(&merged.index.bytes).unwrap();
    assert_eq!(document["annotations"]["k"], "v");
    assert_eq!(document["manifests"][2]["annotations"]["p"], "q");
    // The order of the sources does not matter.
    let reversed = open_all(&[&amd, &arm]);
    assert_eq!(merge(None, &reversed, &annotations).unwrap().index, merged.index);
    let to = arm.dir.path().join("merged").display().to_string();
    write(&merged.image(vec!["a:all".into()]), &to).unwrap();
    let all = open(&format!("{to}:all")).unwrap();
    assert_eq!(read_all(&all).unwrap(), (4, 6));

    let other = Sample::new(&["linux/arm64", "linux/s390x"], &["a:new"]);
    let config = other.blob(&other.manifests[0].digest);
    assert!(config.exists());
    // The same bytes twice do not conflict.
    let news = open_all(&[&other]);
    assert!(merge(Some(&all), &news, &IndexAnnotations::default()).is_ok());
    let changed = Sample::with_content(&["linux/arm64"], &["a:new"], "changed");
    let both = open_all(&[&arm, &changed]);
    fails(merge(None, &both, &IndexAnnotations::default()), ExitCode::NoImage, &["linux/arm64", "differ"]);
    // An added image replaces the existing one.
    let news = open_all(&[&changed]);
    let appended = merge(Some(&all), &news, &IndexAnnotations::default()).unwrap();
    let document: Value = serde_json::from_slice(&appended.index.bytes).unwrap();
    assert_eq!(document["manifests"][2]["digest"], changed.manifests[0].digest.to_string());
    assert_eq!(document["manifests"].as_array().unwrap().len(), 3);
    assert_eq!(document["annotations"]["k"], "v");
}

#[test]
fn an_inspection_tells_what_an_image_is_made_of() {
    let sample = Sample::new(&["linux/amd64", "linux/arm/v7"], &["example.com/app:1"]);
    let source = open(&sample.layout().display().to_string()).unwrap();
    let found = inspect(&source, &Cancel::new()).unwrap();
    assert_eq!(found.names, ["example.com/app:1", "1"]);
    assert_eq!(found.images[1].platform.to_string(), "linux/arm/v7");
    assert_eq!(found.images[0].digest, sample.manifests[0].digest);
    assert_eq!(found.images[0].layers.len(), 1);
    let bytes: u64 = source
        .reachable(source.root())
        .unwrap()
        .iter()
        .map(|item| match item {
            Item::Document { descriptor, .. } | Item::Blob(descriptor) | Item::Entry(descriptor) => {
                descriptor.size
            }
        })
        .sum();
    assert_eq!(found.total_size, bytes);
    assert!(found.artifacts.is_empty());
}

/// What an engine leaves out of an archive, on purpose.
#[test]
fn an_engine_may_have_some_platforms_only() {
    let sample = Sample::new(&["linux/amd64", "linux/arm/v7", "linux/arm64"], &["example.com/app:1"]);
    let opened = || {
        let mut source = open(&sample.layout().display().to_string()).unwrap();
        source.keep_what_is_there().unwrap();
        source
    };
    let platforms = |source: &Source| -> Vec<String> {
        let entries = source.manifests(source.root()).unwrap();
        entries.into_iter().map(|entry| entry.platform.unwrap().to_string()).collect()
    };
    let named = |source: &Source| names_of(source.root()).contains(&"example.com/app:1".to_owned());
    let whole = opened();
    assert_eq!((whole.root().digest.clone(), whole.remark()), (sample.index.digest().clone(), None));
    // The manifest exists, but nothing that it refers to.
    let parts = |at: usize| {
        let source = open(&sample.layout().display().to_string()).unwrap();
        let manifest = source.json(&sample.manifests[at]).unwrap();
        [&manifest["config"], &manifest["layers"][0]].map(|blob| {
            let digest: Digest = blob["digest"].as_str().unwrap().parse().unwrap();
            sample.blob(&digest)
        })
    };
    let ([config, layer], [_, other]) = (parts(1), parts(2));
    for blob in [&config, &layer] {
        fs::remove_file(blob).unwrap();
    }
    let two = opened();
    assert_eq!(platforms(&two), ["linux/amd64", "linux/arm64"]);
    assert_eq!(
        two.remark(),
        Some("the engine has linux/amd64, linux/arm64 of the image, and not linux/arm/v7")
    );
    assert!(named(&two));
    assert_eq!(read_all(&two).unwrap(), (3, 4));
    let copy = sample.dir.path().join("copy");
    write(&Image::whole(&two), &copy.display().to_string()).unwrap();
    assert_eq!(read_all(&open(&copy.display().to_string()).unwrap()).unwrap(), (3, 4));
    let wanted = "linux/arm/v7".parse().unwrap();
    let error = two.manifest_for(&wanted).unwrap_err().to_string();
    assert!(error.contains("linux/arm/v7") && error.contains("linux/amd64, linux/arm64"), "{error}");
    // One is left: it is the image.
    fs::remove_file(sample.blob(&sample.manifests[1].digest)).unwrap();
    fs::remove_file(sample.blob(&sample.manifests[0].digest)).unwrap();
    let one = opened();
    assert_eq!(one.root().digest, sample.manifests[2].digest);
    assert_eq!(platforms(&one), ["linux/arm64"]);
    assert!(named(&one));
    // A part of it is missing: that is damage.
    fs::remove_file(other).unwrap();
    let damaged = opened();
    assert_eq!(damaged.root().digest, sample.manifests[2].digest);
    assert!(matches!(
        read_all(&damaged),
        Err(TransportError::Damaged { source: crate::layout::ReadError::Missing { .. }, .. })
    ));
    // If nothing is left, it is not an image with fewer platforms.
    fs::remove_file(sample.blob(&sample.manifests[2].digest)).unwrap();
    assert_eq!(opened().root().digest, *sample.index.digest());
}

/// A copy is made of verified bytes, and nothing outside of the layout is read or shared.
#[test]
fn a_copy_shares_nothing_and_follows_no_link_out_of_a_layout() {
    let sample = Sample::new(&["linux/amd64"], &["a:1"]);
    let layer = Digest::of(b"layer of linux/amd64");
    let blob = |layout: &Path| layout.join("blobs/sha256").join(layer.hex());
    let target = sample.dir.path().join("copy");
    let copy = || {
        fs::remove_dir_all(&target).ok();
        with_opener(|opener| -> Result<(), TransportError> {
            let from = format!("oci:{}", sample.layout().display());
            let source = opener.open(&Location::parse(&from, &Path::exists)?)?;
            let to = Location::parse_destination(&format!("oci:{}", target.display()))?;
            opener.write(&Image::whole(&source), &to, &crate::event::Silent)
        })
    };
    copy().unwrap();
    let own = blob(&sample.layout());
    let inode = |path: &Path| fs::MetadataExt::ino(&fs::metadata(path).unwrap());
    assert_ne!(inode(&own), inode(&blob(&target)));
    let bytes = fs::read(&own).unwrap();
    let outside = sample.dir.path().join("outside");
    fs::write_atomic(&outside, &bytes, 0o644).unwrap();
    let inside = sample.layout().join("blobs/layer.tar");
    fs::rename(&own, &inside).unwrap();
    fs::symlink("../layer.tar", &own).unwrap();
    copy().unwrap();
    assert!(fs::symlink_metadata(blob(&target)).unwrap().is_file());
    assert_eq!(fs::read(blob(&target)).unwrap(), bytes);
    fs::remove_file(&own).unwrap();
    fs::symlink(&outside, &own).unwrap();
    let error = copy().unwrap_err();
    assert!(error.to_string().contains("leads out of the layout"), "{error}");
    assert_eq!(error.exit_code(), ExitCode::CorruptImage);
    fs::remove_file(&own).unwrap();
    rustix::fs::mkfifoat(rustix::fs::CWD, &own, rustix::fs::Mode::RWXU).unwrap();
    assert!(copy().unwrap_err().to_string().contains("is missing"));
    assert!(!target.exists());
}
