//! `index.json`: the entries for tags (image-layout.md, "index.json file").

use std::io;
use std::path::Path;

use serde_json::{Value, json};

use super::LayoutError;
use crate::oci::{Descriptor, Reference, annotation, media_type, to_vec};
use crate::sys::fs;

/// An entry for each tag, or one without a tag. The descriptor's own annotations are kept, except for names.
pub(super) fn entries(root: &Descriptor, tags: &[String]) -> Result<Vec<Value>, LayoutError> {
    let entry = |names: Option<Value>| {
        let mut descriptor = root.clone();
        descriptor.annotations.remove(annotation::REF_NAME);
        descriptor.annotations.remove(annotation::CONTAINERD_NAME);
        let mut entry = json!(descriptor);
        if let Some(Value::Object(names)) = names {
            for (key, value) in names {
                entry["annotations"][key] = value;
            }
        }
        entry
    };
    if tags.is_empty() {
        return Ok(vec![entry(None)]);
    }
    tags.iter()
        .map(|tag| {
            let reference: Reference = tag.parse()?;
            let mut annotations = json!({ annotation::REF_NAME: reference.tag() });
            if let Some(name) = reference.name() {
                annotations[annotation::CONTAINERD_NAME] = name.into();
            }
            Ok(entry(Some(annotations)))
        })
        .collect()
}

/// An index with only these entries.
pub(super) fn document(entries: &[Value]) -> Vec<u8> {
    to_vec(&json!({ "schemaVersion": 2, "mediaType": media_type::INDEX, "manifests": entries }))
}

/// The existing index, with the new entries in place of those with the same name. Everything else in it stays.
pub(super) fn merged(
    path: &Path,
    mut entries: Vec<Value>,
    untagged: Untagged,
) -> Result<Vec<u8>, LayoutError> {
    let fault = |reason: String| LayoutError::Index { path: path.to_owned(), reason };
    let mut document: Value = match fs::read(path) {
        Ok(bytes) => serde_json::from_slice(&bytes).map_err(|error| fault(error.to_string()))?,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(self::document(&entries)),
        Err(source) => return Err(LayoutError::Io { path: path.to_owned(), source }),
    };
    let object = document.as_object_mut().ok_or_else(|| fault("it is not an object".into()))?;
    let known = object.entry("manifests").or_insert_with(|| json!([]));
    let known = known.as_array_mut().ok_or_else(|| fault("`manifests` is not a list".into()))?;
    for new in &mut entries {
        inherit_referrers(new, known);
    }
    known.retain(|old| !entries.iter().any(|new| replaces(new, old, untagged)));
    known.append(&mut entries);
    Ok(to_vec(&document))
}

/// An image keeps its referrers when it is written again.
fn inherit_referrers(new: &mut Value, known: &[Value]) {
    let list = |entry: &Value| entry["annotations"].get(annotation::REFERRERS).cloned();
    let same = |old: &&Value| old["digest"] == new["digest"];
    if list(new).is_none()
        && let Some(list) = known.iter().filter(same).find_map(list)
    {
        new["annotations"][annotation::REFERRERS] = list;
    }
}

/// What happens to images without a name when another image is written to their layout.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Untagged {
    /// An image index without a name can only be an earlier build, and is replaced by the next one.
    Replace,
    /// They stay.
    Keep,
}

/// True if the new entry replaces the old one: it has the same tag and name, or the old one has none and is the same
/// image or an earlier build.
fn replaces(new: &Value, old: &Value, untagged: Untagged) -> bool {
    let name = |entry: &Value, key| entry["annotations"][key].as_str().map(ToOwned::to_owned);
    let (new_tag, old_tag) = (name(new, annotation::REF_NAME), name(old, annotation::REF_NAME));
    if old_tag.is_none() && name(old, annotation::CONTAINERD_NAME).is_none() {
        // An artifact is not a build, whatever its media type.
        let is_build = old["mediaType"] == media_type::INDEX && old["artifactType"].is_null();
        let earlier_build = untagged == Untagged::Replace && is_build;
        return earlier_build || old["digest"] == new["digest"];
    }
    if old_tag.is_some() && new_tag != old_tag {
        return false;
    }
    match (name(new, annotation::CONTAINERD_NAME), name(old, annotation::CONTAINERD_NAME)) {
        (Some(new), Some(old)) => new == old,
        _ => old_tag.is_some(),
    }
}
