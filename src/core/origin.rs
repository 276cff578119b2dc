//! The origin of a value, for `xbuild plan` and for messages that point at it.

use std::fmt;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::{Serialize, Serializer};

use crate::error::Snippet;

/// The origin of a value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// On the command line, by this option: `--base`.
    Flag(&'static str),
    /// By this environment variable.
    Environment(&'static str),
    /// In the project's configuration.
    Project(Location),
    /// In the user's configuration.
    User(Location),
    /// It was not set: it is the default.
    Default,
}

impl Origin {
    /// The location in a file, if it was set in one.
    #[must_use]
    pub fn location(&self) -> Option<&Location> {
        match self {
            Self::Project(location) | Self::User(location) => Some(location),
            Self::Flag(_) | Self::Environment(_) | Self::Default => None,
        }
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Flag(name) => formatter.write_str(name),
            Self::Environment(name) => write!(formatter, "${name}"),
            Self::Project(location) | Self::User(location) => location.fmt(formatter),
            Self::Default => formatter.write_str("default"),
        }
    }
}

impl Serialize for Origin {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// A value and its origin.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Sourced<T> {
    /// The value.
    pub value: T,
    /// The origin.
    pub origin: Origin,
}

impl<T> Sourced<T> {
    /// A value that was not set.
    pub fn default_of(value: T) -> Self {
        Self { value, origin: Origin::Default }
    }
}

/// A configuration file's path and text.
#[derive(Debug, PartialEq, Eq)]
pub struct Source {
    /// The absolute path.
    pub path: PathBuf,
    /// The path as messages show it: relative to the current directory if it is below it.
    pub shown: PathBuf,
    /// Its text.
    pub text: String,
    /// True if the path is a link to a file outside of its directory: none of its content is shown.
    pub foreign: bool,
}

impl Source {
    /// The directory that relative paths in the file start from.
    #[must_use]
    pub fn dir(&self) -> &Path {
        self.path.parent().unwrap_or(Path::new("/"))
    }
}

/// A location in a configuration file.
#[derive(Clone, PartialEq, Eq)]
pub struct Location {
    source: Arc<Source>,
    span: Range<usize>,
}

impl Location {
    /// The bytes `span` of `source`; a span that exceeds the text is truncated.
    #[must_use]
    pub fn new(source: Arc<Source>, span: Range<usize>) -> Self {
        let end = span.end.min(source.text.len());
        Self { span: span.start.min(end)..end, source }
    }

    /// The file.
    #[must_use]
    pub fn source(&self) -> &Source {
        &self.source
    }

    /// The bytes of the file's text.
    #[must_use]
    pub fn span(&self) -> Range<usize> {
        self.span.clone()
    }

    /// The line and the column, both counted from 1; columns are characters.
    #[must_use]
    pub fn line_and_column(&self) -> (usize, usize) {
        let before = String::from_utf8_lossy(&self.source.text.as_bytes()[..self.span.start]);
        let line = before.matches('\n').count() + 1;
        let column = before.rsplit('\n').next().map_or(0, |text| text.chars().count()) + 1;
        (line, column)
    }

    /// The place, to be shown with a message. Nothing is shown of a file that is not the project's.
    #[must_use]
    pub fn snippet(&self, title: String, label: &str) -> Option<Snippet> {
        (!self.source.foreign).then(|| Snippet {
            title,
            path: self.source.shown.display().to_string(),
            text: self.source.text.clone(),
            span: self.span(),
            label: label.to_owned(),
        })
    }
}

impl fmt::Display for Location {
    /// `path:line:column`, as compilers write it and editors open it.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (line, column) = self.line_and_column();
        write!(formatter, "{}:{line}:{column}", self.source.shown.display())
    }
}

/// Kept short: the text of a whole file is useless in the message of a failed assertion.
impl fmt::Debug for Location {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Location({self})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_and_columns_count_characters_from_one() {
        let text = "a = 1\n\"é\" = 2\n".to_owned();
        let source =
            Arc::new(Source { path: "/p/x.toml".into(), shown: "x.toml".into(), text, foreign: false });
        assert_eq!(Location::new(Arc::clone(&source), 0..1).to_string(), "x.toml:1:1");
        // The `2` comes after the two bytes of `é` but is the seventh character of its line.
        assert_eq!(Location::new(Arc::clone(&source), 13..14).to_string(), "x.toml:2:7");
        assert_eq!(Location::new(source, 900..901).line_and_column(), (3, 1));
    }
}
