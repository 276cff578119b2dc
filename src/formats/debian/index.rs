//! A package index (`Packages`), and the packages of one architecture from several indexes together.
//!
//! An index is read as a stream, since its text is 50 MB and the few fields that matter are a third of that. Relations
//! are stored as text, and only parsed for the few packages that a resolution looks at.

use std::collections::{BTreeMap, HashMap};
use std::io::BufRead;

use deb822_fast::borrowed::{BorrowedField, BorrowedParser};
use debversion::Version;

use crate::sys::cancel::{Cancel, Cancelled};

/// One package in one version.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// Its name.
    pub name: Box<str>,
    /// Its version.
    pub version: Box<str>,
    /// Its mirror, as a position in [`Universe::mirrors`].
    mirror: usize,
    /// Its path on the mirror.
    path: Box<str>,
    /// The size of its `.deb` in bytes.
    pub size: u64,
    /// The digest of its `.deb`.
    pub sha256: [u8; 32],
    /// `Installed-Size` in KiB; an estimate (Policy, section 5.6.20).
    pub installed_size: Option<u64>,
    /// `Priority`: `required`, `important`, `standard`, `optional`, `extra`.
    pub priority: Priority,
    /// `Essential: yes`, `Protected: yes`, `Multi-Arch`.
    pub marks: Marks,
    /// `Pre-Depends` and `Depends`.
    pub depends: Box<str>,
    /// `Conflicts` and `Breaks`.
    pub conflicts: Box<str>,
    /// `Provides`.
    pub provides: Box<str>,
    /// `Recommends`. Nothing is installed because of it, but a package that was chosen for another reason may stay
    /// because of it.
    pub recommends: Box<str>,
    /// `Suggests`, with the same meaning.
    pub suggests: Box<str>,
    /// How many optional relations there are: the groups of `Recommends`, `Suggests`, `Replaces` and `Enhances`.
    pub optional: u16,
}

/// Properties of a package besides its relations.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Marks {
    /// `Essential: yes`.
    pub essential: bool,
    /// `Protected: yes`, formerly `Important: yes`.
    pub protected: bool,
    /// `Multi-Arch: allowed`: it satisfies `name:any`.
    pub allowed: bool,
}

/// How important a package is for a system (Policy, section 2.5), the most important first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Priority {
    /// `required`
    Required,
    /// `important`
    Important,
    /// `standard`
    Standard,
    /// `optional`.
    Optional,
    /// `extra`, or no priority.
    Extra,
}

