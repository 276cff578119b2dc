//! The JSON schemas of the files, generated from their types by the tests, and lookups of keys in them.
//!
//! The check for unknown keys walks the same schema that editors use, so the two cannot disagree. All unknown keys of a
//! file are reported at once, each with its location.

use std::collections::BTreeSet;
use std::sync::LazyLock;

use serde_json::Value;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use crate::text::nearest;

static PROJECT: LazyLock<Value> =
    LazyLock::new(|| read(include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/xbuild.schema.json"))));
static USER: LazyLock<Value> = LazyLock::new(|| {
    read(include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/xbuild.user.schema.json")))
});

fn read(schema: &str) -> Value {
    serde_json::from_str(schema).expect("the schemas are part of the program and tested")
}

/// The JSON schema of `xbuild.toml`, for editors.
#[must_use]
pub(crate) fn project_schema() -> &'static Value {
    &PROJECT
}

/// The JSON schema of the user's file.
pub(super) fn user_schema() -> &'static Value {
    &USER
}

/// A key that is not in the schema.
pub(super) struct UnknownKey {
    pub(super) span: std::ops::Range<usize>,
    pub(super) key: String,
    pub(super) remedy: String,
}

/// Every key of `table` that is not in `schema`, in the order of the text.
pub(super) fn unknown_keys(schema: &Value, table: &DeTable<'_>) -> Vec<UnknownKey> {
    let mut found = Vec::new();
    walk_table(schema, schema, table, &mut found);
    found.sort_by_key(|unknown| unknown.span.start);
    found
}

fn walk_table(root: &Value, schema: &Value, table: &DeTable<'_>, found: &mut Vec<UnknownKey>) {
    let Some(schema) = object_schema(schema) else { return };
    let properties = schema.get("properties").and_then(Value::as_object);
    for (key, value) in table {
        let name: &str = key.get_ref();
        if let Some(property) = properties.and_then(|properties| properties.get(name)) {
            walk_value(root, property, value, found);
            continue;
        }
        match schema.get("additionalProperties") {
            Some(other @ Value::Object(_)) => walk_value(root, other, value, found),
            Some(Value::Bool(false)) => {
                let known: Vec<&str> =
                    properties.into_iter().flatten().map(|(name, _)| name.as_str()).collect();
                found.push(UnknownKey {
                    span: key.span(),
                    key: name.to_owned(),
                    remedy: remedy(root, name, &known),
                });
            }
            _ => (),
        }
    }
}

fn walk_value(root: &Value, schema: &Value, value: &Spanned<DeValue<'_>>, found: &mut Vec<UnknownKey>) {
    match value.get_ref() {
        DeValue::Table(table) => walk_table(root, schema, table, found),
        DeValue::Array(elements) => {
            let Some(items) = alternatives(schema).find_map(|schema| schema.get("items")) else { return };
            for element in elements {
                walk_value(root, items, element, found);
            }
        }
        _ => (),
    }
}

/// The schema itself and, if it is a choice (an optional value is one), its alternatives.
fn alternatives(schema: &Value) -> impl Iterator<Item = &Value> {
    let choices = schema.get("anyOf").and_then(Value::as_array);
    std::iter::once(schema).chain(choices.into_iter().flatten())
}

fn object_schema(schema: &Value) -> Option<&Value> {
    alternatives(schema)
        .find(|schema| schema.get("properties").is_some() || schema.get("additionalProperties").is_some())
}

/// What the user may have meant by an unknown key.
fn remedy(root: &Value, key: &str, known: &[&str]) -> String {
    if let Some(meant) = nearest(key, known) {
        return format!("did you mean `{meant}`?");
    }
    // A known key may be in the wrong table, such as `entrypoint` at the top.
    let mut tables = BTreeSet::new();
    collect_tables(root, &mut Vec::new(), key, &mut tables);
    if let Some(table) = tables.first() {
        return match table.as_str() {
            "" => "it belongs at the top, before any table".to_owned(),
            table => format!("it belongs under `[{table}]`"),
        };
    }
    let known: Vec<String> = known.iter().map(|key| format!("`{key}`")).collect();
    format!("known here: {}", known.join(", "))
}

fn collect_tables(schema: &Value, path: &mut Vec<String>, key: &str, tables: &mut BTreeSet<String>) {
    let Some(properties) =
        object_schema(schema).and_then(|schema| schema.get("properties")).and_then(Value::as_object)
    else {
        return;
    };
    if properties.contains_key(key) {
        tables.insert(path.join("."));
    }
    for (name, property) in properties {
        path.push(name.clone());
        collect_tables(property, path, key, tables);
        path.pop();
    }
}
