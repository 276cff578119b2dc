//! A payload: the programs of one platform, each verified to be for its target.
//!
//! An artifact is merely what a build produced. [`verify`] makes it part of a [`Payload`], so code that takes a
//! `Payload` need not check again.

pub(crate) mod cargo;

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

pub(crate) use cargo::{CompileRequest, Product, Unit, compile, machine_dirs};
pub(crate) use cargo::{Error as CompileError, UnitError};
pub(crate) use cargo::{configuration, graph, metadata, processor, project, spec};

use crate::elf::{self, Elf};
use crate::error::{ExitCode, Explain, io_hint};
use crate::files::Made;
use crate::layer::{Content, Entry, EntryKind};
use crate::machine_paths;
use crate::sys::fs;
use crate::sys::hash::sha256_of;
use crate::target::catalog::Target;
use crate::target::identity;
use crate::target::platform::Platform;

/// The directory of programs in the image.
pub(crate) const PROGRAM_DIR: &str = "usr/local/bin";

/// The first bytes of an ELF file.
const ELF_MAGIC: [u8; 4] = *b"\x7fELF";
/// At most this many names are in a layer's history.
const MOST_NAMES: usize = 16;

/// A binary that cargo has built.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct BuiltBinary {
    /// The binary target's name.
    pub name: String,
    /// The file.
    pub path: PathBuf,
}

/// The verified result of a build for one platform.
#[derive(Clone, Debug)]
pub(crate) struct Payload {
    /// The programs, sorted by name; never empty.
    pub programs: Vec<Program>,
    /// Configured files that builds made.
    pub files: Vec<Entry>,
    /// The libraries that libraries among `files` need.
    needed_by_files: BTreeSet<String>,
    /// Paths of this machine that were found in programs and libraries, by their paths in the image.
    pub machine_paths: BTreeMap<String, Vec<PathBuf>>,
    /// The directories of this machine that these paths are below.
    pub machine: Vec<PathBuf>,
    /// Everything that builds have made for the platform, for hints.
    pub made: Made,
}

/// A verified program.
#[derive(Clone, Debug)]
pub(crate) struct Program {
    /// The binary target's name, which is the file's name in the image.
    pub name: String,
    /// The file on the host.
    pub path: PathBuf,
    /// Its size in bytes.
    pub size: u64,
    /// The digest of its bytes.
    pub sha256: [u8; 32],
    /// Its ELF properties and needs.
    pub elf: Elf,
}

/// Why an artifact is not a payload.
#[derive(Debug, thiserror::Error)]
pub enum PayloadError {
    /// It is not an ELF file, or a broken one.
    #[error("`{name}`: {source}")]
    Parse {
        /// The program.
        name: String,
        /// What is wrong.
        source: elf::ParseError,
    },
    /// It is a program for another target.
    #[error("`{name}`: {source}")]
    Mismatch {
        /// The program.
        name: String,
        /// What differs.
        source: identity::Mismatch,
    },
    /// It has the same bytes as on another platform.
    #[error("`{name}` is the same file on {}: it cannot be a program for each of them",
        platforms.iter().map(ToString::to_string).collect::<Vec<_>>().join(" and "))]
    Same {
        /// The program.
        name: String,
        /// The platforms.
        platforms: Vec<Platform>,
    },
    /// It could not be read.
    #[error("cannot read an artifact: {0}")]
    Io(#[from] io::Error),
}

impl Explain for PayloadError {
    fn exit_code(&self) -> ExitCode {
        match self {
            Self::Parse { source, .. } => source.exit_code(),
            Self::Mismatch { source, .. } => source.exit_code(),
            Self::Same { .. } => ExitCode::SamePayload,
            Self::Io(error) => ExitCode::of_io(error),
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::Parse { source, .. } => source.hint(),
            Self::Mismatch { source, .. } => source.hint(),
            Self::Same { .. } => {
                Some("look for a build script or wrapper that ignores the requested target".into())
            }
            Self::Io(error) => io_hint(error),
        }
    }
}

