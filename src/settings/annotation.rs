//! `--annotation`: parses annotations and their levels, in docker buildx's syntax. Pure.

use std::collections::{BTreeMap, BTreeSet};

use super::error::{Error, Problem};
use super::platforms::known_platform;
use super::values;
use crate::origin::Origin;
use crate::target::platform::Platform;
use crate::text::nearest;
use crate::transport::IndexAnnotations;

/// Annotations by level.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Annotations {
    /// Those of the index.
    pub(super) index: BTreeMap<String, String>,
    /// Those of the index's entry in a layout.
    pub(super) index_descriptor: BTreeMap<String, String>,
    /// Those of manifests: for all platforms or for one.
    manifest: Vec<Scoped>,
    /// Those of the manifests' entries in the index.
    manifest_descriptor: Vec<Scoped>,
}

/// An annotation for one platform, or for all.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Scoped {
    platform: Option<Platform>,
    key: String,
    value: String,
}

const LEVELS: &[&str] = &["manifest", "index", "manifest-descriptor", "index-descriptor"];

impl Annotations {
    /// Adds `[LEVEL[PLATFORM],…:]KEY=VALUE`. Without a level it is for the manifests.
    pub(super) fn add(&mut self, text: &str) -> Result<(), Problem> {
        let (left, value) = values::key_value(text)?;
        let (levels, key) = split(&left);
        if key.is_empty() {
            return Err(wrong(text));
        }
        for level in levels.split(',') {
            let (level, platform) = match level.trim().split_once('[') {
                Some((level, rest)) => {
                    let name = rest.strip_suffix(']').ok_or_else(|| wrong(text))?;
                    (level, Some(known_platform(name)?))
                }
                None => (level.trim(), None),
            };
            let scoped = || Scoped { platform: platform.clone(), key: key.to_owned(), value: value.clone() };
            match level {
                "manifest" => self.manifest.push(scoped()),
                "manifest-descriptor" => self.manifest_descriptor.push(scoped()),
                "index" | "index-descriptor" if platform.is_some() => return Err(wrong(text)),
                "index" => drop(self.index.insert(key.to_owned(), value.clone())),
                "index-descriptor" => drop(self.index_descriptor.insert(key.to_owned(), value.clone())),
                _ => {
                    let (what, given) = ("level of an annotation", level.to_owned());
                    return Err(Problem::UnknownWord { what, given, known: LEVELS.to_vec() });
                }
            }
        }
        Ok(())
    }

    /// The platforms that annotations name.
    pub(super) fn platforms(&self) -> BTreeSet<&Platform> {
        let all = self.manifest.iter().chain(&self.manifest_descriptor);
        all.filter_map(|scoped| scoped.platform.as_ref()).collect()
    }

    /// Those of a platform's manifest.
    pub(super) fn of_manifest(&self, platform: &Platform) -> BTreeMap<String, String> {
        of(&self.manifest, platform)
    }

    /// Those of the entry of a platform's manifest in the index.
    pub(super) fn of_descriptor(&self, platform: &Platform) -> BTreeMap<String, String> {
        of(&self.manifest_descriptor, platform)
    }
}

/// Splits the text before the `=` into levels and key. A key may contain a colon itself: the text before a colon is
/// levels only if it is, or could be meant as, levels.
fn split(left: &str) -> (&str, &str) {
    let meant = |word: &str| {
        let word = word.trim();
        let (level, platform) = word.split_once('[').map_or((word, false), |(level, _)| (level, true));
        platform || LEVELS.contains(&level) || nearest(level, LEVELS).is_some()
    };
    match left.split_once(':') {
        Some((levels, key)) if levels.split(',').any(meant) || levels.is_empty() => (levels, key),
        _ => ("manifest", left),
    }
}

