//! Indexes as other programs write them, and how xbuild reads them.

use std::path::Path;

use serde_json::{Value, json};

use super::tests::{fails, open, read_all, with_opener, write};
use super::*;
use crate::error::{ExitCode, Explain};
use crate::oci::{Descriptor, Digest, Encoded, annotation, media_type};
use crate::sys::cancel::Cancel;
use crate::sys::fs::{self, TempDir};
use crate::target::platform::Platform;
use crate::verify;

/// A layout that is written by hand.
pub(super) struct Hand {
    dir: TempDir,
}

impl Hand {
    pub(super) fn new() -> Self {
        let hand = Self { dir: tempfile::tempdir().unwrap() };
        fs::create_dir_all(hand.path().join("blobs/sha256")).unwrap();
        fs::write_atomic(&hand.path().join("oci-layout"), br#"{"imageLayoutVersion":"1.0.0"}"#, 0o644)
            .unwrap();
        hand
    }

    pub(super) fn path(&self) -> std::path::PathBuf {
        self.dir.path().join("image")
    }

    pub(super) fn shown(&self) -> String {
        self.path().display().to_string()
    }

    /// A path beside the layout.
    pub(super) fn beside(&self, name: &str) -> String {
        self.dir.path().join(name).display().to_string()
    }

    pub(super) fn put(&self, media_type: &str, bytes: &[u8]) -> Descriptor {
        let digest = Digest::of(bytes);
        fs::write_atomic(&crate::layout::blob(&self.path(), &digest), bytes, 0o644).unwrap();
        Descriptor::new(media_type, digest, bytes.len() as u64)
    }

    pub(super) fn document(&self, media_type: &str, document: &Value) -> Descriptor {
        self.put(media_type, &Encoded::new(media_type, document).bytes)
    }

    pub(super) fn image_of(&self, platform: &str, layers: &[Descriptor]) -> Descriptor {
        let fields = platform.parse::<Platform>().unwrap().fields();
        let mut config = json!(fields);
        config["rootfs"] = json!({ "type": "layers", "diff_ids": layers.iter().map(|layer| &layer.digest).collect::<Vec<_>>() });
        let config = self.document(media_type::CONFIG, &config);
        let manifest = json!({ "schemaVersion": 2, "mediaType": media_type::MANIFEST, "config": config, "layers": layers });
        let mut entry = self.document(media_type::MANIFEST, &manifest);
        entry.platform = Some(fields);
        entry
    }

    pub(super) fn image(&self, platform: &str) -> Descriptor {
        self.image_of(platform, &[self.put(media_type::LAYER, format!("layer of {platform}").as_bytes())])
    }

    pub(super) fn index(&self, entries: &[Descriptor]) -> Descriptor {
        let index = json!({ "schemaVersion": 2, "mediaType": media_type::INDEX, "manifests": entries });
        self.document(media_type::INDEX, &index)
    }

    /// A manifest that is not an image.
    pub(super) fn artifact(&self, kind: &str, subject: Option<&Descriptor>) -> Descriptor {
        let empty = self.put("application/vnd.oci.empty.v1+json", b"{}");
        let mut document = json!({
            "schemaVersion": 2, "mediaType": media_type::MANIFEST, "artifactType": kind, "config": empty, "layers": [empty],
        });
        if let Some(subject) = subject {
            document["subject"] =
                json!(Descriptor::new(&subject.media_type, subject.digest.clone(), subject.size));
        }
        self.document(media_type::MANIFEST, &document)
    }

    pub(super) fn list(&self, entries: &[Descriptor]) {
        let index = json!({ "schemaVersion": 2, "manifests": entries }).to_string();
        fs::write_atomic(&self.path().join("index.json"), index.as_bytes(), 0o644).unwrap();
    }
}

/// A tag, or a tag and a full name.
pub(super) fn named(mut entry: Descriptor, names: &[&str]) -> Descriptor {
    for (key, name) in [annotation::REF_NAME, annotation::CONTAINERD_NAME].into_iter().zip(names) {
        entry.annotations.insert(key.into(), (*name).into());
    }
    entry
}

/// The platforms of an image; `-` for an entry without one.
fn platforms(source: &Source) -> Vec<String> {
    let entries = source.manifests(source.root()).unwrap().into_iter();
    entries.map(|entry| entry.platform.map_or("-".into(), |platform| platform.to_string())).collect()
}

/// The entries of a layout's `index.json`.
fn entries(path: &str) -> Vec<Descriptor> {
    crate::layout::Layout::open(Path::new(path)).unwrap().entries().unwrap()
}

fn whole(source: &Source) -> Image<'_> {
    Image::whole(source).with_referrers().unwrap()
}

