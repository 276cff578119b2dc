//! Why a file is not used, as data where a next step depends on it. In JSON these are sentences.

use std::fmt;

use serde::{Serialize, Serializer};

/// What prevents a file from being executed.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Obstacle {
    /// It is a directory.
    Directory,
    /// It is a link, and there is nothing at this path of the image.
    Dangling(String),
    /// It is not a file that can be executed, but a device or a pipe, for example.
    NoFile,
    /// Its mode or owner denies access to the user.
    Mode {
        /// The permission bits.
        mode: u32,
        /// The owner.
        uid: u32,
        /// The group.
        gid: u32,
    },
    /// Something on the path to it prevents it; the string is a sentence.
    Barred(String),
}

impl fmt::Display for Obstacle {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Directory => formatter.write_str("it is a directory"),
            Self::Dangling(to) => write!(formatter, "it is a link to /{to}, which is not there"),
            Self::NoFile => formatter.write_str("it is not a regular file"),
            Self::Mode { mode, uid, gid } => {
                write!(formatter, "its mode is {mode:04o}, its owner {uid}:{gid}")
            }
            Self::Barred(words) => formatter.write_str(words),
        }
    }
}

impl Serialize for Obstacle {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// A library that the loader skips.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Skipped {
    /// Its path.
    pub path: String,
    /// Why, as a sentence.
    pub reason: String,
    /// The user is not allowed to read it, or to enter its directory.
    pub denied: bool,
}

impl fmt::Display for Skipped {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{} ({})", self.path, self.reason)
    }
}

impl Serialize for Skipped {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// What a file was built for that the platform does not promise.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Needs {
    /// A newer architecture or level.
    Architecture(String),
    /// NEON, 32-bit Arm's vector unit, without checking for it: the function that uses it.
    Neon(String),
}

impl fmt::Display for Needs {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Architecture(name) => formatter.write_str(name),
            Self::Neon(function) => {
                write!(formatter, "NEON (in {function}, which does not check for it)")
            }
        }
    }
}

impl Serialize for Needs {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}
