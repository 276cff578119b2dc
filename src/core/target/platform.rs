//! Platforms, `os[(version[+feature…])]/architecture[/variant]`: parsing, normalising as in containerd, and matching.
//!
//! Parsing normalises, so two `Platform`s are equal exactly if they mean the same machine: `arm64/v8` is `arm64`,
//! `armhf` is `arm/v7`, `amd64/v1` is `amd64`. The version of the operating system and the features that an image needs
//! are included, as an index may have an image for each build of Windows, which differ only in `os.version`. Pure;
//! knows nothing of target triples (see `target::catalog`).

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::{Map, Value, json};

use crate::error::{ExitCode, Explain};
use crate::oci::PlatformFields;

/// An operating system, an architecture and, if they matter, a variant, the system's version and features.
///
/// The names are Go's (`GOOS`, `GOARCH`), as the OCI image index specification requires ([`platform` of a
/// descriptor](https://github.com/opencontainers/image-spec/blob/v1.1.1/image-index.md)).
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Platform {
    os: String,
    architecture: String,
    /// The fields that most platforms lack; `None` if none is set. Errors contain platforms, and should be small.
    rest: Option<Box<Rest>>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
struct Rest {
    variant: Option<String>,
    os_version: Option<String>,
    /// Sorted, without duplicates.
    features: Vec<String>,
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
        Some(
            "write it as os/architecture[/variant], for example linux/arm64 or linux/arm/v7; a version of the system \
             as in windows(10.0.17763.1)/amd64"
                .into(),
        )
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
        let rest = Rest { variant: (!variant.is_empty()).then_some(variant), ..Rest::default() };
        Self { os, architecture, rest: rest.boxed() }
    }

    /// The same for one version of the operating system, and for machines with these features.
    #[must_use]
    fn on(mut self, version: Option<&str>, features: impl IntoIterator<Item = String>) -> Self {
        let mut rest = self.rest.map(|rest| *rest).unwrap_or_default();
        rest.os_version = version.filter(|version| !version.is_empty()).map(ToOwned::to_owned);
        rest.features = features.into_iter().filter(|feature| !feature.is_empty()).collect();
        rest.features.sort();
        rest.features.dedup();
        self.rest = rest.boxed();
        self
    }

    /// The platform in an entry of an index; `None` if it has no operating system or no architecture, as entries have
    /// that are not images.
    #[must_use]
    pub fn of_fields(fields: &PlatformFields) -> Option<Self> {
        Self::of_parts(&fields.os, &fields.architecture, fields.variant.as_deref(), &fields.other)
    }

    /// The same for the platform in an image's configuration.
    #[must_use]
    pub fn of_config(config: &Value) -> Option<Self> {
        let text = |key: &str| config[key].as_str();
        let (os, architecture) = (text("os").unwrap_or_default(), text("architecture").unwrap_or_default());
        Self::of_parts(os, architecture, text("variant"), config.as_object()?)
    }

    fn of_parts(
        os: &str,
        architecture: &str,
        variant: Option<&str>,
        other: &Map<String, Value>,
    ) -> Option<Self> {
        if os.is_empty() || architecture.is_empty() {
            return None;
        }
        let version = other.get(OS_VERSION).and_then(Value::as_str);
        // Docker's lists have features of the processor besides those of the system.
        let features = [OS_FEATURES, "features"].into_iter().filter_map(|key| other.get(key)?.as_array());
        let features = features.flatten().filter_map(Value::as_str).map(ToOwned::to_owned);
        Some(Self::new(os, architecture, variant).on(version, features))
    }

    /// The platform as fields of an index entry.
    #[must_use]
    pub fn fields(&self) -> PlatformFields {
        let mut other = Map::new();
        if let Some(version) = self.os_version() {
            other.insert(OS_VERSION.into(), json!(version));
        }
        if !self.features().is_empty() {
            other.insert(OS_FEATURES.into(), json!(self.features()));
        }
        let (os, architecture, variant) =
            (self.os.clone(), self.architecture.clone(), self.variant().map(ToOwned::to_owned));
        PlatformFields { architecture, os, variant, other }
    }

    /// False if both have a version or features and these differ, or if the machines differ.
    #[must_use]
    pub fn agrees(&self, other: &Self) -> bool {
        let machine = |platform: &Self| (platform.os.clone(), platform.architecture.clone());
        let features = !self.features().is_empty() && !other.features().is_empty();
        machine(self) == machine(other)
            && self.variant() == other.variant()
            && self.os_version().zip(other.os_version()).is_none_or(|(own, other)| own == other)
            && (!features || self.features() == other.features())
    }

    /// The operating system; `linux` for everything that xbuild builds.
    #[must_use]
    pub fn os(&self) -> &str {
        &self.os
    }

    /// The architecture's name in Go: `amd64`, `arm64`, `arm`, …
    #[must_use]
    pub fn architecture(&self) -> &str {
        &self.architecture
    }

    /// The variant: `v7` in `linux/arm/v7`; `None` in `linux/arm64`.
    #[must_use]
    pub fn variant(&self) -> Option<&str> {
        self.rest.as_ref()?.variant.as_deref()
    }

    /// The version of the operating system, `10.0.17763.1`, if it matters.
    #[must_use]
    pub fn os_version(&self) -> Option<&str> {
        self.rest.as_ref()?.os_version.as_deref()
    }

    fn features(&self) -> &[String] {
        self.rest.as_ref().map_or(&[], |rest| &rest.features)
    }

    /// True if an image for `offered` is for this platform. If this platform has no version or features, any will do.
    #[must_use]
    pub fn covers(&self, offered: &Self) -> bool {
        self.older(offered) == Some(0)
    }

    /// How well an image for `offered` serves this platform: `None` if it does not run here, otherwise a rank. Lower is
    /// better, and 0 is exactly this platform. Images of the same rank are equally good.
    ///
    /// Older Arm and x86-64 variants run on newer ones, as in containerd's `Only` matcher. A version includes all
    /// versions that it is a prefix of, and no version includes every version. The same applies to features.
    #[must_use]
    pub fn rank(&self, offered: &Self) -> Option<u8> {
        let exact = self.os_version() == offered.os_version() && self.features() == offered.features();
        Some(self.older(offered)?.saturating_mul(2).saturating_add(u8::from(!exact)))
    }

    /// How many variants older an image's platform is than this one, on which it runs.
    fn older(&self, offered: &Self) -> Option<u8> {
        let begins = |wanted: &str| {
            let rest = offered.os_version().and_then(|version| version.strip_prefix(wanted));
            rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
        };
        if self.os != offered.os
            || self.architecture != offered.architecture
            || !self.os_version().is_none_or(begins)
            || !self.features().iter().all(|feature| offered.features().contains(feature))
        {
            return None;
        }
        if self.variant() == offered.variant() {
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

    /// The positions of the platforms that serve this one best: one, or several that serve it equally well.
    pub fn best<'a>(&self, offered: impl Iterator<Item = &'a Self> + Clone) -> Vec<usize> {
        Self::lowest(offered.map(|offered| self.rank(offered)))
    }

    /// The positions of all images for this platform, with any version and features.
    pub fn every<'a>(&self, offered: impl Iterator<Item = &'a Self> + Clone) -> Vec<usize> {
        Self::lowest(offered.map(|offered| self.older(offered)))
    }

    fn lowest(ranks: impl Iterator<Item = Option<u8>> + Clone) -> Vec<usize> {
        let lowest = ranks.clone().flatten().min();
        let at = ranks.enumerate().filter(|(_, rank)| rank.is_some() && *rank == lowest);
        at.map(|(position, _)| position).collect()
    }

    /// The name of a directory or file for this platform, in buildx's form: `linux_arm_v7`.
    #[must_use]
    pub fn file_name(&self) -> String {
        self.to_string().replace(['/', '(', ')', '+'], "_")
    }
}

