//! A `.deb` (deb(5)): its control paragraph, the names of its scripts, and its files as layer entries.
//!
//! Pure, over bytes whose digest the caller has verified. Nothing is written to disk and no script is run: paths are
//! checked here, and `tree` merges the packages. Devices, pipes and sparse files are refused; no package of Debian's
//! main archive has them.

use std::collections::BTreeMap;
use std::io::{self, BufReader, Read};

use deb822_fast::Deb822;
use object::read::archive::ArchiveFile;
use tar::EntryType;

use super::bounded::{Bounded, Fault};
use crate::archive::Packing;
use crate::layer::{Content, Entry, EntryKind};
use crate::sys::cancel::{Cancel, Cancelled};

/// Maximum memory of a decoder, in KiB. `xz -9` needs 65 MiB.
const XZ_MEMORY: u32 = 192 * 1024;
/// Maximum unpacked size of a control archive, in bytes.
const CONTROL_LIMIT: u64 = 64 << 20;
/// How much a package may exceed a multiple of its declared size when unpacked, in bytes: for tar headers and padding.
const SLACK: u64 = 64 << 20;

/// An unpacked package.
#[derive(Clone, Debug)]
pub struct Unpacked {
    /// The control file's text.
    pub control: String,
    /// `Replaces` of the control file.
    pub replaces: String,
    /// The contents of `preinst` and `postinst`, if it has them.
    pub scripts: BTreeMap<&'static str, String>,
    /// Files marked as configuration, relative.
    pub conffiles: Vec<String>,
    /// Its files in the archive's order. The paths are relative and clean, and not yet moved for a merged `/usr`. A
    /// hard link's target is the path of an earlier entry.
    pub entries: Vec<Entry>,
}

/// Why a package cannot be unpacked.
#[derive(Debug, thiserror::Error)]
pub enum UnpackError {
    /// It is not a Debian package of format 2.
    #[error("it is not a Debian package: {0}")]
    NotAPackage(String),
    /// An archive in it is broken.
    #[error("its {archive} archive is broken: {source}")]
    Broken {
        /// `control` or `data`.
        archive: &'static str,
        /// The failure.
        source: io::Error,
    },
    /// Its control file names another package.
    #[error("its control file is that of {found}")]
    AnotherPackage {
        /// The name and version in its control file.
        found: String,
    },
    /// A path that points outside the image, or is not a valid path.
    #[error("`{path}` leads out of the image")]
    PathEscape {
        /// The path as in the archive.
        path: String,
    },
    /// A path or link target that is not UTF-8.
    #[error("`{path}` is not UTF-8")]
    NotUtf8 {
        /// The path, with replacement characters.
        path: String,
    },
    /// A device, a pipe, or a type that only old tools write.
    #[error("`{path}` is neither a file, a directory nor a link")]
    SpecialFile {
        /// The path.
        path: String,
    },
    /// A hard link whose target is not an earlier file of the package.
    #[error("`{path}` is a hard link to `{target}`, which is not an earlier file of the package")]
    HardLink {
        /// The link.
        path: String,
        /// Its target.
        target: String,
    },
    /// It unpacks to far more than its declared size.
    #[error("it unpacks to more than {limit} bytes")]
    TooLarge {
        /// The limit in bytes.
        limit: u64,
    },
    /// The work was stopped.
    #[error(transparent)]
    Cancelled(#[from] Cancelled),
}

/// Unpacks a package. `name` and `version` are those in the index, `installed_size` is in KiB.
///
/// # Errors
///
/// If the file is not a Debian package or a different one, if it unpacks to more than it declares, or if the work is
/// cancelled.
pub fn unpack(
    deb: &[u8],
    (name, version): (&str, &str),
    installed_size: Option<u64>,
    cancel: &Cancel,
) -> Result<Unpacked, UnpackError> {
    let not = |error: object::Error| UnpackError::NotAPackage(error.to_string());
    let archive = ArchiveFile::parse(deb).map_err(not)?;
    let mut members = Vec::new();
    for member in archive.members() {
        let member = member.map_err(not)?;
        let label = String::from_utf8_lossy(member.name()).trim_end_matches('/').to_owned();
        members.push((label, member.data(deb).map_err(not)?));
    }
    match members.first() {
        Some((label, format)) if label == "debian-binary" && format.starts_with(b"2.") => {}
        _ => return Err(UnpackError::NotAPackage("its first member is not debian-binary 2".into())),
    }
    let member = |stem: &'static str| {
        let mut found = members.iter().filter(|(label, _)| label.starts_with(&format!("{stem}.tar")));
        match (found.next(), found.next()) {
            (Some((label, bytes)), None) => Ok((label[stem.len() + 4..].to_owned(), *bytes)),
            _ => Err(UnpackError::NotAPackage(format!("it does not have exactly one {stem} archive"))),
        }
    };
    let (suffix, bytes) = member("control")?;
    let mut unpacked = read_control(&suffix, bytes, cancel)?;
    unpacked.replaces = check_identity(&unpacked.control, name, version)?;
    // The declared size is an estimate of the blocks on a disk, so a small package may well be twice as large.
    let limit = installed_size.unwrap_or(1 << 20).saturating_mul(4 * 1024).saturating_add(SLACK);
    let (suffix, bytes) = member("data")?;
    unpacked.entries = read_data(&suffix, bytes, limit, cancel)?;
    Ok(unpacked)
}

