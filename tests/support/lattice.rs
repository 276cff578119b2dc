//! A small image that refers to itself many times, and a time limit for reading it.

use std::fs;
use std::path::Path;
use std::time::Duration;

use serde_json::{Value, json};

use super::base;
use super::command::{Finished, Run};
use super::layout::REF_NAME;
use super::project::Project;

const INDEX: &str = "application/vnd.oci.image.index.v1+json";
/// The time limit of such a command. It takes far less, but the machine may be busy.
const SOON: Duration = Duration::from_secs(20);

fn index(layout: &Path, entries: &[Value], level: usize) -> Value {
    let document = json!({
        "schemaVersion": 2, "mediaType": INDEX, "manifests": entries, "annotations": { "level": level.to_string() },
    });
    base::blob(layout, INDEX, &base::document(&document))
}

/// An image below this many levels of indexes, two on each level, each of which names both of the next level `fan`
/// times. Thousands of paths lead to each of them.
pub(crate) fn lattice(layout: &Path, levels: usize, fan: usize) {
    base::write(layout, &["linux/amd64"]);
    let root: Value = json_of(&layout.join("index.json"));
    let mut below = [root["manifests"][0].clone(), root["manifests"][0].clone()];
    for entry in &mut below {
        entry.as_object_mut().expect("an entry").remove("annotations");
    }
    for level in 0..levels {
        let entries: Vec<Value> = (0..fan).map(|number| below[number % 2].clone()).collect();
        below = [index(layout, &entries, 2 * level), index(layout, &entries, 2 * level + 1)];
    }
    let mut top = below[0].clone();
    top["annotations"] = json!({ REF_NAME: "base" });
    fs::write(layout.join("index.json"), base::document(&json!({ "schemaVersion": 2, "manifests": [top] })))
        .expect("a directory of the test");
}

/// Reads a JSON document.
pub(crate) fn json_of(path: &Path) -> Value {
    serde_json::from_slice(&fs::read(path).expect("a document")).expect("JSON")
}

/// Runs it and checks that it ends in time.
pub(crate) fn soon(run: Run, what: &str) -> Finished {
    let finished = run.run();
    println!("{what}: {:?}", finished.elapsed);
    assert!(finished.elapsed < SOON, "{what}: {}", finished.describe());
    finished
}

/// A project for one platform, on the base that `layout` writes.
pub(crate) fn project_on(layout: &dyn Fn(&Path)) -> Project {
    let target = "[platform.\"linux/amd64\"]\ntriple = \"x86_64-unknown-linux-musl\"\n";
    let project =
        Project::program("app").file("xbuild.toml", &format!("platforms = [\"linux/amd64\"]\n{target}"));
    layout(&project.path("base"));
    project
}