/// Verifies the artifacts of one platform: programs, and files that builds made. Searches them for paths below the
/// directories `machine` of this machine.
pub(crate) fn verify(
    binaries: Vec<BuiltBinary>,
    files: Vec<Entry>,
    target: &Target,
    machine: &[PathBuf],
) -> Result<Payload, PayloadError> {
    let mut payload = Payload {
        programs: Vec::new(),
        files: Vec::new(),
        needed_by_files: BTreeSet::new(),
        machine_paths: BTreeMap::new(),
        machine: machine.to_vec(),
        made: Made::default(),
    };
    for BuiltBinary { name, path } in binaries {
        let (elf, size) = read(
            &name,
            &path,
            machine,
            |elf| identity::verify(elf, target),
            |paths| {
                payload.machine_paths.insert(format!("/{PROGRAM_DIR}/{name}"), paths);
            },
        )?;
        payload.programs.push(Program { sha256: sha256_of(&path)?, name, path, size, elf });
    }
    for entry in &files {
        let EntryKind::File(Content::Path { path, .. }) = &entry.kind else { continue };
        let mut start = [0; ELF_MAGIC.len()];
        if fs::File::open(path)?.read_exact(&mut start).is_err() || start != ELF_MAGIC {
            continue;
        }
        let name = entry.path.rsplit('/').next().unwrap_or(&entry.path);
        let (elf, _) = read(
            name,
            path,
            machine,
            |elf| identity::verify_library(elf, target),
            |paths| {
                payload.machine_paths.insert(format!("/{}", entry.path), paths);
            },
        )?;
        payload.needed_by_files.extend(elf.needed);
    }
    payload.files = files;
    Ok(payload)
}

/// Reads an artifact and verifies it. Returns its ELF properties and its size.
fn read(
    name: &str,
    path: &Path,
    machine: &[PathBuf],
    verify: impl Fn(&Elf) -> Result<(), identity::Mismatch>,
    mut has_paths: impl FnMut(Vec<PathBuf>),
) -> Result<(Elf, u64), PayloadError> {
    let parse = |source| PayloadError::Parse { name: name.to_owned(), source };
    let bytes = fs::read(path)?;
    let elf = Elf::parse(&bytes).map_err(parse)?;
    verify(&elf).map_err(|source| PayloadError::Mismatch { name: name.to_owned(), source })?;
    let paths = machine_paths::find(&bytes, machine).map_err(parse)?;
    if !paths.is_empty() {
        has_paths(paths);
    }
    Ok((elf, bytes.len() as u64))
}

impl Payload {
    /// The entries of the payload's layer.
    #[must_use]
    pub(crate) fn entries(&self) -> Vec<Entry> {
        self.programs
            .iter()
            .map(|program| Entry {
                path: format!("{PROGRAM_DIR}/{}", program.name),
                kind: EntryKind::File(Content::Path { path: program.path.clone(), size: program.size }),
                mode: 0o755,
                uid: 0,
                gid: 0,
            })
            .chain(self.files.iter().cloned())
            .collect()
    }

    /// The libraries that the programs need (`DT_NEEDED`).
    #[must_use]
    pub(crate) fn needed(&self) -> BTreeSet<String> {
        let by_programs = self.programs.iter().flat_map(|program| &program.elf.needed);
        let mut needed: BTreeSet<String> = by_programs.chain(&self.needed_by_files).cloned().collect();
        for entry in &self.files {
            needed.remove(entry.path.rsplit('/').next().unwrap_or(&entry.path));
        }
        needed
    }

