//! Parses a file's text into its value and reports every fault with its location.

use std::sync::Arc;

use serde::de::DeserializeOwned;
use serde_json::Value;
use toml::Spanned;
use toml::de::{DeTable, DeValue, ValueDeserializer};

use super::error::{Error, Fault};
use super::schema::{project_schema, unknown_keys, user_schema};
use super::{ProjectFile, UserFile};
use crate::origin::{Location, Source};

/// A parsed file together with its text.
#[derive(Clone, Debug, PartialEq)]
pub struct Document<T> {
    /// The file.
    pub(crate) source: Arc<Source>,
    /// Its parsed value.
    pub(crate) value: T,
}

impl<T> Document<T> {
    /// The location of something in the file.
    pub fn location(&self, span: std::ops::Range<usize>) -> Location {
        Location::new(Arc::clone(&self.source), span)
    }
}

/// Parses an `xbuild.toml`.
///
/// # Errors
///
/// If the text is not TOML, or has a key or a type of value that `xbuild.toml` does not have.
pub fn parse_project(source: Source) -> Result<Document<ProjectFile>, Error> {
    parse(source, project_schema())
}

/// Parses the user's file.
///
/// # Errors
///
/// If the text is not TOML, or has a key or a type of value that the user's file does not have.
pub fn parse_user(source: Source) -> Result<Document<UserFile>, Error> {
    parse(source, user_schema())
}

fn parse<T: DeserializeOwned>(source: Source, schema: &Value) -> Result<Document<T>, Error> {
    let source = Arc::new(source);
    let table = table(&source)?;
    let span = table.span();
    let value = value(&source, schema, Spanned::new(span, DeValue::Table(table.into_inner())))?;
    Ok(Document { source, value })
}

/// The text's root table.
pub(super) fn table(source: &Arc<Source>) -> Result<Spanned<DeTable<'_>>, Error> {
    DeTable::parse(&source.text).map_err(|error| fault(source, &error))
}

/// The project configuration in `[<table>.metadata.xbuild]` of a `Cargo.toml`, if there is one.
pub(super) fn metadata(
    source: &Arc<Source>,
    root: &DeTable<'_>,
    table: &str,
) -> Result<Option<(Document<ProjectFile>, Location)>, Error> {
    let Some(metadata) = root.get(table).and_then(|table| table.get_ref().get("metadata")) else {
        return Ok(None);
    };
    let Some(metadata) = metadata.get_ref().as_table() else { return Ok(None) };
    let Some((key, found)) = metadata.get_key_value("xbuild") else { return Ok(None) };
    let location = Location::new(Arc::clone(source), key.span());
    let value = value(source, project_schema(), found.clone())?;
    Ok(Some((Document { source: Arc::clone(source), value }, location)))
}

fn value<T: DeserializeOwned>(
    source: &Arc<Source>,
    schema: &Value,
    value: Spanned<DeValue<'_>>,
) -> Result<T, Error> {
    let unknown = value.get_ref().as_table().map(|table| unknown_keys(schema, table)).unwrap_or_default();
    if !unknown.is_empty() {
        let faults = unknown.into_iter().map(|unknown| Fault {
            location: Location::new(Arc::clone(source), unknown.span),
            message: format!("unknown key `{}`", unknown.key),
            remedy: Some(unknown.remedy),
        });
        return Err(Error::Faults(faults.collect()));
    }
    T::deserialize(ValueDeserializer::from(value)).map_err(|error| fault(source, &error))
}

fn fault(source: &Arc<Source>, error: &toml::de::Error) -> Error {
    // A parse error may be at the very end of the text, where there is nothing to point at.
    let span = error.span().unwrap_or(0..0);
    Error::Faults(vec![Fault {
        location: Location::new(Arc::clone(source), span),
        message: error.message().replace('\n', "; "),
        remedy: None,
    }])
}
