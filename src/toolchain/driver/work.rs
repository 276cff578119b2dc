//! Notes of a wrapper for the xbuild that runs the build: which arguments zig did not get, and that zig may be building
//! its own libraries, which takes minutes and happens once.

use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::Spec;
use super::translate::Remark;
use crate::sys::{fs, store};

/// A line in the file that wrappers append to.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(tag = "kept", rename_all = "kebab-case")]
pub(crate) enum Note {
    /// An argument that a linker or compiler does not get, or gets in another form.
    Remark { tool: String, triple: String, argument: String, reason: String },
    /// A link began for which zig may have to build libraries.
    Waiting { triple: String, library: Library },
    /// It ended, successfully or not.
    Ended { triple: String, library: Library },
}

/// The libraries that zig builds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Library {
    /// Start-up code, the C library or its link stubs, the run-time library and the unwinder.
    C,
    /// The C++ library in addition.
    Cxx,
}

impl Library {
    /// Its name in messages.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::C => "C library",
            Self::Cxx => "C++ library",
        }
    }
}

impl Note {
    /// The remarks on arguments that `tool` does not get for a triple.
    pub(crate) fn remarks(tool: &str, triple: &str, remarks: &[Remark]) -> Vec<Self> {
        let kept = |remark: &Remark| Self::Remark {
            tool: tool.to_owned(),
            triple: triple.to_owned(),
            argument: remark.argument.clone(),
            reason: remark.reason.clone(),
        };
        remarks.iter().map(kept).collect()
    }

    pub(crate) fn waiting(spec: &Spec, libraries: &Libraries) -> Self {
        Self::Waiting { triple: spec.triple.clone(), library: libraries.library }
    }

    pub(crate) fn ended(spec: &Spec, libraries: &Libraries) -> Self {
        Self::Ended { triple: spec.triple.clone(), library: libraries.library }
    }
}

/// The libraries that zig builds for a link.
pub(crate) struct Libraries {
    library: Library,
    /// A file that exists once a link of this kind has succeeded.
    marker: PathBuf,
}

/// The libraries that zig contains, and builds when one of them is requested.
const OWN: &[&str] = &["-lc++", "-lstdc++", "-lc++abi", "-lsupc++", "-lunwind", "-lgcc_s", "-lgcc_eh"];

impl Libraries {
    /// The libraries for a link by `tool` with these arguments.
    pub(crate) fn of(spec: &Spec, tool: &OsString, arguments: &[OsString]) -> Self {
        let words: Vec<&str> = arguments.iter().filter_map(|argument| argument.to_str()).collect();
        let is_cxx = |word: &&str| OWN[..4].contains(word);
        let library = if tool == "c++" || words.iter().any(is_cxx) { Library::Cxx } else { Library::C };
        let matters = |word: &&str| {
            OWN.contains(word)
                || ["-static", "-shared", "-pie", "-O", "-f", "-m"]
                    .iter()
                    .any(|start| word.starts_with(start))
        };
        let mut kind: Vec<&str> = words.into_iter().filter(matters).collect();
        kind.sort_unstable();
        kind.dedup();
        let text = format!("{} {} {library:?} {}", spec.version, spec.target, kind.join(" "));
        let name = hex::encode(&Sha256::digest(text)[..8]);
        Self { library, marker: spec.cache.join("linked").join(name) }
    }

    /// True if no link of this kind is known to have succeeded.
    pub(crate) fn may_be_missing(&self) -> bool {
        !self.marker.exists()
    }

    /// Records that a link of this kind has succeeded.
    pub(crate) fn are_there(&self) -> io::Result<()> {
        if self.marker.exists() {
            return Ok(());
        }
        store::dir(self.marker.parent().unwrap_or(Path::new(".")))?;
        fs::write_atomic(&self.marker, b"", 0o644)
    }
}

/// The file name extensions of files that zig compiles.
const SOURCES: &[&str] = &[
    "c", "C", "cc", "cp", "cpp", "CPP", "cxx", "c++", "s", "S", "sx", "i", "ii", "m", "mm", "ll", "bc", "zig",
];

/// True if a link also compiles something.
pub(crate) fn has_sources(arguments: &[OsString]) -> bool {
    let mut rest = arguments.iter().map(Path::new);
    while let Some(argument) = rest.next() {
        let word = argument.as_os_str();
        if word == "-o" || word == "-Xlinker" {
            rest.next();
            continue;
        }
        let is_option = word.as_encoded_bytes().starts_with(b"-");
        let is_source = argument.extension().is_some_and(|end| SOURCES.iter().any(|source| end == *source));
        // `-x c` sets the language of files with other extensions, and `-` is the standard input.
        if word == "-x" || word == "-" || is_source && !is_option {
            return true;
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::target::abi::GlibcVersion;
    use crate::target::catalog::Target;
    use crate::toolchain::zig::{Zig, ZigWay};

    fn words(text: &str) -> Vec<OsString> {
        text.split(' ').map(OsString::from).collect()
    }

    #[test]
    fn a_link_that_compiles_is_told_from_one_of_objects() {
        for sources in ["a.c -o a", "x/y.S", "a.o b.cpp", "-x c -", "-x c /dev/null"] {
            assert!(has_sources(&words(sources)), "{sources}");
        }
        for objects in ["a.o -o a.c", "liba.rlib b.so.1 c.so -lc", "-Wl,--version-script=a.c a.o"] {
            assert!(!has_sources(&words(objects)), "{objects}");
        }
    }

    #[test]
    fn what_has_been_linked_once_has_its_libraries() {
        let dir = tempfile::tempdir().unwrap();
        let zig = Zig { program: "/z".into(), version: semver::Version::new(0, 17, 1), way: ZigWay::Cache };
        let target = Target::by_triple("aarch64-unknown-linux-gnu").unwrap();
        let spec = |minor| Spec::new(&zig, target, Some(GlibcVersion(2, minor)), None, dir.path());
        let of = |minor, tool: &str, text: &str| Libraries::of(&spec(minor), &tool.into(), &words(text));
        let first = of(36, "cc", "-O2 -pie a.o -lm -o /x/a");
        assert!(first.may_be_missing());
        first.are_there().unwrap();
        let same = of(36, "cc", "-O2 b.o -pie -L /y -lssl -o b");
        assert!(!same.may_be_missing() && same.library == Library::C);
        for (minor, tool, text) in
            [(28, "cc", "-O2 -pie"), (36, "cc", "-O2 -shared"), (36, "cc", "-pie"), (36, "c++", "-O2 -pie")]
        {
            assert!(of(minor, tool, text).may_be_missing(), "{minor} {tool} {text}");
        }
        assert_eq!(of(36, "cc", "a.o -lstdc++").library, Library::Cxx);
        assert_eq!(of(36, "c++", "a.o").library, Library::Cxx);
    }
}