fn merged(base: Option<&Source>, sources: &[Source], to: &str) -> Result<Source, TransportError> {
    let merged = merge(base, sources, &IndexAnnotations::default())?;
    write(&merged.image(vec![":1".into()]), to)?;
    open(to)
}

/// What `verify` finds in the image as a whole, and how many layers are missing.
fn verified(source: &Source) -> (Vec<&'static str>, usize) {
    let report = verify::verify(source, &verify::Options::default(), &Cancel::new()).unwrap();
    let missing = report.all().any(|finding| finding.what.check() == "missing-blob");
    assert!(!missing, "{report:?}");
    let elsewhere = report.platforms.iter().map(|platform| platform.elsewhere.len()).sum();
    (report.findings.iter().map(|finding| finding.what.check()).collect(), elsewhere)
}

fn only(source: &Source, platform: &str) -> Result<Vec<String>, TransportError> {
    let image = Image::of_platforms(source, &[platform.parse().unwrap()])?;
    let dir = tempfile::tempdir().unwrap();
    let to = dir.path().join("only").display().to_string();
    write(&image, &to)?;
    Ok(platforms(&open(&to)?))
}

#[test]
fn each_build_of_windows_is_a_platform_of_its_own() {
    let (hand, arm) = (Hand::new(), Hand::new());
    let all = ["linux/amd64", "windows(10.0.17763.1)/amd64", "windows(10.0.20348.1)/amd64"];
    hand.list(&[named(hand.index(&all.map(|platform| hand.image(platform))), &["1"])]);
    arm.list(&[arm.image("linux/arm64")]);
    let source = open(&hand.shown()).unwrap();
    assert_eq!(
        platforms(&merged(None, &[open(&hand.shown()).unwrap()], &hand.beside("again")).unwrap()),
        all
    );
    let grown = merged(Some(&source), &[open(&arm.shown()).unwrap()], &hand.beside("grown")).unwrap();
    assert_eq!(platforms(&grown), [all[0], "linux/arm64", all[1], all[2]]);
    assert_eq!(only(&source, "windows/amd64").unwrap(), all[1..]);
    assert_eq!(only(&source, "windows(10.0.20348)/amd64").unwrap(), all[2..]);
    assert_eq!(only(&source, "windows/amd64:10.0.17763.1").unwrap(), all[1..2]);
    fails(only(&source, "windows(10.0.1)/amd64"), ExitCode::NoImage, &["windows(10.0.1)/amd64", all[1]]);
    let one = |platform: &str| source.manifest_for(&platform.parse().unwrap());
    assert!(one(all[1]).is_ok() && one("amd64").is_ok());
    fails(
        one("windows/amd64"),
        ExitCode::NoImage,
        &["2 images for windows/amd64", all[1], all[2], "--platform 'windows(10.0.17763.1)/amd64'"],
    );
    // An index without the version, as older tools wrote it: only the configurations have it.
    let bare = |entry: &Descriptor| {
        let mut entry = entry.clone();
        entry.platform = Some("windows/amd64".parse::<Platform>().unwrap().fields());
        entry
    };
    let halves = all[1..].iter().map(|platform| {
        let half = Hand::new();
        half.list(&[half.index(&[bare(&half.image(platform))])]);
        half
    });
    let halves: Vec<Hand> = halves.collect();
    let sources: Vec<Source> = halves.iter().map(|half| open(&half.shown()).unwrap()).collect();
    assert_eq!(platforms(&merged(None, &sources, &hand.beside("halves")).unwrap()).len(), 2);
    // The same build from two sources is an error.
    let other = Hand::new();
    other.list(&[other.image_of(all[1], &[other.put(media_type::LAYER, b"another")])]);
    fails(
        merged(None, &[source, open(&other.shown()).unwrap()], &hand.beside("both")),
        ExitCode::NoImage,
        &["both have an image for windows(10.0.17763.1)/amd64"],
    );
}

