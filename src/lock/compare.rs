//! The differences between two locks in a readable form: what changed, from which value, to which.

use std::collections::BTreeMap;
use std::fmt;

use super::{
    AdditionsPin, AssembledPin, ImagePin, IndexPin, Lock, PackagePin, Pin, RustPin, SYSROOT, SysrootPin,
    ToolchainPin,
};
use crate::oci::Digest;
use crate::target::platform::Platform;
use crate::toolchain::compiler::NAME as COMPILER;
use crate::toolchain::provided::NAME;

/// A difference. `from` is absent for a new value, and `to` for a removed one.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Difference {
    /// A toolchain.
    Toolchain {
        /// `rust` or `zig`.
        name: &'static str,
        /// The pinned version.
        from: Option<String>,
        /// The present version.
        to: Option<String>,
    },
    /// A base that is used but not pinned.
    Missing {
        /// The base.
        base: String,
        /// The platform.
        platform: Platform,
        /// Its digest now, if it is known.
        to: Option<String>,
    },
    /// A base that is pinned but not used.
    Unused {
        /// The base.
        base: String,
        /// The platform.
        platform: Platform,
    },
    /// A base's digest changed.
    Digest {
        /// The base.
        base: String,
        /// The platform.
        platform: Platform,
        /// The pinned digest.
        from: String,
        /// The digest now.
        to: String,
    },
    /// A setting of a base changed.
    Setting {
        /// The base.
        base: String,
        /// The platform.
        platform: Platform,
        /// `architecture`, `suites`, `components`, `packages`, `recipe` or `snapshot`.
        what: &'static str,
        /// The pinned value; empty for an empty list.
        from: String,
        /// The configured value; empty for an empty list.
        to: String,
    },
    /// A Debian package changed.
    Package {
        /// The base.
        base: String,
        /// The platform.
        platform: Platform,
        /// The package.
        package: String,
        /// The pinned version.
        from: Option<String>,
        /// The version now.
        to: Option<String>,
    },
    /// A signed release that lists the packages changed.
    Index {
        /// The base.
        base: String,
        /// The platform.
        platform: Platform,
        /// The suite.
        suite: String,
        /// The pinned release's date.
        from: Option<String>,
        /// The release's date now.
        to: Option<String>,
    },
}

impl fmt::Display for Difference {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Toolchain { name, from, to } => {
                write!(formatter, "{name}: ")?;
                moved(formatter, from.as_deref(), to.as_deref())
            }
            Self::Missing { base, platform, to: None } => {
                write!(formatter, "{base} for {platform}: not pinned")
            }
            Self::Missing { base, platform, to } => {
                write!(formatter, "{base} for {platform}: ")?;
                moved(formatter, None, to.as_deref())
            }
            Self::Unused { base, platform } => write!(formatter, "{base} for {platform}: not used any more"),
            Self::Digest { base, platform, from, to } => {
                write!(formatter, "{base} for {platform}: ")?;
                moved(formatter, Some(from), Some(to))
            }
            Self::Setting { base, platform, what, from, to } => {
                write!(formatter, "{base} for {platform}: {what}: ")?;
                let some = |text: &'_ str| (!text.is_empty()).then(|| text.to_owned());
                moved(formatter, some(from).as_deref(), some(to).as_deref())
            }
            Self::Package { base, platform, package, from, to } => {
                write!(formatter, "{base} for {platform}: {package} ")?;
                moved(formatter, from.as_deref(), to.as_deref())
            }
            Self::Index { base, platform, suite, from, to } => {
                write!(formatter, "{base} for {platform}: the release of {suite}: ")?;
                moved(formatter, from.as_deref(), to.as_deref())
            }
        }
    }
}

fn moved(formatter: &mut fmt::Formatter<'_>, from: Option<&str>, to: Option<&str>) -> fmt::Result {
    match (from, to) {
        (Some(from), Some(to)) => write!(formatter, "{from} → {to}"),
        (None, Some(to)) => write!(formatter, "{to} is new"),
        (Some(from), None) => write!(formatter, "{from} is not used any more"),
        (None, None) => Ok(()),
    }
}

/// The differences, sorted: toolchains, then bases.
#[must_use]
pub fn compare(old: &Lock, new: &Lock) -> Vec<Difference> {
    let mut differences = Vec::new();
    let toolchains = [
        ("rust", old.rust.as_ref().map(RustPin::to_string), new.rust.as_ref().map(RustPin::to_string)),
        (
            NAME,
            old.provided.as_ref().map(ToolchainPin::to_string),
            new.provided.as_ref().map(ToolchainPin::to_string),
        ),
        (
            COMPILER,
            old.compiler.as_ref().map(|pin| pin.version.to_string()),
            new.compiler.as_ref().map(|pin| pin.version.to_string()),
        ),
    ];
    for (name, from, to) in toolchains.into_iter().filter(|(_, from, to)| from != to) {
        differences.push(Difference::Toolchain { name, from, to });
    }
    if let (Some(old), Some(new)) = (&old.provided, &new.provided)
        && (&old.version, &old.package) == (&new.version, &new.package)
        && old.files != new.files
    {
        let files = |pin: &ToolchainPin| {
            let files = pin.files.as_ref().map_or_else(|| "not pinned".to_owned(), ToString::to_string);
            Some(format!("{}, its files {files}", pin.version))
        };
        differences.push(Difference::Toolchain { name: NAME, from: files(old), to: files(new) });
    }
    entries(&old.image, &new.image, &mut differences, image_key, compare_image);
    entries(&old.assembled, &new.assembled, &mut differences, assembled_key, compare_assembled);
    sysroots(&old.sysroot, &new.sysroot, &mut differences);
    differences.sort();
    differences
}

