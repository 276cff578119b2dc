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
use crate::plan::{GlibcVersion, PROGRAM_FOLDER};
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
    /// It needs a dynamic loader, and the image has nothing.
    #[error("`{name}` needs {}, and the base `scratch` has nothing", needs.join(", "))]
    DynamicOnScratch {
        /// The program.
        name: String,
        /// Its loader and libraries.
        needs: Vec<String>,
    },
    /// It needs a newer glibc than the base has.
    #[error("`{name}` needs glibc {}.{} ({symbols}), and the base `{base}` has glibc {}.{}", needs.0, needs.1, has.0, has.1)]
    GlibcTooNew {
        /// The program.
        name: String,
        /// What it needs.
        needs: GlibcVersion,
        /// The libraries that it needs that version of.
        symbols: String,
        /// What the base has.
        has: GlibcVersion,
        /// The base's name.
        base: String,
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
            Self::DynamicOnScratch { .. } | Self::GlibcTooNew { .. } => ExitCode::Unrunnable,
            Self::Same { .. } => ExitCode::SamePayload,
            Self::Io(error) => ExitCode::of_io(error),
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::Parse { source, .. } => source.hint(),
            Self::Mismatch { source, .. } => source.hint(),
            Self::DynamicOnScratch { .. } => {
                Some("build for a musl triple, or use a base with a C library, such as apt:bookworm".into())
            }
            Self::GlibcTooNew { has, .. } => Some(format!(
                "let zig link it (--toolchain zig), which keeps to glibc {}.{}, or use a newer base",
                has.0, has.1
            )),
            Self::Same { .. } => {
                Some("look for a build script or wrapper that ignores the target it is asked for".into())
            }
            Self::Io(error) => io_hint(error),
        }
    }
}

/// What a program is to run on.
#[derive(Clone, Copy, Debug)]
pub struct Ground<'a> {
    /// The target it was compiled for.
    pub target: &'a Target,
    /// The base image's name.
    pub base: &'a str,
    /// True if the base has no files at all.
    pub empty: bool,
    /// The base's glibc.
    pub glibc: Option<GlibcVersion>,
}

/// Verifies the artifacts of one platform.
pub fn verify(binaries: Vec<BuiltBinary>, ground: &Ground<'_>) -> Result<Payload, PayloadError> {
    let programs = binaries.into_iter().map(|binary| verify_one(binary, ground)).collect::<Result<_, _>>()?;
    Ok(Payload { programs })
}

fn verify_one(binary: BuiltBinary, ground: &Ground<'_>) -> Result<Program, PayloadError> {
    let BuiltBinary { name, path } = binary;
    let bytes = fs::read(&path)?;
    let elf = match Elf::parse(&bytes) {
        Ok(elf) => elf,
        Err(source) => return Err(PayloadError::Parse { name, source }),
    };
    if let Err(source) = elf::verify(&elf, ground.target) {
        return Err(PayloadError::Mismatch { name, source });
    }
    if ground.empty && !elf.is_static() {
        let needs = elf.interpreter.iter().chain(&elf.needed).cloned().collect();
        return Err(PayloadError::DynamicOnScratch { name, needs });
    }
    if let (Some(needs), Some(has)) = (elf.newest_glibc_needed(), ground.glibc)
        && needs > has
    {
        let libraries: Vec<_> = elf
            .versions_needed
            .iter()
            .filter(|need| elf::glibc_version(&need.version) == Some(needs))
            .map(|need| format!("{} of {}", need.version, need.library))
            .collect();
        return Err(PayloadError::GlibcTooNew {
            name,
            needs,
            symbols: libraries.join(", "),
            has,
            base: ground.base.to_owned(),
        });
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

    fn ground(triple: &str) -> Ground<'static> {
        let target = Target::by_triple(triple).unwrap();
        Ground { target, base: "a-base", empty: false, glibc: None }
    }

    #[test]
    fn a_program_of_this_host_is_one_for_amd64_only() {
        let payload = verify(vec![host()], &ground("x86_64-unknown-linux-gnu")).unwrap();
        assert!(payload.needed().contains("libc.so.6"));
        assert_eq!(payload.entries()[0].path, "usr/local/bin/sh");
        let error = verify(vec![host()], &ground("aarch64-unknown-linux-gnu")).unwrap_err();
        assert_eq!(error.exit_code(), ExitCode::WrongBinary);
        let error = verify(vec![host()], &ground("x86_64-unknown-linux-musl")).unwrap_err();
        assert_eq!(error.exit_code(), ExitCode::WrongBinary);
    }

    #[test]
    fn the_ground_must_have_what_it_needs() {
        let gnu = ground("x86_64-unknown-linux-gnu");
        let error = verify(vec![host()], &Ground { empty: true, base: "scratch", ..gnu }).unwrap_err();
        assert!(error.to_string().contains("libc.so.6"), "{error}");
        let error = verify(vec![host()], &Ground { glibc: Some((2, 3)), ..gnu }).unwrap_err();
        assert!(error.to_string().contains("of libc.so.6), and the base `a-base` has glibc 2.3"), "{error}");
        assert_eq!(error.exit_code(), ExitCode::Unrunnable);
    }

    #[test]
    fn the_same_bytes_on_two_platforms_are_refused() {
        let payload = verify(vec![host()], &ground("x86_64-unknown-linux-gnu")).unwrap();
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
