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

/// The most bytes of a page of tags. Some registries have all tags on one page.
const MAX_PAGE: u64 = 16 << 20;
/// The most bytes of all pages of a list together.
const MAX_LIST: u64 = 128 << 20;
/// The most referrers of one manifest.
const MAX_REFERRERS: usize = 10_000;
/// The number of tags that are asked for at once.
const TAGS: usize = 1000;
/// The most pages of a list.
const MAX_PAGES: usize = 10_000;

/// A page of referrers, which is an index.
#[derive(Deserialize)]
struct Listed {
    manifests: Vec<Descriptor>,
}

/// Takes a page of a list. It may return the URL of the next page, if the page itself does not name it.
type OnPage<'a> = &'a mut dyn FnMut(&[u8], &str) -> Result<Option<Url>, RegistryError>;

impl Repository {
    /// All tags, sorted. Entries that are not tags by the specification's rule are left out and remarked.
    ///
    /// # Errors
    ///
    /// If the registry cannot be reached, refuses, or answers with something other than a list, or if the work is cancelled.
    pub fn tags(&self, cancel: &Cancel) -> Result<Vec<String>, RegistryError> {
        let what = self.name().to_string();
        let cancel = &cancel.doing(&format!("the tags of {what}"));
        let mut tags = Tags::default();
        self.ask_endpoints(cancel, |endpoint| {
            tags = Tags::default();
            let first = endpoint.url(&format!("tags/list?n={TAGS}"));
            self.pages(endpoint, first.clone(), &what, (MAX_PAGE, cancel), &mut |page, _| {
                let before = tags.found.len();
                tags.read(page).map_err(|error| no_list(&what, &error))?;
                if tags.too_many {
                    let reason = format!("it lists more than {} tags", super::tags::MAX_TAGS);
                    let (what, host) = (what.clone(), endpoint.base.authority().to_owned());
                    return Err(RegistryError::Protocol { what, host, reason });
                }
                // A page as full as we asked for may be one of several, even if it does not say so.
                let full = tags.count >= TAGS && tags.found.len() > before;
                Ok(tags.last.as_ref().filter(|_| full).map(|last| first.with_query("last", last)))
            })
        })?;
        if tags.wrong > 0 {
            let entries =
                if tags.wrong == 1 { "entry that is not a tag" } else { "entries that are not tags" };
            let text = format!("{what}: the registry lists {} {entries}; left out", tags.wrong);
            self.client().remark(Level::Warning, text);
        }
        Ok(tags.found.into_iter().collect())
    }

    /// The manifests whose `subject` is `digest`, in the registry's order, of one artifact type or of all. If the registry does
    /// not know referrers, they are in an index under a tag made of the digest.
    ///
    /// # Errors
    ///
    /// If the registry cannot be reached, refuses, or answers with something other than an index, or if the work is
    /// cancelled. A digest without referrers is not an error.
    pub fn referrers(
        &self,
        digest: &Digest,
        artifact_type: Option<&str>,
        cancel: &Cancel,
    ) -> Result<Vec<Descriptor>, RegistryError> {
        let wanted = Wanted::Digest(digest);
        let (what, cancel) = (self.what(wanted), &self.at(wanted, cancel));
        let mut found: Vec<Descriptor> = Vec::new();
        let listed = self.ask_endpoints(cancel, |endpoint| {
            found.clear();
            let mut url = endpoint.url(&format!("referrers/{digest}"));
            if let Some(artifact_type) = artifact_type {
                url = url.with_query("artifactType", artifact_type);
            }
            self.pages(endpoint, url, &what, (MANIFEST_LIMIT, cancel), &mut |page, what| {
                let listed: Listed = serde_json::from_slice(page).map_err(|error| {
                    let reason = format!("its list of referrers: {error}");
                    RegistryError::Document { what: what.to_owned(), reason }
                })?;
                found.extend(listed.manifests);
                if found.len() > MAX_REFERRERS {
                    let reason = format!("it lists more than {MAX_REFERRERS} referrers");
                    let (what, host) = (what.to_owned(), endpoint.base.authority().to_owned());
                    return Err(RegistryError::Protocol { what, host, reason });
                }
                Ok(None)
            })
        });
        match listed {
            Ok(()) => {}
            // A registry that does not know referrers answers as if there were nothing.
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

    /// Stores a manifest that refers to another, and makes it findable: by the index under the tag, if the registry does not
    /// do it itself.
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

    /// The index of referrers under a tag, which is empty if there is none.
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

    /// Reads a list page by page. A page names the next one, or else `on_page` may.
    fn pages(
        &self,
        endpoint: &Endpoint,
        first: Url,
        what: &str,
        (limit, cancel): (u64, &Cancel),
        on_page: OnPage<'_>,
    ) -> Result<(), RegistryError> {
        let fault = |reason: &str| RegistryError::Protocol {
            what: what.to_owned(),
            host: endpoint.base.authority().to_owned(),
            reason: reason.to_owned(),
        };
        let mut next = Some(first);
        let (mut seen, mut whole) = (BTreeSet::new(), 0);
        for _ in 0..MAX_PAGES {
            let Some(url) = next.take() else { return Ok(()) };
            if !seen.insert(url.text()) {
                return Err(fault("its list leads back to a page that was there before"));
            }
            let call = Call::new(Method::Get, url, what).header("accept", "*/*");
            let mut retry = self.client().retry(endpoint);
            let bytes = loop {
                let asked = self.client().attempt(endpoint, &call, cancel, &mut || ());
                let read = asked.and_then(|mut response| {
                    endpoint.expect(&mut response, what, &[200], cancel)?;
                    let links = response.headers.iter().filter(|(name, _)| name == "link");
                    if let Some(link) = following(links.map(|(_, value)| value.as_str())) {
                        let url = call.url.join(link).and_then(|url| endpoint.allowed(url));
                        let url = url.filter(|url| url.same_origin(&endpoint.base));
                        // An error, since without the rest the list would seem to be whole.
                        next = Some(url.ok_or_else(|| fault("its list goes on at another server"))?);
                    }
                    let (bytes, more) = response
                        .read(limit, cancel)
                        .map_err(|error| of_http(error, endpoint.base.authority(), what))?;
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
            if whole > MAX_LIST {
                return Err(fault(&format!("its list has more than {MAX_LIST} bytes")));
            }
            let more = on_page(&bytes, what)?;
            next = next.or(more);
        }
        Err(fault(&format!("its list has more than {MAX_PAGES} pages")))
    }
}

fn no_list(what: &str, error: &serde_json::Error) -> RegistryError {
    RegistryError::Document { what: what.to_owned(), reason: format!("its list of tags: {error}") }
}

fn parse(bytes: &[u8], what: &str) -> Result<Value, RegistryError> {
    serde_json::from_slice(bytes).map_err(|error| RegistryError::Document {
        what: what.to_owned(),
        reason: format!("it is not JSON: {error}"),
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
            // Up to the next target, since no parameter of interest has such a bracket.
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
