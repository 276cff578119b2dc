use super::*;
use crate::oci::{Descriptor, media_type};
use serde_json::{Value, json};

use crate::sys::fs::MetadataExt;

struct Setup(fs::TempDir);

impl Setup {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn path(&self) -> PathBuf {
        self.0.path().join("layout")
    }

    /// Writes an index with one layer-like blob of this content.
    fn write(&self, content: &str, tags: &[&str]) -> Result<(), LayoutError> {
        let writer = LayoutWriter::open(&self.path(), &Cancel::new())?;
        let blob = self.0.path().join("source");
        fs::write_atomic(&blob, content.as_bytes(), 0o600).unwrap();
        let digest = Digest::of(content.as_bytes());
        let descriptor = Descriptor::new(media_type::LAYER, digest.clone(), content.len() as u64);
        writer.add_layer(&ImageLayer {
            descriptor: descriptor.clone(),
            diff_id: digest,
            blob,
            origin: None,
        })?;
        let index = Encoded::new(media_type::INDEX, &json!({ "manifests": [descriptor] }));
        let tags: Vec<String> = tags.iter().map(|tag| (*tag).to_owned()).collect();
        writer.commit(&index, &tags)
    }

    /// The tags in `index.json`, and the number of blobs.
    fn state(&self) -> (Vec<String>, usize) {
        let index: Value = serde_json::from_slice(&fs::read(self.path().join(INDEX)).unwrap()).unwrap();
        let tags = index["manifests"].as_array().unwrap().iter();
        let tags = tags
            .map(|entry| entry["annotations"]["org.opencontainers.image.ref.name"].as_str().unwrap_or("-"));
        (tags.map(ToOwned::to_owned).collect(), fs::read_dir(self.path().join(BLOBS)).unwrap().count())
    }

    fn files(&self) -> Vec<String> {
        let mut names: Vec<_> = fs::read_dir(self.0.path())
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }
}

#[test]
fn a_new_layout_appears_whole_and_nothing_is_left_beside_it() {
    let setup = Setup::new();
    setup.write("one", &["example.com/a:1"]).unwrap();
    assert_eq!(setup.state(), (vec!["1".into()], 2));
    assert_eq!(setup.files(), ["layout", "source"]);
    assert_eq!(fs::read(setup.path().join(MARKER)).unwrap(), MARKER_TEXT);
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode(&setup.path()), mode(&setup.path().join(BLOBS))), (0o755, 0o755));
}

#[test]
fn other_tags_stay_and_what_is_replaced_goes_with_its_blobs() {
    let setup = Setup::new();
    setup.write("one", &["example.com/a:1"]).unwrap();
    setup.write("two", &["example.com/a:2", "example.com/a:latest"]).unwrap();
    assert_eq!(setup.state(), (vec!["1".into(), "2".into(), "latest".into()], 4));
    setup.write("three", &["example.com/a:2"]).unwrap();
    assert_eq!(setup.state(), (vec!["1".into(), "latest".into(), "2".into()], 6));
    setup.write("three", &["example.com/a:latest", "example.com/a:1"]).unwrap();
    assert_eq!(setup.state(), (vec!["2".into(), "latest".into(), "1".into()], 2));
}

#[test]
fn a_build_without_a_tag_replaces_the_last_one_without() {
    let setup = Setup::new();
    setup.write("one", &[]).unwrap();
    setup.write("two", &[]).unwrap();
    assert_eq!(setup.state(), (vec!["-".into()], 2));
    setup.write("two", &["a:1"]).unwrap();
    assert_eq!(setup.state().0, ["1"]);
}

#[test]
fn writing_the_same_again_changes_nothing() {
    let setup = Setup::new();
    setup.write("one", &["a:1"]).unwrap();
    let before = fs::read(setup.path().join(INDEX)).unwrap();
    setup.write("one", &["a:1"]).unwrap();
    assert_eq!(fs::read(setup.path().join(INDEX)).unwrap(), before);
}

#[test]
fn a_damaged_blob_is_replaced_by_a_whole_one() {
    let setup = Setup::new();
    setup.write("one", &["a:1"]).unwrap();
    let blob = setup.path().join(BLOBS).join(Digest::of(b"one").hex());
    fs::write_atomic(&blob, b"xxx", 0o644).unwrap();
    setup.write("one", &["a:1"]).unwrap();
    assert_eq!(fs::read(&blob).unwrap(), b"one");
}

