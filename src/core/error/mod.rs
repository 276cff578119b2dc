//! Exit codes, and the trait that all errors of the crate implement.
//!
//! Each room has its own `thiserror` enum, which carries data. All of them implement [`Explain`], so that `cli` renders
//! any failure in the same way: what failed, why, and a `hint:` line with the next step. Nothing here prints and
//! nothing calls `process::exit`.

mod cache;

use std::fmt;
use std::io;
use std::ops::Range;

use serde::Serialize;

pub use cache::CacheFault;

/// Declares [`ExitCode`] from one table, so that number, name and meaning stay consistent.
macro_rules! exit_codes {
    ($($number:literal $variant:ident $name:literal $meaning:literal;)*) => {
        /// The process's exit code: one for each kind of failure, so that a CI script can distinguish a failed
        /// compilation from a mirror that is out of step.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        #[non_exhaustive]
        pub enum ExitCode {
            $(#[doc = $meaning] $variant = $number,)*
        }

        impl ExitCode {
            /// Every code, in numeric order.
            pub const ALL: &'static [Self] = &[$(Self::$variant),*];

            /// The name that `--progress json` prints; stable across releases.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $name,)* }
            }

            /// One sentence for the manual.
            #[must_use]
            pub const fn meaning(self) -> &'static str {
                match self { $(Self::$variant => $meaning,)* }
            }
        }
    };
}

exit_codes! {
    1 Internal "internal" "A defect of xbuild itself.";
    2 Usage "usage" "The command line is wrong.";
    3 Config "config" "A configuration file or value is wrong.";
    10 NoManifest "no-manifest" "There is no Cargo.toml to build.";
    11 NoBinary "no-binary" "The selected package or packages have no binary target.";
    12 LibraryOnly "library-only" "The package is a library only.";
    13 AmbiguousBinary "ambiguous-binary" "There are several binaries and none was chosen.";
    14 UnknownPlatform "unknown-platform" "A platform or target triple is not known.";
    15 UnservedPlatform "unserved-platform" "No toolchain serves the platform.";
    16 MissingFile "missing-file" "A file that the configuration names does not exist.";
    17 PathEscape "path-escape" "A path leads out of the project or out of the image.";
    18 LockFile "lock-file" "xbuild.lock is damaged, left with merge conflicts or of a newer format.";
    19 Locked "locked" "xbuild.lock is missing or would have to change, and --locked forbids it.";
    20 Compile "compile" "The compiler or linker failed.";
    21 WrongBinary "wrong-binary" "An artifact is not a program for its platform.";
    22 SamePayload "same-payload" "Two platforms have the same payload bytes.";
    23 Toolchain "toolchain" "A toolchain could not be provided.";
    24 TimedOut "timed-out" "A time limit ran out.";
    25 Unrunnable "unrunnable" "The payload cannot run on the base image.";
    26 NotReproducible "not-reproducible" "Two builds of a project gave different images.";
    27 Unsound "unsound" "An image does not match its own documents.";
    30 Network "network" "A server could not be reached, or failed.";
    31 Offline "offline" "The network is needed, but --offline was given.";
    32 CorruptDownload "corrupt-download" "Downloaded bytes do not match their digest or size.";
    33 OutOfStep "out-of-step" "A mirror's index does not match its signed release.";
    34 BadSignature "bad-signature" "A signature is missing, wrong or by an unknown key.";
    35 NoBase "no-base" "The base image cannot be found or read.";
    36 NotInBase "not-in-base" "The base image lacks a requested platform.";
    37 CorruptBase "corrupt-base" "A blob of the base image is truncated or altered.";
    38 Package "package" "A Debian package cannot be found, resolved or unpacked.";
    40 DiskFull "disk-full" "The disk is full.";
    41 NotALayout "not-a-layout" "The output path exists and is not an OCI layout.";
    42 ReadOnly "read-only" "The output cannot be written.";
    43 Io "io" "A file could not be read or written.";
    44 NoImage "no-image" "An image cannot be found, or lacks a platform.";
    45 CorruptImage "corrupt-image" "A document or blob of an image is missing, truncated or altered.";
    46 Engine "engine" "podman or Docker is missing, does not answer or refuses.";
    47 Kubectl "kubectl" "kubectl is missing, or has not applied the manifests.";
    48 Cache "cache" "xbuild's cache is another user's, may be written to by others, or is read-only and lacks something.";
    50 Unauthorized "unauthorized" "A registry or a proxy wants credentials, or refuses those it got.";
    51 Denied "denied" "The credentials for a registry do not permit the request.";
    52 NotFound "not-found" "A registry has no such repository, tag or blob.";
    53 Refused "refused" "A registry refuses what was pushed, or does not speak the protocol.";
    54 Tls "tls" "There is no secure connection to a server: its certificate is not trusted.";
    130 Interrupted "interrupted" "Interrupted by Ctrl-C or a signal.";
}