/// Why an index cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum IndexError {
    /// The stream is broken, or not UTF-8.
    #[error("{0}")]
    Stream(#[from] std::io::Error),
    /// A paragraph is malformed, or lacks a required field.
    #[error("paragraph {number} ({name}): {reason}")]
    Paragraph {
        /// Its number in the index, starting at 1.
        number: usize,
        /// The package, if it is known.
        name: String,
        /// What is wrong.
        reason: String,
    },
    /// The work was stopped.
    #[error(transparent)]
    Cancelled(#[from] Cancelled),
}

/// All packages of the sources for one architecture.
#[derive(Debug, Default)]
pub struct Universe {
    mirrors: Vec<String>,
    records: Vec<Record>,
    by_name: BTreeMap<Box<str>, Vec<usize>>,
    providers: BTreeMap<Box<str>, Vec<usize>>,
    /// The order in which names were first seen, as a package's own or in a relation. apt numbers packages in this
    /// order.
    seen: HashMap<Box<str>, u32>,
}

impl Universe {
    /// Adds the packages of an index. `mirror` is the URL that their paths are relative to.
    ///
    /// # Errors
    ///
    /// If the index cannot be read, if a package in it lacks a field, or if the work is cancelled.
    pub fn read(&mut self, mirror: &str, mut index: impl BufRead, cancel: &Cancel) -> Result<(), IndexError> {
        self.read_stream(mirror, &mut index, cancel)
    }

    /// [`Self::read`], compiled once and here.
    fn read_stream(
        &mut self,
        mirror: &str,
        index: &mut dyn BufRead,
        cancel: &Cancel,
    ) -> Result<(), IndexError> {
        let mirror = self.mirrors.iter().position(|known| known == mirror).unwrap_or_else(|| {
            self.mirrors.push(mirror.to_owned());
            self.mirrors.len() - 1
        });
        let (mut paragraph, mut number) = (String::new(), 0);
        loop {
            let before = paragraph.len();
            let ended = index.read_line(&mut paragraph)? == 0;
            if !ended && !paragraph[before..].trim().is_empty() {
                continue;
            }
            if !paragraph.trim().is_empty() {
                number += 1;
                if number % 1024 == 1 {
                    cancel.check()?;
                }
                let record = parse_record(&paragraph, mirror, number, |names| self.see(names))?;
                self.add(record);
            }
            if ended {
                return Ok(());
            }
            paragraph.clear();
        }
    }

    /// Numbers the names in a field in order.
    fn see(&mut self, field: &str) {
        for relation in field.split([',', '|']) {
            let name = relation.trim_start().split([' ', '(', ':', '\n']).next().unwrap_or_default();
            if !name.is_empty() && !self.seen.contains_key(name) {
                let number = u32::try_from(self.seen.len()).unwrap_or(u32::MAX);
                self.seen.insert(name.into(), number);
            }
        }
    }

    fn add(&mut self, record: Record) {
        let at = self.records.len();
        self.by_name.entry(record.name.clone()).or_default().push(at);
        for provided in record.provides.split(',') {
            let name = provided.split(['(', ':']).next().unwrap_or_default().trim();
            if !name.is_empty() {
                self.providers.entry(name.into()).or_default().push(at);
            }
        }
        self.records.push(record);
    }

    /// The package's newest version, which apt calls the candidate. Of equal versions the first source's is chosen.
    #[must_use]
    pub fn candidate(&self, name: &str) -> Option<(&Record, Version)> {
        let versions = self.by_name.get(name)?.iter().filter_map(|&at| {
            let record = &self.records[at];
            Some((record, Version::parse_lenient(&record.version).ok()?))
        });
        versions.reduce(|best, next| if next.1 > best.1 { next } else { best })
    }

    /// The candidates that provide a name, by importance and then by name.
    #[must_use]
    pub fn providers(&self, name: &str) -> Vec<(&Record, Version)> {
        let mut found: Vec<(&Record, Version)> = Vec::new();
        for &at in self.providers.get(name).into_iter().flatten() {
            let record = &self.records[at];
            if let Some(candidate) = self.candidate(&record.name)
                && std::ptr::eq(candidate.0, record)
                && !found.iter().any(|(known, _)| std::ptr::eq(*known, record))
            {
                found.push(candidate);
            }
        }
        found.sort_by(|(a, _), (b, _)| (a.priority, &a.name).cmp(&(b.priority, &b.name)));
        found
    }

    /// True if any version of any package provides a name.
    #[must_use]
    pub fn is_provided(&self, name: &str) -> bool {
        self.providers.contains_key(name)
    }

    /// The names of the packages that provide a name in any version.
    pub fn provider_names(&self, name: &str) -> impl Iterator<Item = &str> {
        self.providers.get(name).into_iter().flatten().map(|&at| &*self.records[at].name)
    }

    /// The position of a name in the order in which names were first seen in the indexes.
    #[must_use]
    pub fn seen(&self, name: &str) -> Option<u32> {
        self.seen.get(name).copied()
    }

    /// The names that are most likely meant by an unknown name, the nearest first; at most three. If some names begin
    /// with it, only these count: the end is missing (`libsqlite3` for `libsqlite3-0`), and it is not a typing error.
    #[must_use]
    pub fn nearest(&self, name: &str) -> Vec<String> {
        let slips = name.len().div_ceil(3);
        let mut found: Vec<(usize, &str)> = self
            .by_name
            .keys()
            .map(AsRef::as_ref)
            .filter(|known: &&str| known.len().abs_diff(name.len()) <= slips)
            .map(|known| (strsim::osa_distance(name, known), known))
            .filter(|(distance, _)| *distance <= slips)
            .collect();
        found.sort_unstable();
        if found.iter().any(|(_, known)| known.starts_with(name)) {
            found.retain(|(_, known)| known.starts_with(name));
        }
        found.into_iter().take(3).map(|(_, known)| known.to_owned()).collect()
    }

    /// The mirror that has a package, and the path there.
    #[must_use]
    pub fn place<'a>(&'a self, record: &'a Record) -> (&'a str, &'a str) {
        (&self.mirrors[record.mirror], &record.path)
    }

    /// The number of packages, counting each version.
    #[must_use]
    pub fn len(&self) -> usize {
        self.records.len()
    }

    /// True if there are no packages.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.records.is_empty()
    }
}

/// The fields with package names, in the order in which apt reads them.
const NAMING: [&str; 9] = [
    "Pre-Depends",
    "Depends",
    "Conflicts",
    "Breaks",
    "Recommends",
    "Suggests",
    "Replaces",
    "Enhances",
    "Provides",
];

/// Those of them that are optional.
const OPTIONAL: [&str; 4] = ["Recommends", "Suggests", "Replaces", "Enhances"];