impl Rest {
    fn boxed(self) -> Option<Box<Self>> {
        (self != Self::default()).then(|| Box::new(self))
    }
}

/// Keys of a platform in JSON documents.
const OS_VERSION: &str = "os.version";
const OS_FEATURES: &str = "os.features";

/// containerd's `normalizeArch`, case by case.
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

    /// Parses `os`, `architecture`, `os/architecture`, `architecture/variant` or `os/architecture/variant`. A single
    /// component is an operating system or an architecture of Linux, whichever has that name. A version of the
    /// operating system follows it in parentheses, as in containerd, or comes after a colon at the end, as in crane.
    fn from_str(text: &str) -> Result<Self, ParseError> {
        let bad = || ParseError::BadCharacter(text.to_owned());
        let (names, mut version) = match text.trim().rsplit_once(':') {
            Some((names, version)) => (names, Some(version)),
            None => (text.trim(), None),
        };
        let mut parts: Vec<&str> = names.split('/').collect();
        let mut features = Vec::new();
        if let Some(first) = parts.first_mut()
            && let Some((os, within)) = first.strip_suffix(')').and_then(|first| first.split_once('('))
        {
            *first = os;
            let mut within = within.split('+');
            let told = within.next().filter(|told| !told.is_empty());
            if told.is_some() && version.is_some() {
                return Err(bad());
            }
            version = version.or(told);
            features.extend(within);
        }
        if parts.iter().chain(&version).chain(&features).any(|part| part.is_empty()) {
            return Err(ParseError::Empty(text.to_owned()));
        }
        let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '-');
        if !parts.iter().chain(&version).chain(&features).all(|part| part.chars().all(allowed)) {
            return Err(bad());
        }
        Ok(Self::of_names(&parts, text)?.on(version, features.into_iter().map(ToOwned::to_owned)))
    }
}