#[test]
fn what_is_not_a_layout_is_left_alone() {
    let setup = Setup::new();
    fs::write_atomic(&setup.path(), b"a file", 0o644).unwrap();
    let error = setup.write("one", &[]).unwrap_err();
    assert_eq!(error.exit_code(), ExitCode::NotALayout);
    assert_eq!(fs::read(setup.path()).unwrap(), b"a file");
    fs::remove_file(setup.path()).unwrap();
    fs::create_dir_all(setup.path().join("photos")).unwrap();
    assert_eq!(setup.write("one", &[]).unwrap_err().exit_code(), ExitCode::NotALayout);
    fs::remove_dir_all(setup.path().join("photos")).unwrap();
    setup.write("one", &[]).unwrap();
}

#[test]
fn an_index_that_cannot_be_understood_is_not_overwritten() {
    let setup = Setup::new();
    setup.write("one", &["a:1"]).unwrap();
    fs::write_atomic(&setup.path().join(INDEX), b"{", 0o644).unwrap();
    assert_eq!(setup.write("two", &["a:1"]).unwrap_err().exit_code(), ExitCode::NotALayout);
    assert_eq!(fs::read(setup.path().join(INDEX)).unwrap(), b"{");
}

#[test]
fn a_writer_that_is_dropped_leaves_nothing() {
    let setup = Setup::new();
    drop(LayoutWriter::open(&setup.path(), &Cancel::new()).unwrap());
    assert!(setup.files().is_empty());
}

#[test]
fn two_writers_of_a_new_layout_both_publish() {
    let setup = Setup::new();
    let first = LayoutWriter::open(&setup.path(), &Cancel::new()).unwrap();
    setup.write("other", &["a:other"]).unwrap();
    let index = Encoded::new(media_type::INDEX, &json!({ "manifests": [] }));
    first.commit(&index, &["a:mine".into()]).unwrap();
    assert_eq!(setup.state().0, ["other", "mine"]);
}

#[test]
fn a_staging_directory_of_a_dead_run_is_removed_and_a_live_one_is_not() {
    let setup = Setup::new();
    let dead = setup.0.path().join(".layout.xbuild-dead");
    fs::create_dir_all(&dead).unwrap();
    let live = LayoutWriter::open(&setup.path(), &Cancel::new()).unwrap();
    assert!(!dead.exists());
    drop(LayoutWriter::open(&setup.path(), &Cancel::new()).unwrap());
    assert!(live.staging.path().exists());
}

#[test]
fn a_blob_is_copied_from_what_was_verified_and_shares_no_file_with_it() {
    let setup = Setup::new();
    setup.write("one", &["a:1"]).unwrap();
    let (source, digest) = (setup.0.path().join("source"), Digest::of(b"one"));
    let blob = setup.path().join(BLOBS).join(digest.hex());
    let inode = |path: &Path| fs::metadata(path).unwrap().ino();
    assert_ne!(inode(&source), inode(&blob));
    // Written to in place, as an editor or a build tool does.
    let write = |text: &[u8]| {
        fs::OpenOptions::new().write(true).truncate(true).open(&source).unwrap().write_all(text).unwrap();
    };
    write(b"two");
    assert_eq!(fs::read(&blob).unwrap(), b"one");
    // The file has changed since it was verified: shorter, of the same length, longer.
    let descriptor = Descriptor::new(media_type::LAYER, digest.clone(), 3);
    for text in ["", "on", "two", "one more", "one"] {
        write(text.as_bytes());
        let writer = LayoutWriter::open(&setup.0.path().join("other"), &Cancel::new()).unwrap();
        let layer = ImageLayer {
            descriptor: descriptor.clone(),
            diff_id: digest.clone(),
            blob: source.clone(),
            origin: None,
        };
        // Not every file system supports clones.
        assert!(!writer.add_clone(&descriptor, &source, &Cancel::new()).unwrap() || text == "one");
        match writer.add_layer(&layer) {
            Ok(()) => assert_eq!(text, "one"),
            Err(error) => {
                assert_eq!(error.exit_code(), ExitCode::CorruptImage);
                assert!(error.to_string().contains("source` was written to while"), "{error}");
                assert!(!writer.has(&digest));
            }
        }
        assert_eq!(writer.has(&digest), text == "one", "{text}");
    }
    // A pipe is not waited for.
    fs::remove_file(&source).unwrap();
    rustix::fs::mkfifoat(rustix::fs::CWD, &source, rustix::fs::Mode::RWXU).unwrap();
    let writer = LayoutWriter::open(&setup.0.path().join("other"), &Cancel::new()).unwrap();
    let layer = ImageLayer { descriptor, diff_id: digest, blob: source, origin: None };
    assert!(writer.add_layer(&layer).unwrap_err().to_string().contains("a pipe"));
}

