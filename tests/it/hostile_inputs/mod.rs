//! Hostile inputs: each is refused with its own message and the exit code of its kind, and takes little memory and
//! time. A few lines make each input; the tables have the expected results.

use std::fs;
use std::io::Write;
use std::path::Path;
use std::thread;
use std::time::Duration;

use serde_json::{Value, json};
use xbuild::error::ExitCode;

use crate::support::base;
use crate::support::command::xbuild;
use crate::support::layout::{REF_NAME, digest_of};
use crate::support::scratch;

mod archives;
mod debian;
mod layers;
mod layouts;
mod projects;

/// The memory limit of a run, in KiB.
const MEMORY: u64 = 256 << 10;
/// The time limit of a run, for a busy machine.
const TIME: Duration = Duration::from_secs(20);

const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const CONFIG: &str = "application/vnd.oci.image.config.v1+json";
const LAYER: &str = "application/vnd.oci.image.layer.v1.tar";

/// The name of an input, a function that makes it in a directory, the command, and the expected exit code and words of
/// its message.
type Case = (&'static str, fn(&Path), &'static str, ExitCode, &'static str);

/// Runs every case in its own directory, and reports all failures together.
fn hold(cases: &[Case]) {
    let mut wrong = Vec::new();
    for (what, make, words, code, says) in cases {
        let dir = scratch();
        make(dir.path());
        let run = xbuild().dir(dir.path()).words(words).env("MALLOC_ARENA_MAX", "1");
        let mut running = run
            .env("HOME", dir.path().join("home"))
            .env("XBUILD_CACHE_DIR", dir.path().join("cache"))
            .start();
        let mut peak = 0;
        while !running.has_ended() {
            peak = peak.max(running.peak());
            thread::sleep(Duration::from_millis(2));
        }
        let finished = running.wait();
        println!("{what}: {peak} KiB, {:?}", finished.elapsed);
        let said = format!("{}{}", finished.stdout, finished.stderr);
        let ended = finished.status.code() == Some(code.number().into());
        // No text of a file reaches a terminal as an escape sequence.
        let clean = !said.contains('\u{1b}') && !said.contains("panicked");
        if !ended || !said.contains(says) || !clean || peak > MEMORY || finished.elapsed > TIME {
            let said: String = said.chars().take(600).collect();
            wrong.push(format!(
                "{what}: wanted {code:?} with `{says}`, got {:?} after {peak} KiB and {:?}:\n{said}",
                finished.status.code(),
                finished.elapsed
            ));
        }
    }
    assert!(wrong.is_empty(), "{} of {}:\n{}", wrong.len(), cases.len(), wrong.join("\n"));
}

fn write(path: &Path, bytes: impl AsRef<[u8]>) {
    fs::create_dir_all(path.parent().expect("a file's directory")).expect("a directory of the test");
    fs::write(path, bytes).expect("a file of the test");
}

fn pipe(path: &Path) {
    fs::remove_file(path).ok();
    rustix::fs::mkfifoat(rustix::fs::CWD, path, rustix::fs::Mode::RWXU).expect("a pipe");
}

/// Changes each of an image's documents before it is stored.
type Alter<'a> = &'a dyn Fn(&str, &mut Value);

/// A layout `image` with one image with this layer, and its documents `config`, `manifest`, `entry` and `index`
/// changed.
fn layout_of(dir: &Path, layer: &[u8], media_type: &str, alter: Alter<'_>) {
    let layout = dir.join("image");
    fs::create_dir_all(layout.join("blobs/sha256")).expect("a directory of the test");
    write(&layout.join("oci-layout"), r#"{"imageLayoutVersion":"1.0.0"}"#);
    let layer = base::blob(&layout, media_type, layer);
    let mut config = json!({
        "os": "linux", "architecture": "amd64", "config": {},
        "rootfs": { "type": "layers", "diff_ids": [layer["digest"]] },
    });
    alter("config", &mut config);
    let config = base::blob(&layout, CONFIG, &base::document(&config));
    let mut manifest =
        json!({ "schemaVersion": 2, "mediaType": MANIFEST, "config": config, "layers": [layer] });
    alter("manifest", &mut manifest);
    let mut entry = base::blob(&layout, MANIFEST, &base::document(&manifest));
    entry["platform"] = json!({ "os": "linux", "architecture": "amd64" });
    alter("entry", &mut entry);
    let mut index = json!({ "schemaVersion": 2, "manifests": [entry] });
    alter("index", &mut index);
    write(&layout.join("index.json"), base::document(&index));
}

fn tar_of(write: impl FnOnce(&mut tar::Builder<Vec<u8>>)) -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    write(&mut builder);
    builder.into_inner().expect("in memory")
}

/// One entry with an arbitrary header and a valid checksum, followed by its content.
fn raw(name: &[u8], kind: u8, size: u64, link: &[u8], content: &[u8]) -> Vec<u8> {
    let mut header = tar::Header::new_gnu();
    header.set_mode(0o644);
    header.set_entry_type(tar::EntryType::new(kind));
    let fields = header.as_gnu_mut().expect("a header of GNU's");
    fields.name[..name.len()].copy_from_slice(name);
    fields.linkname[..link.len()].copy_from_slice(link);
    header.set_size(size);
    header.set_cksum();
    let mut bytes = header.as_bytes().to_vec();
    bytes.extend(content);
    bytes.resize(bytes.len().next_multiple_of(512), 0);
    bytes
}

/// A whole archive of these entries.
fn whole(entries: &[Vec<u8>]) -> Vec<u8> {
    [entries.concat(), vec![0; 1024]].concat()
}
