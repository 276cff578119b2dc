//! Adding to any accepted index, or beside it, leaves the rest as it was, and the result passes our own `verify`.

use std::path::Path;

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;
use serde_json::{Value, json};

use super::index_tests::{Hand, named};
use super::tests::{open, with_opener, write};
use super::*;
use crate::image::testing::any_object;
use crate::layout::LayoutWriter;
use crate::oci::{Descriptor, Digest, Encoded, annotation, media_type};
use crate::sys::cancel::Cancel;
use crate::sys::fs;
use crate::verify::{self, What};

const PLATFORMS: [&str; 4] = ["linux/arm64", "linux/amd64", "windows(10.0.17763.1)/amd64", "linux/arm/v7"];
/// The platform that is added again.
const REPLACED: &str = "linux/amd64";

/// An entry of an index.
#[derive(Clone, Copy, Debug)]
enum Kind {
    Image(&'static str),
    Bare(&'static str),
    Artifact,
    Unknown,
    /// For the image of this platform.
    Attestation(&'static str),
}

fn any_entry() -> impl Strategy<Value = (Kind, Value, Value)> {
    let platform = || select(PLATFORMS.to_vec());
    let what = prop_oneof![
        4 => platform().prop_map(Kind::Image),
        1 => platform().prop_map(Kind::Bare),
        1 => Just(Kind::Artifact),
        1 => Just(Kind::Unknown),
        1 => platform().prop_map(Kind::Attestation),
    ];
    let more = any_object(&json!({
        "annotations": [null, {}, { "a": "" }, { "org.opencontainers.image.ref.name": "1" }],
        "urls": [[], ["https://example.com/a"]], "x-unknown": [null, { "y": [1.5] }],
    }));
    let of_platform =
        any_object(&json!({ "os.features": [[], ["f"]], "features": [[], ["sse4"]], "x": [null, 1] }));
    (what, more, of_platform)
}

fn any_index() -> impl Strategy<Value = (Value, Vec<(Kind, Value, Value)>)> {
    let more = any_object(&json!({
        "annotations": [null, {}, { "a": "b" }], "artifactType": ["application/vnd.example"], "x-unknown": [null, 1],
    }));
    (more, vec(any_entry(), 1..7))
}

fn image(hand: &Hand, platform: &str, blocks: usize) -> Descriptor {
    hand.image_of(platform, &[hand.put(media_type::LAYER, &vec![0; 512 * blocks])])
}

fn entry(hand: &Hand, (what, more, of_platform): &(Kind, Value, Value)) -> Value {
    let mut entry = match what {
        Kind::Image(platform) | Kind::Bare(platform) => json!(image(hand, platform, 2)),
        Kind::Artifact => {
            let mut entry = json!(hand.artifact("application/vnd.example.sbom", None));
            entry["artifactType"] = "application/vnd.example.sbom".into();
            entry
        }
        Kind::Unknown => json!(hand.put("application/vnd.example", b"no JSON")),
        Kind::Attestation(_) => {
            let mut entry = json!(hand.artifact("application/vnd.example.sbom", None));
            entry["platform"] = json!({ "os": "unknown", "architecture": "unknown" });
            entry
        }
    };
    for (name, value) in more.as_object().unwrap() {
        entry[name] = value.clone();
    }
    match what {
        Kind::Image(_) => {
            for (name, value) in of_platform.as_object().unwrap() {
                entry["platform"][name] = value.clone();
            }
        }
        Kind::Bare(_) => {
            entry.as_object_mut().unwrap().remove("platform");
        }
        Kind::Attestation(platform) => {
            entry["annotations"][annotation::DOCKER_REFERENCE_TYPE] = "attestation-manifest".into();
            let about = image(hand, platform, 2).digest.to_string();
            entry["annotations"][annotation::DOCKER_REFERENCE_DIGEST] = about.into();
        }
        Kind::Artifact | Kind::Unknown => {}
    }
    entry
}

/// What `verify --strict` finds of the documents and blobs.
fn findings(source: &Source) -> Vec<&'static str> {
    let options = verify::Options { strict: true, ..verify::Options::default() };
    let report = verify::verify(source, &options, &Cancel::new()).unwrap();
    let found = report.all().filter(|finding| matches!(finding.what, What::Image(_)));
    found.map(|finding| finding.what.check()).collect()
}

fn listed(path: &Path) -> Vec<Value> {
    let index: Value = serde_json::from_slice(&fs::read(path.join("index.json")).unwrap()).unwrap();
    index["manifests"].as_array().unwrap().clone()
}

/// Entries of other programs, which may be beside ours.
fn others(hand: &Hand) -> Vec<Value> {
    let image = image(hand, "linux/arm64", 3);
    let mut unknown = json!(named(image.clone(), &["2"]));
    unknown["x-unknown"] = json!([null]);
    unknown["platform"]["x"] = Value::Null;
    let mut only_whole = json!(hand.index(&[image]));
    only_whole["annotations"] = json!({ annotation::CONTAINERD_NAME: "docker.io/team/a:1" });
    let mut artifact = json!(hand.index(&[hand.artifact("test/one", None)]));
    artifact["artifactType"] = "test/list".into();
    vec![unknown, only_whole, artifact]
}

fn list(hand: &Hand, entries: &[Value]) {
    let index = json!({ "schemaVersion": 2, "manifests": entries, "x-unknown": null }).to_string();
    fs::write_atomic(&hand.path().join("index.json"), index.as_bytes(), 0o644).unwrap();
}

/// Lists an index as `1`, and other entries beside it.
fn list_beside_others(hand: &Hand, index: Descriptor) -> Vec<Value> {
    let others = others(hand);
    list(hand, &[&[json!(named(index, &["1"]))], others.as_slice()].concat());
    others
}

fn without(document: &Value, members: &[&str]) -> Value {
    let mut document = document.clone();
    document.as_object_mut().unwrap().retain(|name, _| !members.contains(&name.as_str()));
    document
}

/// Adds an image to an index in its layout. Returns the index before and after.
fn append(hand: &Hand, more: &Value, entries: &[Value]) -> (Value, Value, Digest) {
    let mut document = more.clone();
    document["schemaVersion"] = 2.into();
    document["mediaType"] = media_type::INDEX.into();
    document["manifests"] = json!(entries);
    let others = list_beside_others(hand, hand.document(media_type::INDEX, &document));
    let shown = format!("{}:1", hand.shown());
    let base = open(&shown).unwrap();
    let was = findings(&base);
    let new = Hand::new();
    let added = image(&new, REPLACED, 5);
    new.list(std::slice::from_ref(&added));
    let sources = [open(&new.shown()).unwrap()];
    let merged = merge(Some(&base), &sources, &IndexAnnotations::default()).unwrap();
    let after = serde_json::from_slice(&merged.index.bytes).unwrap();
    write(&merged.image(vec![":1".into()]), &hand.shown()).unwrap();
    let grown = open(&shown).unwrap();
    assert!(findings(&grown).iter().all(|found| was.contains(found)), "{:?} {was:?}", findings(&grown));
    assert_eq!(listed(&hand.path())[..others.len()], others);
    (document, after, added.digest)
}

proptest! {
    #![proptest_config(ProptestConfig { max_shrink_iters: 200, failure_persistence: None, ..ProptestConfig::with_cases(16) })]
    #[test]
    fn what_is_added_to_an_index_leaves_the_rest_as_it_was((more, entries) in any_index()) {
        let hand = Hand::new();
        let replaced = image(&hand, REPLACED, 2).digest.to_string();
        let entries: Vec<Value> = entries.iter().map(|each| entry(&hand, each)).collect();
        let (before, after, added) = append(&hand, &more, &entries);
        prop_assert_eq!(without(&before, &["manifests"]), without(&after, &["manifests"]));
        // If an entry lacks its platform, the new index has it.
        let bare = |entry: &Value| {
            let is_bare = entry.get("platform").is_none() && entry["mediaType"] == media_type::MANIFEST;
            is_bare && entry.get("artifactType").is_none()
        };
        let bares: Vec<&Value> = entries.iter().filter(|entry| bare(entry)).collect();
        let plain = |entry: &Value| {
            let is_bare = bares.iter().any(|bare| bare["digest"] == entry["digest"]);
            if is_bare { json!(entry["digest"]) } else { entry.clone() }
        };
        let mut own = entries.iter().filter(|entry| entry["digest"] == replaced.as_str()).peekable();
        let gone = own.peek().is_some() && own.all(stands_alone);
        let stays = |entry: &&Value| {
            let about = &entry["annotations"][annotation::DOCKER_REFERENCE_DIGEST];
            !stands_alone(entry) || entry["digest"] != replaced.as_str() && !(gone && *about == replaced.as_str())
        };
        let expected: Vec<Value> = entries.iter().filter(stays).map(plain).collect();
        let found = after["manifests"].as_array().unwrap().iter();
        let found: Vec<Value> =
            found.filter(|entry| entry["digest"] != added.to_string().as_str()).map(plain).collect();
        prop_assert_eq!(found, expected);
    }
}

/// False for an image of the platform with another identity: it is not replaced.
fn stands_alone(entry: &Value) -> bool {
    let features = |key: &str| entry["platform"][key].as_array().is_some_and(|list| !list.is_empty());
    !features("os.features") && !features("features")
}

#[test]
fn entries_stay_as_they_were_written_and_where_they_stood() {
    let hand = Hand::new();
    let mut written = json!(image(&hand, "linux/arm64", 2));
    written["annotations"] = Value::Null;
    written["platform"]["variant"] = Value::Null;
    let mut marked = json!(image(&hand, "linux/386", 2));
    marked["annotations"] = json!({ annotation::REF_NAME: "1" });
    let dangling = entry(&hand, &(Kind::Attestation("linux/s390x"), json!({}), json!({})));
    // It parses like the first one.
    let mut alike = written.clone();
    alike.as_object_mut().unwrap().remove("annotations");
    let entries = [written.clone(), alike, marked, written, dangling];
    let more = json!({ "artifactType": "application/vnd.example", "x-unknown": 1, "annotations": {} });
    let (before, after, added) = append(&hand, &more, &entries);
    assert_eq!(without(&before, &["manifests"]), without(&after, &["manifests"]));
    let mut found = after["manifests"].as_array().unwrap().clone();
    found.retain(|entry| entry["digest"] != added.to_string().as_str());
    assert_eq!(found, entries);
}

#[test]
fn a_name_and_a_build_beside_others_leave_them_as_they_were() {
    let hand = Hand::new();
    let index = hand.index(&[image(&hand, "linux/amd64", 2)]);
    let others = list_beside_others(&hand, index);
    let source = open(&format!("{}:1", hand.shown())).unwrap();
    with_opener(|opener| opener.tag(&source, &hand.path(), &[":3".to_owned()])).unwrap();
    assert_eq!(listed(&hand.path())[1..=others.len()], others);
    let build = json!({ "schemaVersion": 2, "mediaType": media_type::INDEX, "manifests": [] });
    let build = Encoded::new(media_type::INDEX, &build);
    for tags in [vec![], vec![":4".to_owned()]] {
        LayoutWriter::open(&hand.path(), &Cancel::new()).unwrap().commit(&build, &tags).unwrap();
        assert_eq!(listed(&hand.path())[1..=others.len()], others);
    }
}