/// Decompresses a member, whose suffix names its compression.
fn decoder<'a>(suffix: &str, bytes: &'a [u8]) -> Result<Box<dyn Read + 'a>, UnpackError> {
    let packing = match suffix {
        "" => Packing::Plain,
        ".xz" => Packing::Xz,
        ".gz" => Packing::Gzip,
        ".zst" => Packing::Zstd,
        other => return Err(UnpackError::NotAPackage(format!("its archives are compressed as `{other}`"))),
    };
    packing
        .decoder(Box::new(bytes), XZ_MEMORY)
        .map_err(|source| UnpackError::Broken { archive: "data", source })
}

type TarEntry<'a, 'r> = tar::Entry<'a, &'r mut dyn Read>;

/// Calls `on_entry` for every entry of a compressed tar.
fn each_entry(
    archive: &'static str,
    (suffix, bytes): (&str, &[u8]),
    limit: u64,
    cancel: &Cancel,
    on_entry: &mut dyn FnMut(&mut TarEntry<'_, '_>) -> Result<(), UnpackError>,
) -> Result<(), UnpackError> {
    let mut bounded =
        BufReader::with_capacity(64 << 10, Bounded::new(decoder(suffix, bytes)?, limit, cancel));
    let outcome = (|| {
        let broken = |source| UnpackError::Broken { archive, source };
        let mut tar = tar::Archive::new(&mut bounded as &mut dyn Read);
        for entry in tar.entries().map_err(broken)? {
            on_entry(&mut entry.map_err(broken)?)?;
        }
        // Read to the end, so that the compressed stream's own checksum is verified.
        io::copy(&mut tar.into_inner(), &mut io::sink()).map_err(broken)?;
        Ok(())
    })();
    match bounded.into_inner().into_fault() {
        Some(Fault::TooLarge) => Err(UnpackError::TooLarge { limit }),
        Some(Fault::Cancelled(cancelled)) => Err(cancelled.into()),
        None => outcome,
    }
}

fn read_control(suffix: &str, bytes: &[u8], cancel: &Cancel) -> Result<Unpacked, UnpackError> {
    let (mut control, mut conffiles, mut scripts) = (None, String::new(), BTreeMap::new());
    each_entry("control", (suffix, bytes), CONTROL_LIMIT, cancel, &mut |entry| {
        let path = entry.path_bytes().into_owned();
        match path.strip_prefix(b"./").unwrap_or(&path) {
            b"control" => control = Some(read_text(entry)?),
            b"conffiles" => conffiles = read_text(entry)?,
            b"preinst" => {
                scripts.insert("preinst", read_script(entry)?);
            }
            b"postinst" => {
                scripts.insert("postinst", read_script(entry)?);
            }
            _ => {}
        }
        Ok(())
    })?;
    let control = control.ok_or_else(|| UnpackError::NotAPackage("it has no control file".into()))?;
    // A line may begin with a flag such as `remove-on-upgrade` (deb-conffiles(5)).
    let conffiles =
        conffiles.lines().filter_map(|line| line.trim().strip_prefix('/').map(ToOwned::to_owned)).collect();
    Ok(Unpacked { control, replaces: String::new(), scripts, conffiles, entries: Vec::new() })
}

fn read_text(entry: &mut TarEntry<'_, '_>) -> Result<String, UnpackError> {
    let mut text = String::new();
    entry.read_to_string(&mut text).map_err(|source| UnpackError::Broken { archive: "control", source })?;
    Ok(text)
}

