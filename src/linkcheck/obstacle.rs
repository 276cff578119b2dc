//! Why a file is not taken, as data where a next step depends on it. In JSON these are their sentences.

use std::fmt;

use serde::{Serialize, Serializer};

/// What keeps a file from being executed.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Obstacle {
    /// It is a directory.
    Directory,
    /// It is a link, and there is nothing at this path of the image.
    Dangling(String),
    /// It is no file that could be executed: a device, a pipe.
    NoFile,
    /// Its mode or owner keeps the user from it.
    Mode {
        /// The permission bits.
        mode: u32,
        /// The owner.
        uid: u32,
        /// The group.
        gid: u32,
    },
    /// Something on the way there does, in words.
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

/// A library that the loader passes over.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Skipped {
    /// Its path.
    pub path: String,
    /// Why, in words.
    pub reason: String,
    /// The user may not read it, or not enter its directory.
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
    /// The vector unit of 32-bit Arm, which it does not ask for: the function that uses it.
    Neon(String),
}

impl fmt::Display for Needs {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Architecture(name) => formatter.write_str(name),
            Self::Neon(function) => {
                write!(formatter, "NEON (in {function}, and it does not ask whether it is there)")
            }
        }
    }
}

impl Serialize for Needs {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}
