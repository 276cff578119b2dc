//! Versions of glibc.

use std::fmt;
use std::str::FromStr;

use serde::de::Error;
use serde::{Deserialize, Deserializer, Serialize};

/// A version of glibc: `GlibcVersion(2, 36)`. Parts behind the second are ignored: the last version whose symbols had
/// one is 2.3.4.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct GlibcVersion(pub u32, pub u32);

/// A text that is not the version of a glibc.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a glibc version such as 2.36")]
pub struct NotAVersion(String);

impl fmt::Display for GlibcVersion {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}.{}", self.0, self.1)
    }
}

impl FromStr for GlibcVersion {
    type Err = NotAVersion;

    /// Parses `2.36`: two numbers of decimal digits.
    fn from_str(text: &str) -> Result<Self, NotAVersion> {
        // `u32` also parses a sign.
        let number =
            |text: &str| text.parse().ok().filter(|_| text.bytes().all(|byte| byte.is_ascii_digit()));
        let parts =
            text.split_once('.').and_then(|(major, minor)| Some(Self(number(major)?, number(minor)?)));
        parts.ok_or_else(|| NotAVersion(text.to_owned()))
    }
}

impl<'de> Deserialize<'de> for GlibcVersion {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(D::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_two_numbers() {
        let parse = |text: &str| text.parse::<GlibcVersion>().ok();
        assert_eq!(parse("2.36"), Some(GlibcVersion(2, 36)));
        for text in ["", "2", "2.", ".36", "2.3.4", "+2.36", "2.-1", "2.99999999999"] {
            assert_eq!(parse(text), None, "{text}");
        }
        assert!(GlibcVersion(2, 9) < GlibcVersion(2, 10));
        assert_eq!(GlibcVersion(2, 9).to_string(), "2.9");
    }
}
