//! Lists: the tags of a repository, and what refers to a manifest
//! ([distribution specification](https://github.com/opencontainers/distribution-spec/blob/v1.1.1/spec.md#content-discovery)).

use std::collections::BTreeSet;

use serde::Deserialize;
use serde_json::{Value, json};

use super::client::Call;
use super::endpoint::Endpoint;
use super::error::RegistryError;
use super::repository::Repository;
use super::retry::of_http;
use super::tags::Tags;
use crate::event::Level;
use crate::oci::name::Wanted;
use crate::oci::{Descriptor, Digest, Encoded, MANIFEST_LIMIT, media_type};
use crate::sys::cancel::Cancel;
use crate::sys::http::{Method, Url};

/// A page of tags is not read further, in bytes. Some registries have all of them on one.
const PAGE: u64 = 16 << 20;
/// All pages of a list together are not read further, in bytes.
const WHOLE: u64 = 128 << 20;
/// More referrers of one manifest are not read.
const REFERRERS: usize = 10_000;
/// So many tags are asked for at once.
const TAGS: usize = 1000;
/// A list of more pages has no end.
const MOST_PAGES: usize = 10_000;

/// A page of referrers, which is an index.
#[derive(Deserialize)]
struct Listed {
    manifests: Vec<Descriptor>,
}

/// Takes a page of a list. It may tell the next one, where the page itself does not.
type OnPage<'a> = &'a mut dyn FnMut(&[u8], &str) -> Result<Option<Url>, RegistryError>;

impl Repository {
    /// All tags, sorted, each of which is one by the specification's rule. What a registry lists and is none is remarked.
    ///
    /// # Errors
    ///
    /// If the registry cannot be reached, refuses, or answers with what is no list, or if the work is cancelled.
    pub fn tags(&self, cancel: &Cancel) -> Result<Vec<String>, RegistryError> {
        let what = self.name().to_string();
        let cancel = &cancel.doing(&format!("the tags of {what}"));
        let mut tags = Tags::default();
        self.anywhere(cancel, |place| {
            tags = Tags::default();
            let first = place.url(&format!("tags/list?n={TAGS}"));
            self.pages(place, first.clone(), &what, (PAGE, cancel), &mut |page, _| {
                let before = tags.found.len();
                tags.read(page).map_err(|error| no_list(&what, &error))?;
                if tags.too_many {
                    let reason = format!("it lists more than {} tags", super::tags::MOST);
                    let (what, host) = (what.clone(), place.base.authority().to_owned());
                    return Err(RegistryError::Protocol { what, host, reason });
                }
                // A page as full as we asked for may be one of several, also where it does not say so.
                let full = tags.count >= TAGS && tags.found.len() > before;
                Ok(tags.last.as_ref().filter(|_| full).map(|last| first.with_query("last", last)))
            })
        })?;
        if tags.wrong > 0 {
            let entries = if tags.wrong == 1 { "entry that is no tag" } else { "entries that are no tags" };
            let text = format!("{what}: the registry lists {} {entries}; left out", tags.wrong);
            self.client().remark(Level::Warning, text);
        }
        Ok(tags.found.into_iter().collect())
    }

