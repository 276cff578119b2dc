//! A platform, `os/architecture[/variant]`: parsed, normalised as containerd does, and matched.
//!
//! Parsing normalises, so two `Platform`s are equal exactly when they mean the same machine:
//! `arm64/v8` is `arm64`, `armhf` is `arm/v7`, `amd64/v1` is `amd64`. Pure; knows nothing of target
//! triples (that is `catalog`).

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::error::{ExitCode, Explain};

/// An operating system, an architecture and, where it matters, a variant.
///
/// The names are Go's (`GOOS`, `GOARCH`), as the OCI image index specification asks
/// ([`platform` of a descriptor](https://github.com/opencontainers/image-spec/blob/v1.1.1/image-index.md)).
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Platform {
    os: String,
    architecture: String,
    variant: Option<String>,
}

/// A text that is not a platform.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ParseError {
    /// No text, or an empty component (`linux//v7`).
    #[error("`{0}` is not a platform: a component is empty")]
    Empty(String),
    /// More than three components.
    #[error("`{0}` is not a platform: it has more than three components")]
    TooManyComponents(String),
    /// A character that no platform name has.
    #[error("`{0}` is not a platform: names are made of letters, digits, `_`, `.` and `-`")]
    BadCharacter(String),
    /// One component that is neither an operating system nor an architecture.
    #[error("`{0}` is neither a known operating system nor a known architecture")]
    Unknown(String),
}

impl Explain for ParseError {
    fn exit_code(&self) -> ExitCode {
        ExitCode::UnknownPlatform
    }

    fn hint(&self) -> Option<String> {
        Some("write it as os/architecture[/variant], for example linux/arm64 or linux/arm/v7".into())
    }
}

/// Operating systems that Go knows; a single component from this list is an OS, not an architecture.
const OPERATING_SYSTEMS: &[&str] = &[
    "aix",
    "android",
    "darwin",
    "dragonfly",
    "freebsd",
    "illumos",
    "ios",
    "js",
    "linux",
    "netbsd",
    "openbsd",
    "plan9",
    "solaris",
    "wasip1",
    "windows",
];

/// Architectures that Go knows, after normalisation.
const ARCHITECTURES: &[&str] = &[
    "386", "amd64", "arm", "arm64", "loong64", "mips", "mips64", "mips64le", "mipsle", "ppc64", "ppc64le",
    "riscv64", "s390x", "wasm",
];

impl Platform {
    /// A platform from its parts, normalised.
    #[must_use]
    pub fn new(os: &str, architecture: &str, variant: Option<&str>) -> Self {
        let os = match os.to_ascii_lowercase().as_str() {
            "macos" => "darwin".to_owned(),
            other => other.to_owned(),
        };
        let (architecture, variant) = normalise(architecture, variant.unwrap_or_default());
        Self { os, architecture, variant: (!variant.is_empty()).then_some(variant) }
    }

    /// The operating system, `linux` for all that xbuild builds.
    #[must_use]
    pub fn os(&self) -> &str {
        &self.os
    }

    /// The architecture in Go's words: `amd64`, `arm64`, `arm`, …
    #[must_use]
    pub fn architecture(&self) -> &str {
        &self.architecture
    }

    /// The variant: `v7` in `linux/arm/v7`; `None` in `linux/arm64`.
    #[must_use]
    pub fn variant(&self) -> Option<&str> {
        self.variant.as_deref()
    }

    /// How well an image for `offered` serves this platform: `None` if it does not run here, else a rank
    /// in which the lower is the better (0 is the very platform).
    ///
    /// Older Arm and x86-64 variants run on newer ones, as containerd's `Only` matcher has it.
    #[must_use]
    pub fn rank(&self, offered: &Self) -> Option<u8> {
        if self.os != offered.os || self.architecture != offered.architecture {
            return None;
        }
        if self.variant == offered.variant {
            return Some(0);
        }
        let level = |platform: &Self| -> Option<u8> {
            let implied = match platform.architecture.as_str() {
                "amd64" => "v1",
                "arm64" => "v8",
                "arm" => "v7",
                _ => return None,
            };
            platform.variant().unwrap_or(implied).strip_prefix('v')?.parse().ok()
        };
        let (wanted, offered) = (level(self)?, level(offered)?);
        wanted.checked_sub(offered)
    }

    /// The name of a folder or file for this platform, as buildx writes them: `linux_arm_v7`.
    #[must_use]
    pub fn file_name(&self) -> String {
        self.to_string().replace('/', "_")
    }
}