#[test]
fn what_one_index_has_twice_stays() {
    let hand = Hand::new();
    // One program for all machines, without machine code.
    let mut any = hand.image("linux/amd64");
    let first = any.clone();
    any.platform = Some("linux/arm64".parse::<Platform>().unwrap().fields());
    let sbom = ["one", "two"].map(|kind| {
        let mut entry = hand.artifact(kind, Some(&first));
        entry.platform = Some(serde_json::from_value(json!({ "os": "linux", "architecture": "" })).unwrap());
        entry
    });
    let list = [first.clone(), any, sbom[0].clone(), sbom[1].clone()];
    hand.list(&[hand.index(&list)]);
    let source = open(&hand.shown()).unwrap();
    assert_eq!(verified(&source), (vec![], 0));
    let whole = ["linux/amd64", "linux/arm64", "-", "-"];
    assert_eq!(
        platforms(&merged(None, &[open(&hand.shown()).unwrap()], &hand.beside("again")).unwrap()),
        whole
    );
    let more = Hand::new();
    more.list(&[more.image("linux/riscv64")]);
    let grown = merged(Some(&source), &[open(&more.shown()).unwrap()], &hand.beside("grown")).unwrap();
    assert_eq!(platforms(&grown), ["linux/amd64", "linux/arm64", "linux/riscv64", "-", "-"]);
    // Both entries of a platform that is listed twice are replaced.
    let twice = Hand::new();
    twice.list(&[twice.index(&[twice.image("linux/386"), twice.image_of("linux/386", &[])])]);
    let new = Hand::new();
    new.list(&[new.image_of("linux/386", &[new.put(media_type::LAYER, b"new")])]);
    let twice = open(&twice.shown()).unwrap();
    assert_eq!(platforms(&twice), ["linux/386", "linux/386"]);
    assert_eq!(only(&twice, "linux/386").unwrap(), ["linux/386", "linux/386"]);
    fails(
        twice.manifest_for(&"linux/386".parse().unwrap()),
        ExitCode::NoImage,
        &["2 images for linux/386", "by its digest"],
    );
    let replaced = merged(Some(&twice), &[open(&new.shown()).unwrap()], &hand.beside("replaced")).unwrap();
    assert_eq!(platforms(&replaced), ["linux/386"]);
}