    /// The manifests whose `subject` is `digest`, in the registry's order, of one artifact type or of all. Where the
    /// registry does not know referrers, they are in an index under a tag made of the digest.
    ///
    /// # Errors
    ///
    /// If the registry cannot be reached, refuses, or answers with what is no index, or if the work is cancelled. That
    /// nothing refers to the digest is no error.
    pub fn referrers(
        &self,
        digest: &Digest,
        artifact_type: Option<&str>,
        cancel: &Cancel,
    ) -> Result<Vec<Descriptor>, RegistryError> {
        let wanted = Wanted::Digest(digest);
        let (what, cancel) = (self.what(wanted), &self.at(wanted, cancel));
        let mut found: Vec<Descriptor> = Vec::new();
        let listed = self.anywhere(cancel, |place| {
            found.clear();
            let mut url = place.url(&format!("referrers/{digest}"));
            if let Some(artifact_type) = artifact_type {
                url = url.with_query("artifactType", artifact_type);
            }
            self.pages(place, url, &what, (MANIFEST_LIMIT, cancel), &mut |page, what| {
                let listed: Listed = serde_json::from_slice(page).map_err(|error| {
                    let reason = format!("its list of referrers: {error}");
                    RegistryError::Document { what: what.to_owned(), reason }
                })?;
                found.extend(listed.manifests);
                if found.len() > REFERRERS {
                    let reason = format!("it lists more than {REFERRERS} referrers");
                    let (what, host) = (what.to_owned(), place.base.authority().to_owned());
                    return Err(RegistryError::Protocol { what, host, reason });
                }
                Ok(None)
            })
        });
        match listed {
            Ok(()) => {}
            // A registry without the list answers as if there were no such thing.
            Err(error) if error.is_not_found() || matches!(error, RegistryError::Refused { .. }) => {
                found = self.fallback(digest, cancel)?.1;
            }
            Err(error) => return Err(error),
        }
        found.retain(|entry| {
            artifact_type.is_none_or(|wanted| entry.other.get("artifactType") == Some(&json!(wanted)))
        });
        Ok(found)
    }

    /// Stores a manifest that refers to another, and sees to it that it is found: where the registry does not do so
    /// itself, by the index under the tag.
    ///
    /// # Errors
    ///
    /// If the registry cannot be reached or does not take the manifest or the index under the tag, or if the work is
    /// cancelled.
    pub fn put_referrer(
        &self,
        subject: &Digest,
        document: &Encoded,
        entry: &Descriptor,
        cancel: &Cancel,
    ) -> Result<(), RegistryError> {
        if self.put_manifest(Wanted::Digest(document.digest()), document, cancel)? {
            return Ok(());
        }
        let (mut index, mut known) = self.fallback(subject, cancel)?;
        if known.iter().any(|known| known.digest == entry.digest) {
            return Ok(());
        }
        known.push(entry.clone());
        index["manifests"] = json!(known);
        let index = Encoded::new(media_type::INDEX, &index);
        self.put_manifest(Wanted::Tag(&referrers_tag(subject)), &index, cancel).map(drop)
    }

    /// The index of referrers under a tag, which may not be there.
    fn fallback(&self, digest: &Digest, cancel: &Cancel) -> Result<(Value, Vec<Descriptor>), RegistryError> {
        let tag = referrers_tag(digest);
        match self.manifest(Wanted::Tag(&tag), cancel) {
            Ok(document) => {
                let what = self.what(Wanted::Tag(&tag));
                let index = parse(&document.bytes, &what)?;
                let known = entries(&index, &what)?;
                Ok((index, known))
            }
            Err(error) if error.is_not_found() => {
                let empty = json!({ "schemaVersion": 2, "mediaType": media_type::INDEX, "manifests": [] });
                Ok((empty, Vec::new()))
            }
            Err(error) => Err(error),
        }
    }

