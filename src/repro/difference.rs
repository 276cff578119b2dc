//! The differences between two builds of one project, from the index down to the bytes of a file.

use std::fmt;

use serde::Serialize;

use crate::oci::Digest;

/// One of the two builds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Side {
    /// The build in the project's own directory.
    First,
    /// The build in another directory.
    Second,
}

/// A difference between two images.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "difference", rename_all = "kebab-case", rename_all_fields = "kebab-case")]
#[non_exhaustive]
pub(crate) enum Difference {
    /// A platform that only one of them has.
    Platform {
        /// The platform.
        platform: String,
        /// The build that has it.
        only: Side,
    },
    /// A field of a document.
    Field {
        /// The platform; `None` for the index.
        platform: Option<String>,
        /// `index`, `manifest` or `config`.
        document: &'static str,
        /// The field as a JSON pointer (RFC 6901).
        pointer: String,
        /// Its value in the first build, as JSON; `None` if it is absent.
        first: Option<String>,
        /// Its value in the second.
        second: Option<String>,
    },
    /// The platform's images have different numbers of layers.
    Layers {
        /// The platform.
        platform: String,
        /// The number in the first build.
        first: usize,
        /// The number in the second.
        second: usize,
    },
    /// A layer.
    Layer {
        /// The platform.
        platform: String,
        /// Its position, 1 for the lowest.
        number: usize,
        /// The `created_by` of its entry in the history.
        created_by: Option<String>,
        /// Its digest in the first build.
        first: Digest,
        /// Its digest in the second.
        second: Digest,
        /// The differences in it.
        changes: Vec<Change>,
        /// The number of changes that are not listed.
        omitted: usize,
    },
}

/// A difference within a layer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "change", rename_all = "kebab-case", rename_all_fields = "kebab-case")]
#[non_exhaustive]
pub(crate) enum Change {
    /// The tar archives are the same, but are compressed differently.
    Compression,
    /// The entries are the same, but the bytes around them differ.
    Framing,
    /// A path that only one of them has.
    Only {
        /// The path.
        path: String,
        /// The build that has it.
        only: Side,
    },
    /// The entries are in a different order.
    Order {
        /// The first path with a different position.
        path: String,
        /// Its position in the first build.
        first: usize,
        /// Its position in the second.
        second: usize,
    },
    /// A field of an entry's header.
    Field {
        /// The path.
        path: String,
        /// The field's name in tar(5): `mode`, `mtime`, …
        field: String,
        /// Its value in the first build.
        first: String,
        /// Its value in the second.
        second: String,
    },
    /// A file's content.
    Content {
        /// The path.
        path: String,
        /// Its size in the first build.
        first: u64,
        /// Its size in the second.
        second: u64,
        /// The first bytes that differ; `None` if the file is too large to be examined.
        place: Option<Place>,
        /// The ELF sections that differ, in the file's order; empty if it is not an ELF file.
        sections: Vec<Section>,
    },
}

/// The first difference between two contents.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) struct Place {
    /// The offset in bytes.
    pub offset: u64,
    /// The bytes there in the first build: as text if they are text, otherwise in hexadecimal.
    pub first: String,
    /// The bytes there in the second.
    pub second: String,
}

/// An ELF section that differs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) struct Section {
    /// Its name: `.rodata`. `(headers)` stands for bytes that are in no section.
    pub name: String,
    /// Its size in the first build, in bytes; `None` if it is absent.
    pub first: Option<u64>,
    /// Its size in the second.
    pub second: Option<u64>,
    /// The first bytes that differ, from the section's start.
    pub place: Option<Place>,
}

impl fmt::Display for Side {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::First => "first",
            Self::Second => "second",
        })
    }
}

impl fmt::Display for Difference {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Platform { platform, only } => {
                write!(formatter, "{platform}: only the {only} build has it")
            }
            Self::Field { platform, document, pointer, first, second } => {
                if let Some(platform) = platform {
                    write!(formatter, "{platform}: ")?;
                }
                let absent = "absent".to_owned();
                let (first, second) = (first.as_ref().unwrap_or(&absent), second.as_ref().unwrap_or(&absent));
                write!(formatter, "{document} {pointer}: {first} / {second}")
            }
            Self::Layers { platform, first, second } => {
                write!(formatter, "{platform}: {first} layers / {second} layers")
            }
            Self::Layer { platform, number, created_by, changes, omitted, .. } => {
                write!(formatter, "{platform}: layer {number}")?;
                if let Some(created_by) = created_by {
                    write!(formatter, " ({created_by})")?;
                }
                for change in changes {
                    write!(formatter, "\n  {change}")?;
                }
                if *omitted > 0 {
                    write!(formatter, "\n  and {omitted} more")?;
                }
                Ok(())
            }
        }
    }
}

impl fmt::Display for Change {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Compression => formatter.write_str("the same tar archive, compressed differently"),
            Self::Framing => formatter.write_str("the same entries, with different bytes around them"),
            Self::Only { path, only } => write!(formatter, "/{path}: only in the {only} build"),
            Self::Order { path, first, second } => {
                write!(formatter, "/{path}: entry {first} / entry {second}: different order")
            }
            Self::Field { path, field, first, second } => {
                write!(formatter, "/{path}: tar field {field}: {first} / {second}")
            }
            Self::Content { path, first, second, place, sections } => {
                write!(formatter, "/{path}: ")?;
                if first == second {
                    write!(formatter, "{first} bytes, different content")?;
                } else {
                    write!(formatter, "{first} bytes / {second} bytes")?;
                }
                if sections.is_empty() {
                    return place.iter().try_for_each(|place| write!(formatter, "\n    {place}"));
                }
                sections.iter().try_for_each(|section| write!(formatter, "\n    {section}"))
            }
        }
    }
}

impl fmt::Display for Section {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "section {}", self.name)?;
        match (self.first, self.second) {
            (Some(first), Some(second)) if first == second => {}
            (Some(first), Some(second)) => write!(formatter, ": {first} bytes / {second} bytes")?,
            (Some(_), None) => write!(formatter, ": only in the first build")?,
            (None, _) => write!(formatter, ": only in the second build")?,
        }
        self.place.iter().try_for_each(|place| write!(formatter, ": {place}"))
    }
}

impl fmt::Display for Place {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "at {:#x}: {} / {}", self.offset, self.first, self.second)
    }
}
