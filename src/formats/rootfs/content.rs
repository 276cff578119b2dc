//! The part of a file's content that an index stores.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::elf::Object;

/// A regular file.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct File {
    /// Its size in bytes.
    pub size: u64,
    /// What is known about its content.
    #[serde(default, skip_serializing_if = "Content::is_plain")]
    pub content: Content,
}

/// What is known about a file's content. Cheap to clone.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Content {
    /// Nothing that matters.
    #[default]
    Plain,
    /// It is an ELF file.
    Elf(#[serde(with = "shared")] Arc<Object>),
    /// It begins like an ELF file, but is broken or too large to examine: why.
    BrokenElf(String),
    /// It begins with `#!`: the rest of its first line, at most as much of it as Linux reads.
    Script(String),
    /// All of it, for the files that determine how libraries and users are found.
    Whole(#[serde(with = "base64_bytes")] Arc<[u8]>),
}

impl Content {
    /// True if nothing relevant is known.
    #[must_use]
    pub fn is_plain(&self) -> bool {
        *self == Self::Plain
    }
}

impl File {
    /// The ELF file, if it is one.
    #[must_use]
    pub fn elf(&self) -> Option<&Arc<Object>> {
        match &self.content {
            Content::Elf(object) => Some(object),
            _ => None,
        }
    }

    /// All its bytes, if it is one of the files that are stored whole.
    #[must_use]
    pub fn bytes(&self) -> Option<&[u8]> {
        match &self.content {
            Content::Whole(bytes) => Some(bytes),
            _ => None,
        }
    }
}

/// Serialises a shared value as the value itself.
mod shared {
    use std::sync::Arc;

    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    pub(super) fn serialize<T: Serialize, S: Serializer>(
        value: &Arc<T>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        T::serialize(value, serializer)
    }

    pub(super) fn deserialize<'de, T: Deserialize<'de>, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Arc<T>, D::Error> {
        T::deserialize(deserializer).map(Arc::new)
    }
}

/// Serialises bytes as base64.
mod base64_bytes {
    use std::sync::Arc;

    use base64::Engine;
    use base64::engine::general_purpose::STANDARD_NO_PAD;
    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    pub(super) fn serialize<S: Serializer>(bytes: &Arc<[u8]>, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&STANDARD_NO_PAD.encode(bytes))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Arc<[u8]>, D::Error> {
        let text = String::deserialize(deserializer)?;
        Ok(STANDARD_NO_PAD.decode(text).map_err(Error::custom)?.into())
    }
}