/// The releases of `new` that are older than one of the same suite in `old`, for any platform: an outdated mirror must
/// not bring back an older release. `skip` are platforms with a configured snapshot.
#[must_use]
pub(crate) fn older(
    old: &Lock,
    (new, sysroots): (&[Pin], &[SysrootPin]),
    skip: &dyn Fn(&Platform) -> bool,
) -> Vec<Difference> {
    let of_images = old.image.iter().filter_map(|pin| pin.additions.as_deref());
    let indexes = old
        .assembled
        .iter()
        .map(|pin| &pin.index)
        .chain(of_images.chain(old.sysroot.iter().map(|pin| &pin.packages)).map(|packages| &packages.index))
        .flatten();
    let mut newest: BTreeMap<&str, &str> = BTreeMap::new();
    for index in indexes {
        if let Some(date) = index.date.as_deref() {
            let known = newest.entry(&index.suite).or_insert(date);
            *known = date.max(*known);
        }
    }
    let mut differences = Vec::new();
    let of_bases = new.iter().map(|pin| {
        let (base, platform) = pin.key();
        let index = match pin {
            Pin::Assembled(pin) => Some(&pin.index),
            Pin::Image(pin) => pin.additions.as_deref().map(|additions| &additions.index),
        };
        (base, platform, index)
    });
    let of_sysroots = sysroots.iter().map(|pin| (SYSROOT, &pin.platform, Some(&pin.packages.index)));
    for (base, platform, index) in of_bases.chain(of_sysroots) {
        if skip(platform) {
            continue;
        }
        for index in index.into_iter().flatten() {
            if let (Some(from), Some(to)) = (newest.get(index.suite.as_str()), &index.date)
                && to.as_str() < *from
            {
                let (base, platform, suite) = (base.to_owned(), platform.clone(), index.suite.clone());
                let (from, to) = (Some((*from).to_owned()), Some(to.clone()));
                differences.push(Difference::Index { base, platform, suite, from, to });
            }
        }
    }
    differences.sort();
    differences
}

/// The key by which an entry is found, and its digest.
struct Key<'a> {
    base: &'a str,
    platform: &'a Platform,
    digest: &'a Digest,
}

fn image_key(pin: &ImagePin) -> Key<'_> {
    Key { base: &pin.base, platform: &pin.platform, digest: &pin.digest }
}

fn assembled_key(pin: &AssembledPin) -> Key<'_> {
    Key { base: &pin.base, platform: &pin.platform, digest: &pin.digest }
}

fn entries<T>(
    before: &[T],
    after: &[T],
    differences: &mut Vec<Difference>,
    key: fn(&T) -> Key<'_>,
    compare: fn(&T, &T, &mut Vec<Difference>),
) {
    let find = |pins: &'_ [T], wanted: &T| {
        let wanted = key(wanted);
        pins.iter().position(|pin| key(pin).base == wanted.base && key(pin).platform == wanted.platform)
    };
    for old in before {
        let Key { base, platform, .. } = key(old);
        let (base, platform) = (base.to_owned(), platform.clone());
        match find(after, old) {
            Some(at) => compare(old, &after[at], differences),
            None => differences.push(Difference::Unused { base, platform }),
        }
    }
    for new in after.iter().filter(|new| find(before, new).is_none()) {
        let Key { base, platform, digest } = key(new);
        let (base, platform, to) = (base.to_owned(), platform.clone(), Some(digest.to_string()));
        differences.push(Difference::Missing { base, platform, to });
    }
}

fn compare_image(old: &ImagePin, new: &ImagePin, differences: &mut Vec<Difference>) {
    let image = |pin: &ImagePin| ImagePin { additions: None, ..pin.clone() };
    let (base, platform) = (&old.base, &old.platform);
    if image(old) != image(new) {
        let said = |pin: &ImagePin| match &pin.name {
            // The digest is the same, only the name differs.
            Some(name) if old.digest == new.digest => format!("{} ({name})", pin.digest),
            _ => pin.digest.to_string(),
        };
        differences.push(Difference::Digest {
            base: base.clone(),
            platform: platform.clone(),
            from: said(old),
            to: said(new),
        });
    }
    compare_additions((base, platform), old.additions.as_deref(), new.additions.as_deref(), differences);
}

