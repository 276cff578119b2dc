use std::collections::BTreeMap;
use std::io::Read;
use std::path::Path;

use tar::EntryType;

use super::*;
use crate::oci::media_type;
use crate::sys::fs::{MetadataExt, PermissionsExt, TempDir};

/// An entry of a layer: path, type, link target or content.
type Line<'a> = (&'a str, EntryType, &'a str);

const FILE: EntryType = EntryType::Regular;
const DIR: EntryType = EntryType::Directory;
const SYMLINK: EntryType = EntryType::Symlink;
const LINK: EntryType = EntryType::Link;

fn layer(dir: &Path, name: &str, lines: &[Line<'_>]) -> (Descriptor, PathBuf) {
    let mut builder = tar::Builder::new(Vec::new());
    for (path, kind, text) in lines {
        let mut header = tar::Header::new_ustar();
        header.set_entry_type(*kind);
        header.set_mode(if *kind == DIR { 0o2755 } else { 0o4640 });
        header.set_uid(7);
        header.set_mtime(1_000_000);
        let content = if *kind == FILE { text.as_bytes() } else { b"" };
        header.set_size(content.len() as u64);
        if *kind == EntryType::Char {
            header.set_device_major(1).unwrap();
            header.set_device_minor(3).unwrap();
        }
        // Written by hand, because the library refuses paths that lead outside.
        header.as_mut_bytes()[..path.len()].copy_from_slice(path.as_bytes());
        if matches!(*kind, SYMLINK | LINK) {
            header.set_link_name(text).unwrap();
        }
        header.set_cksum();
        builder.append(&header, content).unwrap();
    }
    let bytes = builder.into_inner().unwrap();
    let path = dir.join(name);
    fs::write_atomic(&path, &bytes, 0o644).unwrap();
    (Descriptor::new(media_type::LAYER, Digest::of(&bytes), bytes.len() as u64), path)
}

struct Setup(TempDir);

impl Setup {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn image(&self, platform: &str, layers: &[&[Line<'_>]]) -> Image {
        let name = |number| format!("{}-{number}", platform.replace('/', "-"));
        let layers = layers.iter().enumerate();
        let layers = layers.map(|(number, lines)| layer(self.0.path(), &name(number), lines)).collect();
        Image { platform: platform.parse().unwrap(), layers }
    }

    fn out(&self) -> PathBuf {
        self.0.path().join("out")
    }
}

/// The entries of an archive: their type and content or target.
fn listing(bytes: &[u8]) -> BTreeMap<String, (EntryType, String)> {
    let mut archive = tar::Archive::new(bytes);
    let mut found = BTreeMap::new();
    for entry in archive.entries().unwrap() {
        let mut entry = entry.unwrap();
        let path = entry.path().unwrap().to_string_lossy().into_owned();
        let link = entry.link_name().unwrap().map(|link| link.to_string_lossy().into_owned());
        let mut text = String::new();
        entry.read_to_string(&mut text).unwrap();
        let value = (entry.header().entry_type(), link.unwrap_or(text));
        assert!(found.insert(path.clone(), value).is_none(), "`{path}` is there twice");
    }
    found
}

fn tar_of(images: &[Image], split: Option<bool>) -> Result<Vec<u8>, RootfsError> {
    let mut bytes = Vec::new();
    write_tar(images, split, &mut bytes, &Cancel::new()).map(|()| bytes)
}

#[test]
fn upper_layers_hide_remove_and_replace() {
    let setup = Setup::new();
    let image = setup.image(
        "linux/amd64",
        &[
            &[
                ("usr/lib/", DIR, ""),
                ("usr/lib/a", FILE, "old a"),
                ("usr/lib/b", LINK, "usr/lib/a"),
                ("lib", SYMLINK, "usr/lib"),
                ("etc/gone", FILE, "x"),
                ("etc/dir/x", FILE, "x"),
                ("var/cache/x", FILE, "x"),
                ("null", EntryType::Char, ""),
            ],
            &[
                ("lib/a", FILE, "new a"),
                ("etc/.wh.gone", FILE, ""),
                ("etc/dir", FILE, "now a file"),
                ("var/cache/.wh..wh..opq", FILE, ""),
                ("var/cache/y", FILE, "y"),
            ],
        ],
    );
    let found = listing(&tar_of(std::slice::from_ref(&image), None).unwrap());
    let is = |kind, text: &str| Some((kind, text.to_owned()));
    assert_eq!(found.get("usr/lib/a").cloned(), is(FILE, "new a"));
    // Another name of a replaced file still has the old content.
    assert_eq!(found.get("usr/lib/b").cloned(), is(FILE, "old a"));
    assert_eq!(found.get("lib").cloned(), is(SYMLINK, "usr/lib"));
    assert_eq!(found.get("etc/dir").cloned(), is(FILE, "now a file"));
    assert_eq!(found.get("var/cache/y").cloned(), is(FILE, "y"));
    assert_eq!(found.get("null").map(|(kind, _)| *kind), Some(EntryType::Char));
    for gone in ["etc/gone", "etc/dir/x", "var/cache/x", "lib/a", "etc/.wh.gone"] {
        assert!(!found.contains_key(gone), "{gone}");
    }
    let skipped = write_dir(&[image], None, &setup.out(), &Cancel::new()).unwrap();
    assert_eq!(skipped, ["null"]);
    let read = |path: &str| fs::read_to_string(setup.out().join(path)).unwrap();
    assert_eq!(
        (read("lib/a"), read("usr/lib/b"), read("etc/dir")),
        ("new a".into(), "old a".into(), "now a file".into())
    );
    let metadata = fs::metadata(setup.out().join("usr/lib/a")).unwrap();
    assert_eq!((metadata.permissions().mode() & 0o7777, metadata.mtime()), (0o640, 1_000_000));
}

#[test]
fn hard_links_stay_links_and_owners_stay_in_the_archive() {
    let setup = Setup::new();
    let image = setup.image("linux/amd64", &[&[("a", FILE, "x"), ("z", LINK, "a")]]);
    let bytes = tar_of(std::slice::from_ref(&image), None).unwrap();
    assert_eq!(listing(&bytes)["z"], (LINK, "a".to_owned()));
    let mut archive = tar::Archive::new(bytes.as_slice());
    let header = archive.entries().unwrap().next().unwrap().unwrap().header().clone();
    assert_eq!((header.uid().unwrap(), header.mode().unwrap()), (7, 0o4640));
    write_dir(&[image], None, &setup.out(), &Cancel::new()).unwrap();
    let inode = |name: &str| fs::metadata(setup.out().join(name)).unwrap().ino();
    assert_eq!(inode("a"), inode("z"));
}

#[test]
fn several_platforms_have_directories_or_must_not_differ() {
    let setup = Setup::new();
    let images = [
        setup.image("linux/amd64", &[&[("bin/", DIR, ""), ("bin/x", FILE, "amd64")]]),
        setup.image("linux/arm/v7", &[&[("bin/", DIR, ""), ("bin/x", FILE, "arm")]]),
    ];
    let found = listing(&tar_of(&images, None).unwrap());
    assert_eq!(found["linux_arm_v7/bin/x"].1, "arm");
    write_dir(&images, None, &setup.out(), &Cancel::new()).unwrap();
    let read = |path: &str| fs::read_to_string(setup.out().join(path)).unwrap();
    assert_eq!((read("linux_amd64/bin/x"), read("linux_arm_v7/bin/x")), ("amd64".into(), "arm".into()));
    let together = setup.0.path().join("together");
    for error in [
        tar_of(&images, Some(false)).unwrap_err(),
        write_dir(&images, Some(false), &together, &Cancel::new()).unwrap_err(),
    ] {
        assert!(matches!(&error, RootfsError::SameFile { path, .. } if path == "bin/x"), "{error}");
    }
    assert!(!together.exists());
    let other = setup.image("linux/arm64", &[&[("bin/", DIR, ""), ("bin/y", FILE, "arm64")]]);
    let images = [images[0].clone(), other];
    let found = listing(&tar_of(&images, Some(false)).unwrap());
    assert_eq!((found["bin/x"].1.as_str(), found["bin/y"].1.as_str()), ("amd64", "arm64"));
    write_dir(&images, Some(false), &together, &Cancel::new()).unwrap();
    assert!(together.join("bin/y").is_file());
    // A link of one platform does not let files of another escape.
    let escape = [
        setup.image("linux/amd64", &[&[("d", SYMLINK, "/tmp")]]),
        setup.image("linux/arm64", &[&[("d/", DIR, ""), ("d/x", FILE, "x")]]),
    ];
    assert!(write_dir(&escape, Some(false), &setup.out(), &Cancel::new()).is_err());
}

#[test]
fn a_directory_keeps_what_else_is_in_it_and_no_link_in_it_is_followed() {
    let setup = Setup::new();
    let outside = setup.0.path().join("outside");
    fs::create_dir_all(&outside).unwrap();
    fs::create_dir_all(setup.out().join("etc")).unwrap();
    fs::write_atomic(&setup.out().join("etc/mine"), b"mine", 0o644).unwrap();
    let image =
        setup.image("linux/amd64", &[&[("etc/", DIR, ""), ("etc/x", FILE, "x"), ("var/y", FILE, "y")]]);
    write_dir(std::slice::from_ref(&image), None, &setup.out(), &Cancel::new()).unwrap();
    assert_eq!(fs::read(setup.out().join("etc/mine")).unwrap(), b"mine");
    assert_eq!(fs::read(setup.out().join("etc/x")).unwrap(), b"x");
    write_dir(std::slice::from_ref(&image), None, &setup.out(), &Cancel::new()).unwrap();
    fs::remove_dir_all(setup.out().join("var")).unwrap();
    fs::symlink(&outside, setup.out().join("var")).unwrap();
    let error = write_dir(std::slice::from_ref(&image), None, &setup.out(), &Cancel::new()).unwrap_err();
    assert!(matches!(error, RootfsError::InTheWay(_)), "{error}");
    assert!(fs::read_dir(&outside).unwrap().next().is_none());
}

#[test]
fn layers_that_lead_outside_are_refused() {
    let setup = Setup::new();
    for lines in [
        &[("../x", FILE, "x")][..],
        &[("a/../../x", FILE, "x")],
        &[("l", LINK, "../../etc/passwd")],
        &[("l", LINK, "nowhere")],
        &[("a/.wh...", FILE, "")],
        &[("a", SYMLINK, "b"), ("b", SYMLINK, "a"), ("a/x", FILE, "")],
    ] {
        let image = setup.image("linux/amd64", &[lines]);
        let error = write_dir(&[image], None, &setup.out(), &Cancel::new()).unwrap_err();
        assert_eq!(error.exit_code(), ExitCode::CorruptImage, "{lines:?}: {error}");
        assert!(!setup.out().exists());
    }
    // A link that leads outside of the root resolves to the directory of that name inside.
    let image = setup.image("linux/amd64", &[&[("a", SYMLINK, "/../../b"), ("a/x", FILE, "x")]]);
    write_dir(&[image], None, &setup.out(), &Cancel::new()).unwrap();
    assert_eq!(fs::read(setup.out().join("b/x")).unwrap(), b"x");
}

#[test]
fn who_is_stopped_within_a_file_is_told_so() {
    struct Stopping<'a>(&'a Cancel, usize);

    impl std::io::Write for Stopping<'_> {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.1 += bytes.len();
            // After all headers, within the content.
            if self.1 > 64 << 10 {
                self.0.interrupt();
            }
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    let setup = Setup::new();
    let large = "x".repeat(4 << 20);
    let image = setup.image("linux/amd64", &[&[("large", FILE, &large)]]);
    let cancel = Cancel::new();
    let error = write_tar(&[image], None, &mut Stopping(&cancel, 0), &cancel).unwrap_err();
    assert!(matches!(error, RootfsError::Cancelled(_)), "{error}");
}
