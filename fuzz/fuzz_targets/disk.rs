//! A root filesystem that is written to a directory: whatever its layers hold, nothing outside of that directory is touched.

#![no_main]

use std::fs;
use std::path::{Path, PathBuf};

use libfuzzer_sys::fuzz_target;
use xbuild::oci::{Algorithm, Descriptor, Digest, media_type};
use xbuild::internal::output::rootfs::{Image, write_dir, write_tar};
use xbuild::rootfs::{Change, Kind, Limits, scan};
use xbuild::Cancel;

const MARK: &[u8] = b"--next layer--";
/// What an input may come to on the disk, in bytes.
const MOST: u64 = 1 << 20;
const LIMITS: Limits = Limits { bytes: MOST, entries: 256, names: 1 << 20 };

/// Directories in memory, this process's own.
fn place() -> PathBuf {
    Path::new("/dev/shm").join(format!("xbuild-fuzz-{}", std::process::id()))
}

/// Everything below a directory, links not followed, but for what is below its `out`.
fn around(dir: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let (mut found, mut open) = (Vec::new(), vec![dir.to_owned()]);
    while let Some(dir) = open.pop() {
        for entry in fs::read_dir(dir).expect("our own directory") {
            let path = entry.expect("our own directory").path();
            if path.ends_with("work/out") {
                continue;
            }
            let kind = fs::symlink_metadata(&path).expect("our own file").file_type();
            let content = if kind.is_file() { fs::read(&path).expect("our own file") } else { Vec::new() };
            if kind.is_dir() {
                open.push(path.clone());
            }
            found.push((path, content));
        }
    }
    found.sort();
    found
}

fuzz_target!(|bytes: &[u8]| {
    let middle = bytes.windows(MARK.len()).position(|window| window == MARK);
    let parts = match middle {
        Some(at) => vec![&bytes[..at], &bytes[at + MARK.len()..]],
        None => vec![bytes],
    };
    let cancel = Cancel::new();
    for part in &parts {
        // What would be much for a disk is looked at elsewhere.
        let Ok(layer) = scan(*part, Algorithm::Sha256, LIMITS, &cancel) else { return };
        let sizes = layer.entries.iter().map(|(_, change)| match change {
            Change::Put(node) => if let Kind::File(file) = &node.kind { file.size } else { 0 },
            Change::Link(_) => 0,
        });
        if sizes.fold(0, u64::saturating_add) > MOST {
            return;
        }
    }
    let place = place();
    fs::remove_dir_all(&place).ok();
    fs::create_dir_all(place.join("work/beside")).expect("a directory in memory");
    fs::create_dir_all(place.join("etc")).expect("a directory in memory");
    for file in ["etc/passwd", "work/beside/mine"] {
        fs::write(place.join(file), "mine").expect("a file in memory");
    }
    let mut layers = Vec::new();
    for (number, part) in parts.iter().enumerate() {
        let path = place.join(format!("layer-{number}"));
        fs::write(&path, part).expect("a file in memory");
        layers.push((Descriptor::new(media_type::LAYER, Digest::of(part), part.len() as u64), path));
    }
    let image = Image { platform: "linux/amd64".parse().expect("a platform"), layers };
    let before = around(&place);
    let out = place.join("work/out");
    // Once where there is nothing, and once over what the first has left.
    for _ in 0..2 {
        let written = write_dir(std::slice::from_ref(&image), None, &out, &cancel);
        assert_eq!(around(&place), before);
        // What can be written to a directory can be written to an archive, but for names that only a directory takes.
        if written.is_ok() {
            let mut tar = Vec::new();
            write_tar(std::slice::from_ref(&image), None, &mut tar, &cancel).expect("the same image");
        }
    }
    fs::remove_dir_all(&place).ok();
});
