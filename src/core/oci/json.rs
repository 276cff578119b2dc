//! The stable JSON encoding of documents.

use serde::Serialize;
use serde_json::{Map, Value};

/// Encodes a document as compact JSON with sorted keys, so that equal documents have equal bytes.
///
/// The keys are sorted here, without relying on `serde_json`'s map: any crate of the build may switch that to insertion
/// order with a Cargo feature.
///
/// # Panics
/// If the type's `Serialize` fails or a map has keys that are not strings: these are defects of the type and do not
/// depend on its value.
#[must_use]
pub fn to_vec<T: Serialize>(document: &T) -> Vec<u8> {
    let value = serde_json::to_value(document).expect("a document can be represented in JSON");
    sorted(value).to_string().into_bytes()
}

/// Takes a field's value out of a document; null if the field is missing, or if the document is not an object, for
/// which `[]` would panic.
pub fn take_field(document: &mut Value, field: &str) -> Value {
    document.get_mut(field).map_or(Value::Null, Value::take)
}

fn sorted(value: Value) -> Value {
    match value {
        Value::Object(map) => {
            let mut fields: Vec<(String, Value)> = map.into_iter().collect();
            fields.sort_unstable_by(|a, b| a.0.cmp(&b.0));
            Value::Object(fields.into_iter().map(|(key, value)| (key, sorted(value))).collect::<Map<_, _>>())
        }
        Value::Array(items) => Value::Array(items.into_iter().map(sorted).collect()),
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{HashMap, HashSet};

    use super::*;

    #[test]
    fn a_hash_map_has_one_encoding() {
        // Each `HashMap` has its own random order; with forty names they cannot agree by accident.
        let encode = || {
            let map: HashMap<String, HashMap<String, u8>> = (0..40)
                .map(|i| (format!("k{i}"), (0..5).map(|j| (format!("{}", j * 7 % 5), j)).collect()))
                .collect();
            to_vec(&map)
        };
        let encodings: HashSet<Vec<u8>> = (0..50).map(|_| encode()).collect();
        assert_eq!(encodings.len(), 1);
    }

    #[test]
    fn keys_are_sorted_at_every_depth() {
        let value: Value = serde_json::from_str(r#"{"b":[{"z":1,"a":2}],"a":null,"B":"é\n"}"#).unwrap();
        assert_eq!(String::from_utf8(to_vec(&value)).unwrap(), r#"{"B":"é\n","a":null,"b":[{"a":2,"z":1}]}"#);
    }
}
