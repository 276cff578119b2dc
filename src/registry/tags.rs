//! The tags of a repository, read page by page without trusting them: invalid tags are only counted, and nothing beyond the
//! tags is stored, however long a page is.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};

use crate::oci::is_tag;

/// The most tags of one repository.
pub(super) const MAX_TAGS: usize = 1_000_000;

/// The tags that were read so far.
#[derive(Debug, Default)]
pub(super) struct Tags {
    pub(super) found: BTreeSet<String>,
    /// The number of entries that are not tags.
    pub(super) wrong: usize,
    /// The number of entries on the last page.
    pub(super) count: usize,
    /// The last tag on that page.
    pub(super) last: Option<String>,
    /// True if there were more than [`MAX_TAGS`].
    pub(super) too_many: bool,
}

impl Tags {
    /// Reads a page: an object whose `tags` are a list of texts, `null` or missing. Everything else in it is skipped.
    pub(super) fn read(&mut self, page: &[u8]) -> Result<(), serde_json::Error> {
        (self.count, self.last) = (0, None);
        let mut document = serde_json::Deserializer::from_slice(page);
        (&mut document).deserialize_map(Page(self))?;
        document.end()
    }

    fn take(&mut self, text: &str) {
        self.count += 1;
        if !is_tag(text) {
            self.wrong += 1;
            return;
        }
        self.last = Some(text.to_owned());
        if self.found.len() < MAX_TAGS {
            self.found.insert(text.to_owned());
        } else {
            self.too_many |= !self.found.contains(text);
        }
    }
}

struct Page<'a>(&'a mut Tags);

impl<'de> Visitor<'de> for Page<'_> {
    type Value = ();

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("an object with a list of tags")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        while let Some(key) = map.next_key::<Cow<'de, str>>()? {
            if key == "tags" {
                map.next_value_seed(List(self.0))?;
            } else {
                map.next_value::<IgnoredAny>()?;
            }
        }
        Ok(())
    }
}

struct List<'a>(&'a mut Tags);

impl<'de> DeserializeSeed<'de> for List<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for List<'_> {
    type Value = ();

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a list of tags")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<(), A::Error> {
        while let Some(text) = list.next_element::<Cow<'de, str>>()? {
            self.0.take(&text);
        }
        Ok(())
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_tag_is_counted_and_not_kept() {
        let mut tags = Tags::default();
        tags.read(br#"{"name":"a/b","tags":["v1","\u001b[2J","../x","","a b","v2"],"manifest":{"x":[1]}}"#)
            .unwrap();
        assert_eq!((tags.count, tags.wrong, tags.last.as_deref()), (6, 4, Some("v2")));
        tags.read(br#"{"tags":null}"#).unwrap();
        tags.read(b"{}").unwrap();
        assert_eq!((tags.count, tags.last.as_deref()), (0, None));
        assert_eq!(tags.found.iter().map(String::as_str).collect::<Vec<_>>(), ["v1", "v2"]);
        for wrong in
            ["", "[]", "7", r#"{"tags":"v1"}"#, r#"{"tags":[1]}"#, r#"{"tags":{}}"#, r#"{"tags":[]} x"#]
        {
            assert!(tags.read(wrong.as_bytes()).is_err(), "{wrong}");
        }
    }

    #[test]
    fn more_than_so_many_are_not_kept() {
        let mut tags = Tags::default();
        for page in 0..=20 {
            let texts: Vec<String> = (0..50_000).map(|number| format!("\"{page}-{number}\"")).collect();
            tags.read(format!(r#"{{"tags":[{}]}}"#, texts.join(",")).as_bytes()).unwrap();
            assert_eq!(tags.too_many, page == 20);
        }
        assert_eq!(tags.found.len(), MAX_TAGS);
    }
}
