//! A repository: its manifests and blobs, read and verified
//! ([distribution specification](https://github.com/opencontainers/distribution-spec/blob/v1.1.1/spec.md#pull)).

use std::io::{self, Read, Write};
use std::path::Path;

use serde_json::Value;

use super::client::{Access, Call, Client};
use super::endpoint::Endpoint;
use super::error::RegistryError;
use super::labels::Labels;
use super::retry::{Attempt, Retry, of_body, of_http};
use crate::oci::name::{RepositoryName, Wanted};
use crate::oci::{Descriptor, Digest, Encoded, Hasher, MANIFEST_LIMIT, media_type};
use crate::sys::cancel::Cancel;
use crate::sys::http::{Method, Resume, Sink};
use crate::sys::partial::PartialFile;
use crate::sys::{fs, store};

/// The media types of manifests that we accept, best first.
const ACCEPT: &str = "application/vnd.oci.image.index.v1+json, application/vnd.oci.image.manifest.v1+json, \
                      application/vnd.docker.distribution.manifest.list.v2+json, \
                      application/vnd.docker.distribution.manifest.v2+json, */*";

/// A repository. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Repository {
    client: Client,
    name: RepositoryName,
    access: Access,
    labels: Labels,
}

impl Client {
    /// A repository to read from or to write to.
    #[must_use]
    pub fn repository(&self, name: &RepositoryName, access: Access) -> Repository {
        Repository::new(self.clone(), name.clone(), access)
    }
}

impl Repository {
    pub(super) fn new(client: Client, name: RepositoryName, access: Access) -> Self {
        Self { client, name, access, labels: Labels::default() }
    }

    /// Learns the platforms in a document that will be written, for messages.
    pub(crate) fn learn(&self, document: &Encoded) {
        self.labels.learn(document.digest(), &document.bytes);
    }