/// Compares packages in addition to those of an image, or those of a sysroot.
fn compare_additions(
    (base, platform): (&str, &Platform),
    old: Option<&AdditionsPin>,
    new: Option<&AdditionsPin>,
    differences: &mut Vec<Difference>,
) {
    let parts = |pin: Option<&AdditionsPin>| {
        pin.map_or_else(Default::default, |additions| {
            let texts =
                [&additions.suites, &additions.components, &additions.packages].map(|list| list.join(", "));
            (texts, additions.package.clone(), additions.index.clone())
        })
    };
    let (before, after): ((_, Vec<_>, Vec<_>), (_, _, _)) = (parts(old), parts(new));
    compare_settings(base, platform, ["suites", "components", "packages"], before.0, after.0, differences);
    compare_packages(base, platform, &before.1, &after.1, differences);
    compare_indexes(base, platform, &before.2, &after.2, differences);
}

fn sysroots(before: &[SysrootPin], after: &[SysrootPin], differences: &mut Vec<Difference>) {
    let find =
        |pins: &[SysrootPin], platform: &Platform| pins.iter().position(|pin| pin.platform == *platform);
    for old in before {
        let platform = &old.platform;
        if let Some(at) = find(after, platform) {
            let (old, new) = (Some(&old.packages), Some(&after[at].packages));
            compare_additions((SYSROOT, platform), old, new, differences);
        } else {
            let (base, platform) = (SYSROOT.to_owned(), platform.clone());
            differences.push(Difference::Unused { base, platform });
        }
    }
    for new in after.iter().filter(|new| find(before, &new.platform).is_none()) {
        let to = format!("{}, {} packages", new.packages.release, new.packages.package.len());
        let (base, platform) = (SYSROOT.to_owned(), new.platform.clone());
        differences.push(Difference::Missing { base, platform, to: Some(to) });
    }
}

fn compare_settings<const N: usize>(
    base: &str,
    platform: &Platform,
    names: [&'static str; N],
    before: [String; N],
    after: [String; N],
    differences: &mut Vec<Difference>,
) {
    for (what, (from, to)) in names.into_iter().zip(before.into_iter().zip(after)) {
        if from != to {
            let (base, platform) = (base.to_owned(), platform.clone());
            differences.push(Difference::Setting { base, platform, what, from, to });
        }
    }
}

fn compare_assembled(old: &AssembledPin, new: &AssembledPin, differences: &mut Vec<Difference>) {
    let (base, platform) = (&old.base, &old.platform);
    let texts = |pin: &AssembledPin| {
        let lists = [&pin.suites, &pin.components, &pin.packages].map(|list| list.join(", "));
        let [suites, components, packages] = lists;
        [pin.architecture.clone(), suites, components, packages, pin.recipe.to_string()]
    };
    let names = ["architecture", "suites", "components", "packages", "recipe"];
    compare_settings(base, platform, names, texts(old), texts(new), differences);
    compare_packages(base, platform, &old.package, &new.package, differences);
    compare_indexes(base, platform, &old.index, &new.index, differences);
}

fn compare_packages(
    base: &str,
    platform: &Platform,
    before: &[PackagePin],
    after: &[PackagePin],
    differences: &mut Vec<Difference>,
) {
    let named = |packages: &[PackagePin]| -> BTreeMap<String, PackagePin> {
        packages.iter().map(|package| (package.name.clone(), package.clone())).collect()
    };
    let (before, after) = (named(before), named(after));
    for (name, package) in &before {
        let now = after.get(name);
        if now != Some(package) {
            let mut from = package.version.clone();
            let mut to = now.map(|now| now.version.clone());
            // If the version is the same but other data differs, the digests distinguish the two.
            if let Some(now) = now.filter(|now| now.version == package.version) {
                from = format!("{from} ({})", hex::encode(package.sha256));
                to = Some(format!("{} ({})", now.version, hex::encode(now.sha256)));
            }
            let (base, platform, package) = (base.to_owned(), platform.clone(), name.clone());
            differences.push(Difference::Package { base, platform, package, from: Some(from), to });
        }
    }
    for (name, package) in after.iter().filter(|(name, _)| !before.contains_key(*name)) {
        differences.push(Difference::Package {
            base: base.to_owned(),
            platform: platform.clone(),
            package: name.clone(),
            from: None,
            to: Some(package.version.clone()),
        });
    }
}

fn compare_indexes(
    base: &str,
    platform: &Platform,
    before: &[IndexPin],
    after: &[IndexPin],
    differences: &mut Vec<Difference>,
) {
    let dates = |indexes: &[IndexPin]| -> BTreeMap<String, Option<String>> {
        indexes.iter().map(|index| (index.suite.clone(), index.date.clone())).collect()
    };
    let (before, after) = (dates(before), dates(after));
    for (suite, from) in &before {
        if let Some(to) = after.get(suite).filter(|to| *to != from) {
            let (base, platform, suite) = (base.to_owned(), platform.clone(), suite.clone());
            differences.push(Difference::Index { base, platform, suite, from: from.clone(), to: to.clone() });
        }
    }
}

impl fmt::Display for RustPin {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}", self.version)?;
        self.commit.iter().try_for_each(|commit| write!(formatter, " ({commit})"))
    }
}

impl fmt::Display for ToolchainPin {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}", self.version)?;
        self.package.iter().try_for_each(|package| write!(formatter, " ({package})"))
    }
}
