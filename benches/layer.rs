//! Writes a layer from a directory and reports its speed and size: `cargo bench --bench layer -- DIRECTORY [CODEC]`.
//!
//! CODEC is `gzip-LEVEL` (by default the build's own level), `zstd-LEVEL` or `none`. The time includes everything:
//! reading the files, tar, `diff_id`, compression, digest, writing the blob. It prints one line, `MB/s  bytes  ratio`.

use std::collections::VecDeque;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Instant;

use xbuild::Cancel;
use xbuild::internal::layer::{self, Compression, Content, Entry, EntryKind, LayerSpec};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    // cargo adds `--bench`.
    let arguments: Vec<String> = std::env::args().skip(1).filter(|argument| argument != "--bench").collect();
    let Some(dir) = arguments.first() else {
        eprintln!("usage: cargo bench --bench layer -- DIRECTORY [gzip-LEVEL|zstd-LEVEL|none]");
        return Ok(());
    };
    let compression = match arguments.get(1).map(|codec| codec.split_once('-').unwrap_or((codec, ""))) {
        None => Compression::default(),
        Some(("gzip", level)) => Compression::Gzip { level: level.parse()? },
        Some(("zstd", level)) => Compression::Zstd { level: level.parse()? },
        Some(("none", _)) => Compression::None,
        Some((codec, _)) => return Err(format!("unknown codec `{codec}`").into()),
    };
    let spec = LayerSpec { entries: entries(Path::new(dir))?, compression, ..LayerSpec::default() };
    let blobs = tempfile::tempdir()?;
    let start = Instant::now();
    let layer = layer::write(&spec, blobs.path(), &Cancel::new(), &|_| ())?;
    let seconds = start.elapsed().as_secs_f64();
    let (size, whole) = (to_f64(layer.descriptor.size), to_f64(layer.uncompressed_size));
    println!(
        "{:.0} MB/s  {} bytes  {:.3} %",
        whole / 1e6 / seconds,
        layer.descriptor.size,
        100.0 * size / whole
    );
    Ok(())
}

/// Every directory, file and symbolic link below `root`.
fn entries(root: &Path) -> Result<Vec<Entry>, Box<dyn std::error::Error>> {
    let mut entries = Vec::new();
    let mut dirs = VecDeque::from([PathBuf::new()]);
    while let Some(dir) = dirs.pop_front() {
        for item in std::fs::read_dir(root.join(&dir))? {
            let item = item?;
            let path = dir.join(item.file_name());
            let metadata = item.metadata()?;
            let kind = if metadata.is_dir() {
                dirs.push_back(path.clone());
                EntryKind::Directory
            } else if metadata.is_symlink() {
                EntryKind::Symlink(std::fs::read_link(item.path())?.to_string_lossy().into_owned())
            } else if metadata.is_file() {
                EntryKind::File(Content::Path { path: item.path(), size: metadata.len() })
            } else {
                continue;
            };
            let path = path.into_os_string().into_string().map_err(|_| "a name is not UTF-8")?;
            entries.push(Entry { path, kind, mode: metadata.mode() & 0o7777, uid: 0, gid: 0 });
        }
    }
    Ok(entries)
}

#[allow(clippy::cast_precision_loss, reason = "for printing")]
fn to_f64(bytes: u64) -> f64 {
    bytes as f64
}
