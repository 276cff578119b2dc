//! Where settings come from, and how each source is asked for a value.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::error::{Error, Problem};
use super::flags::Flags;
use super::platforms::known_platform;
use crate::config::{Document, PlatformTable, ProjectFile, Text, UserFile};
use crate::origin::{Origin, Sourced};
use crate::sys::env::Environment;
use crate::target::platform::Platform;

/// The surroundings of the process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Host {
    /// The machine's own platform, for `--platform local`.
    pub platform: Platform,
    /// The absolute directory that relative paths of the command line and the environment start from.
    pub dir: PathBuf,
    /// True if compiler messages should be in colour.
    pub color: bool,
}

/// A text, its origin, and the directory that a relative path in it starts from.
pub(super) struct Found<'a> {
    pub(super) text: &'a str,
    pub(super) origin: Origin,
    pub(super) dir: &'a Path,
}

/// All sources of settings.
pub(super) struct Sources<'a> {
    pub(super) flags: &'a Flags,
    pub(super) environment: &'a Environment,
    pub(super) project: &'a [Document<ProjectFile>],
    pub(super) user: Option<&'a Document<UserFile>>,
    pub(super) host: &'a Host,
    /// The platform tables of each document of `project`, by platform.
    pub(super) tables: Vec<BTreeMap<Platform, &'a PlatformTable>>,
}

/// The `[platform."…"]` tables by platform, however it is spelled.
pub(super) fn platform_tables(
    document: &Document<ProjectFile>,
) -> Result<BTreeMap<Platform, &PlatformTable>, Error> {
    let mut tables = BTreeMap::new();
    for (name, table) in &document.value.platform {
        let origin = Origin::Project(document.location(name.span()));
        let platform = known_platform(name.get_ref()).map_err(|problem| problem.at(&origin))?;
        if tables.insert(platform.clone(), table).is_some() {
            return Err(Problem::PlatformTwice { platform }.at(&origin));
        }
    }
    Ok(tables)
}

impl<'a> Sources<'a> {
    /// The value of the first document that has one.
    pub(super) fn project_value<T>(&self, get: impl Fn(&'a ProjectFile) -> Option<T>) -> Option<T> {
        self.project.iter().find_map(|document| get(&document.value))
    }

    pub(super) fn of_flag(&self, option: &'static str, text: Option<&'a str>) -> Option<Found<'a>> {
        text.map(|text| Found { text, origin: Origin::Flag(option), dir: &self.host.dir })
    }

    pub(super) fn of_environment(&self, name: &'static str) -> Option<Found<'a>> {
        let text = self.environment.var(name)?;
        Some(Found { text, origin: Origin::Environment(name), dir: &self.host.dir })
    }

    pub(super) fn of_project(&self, get: impl Fn(&'a ProjectFile) -> Option<&'a Text>) -> Option<Found<'a>> {
        self.project.iter().find_map(|document| get(&document.value).map(|text| of_document(document, text)))
    }

    pub(super) fn of_user(&self, get: impl Fn(&'a UserFile) -> Option<&'a Text>) -> Option<Found<'a>> {
        let document = self.user?;
        get(&document.value).map(|text| Found {
            text: text.get_ref(),
            origin: Origin::User(document.location(text.span())),
            dir: document.source.dir(),
        })
    }

    /// The project's value for one platform: within each document its table overrides the general value.
    pub(super) fn of_platform(
        &self,
        platform: &Platform,
        in_table: impl Fn(&'a PlatformTable) -> Option<&'a Text>,
        in_general: impl Fn(&'a ProjectFile) -> Option<&'a Text>,
    ) -> Option<Found<'a>> {
        self.project.iter().zip(&self.tables).find_map(|(document, tables)| {
            tables
                .get(platform)
                .and_then(|table| in_table(table))
                .or_else(|| in_general(&document.value))
                .map(|text| of_document(document, text))
        })
    }

    /// Every document with its table for `platform`, in the order of precedence.
    pub(super) fn layers(
        &self,
        platform: &Platform,
    ) -> impl Iterator<Item = (&'a Document<ProjectFile>, Option<&'a PlatformTable>)> + use<'_, 'a> {
        let platform = platform.clone();
        self.project
            .iter()
            .zip(&self.tables)
            .map(move |(document, tables)| (document, tables.get(&platform).copied()))
    }

    /// A path in the machine's configuration; `~/` is the user's home directory.
    pub(super) fn home_path(&self, found: &Found<'_>) -> PathBuf {
        match (found.text.strip_prefix("~/"), self.environment.path("HOME")) {
            (Some(rest), Some(home)) => home.join(rest),
            _ => found.dir.join(found.text),
        }
    }
}

pub(super) fn of_document<'a>(document: &'a Document<ProjectFile>, text: &'a Text) -> Found<'a> {
    Found {
        text: text.get_ref(),
        origin: Origin::Project(document.location(text.span())),
        dir: document.source.dir(),
    }
}

pub(super) fn parsed<T>(
    found: &Found<'_>,
    parse: impl FnOnce(&Found<'_>) -> Result<T, Problem>,
) -> Result<T, Error> {
    parse(found).map_err(|problem| problem.at(&found.origin))
}

pub(super) fn sourced<T>(
    found: Option<Found<'_>>,
    parse: impl FnOnce(&Found<'_>) -> Result<T, Problem>,
) -> Result<Option<Sourced<T>>, Error> {
    let Some(found) = found else { return Ok(None) };
    let value = parsed(&found, parse)?;
    Ok(Some(Sourced { value, origin: found.origin }))
}
