//! Maps what users write to platforms that xbuild builds, and suggests a platform if that fails.

use crate::target::catalog::{self, Target};
use crate::target::platform::Platform;

use super::error::Problem;
use crate::text::nearest;

/// The names of all platforms, sorted.
pub(super) fn known_names() -> Vec<String> {
    catalog::platforms().iter().map(Platform::to_string).collect()
}

/// A platform that has a target.
pub(super) fn known_platform(text: &str) -> Result<Platform, Problem> {
    let text = text.trim();
    if let Some(target) = Target::by_triple(text) {
        return Err(Problem::TripleForPlatform {
            triple: text.to_owned(),
            platform: target.platform.clone(),
        });
    }
    match text.parse::<Platform>() {
        Ok(platform) if catalog::builds(&platform) => Ok(platform),
        Ok(_) => Err(Problem::UnknownPlatform { given: text.to_owned(), nearest: nearest_platform(text) }),
        Err(error) => Err(Problem::NotAPlatform { error, nearest: nearest_platform(text) }),
    }
}

/// A triple whose programs run on a platform.
pub(super) fn triple(text: &str, platform: &Platform) -> Result<&'static Target, Problem> {
    let Some(target) = Target::by_triple(text) else {
        let known: Vec<&str> = Target::all().iter().map(|target| target.triple.as_str()).collect();
        let nearest = nearest(text, &known).map(str::to_owned);
        return Err(Problem::UnknownTriple { given: text.to_owned(), nearest });
    };
    if target.serves(platform) {
        return Ok(target);
    }
    Err(Problem::TripleOfAnotherPlatform { target, wanted: platform.clone() })
}

fn nearest_platform(text: &str) -> Option<String> {
    // `arm/v7` parses as an operating system and an architecture, but the operating system is missing.
    if let Ok(platform) = format!("linux/{text}").parse::<Platform>()
        && catalog::platforms().contains(&platform)
    {
        return Some(platform.to_string());
    }
    let known = known_names();
    let whole: Vec<&str> = known.iter().map(String::as_str).collect();
    if let Some(found) = nearest(text, &whole) {
        return Some(found.to_owned());
    }
    let tails: Vec<&str> = known.iter().filter_map(|name| name.strip_prefix("linux/")).collect();
    nearest(text, &tails).map(|tail| format!("linux/{tail}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slips_are_answered_with_the_platform_that_was_meant() {
        for (given, meant) in [
            ("linux/amd46", "linux/amd64"),
            ("amd46", "linux/amd64"),
            ("armv7", "linux/arm/v7"),
            ("linux/arm/v9", "linux/arm/v7"),
            ("linux/amd64/v9", "linux/amd64"),
            ("linx/arm64", "linux/arm64"),
        ] {
            let nearest = match known_platform(given) {
                Err(Problem::UnknownPlatform { nearest, .. } | Problem::NotAPlatform { nearest, .. }) => {
                    nearest
                }
                other => panic!("{given}: {other:?}"),
            };
            // Two variants may be equally near.
            let near_enough = nearest.as_deref().is_some_and(|nearest| {
                nearest == meant || (given == "linux/arm/v9" && nearest == "linux/arm/v6")
            });
            assert!(near_enough, "{given}: {nearest:?}");
        }
    }

    #[test]
    fn levels_of_x86_64_are_platforms() {
        for text in ["linux/amd64/v2", "linux/amd64/v3", "linux/x86_64/v4"] {
            assert_eq!(known_platform(text).unwrap().architecture(), "amd64", "{text}");
        }
        assert_eq!(known_platform("linux/amd64/v1").unwrap().variant(), None);
        assert!(matches!(known_platform("linux/arm64/v9"), Err(Problem::UnknownPlatform { .. })));
    }

    #[test]
    fn a_triple_is_answered_with_its_platform() {
        let problem = known_platform("armv7-unknown-linux-gnueabihf").unwrap_err();
        assert!(
            matches!(&problem, Problem::TripleForPlatform { platform, .. } if platform.to_string() == "linux/arm/v7")
        );
    }

    #[test]
    fn other_systems_get_no_far_fetched_suggestion() {
        let problem = known_platform("windows/amd64").unwrap_err();
        assert!(matches!(problem, Problem::UnknownPlatform { nearest: None, .. }), "{problem:?}");
    }
}