/// containerd's `normalizeArch`, arm by arm.
#[allow(clippy::match_same_arms, reason = "a table reads best in its order")]
fn normalise(architecture: &str, variant: &str) -> (String, String) {
    let (architecture, variant) = (architecture.to_ascii_lowercase(), variant.to_ascii_lowercase());
    let pair = match (architecture.as_str(), variant.as_str()) {
        ("i386" | "i486" | "i586" | "i686" | "x86", _) => ("386", ""),
        ("x86_64" | "x86-64" | "amd64", "v1") => ("amd64", ""),
        ("x86_64" | "x86-64", variant) => ("amd64", variant),
        ("aarch64" | "arm64", "8" | "v8" | "v8.0") => ("arm64", ""),
        ("aarch64", variant) => ("arm64", variant),
        ("armhf", _) => ("arm", "v7"),
        ("armel", _) => ("arm", "v6"),
        ("arm", "" | "7") => ("arm", "v7"),
        ("arm", "5") => ("arm", "v5"),
        ("arm", "6") => ("arm", "v6"),
        ("arm", "8") => ("arm", "v8"),
        pair => pair,
    };
    (pair.0.to_owned(), pair.1.to_owned())
}

impl FromStr for Platform {
    type Err = ParseError;

    /// Parses `os`, `architecture`, `os/architecture` or `os/architecture/variant`. A single
    /// component is an operating system or an architecture of Linux, whichever is known by that name.
    fn from_str(text: &str) -> Result<Self, ParseError> {
        let parts: Vec<&str> = text.trim().split('/').collect();
        if parts.iter().any(|part| part.is_empty()) {
            return Err(ParseError::Empty(text.to_owned()));
        }
        let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '-');
        if !parts.iter().all(|part| part.chars().all(allowed)) {
            return Err(ParseError::BadCharacter(text.to_owned()));
        }
        match parts[..] {
            [one] => {
                let os = Self::new(one, "amd64", None);
                let architecture = Self::new("linux", one, None);
                if OPERATING_SYSTEMS.contains(&os.os()) {
                    Ok(os)
                } else if ARCHITECTURES.contains(&architecture.architecture()) {
                    Ok(architecture)
                } else {
                    Err(ParseError::Unknown(text.to_owned()))
                }
            }
            [os, architecture] => Ok(Self::new(os, architecture, None)),
            [os, architecture, variant] => Ok(Self::new(os, architecture, Some(variant))),
            _ => Err(ParseError::TooManyComponents(text.to_owned())),
        }
    }
}

impl fmt::Display for Platform {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}/{}", self.os, self.architecture)?;
        match &self.variant {
            Some(variant) => write!(formatter, "/{variant}"),
            None => Ok(()),
        }
    }
}

impl Serialize for Platform {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Platform {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn platform(text: &str) -> Platform {
        text.parse().unwrap()
    }

    #[test]
    fn normalises_as_containerd_does() {
        for (given, meant) in [
            ("linux/aarch64", "linux/arm64"),
            ("linux/arm64/v8", "linux/arm64"),
            ("linux/arm64/8", "linux/arm64"),
            ("linux/arm64/v9", "linux/arm64/v9"),
            ("x86_64", "linux/amd64"),
            ("linux/amd64/v1", "linux/amd64"),
            ("linux/amd64/v3", "linux/amd64/v3"),
            ("i386", "linux/386"),
            ("armhf", "linux/arm/v7"),
            ("linux/armel", "linux/arm/v6"),
            ("arm", "linux/arm/v7"),
            ("linux/arm/7", "linux/arm/v7"),
            ("linux/arm/v6", "linux/arm/v6"),
            ("Linux/AMD64", "linux/amd64"),
            ("linux", "linux/amd64"),
            ("riscv64", "linux/riscv64"),
        ] {
            assert_eq!(platform(given).to_string(), meant, "{given}");
        }
    }

    #[test]
    fn refuses_what_is_no_platform() {
        assert!(matches!("".parse::<Platform>(), Err(ParseError::Empty(_))));
        assert!(matches!("linux//v7".parse::<Platform>(), Err(ParseError::Empty(_))));
        assert!(matches!("a/b/c/d".parse::<Platform>(), Err(ParseError::TooManyComponents(_))));
        assert!(matches!("linux/am d64".parse::<Platform>(), Err(ParseError::BadCharacter(_))));
        assert!(matches!("amd46".parse::<Platform>(), Err(ParseError::Unknown(_))));
    }

    #[test]
    fn an_older_variant_serves_a_newer_machine_and_never_the_reverse() {
        let (v7, v6, v5) = (platform("linux/arm/v7"), platform("linux/arm/v6"), platform("linux/arm/v5"));
        assert_eq!(v7.rank(&v7), Some(0));
        assert!(v7.rank(&v6) < v7.rank(&v5));
        assert_eq!(v6.rank(&v7), None);
        assert_eq!(platform("arm64").rank(&v7), None);
        assert_eq!(platform("linux/amd64/v3").rank(&platform("amd64")), Some(2));
        assert_eq!(platform("amd64").rank(&platform("linux/amd64/v3")), None);
    }
}