    /// The text for the payload's layer in the image's history.
    #[must_use]
    pub(crate) fn describe(&self) -> String {
        let files = self.files.iter().filter(|entry| !matches!(entry.kind, EntryKind::Directory));
        let files = files.map(|entry| entry.path.rsplit('/').next().unwrap_or(&entry.path));
        let names: Vec<_> =
            self.programs.iter().map(|program| program.name.as_str()).chain(files).take(MOST_NAMES).collect();
        format!("xbuild: {}", names.join(", "))
    }
}

/// The platforms on which a program is the same file as on another one: whatever its header says, it was not compiled
/// for both.
pub(crate) fn same<'a>(
    payloads: impl IntoIterator<Item = (&'a Platform, &'a Payload)>,
) -> BTreeMap<Platform, PayloadError> {
    let mut seen: BTreeMap<(&str, [u8; 32]), Vec<Platform>> = BTreeMap::new();
    for (platform, payload) in payloads {
        for program in &payload.programs {
            seen.entry((&program.name, program.sha256)).or_default().push(platform.clone());
        }
    }
    let shared = seen.into_iter().filter(|(_, platforms)| platforms.len() > 1);
    shared
        .flat_map(|((name, _), platforms)| {
            let error = || PayloadError::Same { name: name.to_owned(), platforms: platforms.clone() };
            platforms.iter().map(|platform| (platform.clone(), error())).collect::<Vec<_>>()
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn host_for(triple: &str) -> Result<Payload, PayloadError> {
        let binary = BuiltBinary { name: "sh".into(), path: "/bin/sh".into() };
        verify(vec![binary], Vec::new(), Target::by_triple(triple).unwrap(), &[])
    }

    #[test]
    fn files_of_builds_are_for_their_platform_too() {
        let file = |path: &str| Entry {
            path: "usr/lib/libx.so".into(),
            kind: EntryKind::File(Content::Path { path: path.into(), size: 1 }),
            mode: 0o755,
            uid: 0,
            gid: 0,
        };
        let verify = |path: &str, triple: &str| {
            verify(Vec::new(), vec![file(path)], Target::by_triple(triple).unwrap(), &["/etc".into()])
        };
        let payload = verify("/bin/sh", "x86_64-unknown-linux-gnu").unwrap();
        assert!(payload.needed().contains("libc.so.6"));
        assert_eq!(payload.describe(), "xbuild: libx.so");
        let error = verify("/bin/sh", "aarch64-unknown-linux-gnu").unwrap_err();
        assert!(error.to_string().starts_with("`libx.so`: it is not a program for aarch64"), "{error}");
        // Data files are valid on every platform.
        assert!(verify("/etc/passwd", "aarch64-unknown-linux-gnu").unwrap().needed().is_empty());
    }

    #[test]
    fn a_program_of_this_host_is_one_for_amd64_only() {
        let payload = host_for("x86_64-unknown-linux-gnu").unwrap();
        assert!(payload.needed().contains("libc.so.6"));
        assert_eq!(payload.entries()[0].path, "usr/local/bin/sh");
        let error = host_for("aarch64-unknown-linux-gnu").unwrap_err();
        assert_eq!(error.exit_code(), ExitCode::WrongBinary);
        let error = host_for("x86_64-unknown-linux-musl").unwrap_err();
        assert_eq!(error.exit_code(), ExitCode::WrongBinary);
    }

    #[test]
    fn the_same_bytes_on_two_platforms_are_refused() {
        let payload = host_for("x86_64-unknown-linux-gnu").unwrap();
        let platforms: Vec<Platform> = ["arm64", "amd64"].iter().map(|text| text.parse().unwrap()).collect();
        let errors = same(platforms.iter().map(|platform| (platform, &payload)));
        assert_eq!(
            errors.keys().map(ToString::to_string).collect::<Vec<_>>(),
            ["linux/amd64", "linux/arm64"]
        );
        assert_eq!(
            errors[&platforms[0]].to_string(),
            "`sh` is the same file on linux/arm64 and linux/amd64: it cannot be a program for each of them"
        );
        assert!(same([(&platforms[0], &payload)]).is_empty());
    }
}
