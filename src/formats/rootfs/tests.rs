use std::io::Write;

use super::cached::{get, put};
use super::names::MOST_STEPS;
use super::*;
use crate::sys::cancel::Cancel;

/// A layer as a tar archive: a name that ends in `/` is a directory, `a -> b` a symbolic link, `a = b` a hard link.
fn layer(entries: &[&str]) -> Vec<u8> {
    let mut tar = tar::Builder::new(Vec::new());
    for entry in entries {
        let mut header = tar::Header::new_gnu();
        header.set_size(0);
        header.set_mode(0o755);
        if let Some((path, target)) = entry.split_once(" -> ") {
            header.set_entry_type(tar::EntryType::Symlink);
            tar.append_link(&mut header, path, target).unwrap();
        } else if let Some((path, target)) = entry.split_once(" = ") {
            header.set_entry_type(tar::EntryType::Link);
            tar.append_link(&mut header, path, target).unwrap();
        } else {
            let dir = entry.ends_with('/');
            header.set_entry_type(if dir { tar::EntryType::Directory } else { tar::EntryType::Regular });
            tar.append_data(&mut header, entry, std::io::empty()).unwrap();
        }
    }
    tar.into_inner().unwrap()
}

fn read(bytes: &[u8], limits: Limits) -> Result<LayerIndex, StreamError> {
    scan(bytes, crate::oci::Algorithm::Sha256, limits, &Cancel::new())
}

fn root(layers: &[&[&str]]) -> Root {
    let mut root = Root::default();
    for entries in layers {
        root.lay(&read(&layer(entries), Limits::LAYER).unwrap(), &Cancel::new()).unwrap();
    }
    root
}

#[test]
fn a_whiteout_removes_what_lower_layers_have_and_nothing_of_its_own() {
    let root = root(&[&["etc/", "etc/a", "etc/d/x"], &["etc/.wh.a", "etc/.wh.d", "etc/b"]]);
    assert_eq!((root.lookup("etc/a"), root.lookup("etc/d/x")), (None, None));
    assert!(root.file("etc/b").is_some());
}

#[test]
fn an_opaque_directory_hides_all_of_lower_layers_wherever_the_mark_stands() {
    let root = root(&[&["srv/", "srv/old", "srv/sub/old"], &["srv/new", "srv/.wh..wh..opq"]]);
    assert_eq!((root.lookup("srv/old"), root.lookup("srv/sub/old")), (None, None));
    assert!(root.file("srv/new").is_some());
}

#[test]
fn links_are_followed_inside_the_root() {
    let root =
        root(&[&["usr/lib/", "lib -> usr/lib", "usr/lib/a", "up -> ../../usr", "one -> /two", "two -> one"]]);
    assert!(root.file("lib/a").is_some());
    assert!(root.file("up/lib/a").is_some());
    assert_eq!(root.lookup("one"), None);
    let dirs = root.dirs(&Cancel::new()).unwrap();
    assert_eq!(dirs.into_iter().collect::<Vec<_>>(), ["lib", "up", "usr", "usr/lib"]);
}

#[test]
fn every_member_of_a_gzip_stream_is_read() {
    let tar = layer(&["a", "b"]);
    let (one, two) = tar.split_at(700);
    let mut gzip = Vec::new();
    for part in [one, two] {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(part).unwrap();
        gzip.extend(encoder.finish().unwrap());
    }
    let index = read(&gzip, Limits::LAYER).unwrap();
    assert_eq!(index.entries.len(), 2);
    assert_eq!(index.diff_id, Digest::of(&tar));
}

#[test]
fn what_unpacks_without_end_is_refused() {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    let mut header = tar::Header::new_gnu();
    header.set_path("zeros").unwrap();
    header.set_size(64 << 20);
    header.set_cksum();
    encoder.write_all(header.as_bytes()).unwrap();
    for _ in 0..64 {
        encoder.write_all(&vec![0; 1 << 20]).unwrap();
    }
    let gzip = encoder.finish().unwrap();
    let limits = Limits { bytes: 1 << 20, ..Limits::LAYER };
    assert!(matches!(read(&gzip, limits), Err(StreamError::TooLarge { .. })));
    let many = layer(&["a", "b", "c"]);
    let limits = Limits { entries: 2, ..Limits::LAYER };
    assert!(matches!(read(&many, limits), Err(StreamError::TooManyEntries { limit: 2 })));
}