/// A script's text. A script that is a binary program is not examined.
fn read_script(entry: &mut TarEntry<'_, '_>) -> Result<String, UnpackError> {
    let mut bytes = Vec::new();
    entry.read_to_end(&mut bytes).map_err(|source| UnpackError::Broken { archive: "control", source })?;
    Ok(String::from_utf8(bytes).unwrap_or_default())
}

/// Checks that a control file belongs to the expected package. Returns its `Replaces`.
fn check_identity(control: &str, name: &str, version: &str) -> Result<String, UnpackError> {
    let document: Deb822 =
        control.parse().map_err(|error: deb822_fast::Error| UnpackError::NotAPackage(error.to_string()))?;
    let field =
        |field: &str| document.iter().next().and_then(|fields| fields.get(field)).unwrap_or_default().trim();
    if field("Package") == name && field("Version") == version {
        return Ok(field("Replaces").to_owned());
    }
    Err(UnpackError::AnotherPackage { found: format!("{} {}", field("Package"), field("Version")) })
}

fn read_data(suffix: &str, bytes: &[u8], limit: u64, cancel: &Cancel) -> Result<Vec<Entry>, UnpackError> {
    let mut entries: Vec<Entry> = Vec::new();
    let mut files = std::collections::BTreeSet::new();
    each_entry("data", (suffix, bytes), limit, cancel, &mut |tar| {
        let broken = |source| UnpackError::Broken { archive: "data", source };
        let raw = tar.path_bytes().into_owned();
        let kind = tar.header().entry_type();
        if kind == EntryType::XGlobalHeader {
            return Ok(());
        }
        let Some(path) = clean(&raw)? else { return Ok(()) };
        let link = |tar: &TarEntry<'_, '_>| tar.link_name_bytes().unwrap_or_default().into_owned();
        let kind = match kind {
            EntryType::Directory => EntryKind::Directory,
            EntryType::Regular | EntryType::Continuous => {
                // Not allocated beforehand: the header may be wrong, and the stream is bounded.
                let mut content = Vec::new();
                tar.read_to_end(&mut content).map_err(broken)?;
                files.insert(path.clone());
                EntryKind::File(Content::Bytes(content.into()))
            }
            EntryType::Symlink => EntryKind::Symlink(utf8(&link(tar))?),
            EntryType::Link => {
                let target = clean(&link(tar))?.unwrap_or_default();
                if !files.contains(&target) || target == path {
                    return Err(UnpackError::HardLink { path, target });
                }
                EntryKind::HardLink(target)
            }
            _ => return Err(UnpackError::SpecialFile { path }),
        };
        let header = tar.header();
        let mode = match kind {
            EntryKind::Symlink(_) => 0o777,
            _ => header.mode().map_err(broken)? & 0o7777,
        };
        let (uid, gid) = (header.uid().map_err(broken)?, header.gid().map_err(broken)?);
        entries.push(Entry { path, kind, mode, uid, gid });
        Ok(())
    })?;
    Ok(entries)
}

/// A path of the archive, made relative and without `.` components; `None` for the root itself.
fn clean(raw: &[u8]) -> Result<Option<String>, UnpackError> {
    let text = utf8(raw)?;
    let escape = || UnpackError::PathEscape { path: text.clone() };
    if text.starts_with('/') || text.contains('\0') {
        return Err(escape());
    }
    let parts: Vec<&str> = text.split('/').filter(|part| !part.is_empty() && *part != ".").collect();
    if parts.contains(&"..") {
        return Err(escape());
    }
    Ok((!parts.is_empty()).then(|| parts.join("/")))
}

fn utf8(raw: &[u8]) -> Result<String, UnpackError> {
    String::from_utf8(raw.to_vec())
        .map_err(|_| UnpackError::NotUtf8 { path: String::from_utf8_lossy(raw).into_owned() })
}

#[cfg(test)]
mod tests {
    use super::super::testing::{Deb, Pack};
    use super::*;

    fn unpack_it(deb: &Deb) -> Result<Unpacked, UnpackError> {
        unpack(&deb.build(), ("a", "1"), Some(1), &Cancel::new())
    }