/// Reads a paragraph. `see` is called with the fields that contain package names, in the order in which apt reads them.
fn parse_record(
    text: &str,
    mirror: usize,
    number: usize,
    mut see: impl FnMut(&str),
) -> Result<Record, IndexError> {
    let fault = |name: &str, reason: String| IndexError::Paragraph { number, name: name.to_owned(), reason };
    let mut paragraphs =
        BorrowedParser::new(text).parse_all().map_err(|error| fault("?", error.to_string()))?;
    let (Some(fields), true) = (paragraphs.pop(), paragraphs.is_empty()) else {
        return Err(fault("?", "it is not one paragraph".into()));
    };
    let optional = |field: &str| fields.get_field(field).map(BorrowedField::join);
    let name = optional("Package").unwrap_or_default();
    let required = |field: &str| optional(field).ok_or_else(|| fault(&name, format!("it has no {field}")));
    let number_of = |field: &str| -> Result<u64, IndexError> {
        required(field)?.trim().parse().map_err(|_| fault(&name, format!("its {field} is not a number")))
    };
    let joined = |first: &str, second: &str| -> Box<str> {
        [optional(first), optional(second)].into_iter().flatten().collect::<Vec<_>>().join(", ").into()
    };
    see(&name);
    let mut groups = 0;
    for field in NAMING {
        let Some(text) = optional(field) else { continue };
        see(&text);
        if OPTIONAL.contains(&field) {
            groups += text.split(',').filter(|group| !group.trim().is_empty()).count();
        }
    }
    let yes = |field: &str| optional(field).is_some_and(|value| value.trim() == "yes");
    let marks = Marks {
        essential: yes("Essential"),
        protected: yes("Protected") || yes("Important"),
        allowed: optional("Multi-Arch").is_some_and(|value| value.trim() == "allowed"),
    };
    let mut sha256 = [0; 32];
    hex::decode_to_slice(required("SHA256")?.trim(), &mut sha256)
        .map_err(|_| fault(&name, "its SHA256 is not a digest".into()))?;
    Ok(Record {
        version: required("Version")?.into(),
        mirror,
        path: required("Filename")?.into(),
        size: number_of("Size")?,
        sha256,
        installed_size: optional("Installed-Size").and_then(|size| size.trim().parse().ok()),
        priority: match optional("Priority").as_deref() {
            Some("required") => Priority::Required,
            Some("important") => Priority::Important,
            Some("standard") => Priority::Standard,
            Some("optional") => Priority::Optional,
            _ => Priority::Extra,
        },
        marks,
        depends: joined("Pre-Depends", "Depends"),
        conflicts: joined("Conflicts", "Breaks"),
        provides: optional("Provides").unwrap_or_default().into(),
        recommends: optional("Recommends").unwrap_or_default().into(),
        suggests: optional("Suggests").unwrap_or_default().into(),
        optional: u16::try_from(groups).unwrap_or(u16::MAX),
        name: required("Package")?.into(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::debian::testing::{Stanza, universe};

    #[test]
    fn reads_folded_fields_and_skips_the_rest() {
        let text = format!(
            "\n\n{}Depends: b,\n c (>= 1)\nPre-Depends: p\nDescription: x\n y\n .\n z\n\n\n{}",
            Stanza::new("a", "1"),
            Stanza::new("b", "2")
        );
        let mut universe = Universe::default();
        universe.read("http://m.example", text.as_bytes(), &Cancel::new()).unwrap();
        assert_eq!(universe.len(), 2);
        let (a, _) = universe.candidate("a").unwrap();
        assert_eq!(&*a.depends, "p, b,\nc (>= 1)");
        assert_eq!(universe.place(a), ("http://m.example", "pool/a_1.deb"));
    }

    #[test]
    fn a_package_without_a_digest_is_refused() {
        let text = "Package: a\nVersion: 1\nFilename: a.deb\nSize: 1\n";
        let error = Universe::default().read("m", text.as_bytes(), &Cancel::new()).unwrap_err();
        assert_eq!(error.to_string(), "paragraph 1 (a): it has no SHA256");
    }

    #[test]
    fn the_candidate_is_the_newest_whatever_the_order() {
        let universe =
            universe(&[Stanza::new("a", "1.9"), Stanza::new("a", "1.10"), Stanza::new("a", "1.2")]);
        assert_eq!(&*universe.candidate("a").unwrap().0.version, "1.10");
        assert!(universe.candidate("b").is_none());
    }

    #[test]
    fn providers_are_sorted_by_need_and_name_and_only_candidates_count() {
        let universe = universe(&[
            Stanza::new("z", "1").field("Provides", "v (= 3), w").field("Priority", "required"),
            Stanza::new("c", "1").field("Provides", "v"),
            Stanza::new("b", "1").field("Provides", "v"),
            Stanza::new("old", "1").field("Provides", "v"),
            Stanza::new("old", "2"),
        ]);
        let names: Vec<&str> = universe.providers("v").iter().map(|(record, _)| &*record.name).collect();
        assert_eq!(names, ["z", "b", "c"]);
    }
}