    /// The handle for work on something here. If its time runs out, the message names it.
    pub(super) fn at(&self, wanted: Wanted<'_>, cancel: &Cancel) -> Cancel {
        let what = self.what(wanted);
        match wanted {
            Wanted::Digest(digest) => cancel.doing(&self.labels.of(digest, &what)),
            Wanted::Tag(_) => cancel.doing(&what),
        }
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &RepositoryName {
        &self.name
    }

    pub(super) fn client(&self) -> &Client {
        &self.client
    }

    /// The endpoint that is written to.
    pub(super) fn write_endpoint(&self, cancel: &Cancel) -> Result<Endpoint, RegistryError> {
        let mut endpoints = self.client.endpoints(&self.name, self.access, cancel)?;
        endpoints.pop().ok_or_else(|| RegistryError::Offline { what: self.name.to_string() })
    }

    /// Asks one endpoint after the other until one has it. The error is the last one's.
    pub(super) fn ask_endpoints<T>(
        &self,
        cancel: &Cancel,
        mut ask: impl FnMut(&Endpoint) -> Result<T, RegistryError>,
    ) -> Result<T, RegistryError> {
        let endpoints = self.client.endpoints(&self.name, self.access, cancel)?;
        let last = endpoints.len().saturating_sub(1);
        for endpoint in &endpoints[..last] {
            match ask(endpoint) {
                Err(error @ (RegistryError::Cancelled(_) | RegistryError::Io(_))) => return Err(error),
                Err(error) => {
                    tracing::debug!(%error, "the next mirror is asked, since {} has no answer", endpoint.base.shown());
                    cancel.check()?;
                }
                found => return found,
            }
        }
        ask(&endpoints[last])
    }

    /// The name of a manifest or blob of this repository in messages.
    pub(super) fn what(&self, wanted: Wanted<'_>) -> String {
        format!("{}{}", self.name, wanted.suffix())
    }

    /// A manifest or an index, byte for byte as the registry has it. Its digest is computed from these bytes. Its media type is
    /// the one in the document, or else the registry's.
    ///
    /// # Errors
    ///
    /// If the registry has no such manifest, refuses it or cannot be reached, if the bytes are not those of the digest or
    /// are more than [`MANIFEST_LIMIT`], or if the work is cancelled.
    pub fn manifest(&self, wanted: Wanted<'_>, cancel: &Cancel) -> Result<Encoded, RegistryError> {
        let (what, cancel) = (self.what(wanted), &self.at(wanted, cancel));
        let found = self.ask_endpoints(cancel, |endpoint| {
            let mut retry = self.client.retry(endpoint);
            let mut wrong = None;
            loop {
                match self.manifest_once(endpoint, wanted, &what, cancel) {
                    Ok(document) => return Ok(document),
                    // Once more, since a proxy on the way may have altered it.
                    Err(Attempt::Over(error @ RegistryError::Mismatch { .. })) if wrong.is_none() => {
                        wrong = Some(error);
                    }
                    Err(attempt) => retry.failed(attempt, &what, cancel)?,
                }
            }
        })?;
        self.learn(&found);
        Ok(found)
    }

    fn manifest_once(
        &self,
        endpoint: &Endpoint,
        wanted: Wanted<'_>,
        what: &str,
        cancel: &Cancel,
    ) -> Result<Encoded, Attempt> {
        let call = Call::new(Method::Get, endpoint.url(&format!("manifests/{wanted}")), what)
            .header("accept", ACCEPT);
        let mut response = self.client.attempt(endpoint, &call, cancel, &mut || ())?;
        endpoint.expect(&mut response, what, &[200], cancel)?;
        let too_large = || RegistryError::TooLarge { what: what.to_owned(), limit: MANIFEST_LIMIT };
        if response.length().is_some_and(|length| length > MANIFEST_LIMIT) {
            return Err(too_large().into());
        }
        let (bytes, more) = response
            .read(MANIFEST_LIMIT, cancel)
            .map_err(|error| of_http(error, endpoint.base.authority(), what))?;
        if more {
            return Err(too_large().into());
        }
        // A manifest must have the digest that it was asked for by, or the one that the registry gives for a tag.
        let told: Option<Digest> = match wanted {
            Wanted::Digest(digest) => Some(digest.clone()),
            Wanted::Tag(_) => response.header("docker-content-digest").and_then(|text| text.parse().ok()),
        };
        let digest = match &told {
            Some(told) => {
                let mut hasher = told.algorithm().hasher();
                hasher.update(&bytes);
                hasher.finish()
            }
            None => Digest::of(&bytes),
        };
        if let Some(told) = told
            && told != digest
        {
            let (expected, found) = (told.to_string(), digest.to_string());
            return Err(RegistryError::Mismatch { what: what.to_owned(), expected, found }.into());
        }
        let media_type = media_type_of(&bytes, response.header("content-type"), what)?;
        let descriptor = Descriptor::new(&media_type, digest, bytes.len() as u64);
        Ok(Encoded { descriptor, bytes })
    }

    /// The descriptor of a tag or digest; `None` if there is none. The digest is the registry's, or is computed if the registry
    /// does not give it.
    ///
    /// # Errors
    ///
    /// If the registry cannot be reached or refuses, or if the work is cancelled.
    pub fn head(&self, wanted: Wanted<'_>, cancel: &Cancel) -> Result<Option<Descriptor>, RegistryError> {
        let (what, cancel) = (self.what(wanted), &self.at(wanted, cancel));
        let told = self.ask_endpoints(cancel, |endpoint| {
            let call = Call::new(Method::Head, endpoint.url(&format!("manifests/{wanted}")), &what);
            let call = call.header("accept", ACCEPT);
            let mut response = match self.client.send(endpoint, &call, cancel) {
                // Only HEAD may be refused. GET will tell.
                Ok(response) if !matches!(response.status, 200 | 404 | 410) => return Ok(None),
                Err(error) if is_of_head_alone(&error) => return Ok(None),
                told => told?,
            };
            endpoint.expect(&mut response, &what, &[200], cancel)?;
            let told = response.header("docker-content-digest");
            let digest: Option<Digest> = told.and_then(|text| text.parse().ok());
            let (Some(digest), Some(size)) = (digest, response.length()) else { return Ok(None) };
            if let Wanted::Digest(expected) = wanted
                && digest != *expected
                && digest.algorithm() == expected.algorithm()
            {
                let (expected, found) = (expected.to_string(), digest.to_string());
                return Err(RegistryError::Mismatch { what: what.clone(), expected, found });
            }
            let media_type = essence(response.header("content-type").unwrap_or_default());
            Ok(Some(Descriptor::new(media_type, digest, size)))
        });
        match told {
            Ok(Some(descriptor)) => Ok(Some(descriptor)),
            Ok(None) => match self.manifest(wanted, cancel) {
                Ok(document) => Ok(Some(document.descriptor)),
                Err(error) if error.is_not_found() => Ok(None),
                Err(error) => Err(error),
            },
            Err(error) if error.is_not_found() => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// A small blob, such as a configuration, verified. More than [`MANIFEST_LIMIT`] bytes are refused.
    ///
    /// # Errors
    ///
    /// If the blob is too large, and as [`Repository::blob`].
    pub fn small_blob(&self, blob: &Descriptor, cancel: &Cancel) -> Result<Vec<u8>, RegistryError> {
        if blob.size > MANIFEST_LIMIT {
            let what = self.what(Wanted::Digest(&blob.digest));
            return Err(RegistryError::TooLarge { what, limit: MANIFEST_LIMIT });
        }
        let mut bytes = Vec::new();
        self.blob(blob, cancel, &mut |chunk| {
            bytes.extend_from_slice(chunk);
            Ok(())
        })?;
        Ok(bytes)
    }

    /// Reads a blob as a stream: every byte once and in order, over as many connections as it takes. The bytes must not be
    /// trusted before this has succeeded, since the digest is known only at their end.
    ///
    /// # Errors
    ///
    /// If the registry does not have the blob, refuses it or cannot be reached, if its bytes are not those of the
    /// descriptor, if `sink` fails, or if the work is cancelled.
    pub fn blob(
        &self,
        blob: &Descriptor,
        cancel: &Cancel,
        sink: &mut dyn FnMut(&[u8]) -> io::Result<()>,
    ) -> Result<(), RegistryError> {
        let mut state = Fetch::new(blob, 0, blob.digest.algorithm().hasher());
        self.fetch(&mut state, cancel, sink)
    }

    /// Gets a blob into a file, which appears whole and verified. A transfer that broke off is resumed, also by a later
    /// process. An existing file is verified and left. `progress` is called with the bytes so far.
    ///
    /// # Errors
    ///
    /// As [`Repository::blob`], and if the file cannot be written.
    pub fn fetch_blob(
        &self,
        blob: &Descriptor,
        path: &Path,
        cancel: &Cancel,
        progress: &mut dyn FnMut(u64),
    ) -> Result<(), RegistryError> {
        // In a directory that cannot be written to, no lock can be taken.
        let dir = path.parent().unwrap_or_else(|| std::path::Path::new("."));
        if !store::is_writable(dir) && is_whole(path, blob, cancel)? {
            return Ok(());
        }
        let partial = PartialFile::lock(path, cancel).map_err(|error| match error {
            fs::LockError::Io(error) => RegistryError::Io(error),
            fs::LockError::Cancelled(cancelled) => cancelled.into(),
        })?;
        if is_whole(path, blob, cancel)? {
            tracing::debug!(bytes = blob.size, "the cache has {}", path.display());
            return Ok(());
        }
        let mut again = true;
        loop {
            let mut file = partial.open()?;
            let mut state = resume(&mut file, blob, cancel)?;
            let mut had = state.resume.position();
            let resumed = had > 0;
            let result = self.fetch(&mut state, cancel, &mut |chunk| {
                file.write_all(chunk)?;
                had += chunk.len() as u64;
                progress(had);
                Ok(())
            });
            match result {
                Ok(()) => {
                    partial.publish()?;
                    return Ok(partial.remove_lock()?);
                }
                Err(error @ RegistryError::Mismatch { .. }) => {
                    partial.discard()?;
                    // Once more, since an earlier process's part or a proxy may be wrong.
                    if !std::mem::replace(&mut again, false) && !resumed {
                        return Err(error);
                    }
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// Reads the rest of a blob.
    fn fetch(
        &self,
        state: &mut Fetch<'_>,
        cancel: &Cancel,
        sink: &mut dyn FnMut(&[u8]) -> io::Result<()>,
    ) -> Result<(), RegistryError> {
        let blob = state.blob;
        let wanted = Wanted::Digest(&blob.digest);
        let (what, cancel) = (self.what(wanted), &self.at(wanted, cancel));
        self.ask_endpoints(cancel, |endpoint| {
            let mut retry = Retry::new(&self.client, endpoint, state.resume.position());
            while !state.resume.is_whole() {
                if let Err(attempt) = self.fetch_once(endpoint, state, &what, cancel, sink) {
                    retry.reached(state.resume.position());
                    retry.failed(attempt, &what, cancel)?;
                }
            }
            Ok(())
        })?;
        let found = std::mem::replace(&mut state.hasher, blob.digest.algorithm().hasher()).finish();
        if found == blob.digest {
            return Ok(());
        }
        Err(RegistryError::Mismatch { what, expected: blob.digest.to_string(), found: found.to_string() })
    }

    /// One request for the rest of a blob.
    fn fetch_once(
        &self,
        endpoint: &Endpoint,
        state: &mut Fetch<'_>,
        what: &str,
        cancel: &Cancel,
        sink: &mut dyn FnMut(&[u8]) -> io::Result<()>,
    ) -> Result<(), Attempt> {
        let url = endpoint.url(&format!("blobs/{}", state.blob.digest));
        let mut call = Call::new(Method::Get, url, what);
        call.headers = state.resume.fields();
        let mut response = self.client.attempt(endpoint, &call, cancel, &mut || ())?;
        endpoint.expect(&mut response, what, &[200, 206, 416], cancel)?;
        let mut stream = Stream { hasher: &mut state.hasher, sink };
        let received = state.resume.receive(&mut response, &mut stream, cancel);
        received.map_err(|error| of_body(error, endpoint.base.authority(), what))
    }
}

/// True for a failure of HEAD that GET may not have: a redirect that led nowhere, or a failure on the way.
pub(super) fn is_of_head_alone(error: &RegistryError) -> bool {
    matches!(
        error,
        // One attempt only: failures of the registry itself are tried more often, and GET would have them, too.
        RegistryError::Transient { attempts: 1, .. }
            | RegistryError::Inward { .. }
            | RegistryError::Tls { .. }
            | RegistryError::Proxy { .. }
    )
}

/// How far a blob has been read.
struct Fetch<'a> {
    blob: &'a Descriptor,
    resume: Resume,
    hasher: Hasher,
}

impl<'a> Fetch<'a> {
    /// A blob of which the first `position` bytes are there, which are in the hash.
    fn new(blob: &'a Descriptor, position: u64, hasher: Hasher) -> Self {
        Self { blob, resume: Resume::new(Some(blob.size), blob.size, true, position), hasher }
    }
}

/// Hashes bytes on their way. What was hashed is not taken back: the digest tells whether it belongs to what comes.
struct Stream<'a> {
    hasher: &'a mut Hasher,
    sink: &'a mut dyn FnMut(&[u8]) -> io::Result<()>,
}

impl Sink for Stream<'_> {
    fn rewind(&mut self, _position: u64) -> io::Result<bool> {
        Ok(false)
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        (self.sink)(bytes)?;
        self.hasher.update(bytes);
        Ok(())
    }
}

/// True if a file exists and is the blob.
pub(super) fn is_whole(path: &Path, blob: &Descriptor, cancel: &Cancel) -> Result<bool, RegistryError> {
    match fs::metadata(path) {
        Ok(metadata) if metadata.is_file() && metadata.len() == blob.size => {}
        Ok(_) => return Ok(false),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
        Err(error) => return Err(error.into()),
    }
    let mut hasher = blob.digest.algorithm().hasher();
    hash(&mut fs::File::open(path)?, &mut hasher, u64::MAX, cancel)?;
    Ok(hasher.finish() == blob.digest)
}

/// Hashes what a partial file has. A file that is larger than the blob is emptied.
fn resume<'a>(
    file: &mut fs::File,
    blob: &'a Descriptor,
    cancel: &Cancel,
) -> Result<Fetch<'a>, RegistryError> {
    let mut hasher = blob.digest.algorithm().hasher();
    if file.metadata()?.len() > blob.size {
        file.set_len(0)?;
    }
    let done = hash(file, &mut hasher, blob.size, cancel)?;
    Ok(Fetch::new(blob, done, hasher))
}

fn hash(file: &mut fs::File, hasher: &mut Hasher, limit: u64, cancel: &Cancel) -> Result<u64, RegistryError> {
    let mut file = file.take(limit);
    let mut buffer = vec![0; 256 * 1024];
    let mut done = 0;
    loop {
        cancel.check()?;
        match fs::read_piece(&mut file, &mut buffer)? {
            0 => return Ok(done),
            count => {
                hasher.update(&buffer[..count]);
                done += count as u64;
            }
        }
    }
}

/// A media type without its parameters.
fn essence(media_type: &str) -> &str {
    media_type.split(';').next().unwrap_or_default().trim()
}

/// The media type of a manifest. A document that could be read as an index and as a manifest is refused (CVE-2021-41190).
fn media_type_of(bytes: &[u8], header: Option<&str>, what: &str) -> Result<String, RegistryError> {
    let fault = |reason: String| RegistryError::Document { what: what.to_owned(), reason };
    let document: Value =
        serde_json::from_slice(bytes).map_err(|error| fault(format!("it is not JSON: {error}")))?;
    if document["schemaVersion"] == 1 {
        return Err(fault("it is of schema version 1, which no registry should have any more".into()));
    }
    let header = essence(header.unwrap_or_default());
    let known = |name: &str| media_type::is_index(name) || media_type::is_manifest(name);
    let own = document["mediaType"].as_str();
    if let Some(own) = own
        && known(header)
        && own != header
    {
        return Err(fault(format!("it calls itself `{own}`, and the registry calls it `{header}`")));
    }
    let (is_list, is_image) = (document["manifests"].is_array(), document["layers"].is_array());
    if is_list && is_image {
        return Err(fault("it is an index and a manifest at once".into()));
    }
    let guess = || if is_list { media_type::INDEX } else { media_type::MANIFEST };
    let name = own.unwrap_or_else(|| if known(header) { header } else { guess() });
    if media_type::is_index(name) && !is_list || media_type::is_manifest(name) && !is_image {
        return Err(fault(format!("its media type is `{name}`, and its content is not")));
    }
    Ok(name.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_media_type_is_what_the_document_says_and_not_what_could_be_meant() {
        let of = |text: &str, header: &str| media_type_of(text.as_bytes(), Some(header), "x");
        let is = |result: Result<String, RegistryError>, name: &str| assert_eq!(result.unwrap(), name);
        is(of(r#"{"manifests":[]}"#, "application/json"), media_type::INDEX);
        is(
            of(
                r#"{"manifests":[]}"#,
                "application/vnd.docker.distribution.manifest.list.v2+json; charset=utf-8",
            ),
            media_type::DOCKER_INDEX,
        );
        is(of(r#"{"layers":[]}"#, ""), media_type::MANIFEST);
        is(
            of(&format!(r#"{{"mediaType":"{}","layers":[]}}"#, media_type::DOCKER_MANIFEST), "text/plain"),
            media_type::DOCKER_MANIFEST,
        );
        for (text, header) in [
            ("not json", ""),
            (r#"{"schemaVersion":1}"#, ""),
            (r#"{"layers":[],"manifests":[]}"#, ""),
            (r#"{"layers":[]}"#, media_type::INDEX),
            (&format!(r#"{{"mediaType":"{}","layers":[]}}"#, media_type::MANIFEST), media_type::INDEX),
        ] {
            assert!(matches!(of(text, header), Err(RegistryError::Document { .. })), "{text}");
        }
    }
}