/// Holes take no space in an archive, but are read as the zeros that they stand for.
#[test]
fn programs_that_are_holes_are_in_the_account() {
    let mut program = vec![0; 512];
    program[..6].copy_from_slice(b"\x7fELF\x02\x01");
    let mut tar = tar::Builder::new(Vec::new());
    for name in ["a", "b"] {
        let size = (100_u64 << 20).to_string();
        let records = [
            ("GNU.sparse.major", b"0".as_slice()),
            ("GNU.sparse.minor", b"1"),
            ("GNU.sparse.size", size.as_bytes()),
            ("GNU.sparse.numblocks", b"1"),
            ("GNU.sparse.map", b"0,512"),
        ];
        tar.append_pax_extensions(records).unwrap();
        let mut header = tar::Header::new_ustar();
        header.set_size(512);
        header.set_mode(0o755);
        tar.append_data(&mut header, name, &program[..]).unwrap();
    }
    let tar = tar.into_inner().unwrap();
    assert_eq!(read(&tar, Limits::LAYER).unwrap().entries.len(), 2);
    let limits = Limits { bytes: 150 << 20, ..Limits::LAYER };
    assert!(matches!(read(&tar, limits), Err(StreamError::TooLarge { .. })));
}

#[test]
fn what_is_no_layer_is_an_error() {
    assert!(matches!(read(&[b'x'; 600], Limits::LAYER), Err(StreamError::Archive(Fault::NotTar))));
    let mut cut = layer(&["a"]);
    cut.truncate(300);
    assert!(read(&cut, Limits::LAYER).is_err());
}

#[test]
fn a_kept_index_is_read_again_only_if_it_is_whole() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("kept");
    let index = read(&layer(&["a", "b -> a"]), Limits::LAYER).unwrap();
    assert_eq!(get(&path).unwrap(), None);
    put(&index, &path).unwrap();
    assert_eq!(get(&path).unwrap(), Some(index));
    let mut bytes = crate::sys::fs::read(&path).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    crate::sys::fs::write_atomic(&path, &bytes, 0o644).unwrap();
    assert_eq!(get(&path).unwrap(), None);
}

#[test]
fn the_end_of_an_archive_is_looked_at() {
    let ending = |bytes: &[u8]| {
        let scanned = scan_to_end(bytes, crate::oci::Algorithm::Sha256, Limits::LAYER, &Cancel::new());
        scanned.map(|(index, ending)| (index.size, ending))
    };
    let mut tar = tar::Builder::new(Vec::new());
    let mut header = tar::Header::new_gnu();
    header.set_size(700);
    header.set_mode(0o644);
    tar.append_data(&mut header, "a", [b'x'; 700].as_slice()).unwrap();
    let whole = tar.into_inner().unwrap();
    assert_eq!(whole.len(), 512 + 1024 + 1024);
    assert_eq!(ending(&whole).unwrap(), (2560, Ending::Whole));
    // The two blocks of the end are missing, or one of them, or also the padding of the file.
    for cut in [1536, 2048, 512 + 700] {
        assert_eq!(ending(&whole[..cut]).unwrap(), (cut as u64, Ending::Open), "{cut}");
    }
    // One byte of the file, and half of the header.
    for cut in [512 + 699, 700, 300] {
        assert!(matches!(ending(&whole[..cut]), Err(StreamError::Archive(Fault::Cut))), "{cut}");
    }
    let mut followed = whole;
    followed.push(b'x');
    assert_eq!(ending(&followed).unwrap(), (2561, Ending::Followed(513)));
}

/// A layer with a directory at each of these paths.
fn files(paths: impl Iterator<Item = String>) -> LayerIndex {
    let entries = paths.map(|path| (path, Change::Put(Node::dir()))).collect();
    LayerIndex {
        diff_id: Digest::of(b""),
        size: 0,
        packing: Packing::Plain,
        opaque: Vec::new(),
        whiteouts: Vec::new(),
        entries,
        refused: Vec::new(),
    }
}