impl Platform {
    /// Parses one to three names.
    fn of_names(parts: &[&str], text: &str) -> Result<Self, ParseError> {
        match *parts {
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
            // `arm/v7`, a common short form: no operating system has that name.
            [architecture, variant]
                if !OPERATING_SYSTEMS.contains(&Self::new(architecture, "", None).os())
                    && ARCHITECTURES.contains(&Self::new("linux", architecture, None).architecture())
                    && !ARCHITECTURES.contains(&Self::new("linux", variant, None).architecture()) =>
            {
                Ok(Self::new("linux", architecture, Some(variant)))
            }
            [os, architecture] => Ok(Self::new(os, architecture, None)),
            [os, architecture, variant] => Ok(Self::new(os, architecture, Some(variant))),
            _ => Err(ParseError::TooManyComponents(text.to_owned())),
        }
    }
}

impl fmt::Display for Platform {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.os)?;
        if self.os_version().is_some() || !self.features().is_empty() {
            write!(formatter, "({}", self.os_version().unwrap_or_default())?;
            for feature in self.features() {
                write!(formatter, "+{feature}")?;
            }
            formatter.write_str(")")?;
        }
        write!(formatter, "/{}", self.architecture)?;
        match self.variant() {
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
            ("arm/v7", "linux/arm/v7"),
            ("arm/v6", "linux/arm/v6"),
            ("arm64/v8", "linux/arm64"),
            ("aarch64/v8", "linux/arm64"),
            ("amd64/v3", "linux/amd64/v3"),
            ("armhf/v7", "linux/arm/v7"),
            ("windows/amd64", "windows/amd64"),
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
        assert_eq!(platform("linux/amd64/v3").rank(&platform("amd64")), Some(4));
        assert_eq!(platform("amd64").rank(&platform("linux/amd64/v3")), None);
    }

    #[test]
    fn a_version_and_features_are_part_of_a_platform() {
        for (given, meant) in [
            ("windows(10.0.17763.1)/amd64", "windows(10.0.17763.1)/amd64"),
            ("windows/amd64:10.0.17763.1", "windows(10.0.17763.1)/amd64"),
            ("linux(+b+a+b)/arm/v7", "linux(+a+b)/arm/v7"),
            ("Windows(1+x)", "windows(1+x)/amd64"),
        ] {
            assert_eq!(platform(given).to_string(), meant, "{given}");
            assert_eq!(platform(meant), platform(given));
            assert_eq!(Platform::of_fields(&platform(given).fields()), Some(platform(given)));
        }
        assert_eq!(platform("windows(10.0.17763.1)/amd64").file_name(), "windows_10.0.17763.1__amd64");
        for text in ["windows(1)/amd64:2", "linux/(1)", "linux(1/amd64", "linux)/amd64", "linux(1 2)/amd64"] {
            assert!(matches!(text.parse::<Platform>(), Err(ParseError::BadCharacter(_))), "{text}");
        }
        for text in ["windows/amd64:", "linux(+)/amd64", "(1)/amd64"] {
            assert!(matches!(text.parse::<Platform>(), Err(ParseError::Empty(_))), "{text}");
        }
    }

    #[test]
    fn documents_tell_all_of_it_or_nothing() {
        let of = |document: Value| Platform::of_config(&document).map(|platform| platform.to_string());
        let windows = json!({ "os": "windows", "architecture": "amd64", "os.version": "10.0.1" });
        assert_eq!(of(windows.clone()).as_deref(), Some("windows(10.0.1)/amd64"));
        let fields: PlatformFields = serde_json::from_value(windows).unwrap();
        assert_eq!(Platform::of_fields(&fields), Some(platform("windows(10.0.1)/amd64")));
        let features = json!({
            "os": "linux", "architecture": "amd64", "os.version": "", "os.features": ["b"], "features": ["sse4", 1],
        });
        assert_eq!(of(features).as_deref(), Some("linux(+b+sse4)/amd64"));
        for document in [
            json!({ "os": "linux" }),
            json!({ "os": "linux", "architecture": "" }),
            json!({ "os": "", "architecture": "amd64" }),
            json!({ "os": 1, "architecture": "amd64" }),
            json!([]),
        ] {
            assert_eq!(of(document), None);
        }
    }

    #[test]
    fn several_may_serve_a_platform_equally_well() {
        let offered =
            ["windows(10.0.17763.1)/amd64", "linux/amd64", "windows(10.0.20348.1)/amd64"].map(platform);
        let best = |text: &str| platform(text).best(offered.iter());
        assert_eq!(best("windows/amd64"), [0, 2]);
        assert_eq!(best("windows(10.0.20348.1)/amd64"), [2]);
        assert_eq!(best("windows(10.0.17763)/amd64"), [0]);
        assert_eq!(best("windows(10.0.1)/amd64"), Vec::<usize>::new());
        assert_eq!(best("linux(+x)/amd64"), Vec::<usize>::new());
        // A platform without a version gets the image without a version; a copy takes all of them.
        let offered = ["linux(+sse4)/amd64", "linux/amd64"].map(platform);
        assert_eq!(platform("amd64").best(offered.iter()), [1]);
        assert_eq!(platform("amd64").every(offered.iter()), [0, 1]);
        assert_eq!(platform("linux(+sse4)/amd64").best(offered.iter()), [0]);
        let (old, new, any) =
            (platform("windows(1)/amd64"), platform("windows(2)/amd64"), platform("windows/amd64"));
        assert!(old.agrees(&any) && any.agrees(&new) && !old.agrees(&new));
        assert!(!any.agrees(&platform("linux/amd64")));
        assert!(any.covers(&old) && !old.covers(&any) && !platform("arm").covers(&platform("linux/arm/v6")));
    }
}