    /// Reads a list page by page; each tells where the next is, else `on_page` may.
    fn pages(
        &self,
        place: &Endpoint,
        first: Url,
        what: &str,
        (limit, cancel): (u64, &Cancel),
        on_page: OnPage<'_>,
    ) -> Result<(), RegistryError> {
        let fault = |reason: &str| RegistryError::Protocol {
            what: what.to_owned(),
            host: place.base.authority().to_owned(),
            reason: reason.to_owned(),
        };
        let mut next = Some(first);
        let (mut seen, mut whole) = (BTreeSet::new(), 0);
        for _ in 0..MOST_PAGES {
            let Some(url) = next.take() else { return Ok(()) };
            if !seen.insert(url.text()) {
                return Err(fault("its list leads back to a page that was there before"));
            }
            let call = Call::new(Method::Get, url, what).header("accept", "*/*");
            let mut retry = self.client().retry(place);
            let bytes = loop {
                let asked = self.client().attempt(place, &call, cancel, &mut || ());
                let read = asked.and_then(|mut response| {
                    place.expect(&mut response, what, &[200], cancel)?;
                    let links = response.headers.iter().filter(|(name, _)| name == "link");
                    if let Some(link) = following(links.map(|(_, value)| value.as_str())) {
                        let url = call.url.join(link).and_then(|url| place.allowed(url));
                        let url = url.filter(|url| url.same_origin(&place.base));
                        // Without the rest the list would be taken for whole.
                        next = Some(url.ok_or_else(|| fault("its list goes on at another server"))?);
                    }
                    let (bytes, more) = response
                        .read(limit, cancel)
                        .map_err(|error| of_http(error, place.base.authority(), what))?;
                    if more {
                        return Err(RegistryError::TooLarge { what: what.to_owned(), limit }.into());
                    }
                    Ok(bytes)
                });
                match read {
                    Ok(bytes) => break bytes,
                    Err(attempt) => retry.failed(attempt, what, cancel)?,
                }
            };
            whole += bytes.len() as u64;
            if whole > WHOLE {
                return Err(fault(&format!("its list has more than {WHOLE} bytes")));
            }
            let more = on_page(&bytes, what)?;
            next = next.or(more);
        }
        Err(fault(&format!("its list has more than {MOST_PAGES} pages")))
    }
}

fn no_list(what: &str, error: &serde_json::Error) -> RegistryError {
    RegistryError::Document { what: what.to_owned(), reason: format!("its list of tags: {error}") }
}

fn parse(bytes: &[u8], what: &str) -> Result<Value, RegistryError> {
    serde_json::from_slice(bytes).map_err(|error| RegistryError::Document {
        what: what.to_owned(),
        reason: format!("it is no JSON: {error}"),
    })
}

/// The descriptors of an index.
fn entries(index: &Value, what: &str) -> Result<Vec<Descriptor>, RegistryError> {
    serde_json::from_value(index["manifests"].clone()).map_err(|error| RegistryError::Document {
        what: what.to_owned(),
        reason: format!("its `manifests`: {error}"),
    })
}

/// `<algorithm>-<hex>`: the tag that stands for a digest's referrers.
#[must_use]
pub(crate) fn referrers_tag(digest: &Digest) -> String {
    let hex: String = digest.hex().chars().take(64).collect();
    format!("{}-{hex}", digest.algorithm().name())
}

/// The next page in `Link: </v2/…>; rel="next"` (RFC 8288), among other links or alone.
fn following<'a>(fields: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    for field in fields {
        let mut rest = field;
        while let Some((target, more)) = rest.split_once('<').and_then(|(_, link)| link.split_once('>')) {
            // Up to the next target: no parameter of ours has such a bracket.
            let (parameters, next) = more.find('<').map_or((more, ""), |at| more.split_at(at));
            let is_next = parameters.split([';', ',']).any(|parameter| {
                let (name, value) = parameter.split_once('=').unwrap_or_default();
                let value = value.trim().trim_matches('"').to_ascii_lowercase();
                name.trim().eq_ignore_ascii_case("rel") && value.split_whitespace().any(|kind| kind == "next")
            });
            if is_next {
                return Some(target.trim());
            }
            rest = next;
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_next_page_is_found_among_other_links() {
        for (field, next) in [
            (r#"</v2/a/tags/list?last=b&n=2>; rel="next""#, Some("/v2/a/tags/list?last=b&n=2")),
            ("</next>;rel=next", Some("/next")),
            (r#"</first>; rel="prev first", </next?a=1,2>; title="x, y"; REL="Next""#, Some("/next?a=1,2")),
            (r#"</next>; rel="last next"; type="x""#, Some("/next")),
            (r#"</nextdoor>; rel="nextdoor""#, None),
            ("</next>", None),
            ("next", None),
            ("<", None),
        ] {
            assert_eq!(following(std::iter::once(field)), next, "{field}");
        }
        assert_eq!(following([r#"</a>; rel="prev""#, r#"</b>; rel="next""#].into_iter()), Some("/b"));
    }
}