#[test]
fn a_path_deeper_than_any_that_is_meant_is_refused_where_it_is_read_and_where_it_is_laid() {
    let deep = vec!["a"; 300].join("/");
    let mut tar = tar::Builder::new(Vec::new());
    let mut header = tar::Header::new_gnu();
    header.set_size(0);
    header.set_mode(0o644);
    tar.append_data(&mut header, &deep, std::io::empty()).unwrap();
    let read = read(&tar.into_inner().unwrap(), Limits::LAYER);
    assert!(matches!(read, Err(StreamError::Deep { depth: 300, .. })), "{read:?}");
    // Through a link it may become just as deep.
    let half = vec!["a"; 200].join("/");
    let mut layer = files([half.clone(), "l".into(), format!("l/{half}")].into_iter());
    layer.entries[1].1 = Change::Put(Node { kind: Kind::Symlink(half), ..Node::dir() });
    let laid = Root::default().lay(&layer, &Cancel::new());
    assert!(matches!(laid, Err(StreamError::Deep { depth: 400, .. })), "{laid:?}");
}

#[test]
fn links_that_lead_through_links_cannot_make_it_walk_without_end() {
    let chain = vec!["a"; 99].join("/");
    let link = |to: String| Change::Put(Node { kind: Kind::Symlink(to), ..Node::dir() });
    let mut layer = files([chain.clone()].into_iter());
    layer.entries.push((format!("{chain}/l0"), link(format!("/{chain}"))));
    for number in 1..39 {
        layer.entries.push((format!("{chain}/l{number}"), link(format!("/{chain}/l{}", number - 1))));
    }
    layer.entries.push(("l".into(), link(format!("/{chain}/l38"))));
    layer.entries.extend((0..100).map(|number| (format!("l/{number}"), Change::Put(Node::dir()))));
    let mut root = Root::default();
    root.lay(&layer, &Cancel::new()).unwrap();
    // A hundred such names are four hundred thousand steps.
    root.nodes.spend(MOST_STEPS - 500_000).unwrap();
    let laid = root.lay(&layer, &Cancel::new());
    assert!(matches!(laid, Err(StreamError::LongWays { .. })), "{laid:?}");
}

#[test]
fn a_kept_index_is_not_believed_where_nothing_of_the_cache_is() {
    use std::sync::Mutex;

    use super::{LayerCache, index_of, known_index};
    use crate::oci::{Descriptor, Digest, media_type};

    let (dir, told, cancel) = (tempfile::tempdir().unwrap(), Mutex::new(Vec::new()), Cancel::new());
    let tell = |text: String| told.lock().unwrap().push(text);
    let blob = dir.path().join("blob");
    let bytes = layer(&["a", "b -> a"]);
    crate::sys::fs::write_atomic(&blob, &bytes, 0o644).unwrap();
    let descriptor = Descriptor::new(media_type::LAYER, Digest::of(&bytes), bytes.len() as u64);
    let cache = |verify| LayerCache { dir: dir.path(), verify, tell: &tell };
    let read_now = |verify| index_of(&blob, &descriptor, cache(verify), &cancel).unwrap();
    let right = read_now(false);
    assert_eq!((read_now(false), read_now(true)), (right.clone(), right.clone()));
    // A stored index is replaced by a wrong one in a valid form.
    let rootfs = dir.path().join("rootfs");
    let record = crate::sys::fs::read_dir(&rootfs).unwrap().next().unwrap().unwrap().path();
    let wrong = read(&layer(&["a", "b -> somewhere/else"]), Limits::LAYER).unwrap();
    put(&wrong, &record).unwrap();
    assert_eq!(known_index(&descriptor, cache(false)).unwrap(), Some(wrong.clone()));
    assert_eq!(read_now(false), wrong);
    assert_eq!(known_index(&descriptor, cache(true)).unwrap(), None);
    assert!(told.lock().unwrap().is_empty());
    assert_eq!(read_now(true), right);
    let said = told.lock().unwrap().clone();
    assert!(said.len() == 1 && said[0].contains(&record.display().to_string()), "{said:?}");
    // It has been corrected.
    assert_eq!((read_now(false), read_now(true)), (right.clone(), right));
    assert_eq!(told.lock().unwrap().len(), 1);
}
