//! One digest of all files of zig: a lock pins it, and a copy in the cache is trusted only if it matches.
//!
//! zig consists of its program and the library beside it, from which it compiles C libraries and start-up code, so any
//! of these files may affect an image. Anyone can reproduce the digest: `find zig lib -type f | LC_ALL=C sort | xargs
//! sha256sum | sha256sum`.

use std::path::{Path, PathBuf};

use rayon::prelude::*;
use sha2::{Digest as _, Sha256};

use super::WayError;
use crate::oci::Digest;
use crate::sys::cancel::Cancel;
use crate::sys::fs;
use crate::sys::hash::sha256_until;

/// The digest of zig's files in a directory. zig contains only files and directories; anything else is an error.
pub(super) fn digest(dir: &Path, cancel: &Cancel) -> Result<Digest, WayError> {
    let mut files = vec![PathBuf::from("zig")];
    let mut dirs = vec![PathBuf::from("lib")];
    while let Some(below) = dirs.pop() {
        for entry in fs::read_dir(dir.join(&below))? {
            let entry = entry?;
            let (path, kind) = (below.join(entry.file_name()), entry.file_type()?);
            if kind.is_dir() {
                dirs.push(path);
            } else if kind.is_file() {
                files.push(path);
            } else {
                return Err(WayError::Foreign { path: dir.join(path) });
            }
        }
    }
    if !fs::symlink_metadata(dir.join("zig"))?.is_file() {
        return Err(WayError::Foreign { path: dir.join("zig") });
    }
    // Sorted by the bytes of the paths; `sort` does the same for paths without newlines.
    files.sort_by(|a, b| a.as_os_str().cmp(b.as_os_str()));
    let lines: Result<Vec<String>, WayError> = files
        .par_iter()
        .map(|path| {
            cancel.check()?;
            Ok(format!(
                "{}  {}\n",
                hex::encode(sha256_until::<WayError>(&dir.join(path), cancel)?),
                path.display()
            ))
        })
        .collect();
    let mut whole = Sha256::new();
    for line in lines? {
        whole.update(line);
    }
    let text = format!("sha256:{}", hex::encode(whole.finalize()));
    Ok(text.parse().unwrap_or_else(|_| unreachable!("`{text}` was made as a digest")))
}