impl ExitCode {
    /// The number that the process exits with.
    #[must_use]
    pub const fn number(self) -> u8 {
        self as u8
    }

    /// The code for an IO failure: a full disk, a read-only path and the cache have their own.
    #[must_use]
    pub fn of_io(error: &io::Error) -> Self {
        if CacheFault::of(error).is_some() {
            return Self::Cache;
        }
        match error.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Self::DiskFull,
            io::ErrorKind::ReadOnlyFilesystem | io::ErrorKind::PermissionDenied => Self::ReadOnly,
            _ => Self::Io,
        }
    }
}

impl fmt::Display for ExitCode {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.name())
    }
}

impl Serialize for ExitCode {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name())
    }
}

/// The information that an error has beyond its message.
pub trait Explain: std::error::Error {
    /// The exit code of a run that ends with this error.
    fn exit_code(&self) -> ExitCode;

    /// The next step, as one sentence without a full stop at its end; `None` if the message is enough.
    fn hint(&self) -> Option<String> {
        None
    }

    /// The locations in configuration files that the error is about. If there are any, each is shown with its source
    /// line and a caret instead of the one-line message.
    fn snippets(&self) -> Vec<Snippet> {
        Vec::new()
    }
}

/// A location in a text, with what is wrong there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Snippet {
    /// What is wrong, as one line.
    pub title: String,
    /// The file, as messages show it.
    pub path: String,
    /// The file's whole text.
    pub text: String,
    /// The range of bytes in the text.
    pub span: Range<usize>,
    /// The text beside the caret; may be empty.
    pub label: String,
}

/// The hint for an IO failure, shared by every room that writes files.
#[must_use]
pub fn io_hint(error: &io::Error) -> Option<String> {
    if let Some(fault) = CacheFault::of(error) {
        return Some(fault.hint());
    }
    match ExitCode::of_io(error) {
        ExitCode::DiskFull => Some("free some space, or point the output or the cache elsewhere".into()),
        ExitCode::ReadOnly => Some("choose a path that you may write to with --output".into()),
        _ => match number_of(error) {
            Some(ENFILE | EMFILE) => Some("allow more open files: ulimit -n 4096".into()),
            Some(EAGAIN) => {
                Some("allow more threads: ulimit -u, or the container's limit of processes".into())
            }
            _ => None,
        },
    }
}

/// Linux's error numbers, the same on every architecture that xbuild runs on.
const EAGAIN: i32 = 11;
const ENFILE: i32 = 23;
const EMFILE: i32 = 24;

/// The system's number of an error, also if the error was wrapped in others.
fn number_of(error: &io::Error) -> Option<i32> {
    let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(error);
    while let Some(error) = cause {
        if let Some(number) = error.downcast_ref::<io::Error>().and_then(io::Error::raw_os_error) {
            return Some(number);
        }
        cause = match error.downcast_ref::<io::Error>().and_then(io::Error::get_ref) {
            Some(inner) => Some(inner),
            None => error.source(),
        };
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_of_the_system_have_a_hint_whoever_has_put_words_around_them() {
        #[derive(Debug, thiserror::Error)]
        #[error("a file: {0}")]
        struct Named(#[source] io::Error);
        let error = io::Error::other(Named(io::Error::from_raw_os_error(EMFILE)));
        assert_eq!(io_hint(&error).as_deref(), Some("allow more open files: ulimit -n 4096"));
        let error = io::Error::from_raw_os_error(EAGAIN);
        assert!(io_hint(&error).is_some_and(|hint| hint.contains("ulimit -u")));
    }

    #[test]
    fn numbers_and_names_are_distinct() {
        let mut numbers: Vec<_> = ExitCode::ALL.iter().map(|code| code.number()).collect();
        let mut names: Vec<_> = ExitCode::ALL.iter().map(|code| code.name()).collect();
        let count = ExitCode::ALL.len();
        numbers.sort_unstable();
        numbers.dedup();
        names.sort_unstable();
        names.dedup();
        assert_eq!((numbers.len(), names.len()), (count, count));
    }
}
