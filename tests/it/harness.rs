//! Tests that the checks which other tests rely on find what is wrong.

use std::fs;
use std::path::Path;
use std::time::Duration;

use serde_json::Value;

use crate::support::base;
use crate::support::command::{survivors, tool};
use crate::support::layout::{Layout, digest_of};
use crate::support::{json, names, scratch};

/// The only blob of the base that contains this text.
fn blob_with(layout: &Path, text: &str) -> String {
    let dir = layout.join("blobs/sha256");
    let has = |name: &String| {
        let bytes = fs::read(dir.join(name)).expect("a blob");
        bytes.windows(text.len()).any(|window| window == text.as_bytes())
    };
    let found: Vec<String> = names(&dir).into_iter().filter(has).collect();
    assert_eq!(found.len(), 1, "`{text}` is in {found:?}");
    found[0].clone()
}

/// Replaces a blob by another document, and every descriptor of it, up to `index.json`.
fn replace(layout: &Path, name: &str, alter: impl Fn(&str) -> String) {
    let path = |name: &str| layout.join("blobs/sha256").join(name);
    let (mut old, mut text) = (name.to_owned(), alter(&fs::read_to_string(path(name)).expect("a document")));
    loop {
        let digest = digest_of(text.as_bytes());
        let new = digest.strip_prefix("sha256:").expect("its form").to_owned();
        let old_size = fs::metadata(path(&old)).expect("a blob").len();
        fs::remove_file(path(&old)).expect("our own file");
        fs::write(path(&new), &text).expect("our own file");
        let fix = |parent: String| {
            let mut document: Value = json(&parent);
            redirect(&mut document, &format!("sha256:{old}"), old_size, &digest, text.len());
            document.to_string()
        };
        let index = fs::read_to_string(layout.join("index.json")).expect("an index");
        if index.contains(&old) {
            fs::write(layout.join("index.json"), fix(index)).expect("our own file");
            return;
        }
        let parent = blob_with(layout, &old);
        text = fix(fs::read_to_string(path(&parent)).expect("a document"));
        old = parent;
    }
}

fn redirect(document: &mut Value, old: &str, old_size: u64, new: &str, size: usize) {
    match document {
        Value::Object(map) if map.get("digest").is_some_and(|digest| digest == old) => {
            assert_eq!(map["size"], old_size);
            map["digest"] = new.into();
            map["size"] = size.into();
        }
        Value::Object(map) => map.values_mut().for_each(|value| redirect(value, old, old_size, new, size)),
        Value::Array(list) => list.iter_mut().for_each(|value| redirect(value, old, old_size, new, size)),
        _ => (),
    }
}

fn fresh() -> tempfile::TempDir {
    let dir = scratch();
    base::write(dir.path(), &["linux/amd64", "linux/arm/v7"]);
    dir
}

#[track_caller]
fn refused(layout: &Path, word: &str) {
    let fault = Layout::open(layout).expect_err("a fault");
    assert!(fault.contains(word), "{fault}");
}

#[test]
fn an_altered_a_truncated_and_a_missing_blob_are_found() {
    let dir = fresh();
    let manifest = blob_with(dir.path(), "\"platform\"");
    let path = dir.path().join("blobs/sha256").join(&manifest);
    let bytes = fs::read(&path).expect("a blob");
    fs::write(&path, &bytes[1..]).expect("our own file");
    refused(dir.path(), "has the digest");
    fs::remove_file(&path).expect("our own file");
    refused(dir.path(), "leads nowhere");
    fs::write(&path, &bytes).expect("our own file");
    Layout::valid(dir.path());
    fs::remove_file(dir.path().join("index.json")).expect("our own file");
    refused(dir.path(), "index.json");
}

#[test]
fn a_wrong_diff_id_is_found() {
    let dir = fresh();
    let layout = Layout::valid(dir.path());
    let image = layout.image(&layout.tags()[base::TAG], "linux/amd64");
    let config = image.manifest["config"]["digest"].as_str().expect("a digest").replace("sha256:", "");
    let diff_id = image.config["rootfs"]["diff_ids"][0].as_str().expect("a digest").to_owned();
    replace(dir.path(), &config, |text| text.replace(&diff_id, &digest_of(b"something else")));
    refused(dir.path(), "has the diff_id");
}

#[test]
fn a_config_of_another_platform_is_found() {
    let dir = fresh();
    let layout = Layout::valid(dir.path());
    let image = layout.image(&layout.tags()[base::TAG], "linux/arm/v7");
    let config = image.manifest["config"]["digest"].as_str().expect("a digest").replace("sha256:", "");
    replace(dir.path(), &config, |text| text.replace("\"v7\"", "\"v6\""));
    refused(dir.path(), "leads to a config for linux/arm/v6");
}

#[test]
fn a_wrong_size_and_a_platform_that_is_there_twice_are_found() {
    let dir = fresh();
    let index = fs::read_to_string(dir.path().join("index.json")).expect("an index");
    let size = json(&index)["manifests"][0]["size"].to_string();
    fs::write(dir.path().join("index.json"), index.replace(&format!("\"size\":{size}"), "\"size\":1"))
        .expect("our own file");
    refused(dir.path(), "leads to");
    let dir = scratch();
    base::write(dir.path(), &["linux/amd64", "linux/amd64"]);
    refused(dir.path(), "twice");
}

#[test]
fn processes_that_outlive_their_parent_are_found() {
    let running = tool("sh").args(["-c", "sleep 77 & exec sleep 78"]).start();
    let mark = running.mark();
    let mut found = Vec::new();
    for _ in 0..500 {
        found = survivors(&mark);
        if found.len() == 2 && found.iter().all(|line| line.starts_with("sleep 7")) {
            break;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    assert_eq!(found.len(), 2, "{found:?}");
    // Its process group is ended with it.
    drop(running);
    for _ in 0..500 {
        if survivors(&mark).is_empty() {
            return;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    panic!("still there: {:?}", survivors(&mark));
}