    #[test]
    fn reads_every_compression() {
        for pack in [Pack::Plain, Pack::Gzip, Pack::Xz, Pack::Zstd] {
            let deb = Deb::new("a", "1").packed(pack).directory("usr", 0o755).file("usr/x", b"hello", 0o4755);
            let unpacked = unpack_it(&deb).unwrap();
            assert!(unpacked.control.starts_with("Package: a\n"));
            let paths: Vec<&str> = unpacked.entries.iter().map(|entry| entry.path.as_str()).collect();
            assert_eq!(paths, ["usr", "usr/x"], "{pack:?}");
            assert_eq!(unpacked.entries[1].mode, 0o4755);
            assert_eq!(unpacked.entries[1].kind, EntryKind::File(Content::Bytes(b"hello"[..].into())));
        }
    }

    #[test]
    fn names_scripts_and_configuration() {
        let deb = Deb::new("a", "1")
            .control("postinst", "#!/bin/sh\n")
            .control("prerm", "#!/bin/sh\n")
            .control("conffiles", "/etc/a.conf\nremove-on-upgrade /etc/b\n");
        let unpacked = unpack_it(&deb).unwrap();
        assert_eq!(unpacked.scripts, [("postinst", "#!/bin/sh\n".to_owned())].into());
        assert_eq!(unpacked.conffiles, ["etc/a.conf"]);
    }

    #[test]
    fn refuses_paths_that_lead_out() {
        for path in ["../x", "usr/../../x", "/etc/passwd", "./usr/.."] {
            let error = unpack_it(&Deb::new("a", "1").raw_file(path, b"x")).unwrap_err();
            assert!(matches!(error, UnpackError::PathEscape { .. }), "{path}: {error}");
        }
        let error = unpack_it(&Deb::new("a", "1").file("x", b"", 0o644).hard_link("y", "../x")).unwrap_err();
        assert!(matches!(error, UnpackError::PathEscape { .. }), "{error}");
    }

    #[test]
    fn hard_links_go_to_earlier_files_only() {
        let unpacked = unpack_it(&Deb::new("a", "1").file("x", b"1", 0o644).hard_link("y", "./x")).unwrap();
        assert_eq!(unpacked.entries[1].kind, EntryKind::HardLink("x".into()));
        for deb in [
            Deb::new("a", "1").hard_link("y", "x").file("x", b"1", 0o644),
            Deb::new("a", "1").symlink("x", "/etc/shadow").hard_link("y", "x"),
            Deb::new("a", "1").file("x", b"", 0o644).hard_link("x", "x"),
        ] {
            let error = unpack_it(&deb).unwrap_err();
            assert!(matches!(error, UnpackError::HardLink { .. }), "{error}");
        }
    }

    #[test]
    fn refuses_devices_and_other_packages() {
        let error = unpack_it(&Deb::new("a", "1").device("dev/null")).unwrap_err();
        assert!(matches!(error, UnpackError::SpecialFile { .. }), "{error}");
        let error = unpack_it(&Deb::new("b", "1")).unwrap_err();
        assert_eq!(error.to_string(), "its control file is that of b 1");
        for bytes in [&b""[..], b"!<arch>\n", b"PK\x03\x04", &Deb::new("a", "1").build()[..100]] {
            let error = unpack(bytes, ("a", "1"), None, &Cancel::new()).unwrap_err();
            assert!(matches!(error, UnpackError::NotAPackage(_)), "{error}");
        }
    }

    #[test]
    fn a_bomb_stops_at_what_the_package_declares() {
        let zeros = vec![0; 70 << 20];
        let deb = Deb::new("a", "1").packed(Pack::Zstd).file("x", &zeros, 0o644).build();
        let error = unpack(&deb, ("a", "1"), Some(1), &Cancel::new()).unwrap_err();
        assert!(matches!(error, UnpackError::TooLarge { .. }), "{error}");
        assert!(unpack(&deb, ("a", "1"), Some(71 << 10), &Cancel::new()).is_ok());
    }

    #[test]
    fn an_altered_stream_is_noticed() {
        let mut deb = Deb::new("a", "1").packed(Pack::Xz).file("x", &[7; 5000], 0o644).build();
        let at = deb.len() - 60;
        deb[at] ^= 0x10;
        assert!(matches!(unpack(&deb, ("a", "1"), None, &Cancel::new()), Err(UnpackError::Broken { .. })));
    }

    #[test]
    fn stops_when_told_to() {
        let cancel = Cancel::new();
        cancel.interrupt();
        let error = unpack(&Deb::new("a", "1").build(), ("a", "1"), None, &cancel).unwrap_err();
        assert!(matches!(error, UnpackError::Cancelled(_)), "{error}");
    }
}
