//! A payload: the programs of one platform, each verified to be one for its target.
//!
//! An artifact is only what a build produced. It becomes part of a [`Payload`] by [`verify`], so whatever takes a
//! `Payload` need not ask again.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::PathBuf;

use crate::catalog::Target;
use crate::elf::{self, Elf};
use crate::error::{ExitCode, Explain, io_hint};
use crate::layer::{Content, Entry, EntryKind};
use crate::plan::PROGRAM_FOLDER;
use crate::platform::Platform;
use crate::sys::download::sha256_of;
use crate::sys::fs;

/// A binary that cargo has built.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BuiltBinary {
    /// The binary target's name.
    pub name: String,
    /// The file.
    pub path: PathBuf,
}

/// The verified programs of one platform, sorted by name; never empty.
#[derive(Clone, Debug)]
pub struct Payload {
    /// The programs.
    pub programs: Vec<Program>,
}

/// A verified program.
#[derive(Clone, Debug)]
pub struct Program {
    /// The binary target's name, which is the file's name in the image.
    pub name: String,
    /// The file on the host.
    pub path: PathBuf,
    /// Its size in bytes.
    pub size: u64,
    /// The digest of its bytes.
    pub sha256: [u8; 32],
    /// What it is and needs.
    pub elf: Elf,
}

/// Why an artifact is no payload.
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
    /// It is a program for something else.
    #[error("`{name}`: {source}")]
    Mismatch {
        /// The program.
        name: String,
        /// What differs.
        source: elf::Mismatch,
    },
    /// The same bytes as on another platform.
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
                Some("look for a build script or wrapper that ignores the target it is asked for".into())
            }
            Self::Io(error) => io_hint(error),
        }
    }
}

/// Verifies the artifacts of one platform.
pub fn verify(binaries: Vec<BuiltBinary>, target: &Target) -> Result<Payload, PayloadError> {
    let programs = binaries.into_iter().map(|binary| verify_one(binary, target)).collect::<Result<_, _>>()?;
    Ok(Payload { programs })
}

fn verify_one(binary: BuiltBinary, target: &Target) -> Result<Program, PayloadError> {
    let BuiltBinary { name, path } = binary;
    let bytes = fs::read(&path)?;
    let elf = match Elf::parse(&bytes) {
        Ok(elf) => elf,
        Err(source) => return Err(PayloadError::Parse { name, source }),
    };
    if let Err(source) = elf::verify(&elf, target) {
        return Err(PayloadError::Mismatch { name, source });
    }
    let size = bytes.len() as u64;
    drop(bytes);
    Ok(Program { sha256: sha256_of(&path)?, name, path, size, elf })
}

impl Payload {
    /// The entries of the payload's layer.
    #[must_use]
    pub fn entries(&self) -> Vec<Entry> {
        self.programs
            .iter()
            .map(|program| Entry {
                path: format!("{PROGRAM_FOLDER}/{}", program.name),
                kind: EntryKind::File(Content::Path { path: program.path.clone(), size: program.size }),
                mode: 0o755,
                uid: 0,
                gid: 0,
            })
            .collect()
    }

    /// The libraries that the programs need (`DT_NEEDED`).
    #[must_use]
    pub fn needed(&self) -> BTreeSet<String> {
        self.programs.iter().flat_map(|program| program.elf.needed.iter().cloned()).collect()
    }

    /// What the image's history says of the payload's layer.
    #[must_use]
    pub fn describe(&self) -> String {
        let names: Vec<_> = self.programs.iter().map(|program| program.name.as_str()).collect();
        format!("xbuild: {}", names.join(", "))
    }
}

/// The platforms of which a program is the same file as on another one: whatever its header says, it was not
/// compiled for both.
pub fn same<'a>(
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

    fn host() -> BuiltBinary {
        BuiltBinary { name: "sh".into(), path: "/bin/sh".into() }
    }

    fn target(triple: &str) -> &'static Target {
        Target::by_triple(triple).unwrap()
    }

    #[test]
    fn a_program_of_this_host_is_one_for_amd64_only() {
        let payload = verify(vec![host()], target("x86_64-unknown-linux-gnu")).unwrap();
        assert!(payload.needed().contains("libc.so.6"));
        assert_eq!(payload.entries()[0].path, "usr/local/bin/sh");
        let error = verify(vec![host()], target("aarch64-unknown-linux-gnu")).unwrap_err();
        assert_eq!(error.exit_code(), ExitCode::WrongBinary);
        let error = verify(vec![host()], target("x86_64-unknown-linux-musl")).unwrap_err();
        assert_eq!(error.exit_code(), ExitCode::WrongBinary);
    }

    #[test]
    fn the_same_bytes_on_two_platforms_are_refused() {
        let payload = verify(vec![host()], target("x86_64-unknown-linux-gnu")).unwrap();
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
