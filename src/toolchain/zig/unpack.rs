//! Unpacks an archive into an empty directory: only regular files and directories, and none outside of it.

use std::io::{self, Read};
use std::path::{Component, Path, PathBuf};

use super::WayError;
use crate::archive::Packing;
use crate::error::ExitCode;
use crate::sys::cancel::{Cancel, Cancelled};
use crate::sys::fs::{self, PermissionsExt};

/// The limits of an unpacked zig, in bytes and files; zig 0.17.1 has 376 MB in 19,540 files.
const BYTES: u64 = 4 << 30;
const FILES: usize = 200_000;

/// What is wrong with an archive.
enum Fault {
    Entry(String),
    Io(io::Error),
    Cancelled(Cancelled),
}

impl From<io::Error> for Fault {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

impl From<Cancelled> for Fault {
    fn from(cancelled: Cancelled) -> Self {
        Self::Cancelled(cancelled)
    }
}

impl Fault {
    fn of(self, archive: &Path) -> WayError {
        let file = archive.file_name().unwrap_or_default().to_string_lossy().into_owned();
        match self {
            Self::Entry(reason) => WayError::Archive { file, reason },
            Self::Cancelled(cancelled) => cancelled.into(),
            // A full disk is not the archive's fault, but an error of its decoder is.
            Self::Io(error) if error.raw_os_error().is_some() || ExitCode::of_io(&error) != ExitCode::Io => {
                error.into()
            }
            Self::Io(error) => WayError::Archive { file, reason: error.to_string() },
        }
    }
}

/// The destination of entries.
struct Sink<'a> {
    root: &'a Path,
    cancel: &'a Cancel,
    bytes: u64,
    files: usize,
}

impl Sink<'_> {
    /// Writes one file; of `mode`, only the executable bits count.
    fn file(&mut self, path: &Path, mode: u32, content: &mut dyn Read) -> Result<(), Fault> {
        self.cancel.check()?;
        self.files += 1;
        let path = self.root.join(path);
        if let Some(dir) = path.parent() {
            fs::create_dir_all(dir)?;
        }
        // `create_new`: a repeated entry must not write through what the first one has made.
        let mut file = fs::OpenOptions::new().write(true).create_new(true).open(&path)?;
        let left = BYTES - self.bytes;
        self.bytes += io::copy(&mut content.take(left + 1), &mut file)?;
        if self.bytes > BYTES || self.files > FILES {
            return Err(Fault::Entry("it is larger than any zig".into()));
        }
        let mode = if mode & 0o111 == 0 { 0o644 } else { 0o755 };
        file.file().set_permissions(fs::Permissions::from_mode(mode))?;
        Ok(())
    }
}

/// A path below the root, without its first component and with plain names only. `None` for the first component itself.
fn below(path: &Path) -> Result<Option<(&Path, PathBuf)>, Fault> {
    let escape = || Fault::Entry(format!("`{}` leads out of the directory", path.display()));
    let mut components = path.components().filter(|component| *component != Component::CurDir);
    let Some(first @ Component::Normal(_)) = components.next() else { return Err(escape()) };
    let mut rest = PathBuf::new();
    for component in components {
        match component {
            Component::Normal(name) => rest.push(name),
            _ => return Err(escape()),
        }
    }
    Ok((!rest.as_os_str().is_empty()).then_some((Path::new(first.as_os_str()), rest)))
}

/// Unpacks the directory `package` of a wheel.
pub(super) fn wheel(archive: &Path, package: &str, root: &Path, cancel: &Cancel) -> Result<(), WayError> {
    let mut sink = Sink { root, cancel, bytes: 0, files: 0 };
    unzip(archive, package, &mut sink).map_err(|fault| fault.of(archive))
}

fn unzip(archive: &Path, package: &str, sink: &mut Sink<'_>) -> Result<(), Fault> {
    let zip_error = |error: zip::result::ZipError| match error {
        zip::result::ZipError::Io(error) => Fault::Io(error),
        other => Fault::Entry(other.to_string()),
    };
    let file = io::BufReader::new(fs::File::open(archive)?);
    let mut zip = zip::ZipArchive::new(file).map_err(zip_error)?;
    for index in 0..zip.len() {
        let mut entry = zip.by_index(index).map_err(zip_error)?;
        let name = entry.name().map_err(zip_error)?.into_owned();
        if entry.is_dir() {
            continue;
        }
        if entry.is_symlink() {
            return Err(Fault::Entry(format!("`{name}` is a symbolic link")));
        }
        // The wheel also contains metadata for installers.
        if let Some((first, path)) = below(Path::new(&name))?
            && first == Path::new(package)
        {
            let mode = entry.unix_mode().unwrap_or(0o644);
            sink.file(&path, mode, &mut entry)?;
        }
    }
    Ok(())
}

/// Unpacks an xz-compressed tar archive without its top directory.
pub(super) fn tar_xz(archive: &Path, root: &Path, cancel: &Cancel) -> Result<(), WayError> {
    let mut sink = Sink { root, cancel, bytes: 0, files: 0 };
    untar(archive, &mut sink).map_err(|fault| fault.of(archive))
}

fn untar(archive: &Path, sink: &mut Sink<'_>) -> Result<(), Fault> {
    let file = io::BufReader::new(fs::File::open(archive)?);
    // The archive is signed, so its memory is not limited.
    let mut tar = tar::Archive::new(Packing::Xz.decoder(Box::new(file), u32::MAX)?);
    for entry in tar.entries()? {
        let mut entry = entry?;
        let path = entry.path()?.into_owned();
        match entry.header().entry_type() {
            tar::EntryType::Directory => {}
            tar::EntryType::Regular | tar::EntryType::Continuous => {
                if let Some((_, path)) = below(&path)? {
                    let mode = entry.header().mode()?;
                    sink.file(&path, mode, &mut entry)?;
                }
            }
            other => {
                return Err(Fault::Entry(format!(
                    "`{}` is neither a file nor a directory ({other:?})",
                    path.display()
                )));
            }
        }
    }
    Ok(())
}