#[test]
fn a_layout_whose_blobs_are_elsewhere_is_not_written_to() {
    let setup = Setup::new();
    setup.write("one", &["a:1"]).unwrap();
    let shared = setup.0.path().join("shared");
    for dir in [BLOBS, "blobs"] {
        fs::rename(setup.path().join(dir), &shared).unwrap();
        fs::symlink(&shared, setup.path().join(dir)).unwrap();
        let before = fs::read_dir(&shared).unwrap().count();
        let error = setup.write("two", &["a:1"]).unwrap_err();
        assert!(error.to_string().contains("its directory of blobs is a link"), "{error}");
        assert_eq!(fs::read_dir(&shared).unwrap().count(), before);
        fs::remove_file(setup.path().join(dir)).unwrap();
        fs::rename(&shared, setup.path().join(dir)).unwrap();
    }
    setup.write("two", &["a:1"]).unwrap();
}

#[test]
fn blobs_that_are_links_are_read_within_the_layout_only() {
    let setup = Setup::new();
    setup.write("one", &["a:1"]).unwrap();
    let (layout, digest) = (Layout::open(&setup.path()).unwrap(), Digest::of(b"one"));
    let descriptor = Descriptor::new(media_type::LAYER, digest.clone(), 3);
    let blob = layout.blob(&digest);
    let own_name = setup.path().join("blobs/rootfs.tar");
    fs::rename(&blob, &own_name).unwrap();
    fs::symlink("../rootfs.tar", &blob).unwrap();
    layout.verify(&descriptor, &Cancel::new()).unwrap();
    assert_eq!(layout.document(&descriptor).unwrap(), b"one");
    fs::write_atomic(&setup.0.path().join("outside"), b"one", 0o644).unwrap();
    let outside = setup.0.path().join("outside");
    for target in [Path::new("../../../outside"), outside.as_path()] {
        fs::remove_file(&blob).unwrap();
        fs::symlink(target, &blob).unwrap();
        for fault in [
            layout.verify(&descriptor, &Cancel::new()).map(drop).unwrap_err(),
            layout.document(&descriptor).map(drop).unwrap_err(),
            layout.open_blob(&digest).map(drop).unwrap_err(),
        ] {
            assert!(matches!(fault, ReadError::LeadsOut { .. }), "{fault}");
            assert!(fault.to_string().contains("cp -rL"), "{fault}");
        }
    }
}

#[test]
fn the_documents_of_a_layout_are_its_own() {
    for name in [INDEX, MARKER] {
        let setup = Setup::new();
        setup.write("one", &["a:1"]).unwrap();
        let (document, outside) = (setup.path().join(name), setup.0.path().join("outside"));
        fs::rename(&document, &outside).unwrap();
        fs::symlink(&outside, &document).unwrap();
        let fault = Layout::open(&setup.path()).and_then(|layout| layout.index()).unwrap_err();
        assert!(matches!(fault, ReadError::NotALayout { .. }), "{fault}");
        assert!(fault.to_string().contains(&format!("`{name}` is a link that leads out of it")), "{fault}");
    }
}

#[test]
fn what_a_dead_run_left_beside_a_layout_that_another_made_is_removed() {
    let setup = Setup::new();
    let beside = setup.0.path().join(".layout.xbuild-dead");
    let live = LayoutWriter::open(&setup.path(), &Cancel::new()).unwrap();
    setup.write("one", &["a:1"]).unwrap();
    fs::create_dir_all(beside.join("content")).unwrap();
    setup.write("two", &["a:2"]).unwrap();
    assert!(!beside.exists() && live.staging.path().exists());
    assert_eq!(setup.files().len(), 3, "{:?}", setup.files());
    drop(live);
    assert_eq!(setup.files(), ["layout", "source"]);
}
