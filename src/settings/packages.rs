//! The packages that a platform's image gets in addition to those of its base.

use std::collections::BTreeSet;

use super::error::{Error, Problem};
use super::flags::Flags;
use super::platforms::known_platform;
use super::sources::Sources;
use super::{BaseSource, BuildPackages, values};
use crate::config::{self, Text};
use crate::origin::Origin;
use crate::target::platform::Platform;

/// The option that adds a package.
pub(super) const OPTION: &str = "--debian-package";

/// A package as given in an option.
struct Given<'a> {
    platform: Option<Platform>,
    name: &'a str,
}

/// The packages of a platform, sorted: the general ones of the first document that has any, the platform's own, and
/// those of options.
pub(super) fn packages(
    sources: &Sources<'_>,
    platform: &Platform,
    base: &BaseSource,
) -> Result<Vec<String>, Error> {
    let general = sources.layers(platform).find_map(|(document, _)| {
        document.value.distribution.packages.as_ref().map(|packages| (document, packages))
    });
    let special = sources
        .layers(platform)
        .find_map(|(document, table)| table?.packages.as_ref().map(|packages| (document, packages)));
    let configured = general.into_iter().chain(special).flat_map(|(document, packages)| {
        let place = |text: &Text| Origin::Project(document.location(text.span()));
        packages.iter().map(move |text| (text.get_ref().as_str(), place(text)))
    });
    let mut names = BTreeSet::new();
    let mut add = |name: &str, origin: &Origin| {
        let name = values::package(name).map_err(|problem| problem.at(origin))?;
        if *base == BaseSource::Scratch {
            let (platform, package) = (platform.clone(), name);
            return Err(Problem::PackageOnScratch { platform, package }.at(origin));
        }
        names.insert(name);
        Ok::<(), Error>(())
    };
    for (name, origin) in configured {
        add(name, &origin)?;
    }
    for text in &sources.flags.added_packages {
        let given = given(text)?;
        if given.platform.is_none_or(|of| of == *platform) {
            add(given.name, &Origin::Flag(OPTION))?;
        }
    }
    Ok(names.into_iter().collect())
}

/// What a platform is compiled against beyond the C library: the general list of the first document that has any, and the
/// platform's own.
pub(super) fn build_packages(sources: &Sources<'_>, platform: &Platform) -> Result<BuildPackages, Error> {
    let general = sources.layers(platform).find_map(|(document, _)| {
        document.value.distribution.build_packages.as_ref().map(|packages| (document, packages))
    });
    let special = sources
        .layers(platform)
        .find_map(|(document, table)| table?.build_packages.as_ref().map(|packages| (document, packages)));
    let (mut names, mut auto) = (BTreeSet::new(), general.is_none());
    for (document, packages) in general.into_iter().chain(special) {
        let config::BuildPackages::List(texts) = packages else {
            auto = true;
            continue;
        };
        for text in texts {
            if text.get_ref() == config::AUTO {
                auto = true;
                continue;
            }
            let origin = Origin::Project(document.location(text.span()));
            names.insert(values::package(text.get_ref()).map_err(|problem| problem.at(&origin))?);
        }
    }
    Ok(BuildPackages { auto, names: names.into_iter().collect() })
}

/// The platforms that options name.
pub(super) fn flag_platforms(flags: &Flags) -> Result<BTreeSet<Platform>, Error> {
    let mut platforms = BTreeSet::new();
    for text in &flags.added_packages {
        platforms.extend(given(text)?.platform);
    }
    Ok(platforms)
}

/// Parses `[PLATFORM=]NAME`. If there is no `/` before the `=`, it is more likely apt's syntax for a version.
fn given(text: &str) -> Result<Given<'_>, Error> {
    match text.split_once('=') {
        Some((scope, name)) if scope.contains('/') || known_platform(scope).is_ok() => {
            let platform = known_platform(scope).map_err(|problem| problem.at(&Origin::Flag(OPTION)))?;
            Ok(Given { platform: Some(platform), name })
        }
        _ => Ok(Given { platform: None, name: text }),
    }
}