#[test]
fn entries_of_unknown_kinds_are_read_past_and_carried_along() {
    const ARTIFACT: &str = "application/vnd.oci.artifact.manifest.v1+json";
    for (kind, content) in [(ARTIFACT, &br#"{"blobs":[]}"#[..]), ("text/plain", b"no JSON")] {
        let hand = Hand::new();
        let image = hand.image("linux/amd64");
        let mut unknown = hand.put(kind, content);
        // Whatever its type is.
        unknown.platform = image.platform.clone();
        hand.list(&[hand.index(&[image.clone(), unknown.clone()])]);
        let source = open(&hand.shown()).unwrap();
        assert_eq!(source.manifest_for(&"amd64".parse().unwrap()).unwrap(), image);
        assert_eq!(only(&source, "amd64").unwrap(), ["linux/amd64"]);
        assert_eq!(verified(&source), (vec![], 0));
        let found = inspect(&source, &Cancel::new()).unwrap();
        assert_eq!((found.images.len(), found.artifacts[0].kind.as_str()), (1, kind));
        for to in [hand.beside("copy"), format!("oci-archive:{}", hand.beside("copy.tar"))] {
            write(&Image::whole(&source), &to).unwrap();
            let copy = open(&to).unwrap();
            assert_eq!(copy.root().digest, source.root().digest);
            assert_eq!(read_all(&copy).unwrap(), (2, 3), "{to}");
        }
        let grown = merged(None, &[source], &hand.beside("merged")).unwrap();
        assert_eq!(platforms(&grown), ["linux/amd64", "-"]);
        assert_eq!(read_all(&grown).unwrap(), (2, 3));
    }
}

#[test]
fn an_entry_without_a_media_type_keeps_its_content() {
    let hand = Hand::new();
    let untyped = |mut entry: Descriptor| {
        entry.media_type.clear();
        let mut entry = json!(entry);
        entry.as_object_mut().unwrap().remove("mediaType");
        entry
    };
    let index = json!({ "schemaVersion": 2, "manifests": [untyped(hand.image("linux/amd64")), hand.image("linux/arm64")] });
    let index = hand.document(media_type::INDEX, &index);
    for root in [json!(index), untyped(hand.image("linux/386"))] {
        let list = json!({ "schemaVersion": 2, "manifests": [root] }).to_string();
        fs::write_atomic(&hand.path().join("index.json"), list.as_bytes(), 0o644).unwrap();
        let source = open(&hand.shown()).unwrap();
        let whole = source.reachable(source.root()).unwrap().len();
        assert!(whole == 7 || whole == 3, "{whole}");
        write(&Image::whole(&source), &hand.beside("copy")).unwrap();
        let copy = open(&format!("{}@{}", hand.beside("copy"), source.root().digest)).unwrap();
        for item in copy.reachable(copy.root()).unwrap() {
            if let Item::Blob(blob) = item {
                assert!(copy.file(&blob.digest).is_some(), "{blob:?}");
            }
        }
        assert_eq!(copy.reachable(copy.root()).unwrap().len(), whole);
    }
}

#[test]
fn layers_that_are_elsewhere_stay_there() {
    for media in ["application/vnd.docker.image.rootfs.foreign.diff.tar", media_type::LAYER] {
        let hand = Hand::new();
        let mut far = Descriptor::new(media, Digest::of(b"far"), 3);
        far.other.insert("urls".into(), json!(["http://127.0.0.1:1/far"]));
        let near = hand.put(media_type::LAYER, b"near");
        hand.list(&[named(hand.image_of("windows(1)/amd64", &[far.clone(), near.clone()]), &["1"])]);
        let source = open(&hand.shown()).unwrap();
        assert_eq!(read_all(&source).unwrap(), (1, 2));
        assert_eq!(verified(&source), (vec![], 1));
        for to in [hand.beside("copy"), format!("oci-archive:{}", hand.beside("copy.tar"))] {
            write(&Image::whole(&source), &to).unwrap();
            let copy = open(&to).unwrap();
            assert_eq!(copy.root().digest, source.root().digest);
            assert_eq!(read_all(&copy).unwrap(), (1, 2), "{to}");
        }
        assert_eq!(inspect(&source, &Cancel::new()).unwrap().images[0].layers.len(), 2);
        fails(
            write(&Image::whole(&source), &format!("docker-archive:{}", hand.beside("docker.tar"))),
            ExitCode::NoImage,
            &["an archive for Docker must contain all layers", far.digest.hex(), "http://127.0.0.1:1/far"],
        );
        // A foreign layer that is present is copied; without a URL it has to be present.
        hand.put(media, b"far");
        assert_eq!(read_all(&open(&hand.shown()).unwrap()).unwrap(), (1, 3));
        far.other.clear();
        hand.list(&[hand.image_of("windows(1)/amd64", &[far.clone(), near])]);
        fs::remove_file(crate::layout::blob(&hand.path(), &far.digest)).unwrap();
        fails(
            write(&Image::whole(&open(&hand.shown()).unwrap()), &hand.beside("lost")),
            ExitCode::CorruptImage,
            &["missing", far.digest.hex()],
        );
    }
}

#[test]
fn a_list_of_platforms_is_an_image() {
    let hand = Hand::new();
    let flat = ["linux/amd64", "linux/arm64"].map(|platform| hand.image(platform));
    hand.list(&flat);
    let source = open(&hand.shown()).unwrap();
    assert_eq!(platforms(&source), ["linux/amd64", "linux/arm64"]);
    write(&Image::whole(&source), &hand.beside("copy")).unwrap();
    let copy = open(&hand.beside("copy")).unwrap();
    assert_eq!(copy.root().digest, source.root().digest);
    assert_eq!(read_all(&copy).unwrap(), (3, 4));
    let one = open(&format!("{}@{}", hand.shown(), flat[1].digest)).unwrap();
    assert_eq!(platforms(&one), ["linux/arm64"]);
    // Once it has a name it is an index, and still one image.
    with_opener(|opener| opener.tag(&source, &hand.path(), &["a:1".to_owned()])).unwrap();
    for text in [hand.shown(), format!("{}:1", hand.shown())] {
        assert_eq!(open(&text).unwrap().root().digest, source.root().digest);
    }
    // Two of the same tag for the same platform: ambiguous.
    let twice = [hand.image("linux/amd64"), hand.image_of("linux/amd64", &[])];
    hand.list(&twice.clone().map(|entry| named(entry, &["1.0"])));
    let found = open(&format!("{}:1.0", hand.shown())).map(drop);
    let way = format!("say which, as in {}@{}", hand.shown(), twice[0].digest);
    fails(found, ExitCode::NoImage, &["not one image", twice[1].digest.hex(), &way]);
}

#[test]
fn all_names_go_along_and_none_is_taken_for_another() {
    let hand = Hand::new();
    let [one, two] = [hand.image("linux/amd64"), hand.image_of("linux/amd64", &[])];
    hand.list(&[
        named(one.clone(), &["latest", "docker.io/team/one:latest"]),
        named(two, &["latest", "docker.io/team/two:latest"]),
        named(one.clone(), &["1.0", "docker.io/team/one:1.0"]),
        named(one, &["short"]),
    ]);
    let at = |name: &str| open(&format!("{}{name}", hand.shown()));
    let way = format!("{}:docker.io/team/two:latest", hand.shown());
    fails(at(":latest"), ExitCode::NoImage, &["not one image", "docker.io/team/one:latest"]);
    assert_eq!(open(&way).unwrap().names(), ["docker.io/team/two:latest", "latest"]);
    let by_digest = at(&format!("@{}", at(":short").unwrap().root().digest)).unwrap();
    write(&Image::whole(&by_digest), &hand.beside("copy")).unwrap();
    let copied = entries(&hand.beside("copy"));
    let tags: Vec<&str> = copied.iter().filter_map(|entry| entry.annotation(annotation::REF_NAME)).collect();
    assert_eq!(tags, ["latest", "1.0", "short"]);
    // A requested name selects that image.
    write(&Image::whole(&at(":team/one:1.0").unwrap()), &hand.beside("one")).unwrap();
    assert_eq!(entries(&hand.beside("one")).len(), 1);
    // To Docker's format and back.
    let tar = format!("docker-archive:{}", hand.beside("all.tar"));
    write(&Image::whole(&open(&hand.beside("copy")).unwrap()), &tar).unwrap();
    let read = open(&tar).unwrap();
    assert_eq!(read.named().len(), 2, "{:?}", read.names());
    assert!(
        open(&format!("{tar}:docker.io/team/one")).is_ok() && open(&format!("{tar}:team/one:1.0")).is_ok()
    );
    fails(open(&format!("{tar}:one:1.0")), ExitCode::NoImage, &["no image `one:1.0`", "latest, 1.0"]);
}

#[test]
fn a_destinations_digest_is_held_to() {
    let hand = Hand::new();
    hand.list(&[hand.image("linux/amd64")]);
    let source = open(&hand.shown()).unwrap();
    let (own, other) = (source.root().digest.clone(), Digest::of(b"other"));
    let to = |digest: &Digest| format!("oci:{}@{digest}", hand.beside("out"));
    for to in [
        to(&other),
        format!("docker://localhost:1/a@{other}"),
        format!("docker://localhost:1/a:1@{other}"),
        format!("oci-archive:{}@{other}", hand.beside("out.tar")),
    ] {
        let words = [&*format!("names {other}"), &*format!("is {own}"), "nothing was written"];
        fails(write(&Image::whole(&source), &to), ExitCode::NoImage, &words);
    }
    assert!(!Path::new(&hand.beside("out")).exists() && !Path::new(&hand.beside("out.tar")).exists());
    write(&Image::whole(&source), &to(&own)).unwrap();
    assert_eq!(open(&hand.beside("out")).unwrap().root().digest, own);
}

#[test]
fn referrers_are_kept_apart_from_images() {
    let hand = Hand::new();
    let image = hand.index(&[hand.image("linux/amd64")]);
    let signature = hand.artifact("test/signature", Some(&image));
    let about = hand.artifact("test/about", Some(&signature));
    // As other programs write them: entries without a name.
    hand.list(&[named(image.clone(), &["1"]), signature.clone(), about.clone()]);
    let source = open(&hand.shown()).unwrap();
    assert_eq!(source.root().digest, image.digest);
    let to = hand.beside("copy");
    write(&whole(&source), &to).unwrap();
    // One entry: a request for the only image finds it.
    let listed = entries(&to);
    assert_eq!((listed.len(), &listed[0].digest), (1, &image.digest));
    let copy = open(&to).unwrap();
    let kinds = |source: &Source| -> Vec<String> {
        let found = inspect(source, &Cancel::new()).unwrap().artifacts;
        found.into_iter().map(|artifact| artifact.kind).collect()
    };
    assert_eq!(kinds(&source).len(), 2);
    assert_eq!(kinds(&copy), kinds(&source));
    let alone = open(&format!("{to}@{}", about.digest)).unwrap();
    assert_eq!(alone.root().digest, about.digest);
    write(&Image::whole(&alone), &hand.beside("alone")).unwrap();
    // Referrers stay when the image is written again or gets more names, and are copied from there.
    write(&Image::whole(&source), &to).unwrap();
    with_opener(|opener| opener.tag(&open(&to).unwrap(), Path::new(&to), &[":2".to_owned()])).unwrap();
    let again = hand.beside("again");
    write(&whole(&open(&format!("{to}:2")).unwrap()), &again).unwrap();
    assert_eq!(kinds(&open(&again).unwrap()).len(), 2);
    // Referrers from another source are added to them. A list that cannot be read would be lost: nothing is written
    // then.
    let more = hand.artifact("test/more", Some(&image));
    hand.list(&[named(image.clone(), &["1"]), more]);
    let list: Digest = entries(&to)[0].annotation(annotation::REFERRERS).unwrap().parse().unwrap();
    let list = crate::layout::blob(Path::new(&to), &list);
    let kept = fs::read(&list).unwrap();
    fs::write_atomic(&list, b"x", 0o644).unwrap();
    let error = write(&whole(&open(&hand.shown()).unwrap()), &to).unwrap_err();
    assert_eq!(error.exit_code(), ExitCode::CorruptImage, "{error}");
    assert!(crate::layout::blob(Path::new(&to), &signature.digest).exists());
    // A link out of the layout is not taken for a missing file either.
    fs::remove_file(&list).unwrap();
    let outside = Hand::new();
    fs::symlink(Path::new(&outside.shown()).join("index.json"), &list).unwrap();
    assert!(Image::whole(&open(&to).unwrap()).with_listed_referrers().is_err());
    fs::remove_file(&list).unwrap();
    fs::write_atomic(&list, &kept, 0o644).unwrap();
    write(&whole(&open(&hand.shown()).unwrap()), &to).unwrap();
    assert_eq!(kinds(&open(&to).unwrap()).len(), 3);
    // Another image of the same name has none of them, and none of them is left.
    let other = Hand::new();
    other.list(&[named(other.image("linux/arm64"), &["1"])]);
    write(&Image::whole(&open(&other.shown()).unwrap()), &again).unwrap();
    with_opener(|opener| {
        opener.tag(&open(&format!("{again}:1")).unwrap(), Path::new(&again), &[":2".to_owned()])
    })
    .unwrap();
    assert!(!crate::layout::blob(Path::new(&again), &signature.digest).exists());
    // A tool that does not know the list removes it: that is not damage.
    for entry in entries(&to) {
        let list: Digest = entry.annotation(annotation::REFERRERS).unwrap().parse().unwrap();
        fs::remove_file(crate::layout::blob(Path::new(&to), &list)).unwrap();
    }
    let left = open(&to).unwrap();
    assert!(kinds(&left).is_empty());
    assert_eq!(read_all(&left).unwrap(), (2, 2));
}

#[test]
fn an_index_inside_of_an_index_is_known() {
    let hand = Hand::new();
    let flat = hand.index(&[hand.image("linux/amd64")]);
    hand.list(&[named(flat.clone(), &["flat"]), named(hand.index(&[flat]), &["nested"])]);
    let at = |name: &str| open(&format!("{}:{name}", hand.shown())).unwrap();
    assert!(at("nested").has_nested_index().unwrap() && !at("flat").has_nested_index().unwrap());
    assert_eq!(verified(&at("nested")), (vec!["nested-index"], 0));
    assert_eq!(verified(&at("flat")), (vec![], 0));
}