/// Parses `--annotation` for an index of existing images. Without a level it is for the index, and manifests stay as
/// they are.
pub(crate) fn index_annotations(texts: &[String]) -> Result<IndexAnnotations, Error> {
    let mut all = Annotations::default();
    for text in texts {
        let left = text.split('=').next().unwrap_or_default();
        let has_level = split(left).1 != left;
        let leveled = if has_level { text.clone() } else { format!("index:{text}") };
        let added =
            all.add(&leveled).and_then(|()| if all.manifest.is_empty() { Ok(()) } else { Err(fixed(text)) });
        added.map_err(|problem| problem.at(&Origin::Flag("--annotation")))?;
    }
    let manifests = all.manifest_descriptor;
    let manifests = manifests.into_iter().map(|scoped| (scoped.platform, scoped.key, scoped.value)).collect();
    Ok(IndexAnnotations { index: all.index, descriptor: all.index_descriptor, manifests })
}

fn fixed(text: &str) -> Problem {
    Problem::Form {
        what: "an annotation of a new index",
        given: text.to_owned(),
        remedy: "the manifests already exist: annotate `index` or `manifest-descriptor`",
    }
}

/// The annotations of one platform; its own override those for all platforms.
fn of(all: &[Scoped], platform: &Platform) -> BTreeMap<String, String> {
    let matching = |own: bool| {
        all.iter().filter(move |scoped| match &scoped.platform {
            Some(named) => own && named == platform,
            None => !own,
        })
    };
    matching(false).chain(matching(true)).map(|scoped| (scoped.key.clone(), scoped.value.clone())).collect()
}

fn wrong(text: &str) -> Problem {
    Problem::Form {
        what: "an annotation",
        given: text.to_owned(),
        remedy: "write it as `KEY=VALUE`, `index:KEY=VALUE` or `manifest[linux/amd64]:KEY=VALUE`",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(texts: &[&str]) -> Result<Annotations, Problem> {
        let mut annotations = Annotations::default();
        for text in texts {
            annotations.add(text)?;
        }
        Ok(annotations)
    }

    fn map(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn levels_are_buildxs() {
        let annotations = parse(&[
            "a=1",
            "index,manifest:b=x:y=z",
            "manifest[linux/arm64]:a=2",
            "manifest-descriptor[arm64],index-descriptor:c=3",
        ])
        .unwrap();
        let [amd64, arm64]: [Platform; 2] = ["linux/amd64", "linux/arm64"].map(|name| name.parse().unwrap());
        assert_eq!(annotations.of_manifest(&amd64), map(&[("a", "1"), ("b", "x:y=z")]));
        assert_eq!(annotations.of_manifest(&arm64), map(&[("a", "2"), ("b", "x:y=z")]));
        assert_eq!(annotations.index, map(&[("b", "x:y=z")]));
        assert_eq!(annotations.of_descriptor(&arm64), map(&[("c", "3")]));
        assert_eq!(annotations.of_descriptor(&amd64), map(&[]));
        assert_eq!(annotations.index_descriptor, map(&[("c", "3")]));
        assert_eq!(annotations.platforms(), BTreeSet::from([&arm64]));
    }

    #[test]
    fn a_key_may_have_colons() {
        let annotations = parse(&[
            "org.example:a=b",
            "urn:example:x=1",
            "index:urn:example:x=2",
            "manifest,index:a:b=c:d=e",
        ])
        .unwrap();
        let of_manifest = annotations.of_manifest(&"linux/amd64".parse().unwrap());
        assert_eq!(of_manifest, map(&[("org.example:a", "b"), ("urn:example:x", "1"), ("a:b", "c:d=e")]));
        assert_eq!(annotations.index, map(&[("urn:example:x", "2"), ("a:b", "c:d=e")]));
        let made = index_annotations(&["urn:x=1".into(), "index-descriptor:y:z=2".into()]).unwrap();
        assert_eq!((made.index, made.descriptor), (map(&[("urn:x", "1")]), map(&[("y:z", "2")])));
    }

    #[test]
    fn what_is_no_annotation_is_refused() {
        for text in ["a", "=b", "index:=b", "index[linux/amd64]:a=b", "manifest[linux/amd64:a=b"] {
            assert!(matches!(parse(&[text]), Err(Problem::Form { .. })), "{text}");
        }
        for text in ["indx:a=b", "manifests:a=b", "index,manifst:a=b", "other[linux/amd64]:a=b"] {
            assert!(matches!(parse(&[text]), Err(Problem::UnknownWord { .. })), "{text}");
        }
        assert!(parse(&["manifest[linux/amd46]:a=b"]).is_err());
    }
}
