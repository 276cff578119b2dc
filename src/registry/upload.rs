//! Writing to a repository: blobs, then the manifests that name them
//! ([distribution specification](https://github.com/opencontainers/distribution-spec/blob/v1.1.1/spec.md#push)).

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use super::client::Call;
use super::endpoint::Endpoint;
use super::error::RegistryError;
use super::parts::below;
use super::presence::Presence;
use super::repository::{Repository, is_whole};
use super::retry::Attempt;
use crate::event::Level;
use crate::oci::name::{RepositoryName, Wanted};
use crate::oci::{Descriptor, Digest, Encoded};
use crate::sys::cancel::Cancel;
use crate::sys::http::{Body, Method, Response, Url};

/// How long a registry may take to store a blob or manifest. Some copy it.
const COMMIT: Duration = Duration::from_secs(300);

/// How a blob came into a repository.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Pushed {
    /// It was there already.
    Present,
    /// The registry took it from another of its repositories.
    Mounted,
    /// It was sent.
    Uploaded,
}

/// After a failure, the server is asked before a request of more than this many bytes whether it will take it. If it does not
/// answer within a second, the request is sent.
const ASK_FIRST: u64 = 4 << 20;
/// The header field with the minimum size of all parts but the last.
const LEAST: &str = "oci-chunk-min-length";

/// The URL and progress of an upload.
struct Session {
    url: Url,
    offset: u64,
    /// The minimum size of all parts but the last, in bytes.
    least: u64,
}

/// A blob with its destination, its file, and its name in messages.
#[derive(Clone, Copy)]
struct BlobUpload<'a> {
    endpoint: &'a Endpoint,
    blob: &'a Descriptor,
    file: &'a Path,
    what: &'a str,
    /// True once an attempt has failed.
    again: bool,
}

impl Repository {
    /// Makes sure that the repository has a blob: it is there already, or is taken from one of the repositories `from`, or is
    /// sent from the file. `progress` is called with the bytes sent so far.
    ///
    /// # Errors
    ///
    /// If the file cannot be read or is not what the descriptor says, if the registry cannot be reached or does not take
    /// the blob, or if the work is cancelled.
    pub fn push_blob(
        &self,
        blob: &Descriptor,
        file: &Path,
        from: &[RepositoryName],
        cancel: &Cancel,
        progress: &mut dyn FnMut(u64),
    ) -> Result<Pushed, RegistryError> {
        self.push_blob_of(blob, from, cancel, || Ok(file.to_owned()), progress)
    }

    /// The same, with a file that is only made if it must be sent.
    ///
    /// # Errors
    ///
    /// As [`Repository::push_blob`], and if `file` fails.
    pub fn push_blob_of(
        &self,
        blob: &Descriptor,
        from: &[RepositoryName],
        cancel: &Cancel,
        file: impl FnOnce() -> Result<PathBuf, RegistryError>,
        progress: &mut dyn FnMut(u64),
    ) -> Result<Pushed, RegistryError> {
        match self.take_blob(blob, from, cancel)? {
            Taken::Has(how) => Ok(how),
            Taken::Wants(session) => {
                self.upload(blob, &file()?, session, cancel, progress)?;
                Ok(Pushed::Uploaded)
            }
        }
    }

    fn take_blob(
        &self,
        blob: &Descriptor,
        from: &[RepositoryName],
        cancel: &Cancel,
    ) -> Result<Taken, RegistryError> {
        let wanted = Wanted::Digest(&blob.digest);
        let (what, cancel) = (self.what(wanted), &self.at(wanted, cancel));
        let endpoint = self.write_endpoint(cancel)?;
        match self.presence(&endpoint, blob, &what, cancel)? {
            Presence::There => return Ok(Taken::Has(Pushed::Present)),
            // A login that may not read may still write. If not, the upload will fail.
            Presence::Absent(_) | Presence::Unknown(_) => {}
        }
        for source in from {
            // Compared by their names at the registry, since a rewrite may change which repositories are together.
            let source = self.client().repository(source, super::Access::Push).write_endpoint(cancel)?;
            if !source.base.same_origin(&endpoint.base) || source.name == endpoint.name {
                continue;
            }
            let url = endpoint.url("blobs/uploads/");
            let url =
                url.with_query("mount", &blob.digest.to_string()).with_query("from", source.name.path());
            let mut call = Call::new(Method::Post, url, &what);
            call.also_pull = vec![source.name.path().to_owned()];
            match self.client().send(&endpoint, &call, cancel) {
                Ok(response) if response.status == 201 => return Ok(Taken::Has(Pushed::Mounted)),
                // It does not have the blob there, or cannot mount it, and has started an upload instead.
                Ok(response) if response.status == 202 => {
                    return Ok(Taken::Wants(Some(session_from(&endpoint, &call.url, &response, &what, 0)?)));
                }
                Err(error @ (RegistryError::Cancelled(_) | RegistryError::Offline { .. })) => {
                    return Err(error);
                }
                // We may not read there. The upload does not need that.
                Ok(_) | Err(_) => {}
            }
        }
        Ok(Taken::Wants(None))
    }

    fn upload(
        &self,
        blob: &Descriptor,
        file: &Path,
        mut session: Option<Session>,
        cancel: &Cancel,
        progress: &mut dyn FnMut(u64),
    ) -> Result<(), RegistryError> {
        let wanted = Wanted::Digest(&blob.digest);
        let (what, cancel) = (self.what(wanted), &self.at(wanted, cancel));
        let endpoint = self.write_endpoint(cancel)?;
        let mut upload = BlobUpload { endpoint: &endpoint, blob, file, what: &what, again: false };
        let mut retry = self.client().retry(&endpoint);
        loop {
            let mut open = match session.take() {
                Some(open) => open,
                None => self.begin(&endpoint, &what, cancel)?,
            };
            let attempt = match self.upload_once(upload, &mut open, cancel, progress) {
                Ok(()) => return Ok(()),
                Err(Attempt::Over(error @ RegistryError::BodyTooLarge { .. })) => {
                    // In smaller parts, from the start, since the state of a refused upload is not specified.
                    self.smaller(&endpoint, &open, error)?;
                    continue;
                }
                Err(Attempt::Over(RegistryError::Refused { reason, codes, .. }))
                    if is_wrong_digest(&codes) =>
                {
                    if !is_whole(file, blob, cancel)? {
                        return Err(RegistryError::Damaged {
                            path: file.to_owned(),
                            digest: blob.digest.clone(),
                        });
                    }
                    // The file is right, so that the bytes were altered on the way: from the start.
                    open.offset = u64::MAX;
                    Attempt::again(reason)
                }
                Err(Attempt::Over(error)) if !error.is_not_found() => return Err(error),
                Err(Attempt::Over(error)) => {
                    open.offset = u64::MAX;
                    Attempt::again(format!("the registry lost the upload ({error})"))
                }
                Err(again) => again,
            };
            upload.again = true;
            retry.failed(attempt, &what, cancel)?;
            // Only the answer may have been lost.
            if let Presence::There = self.presence(&endpoint, blob, &what, cancel)? {
                return Ok(());
            }
            if open.offset != u64::MAX {
                session = self.ask_offset(&endpoint, &open, blob, &what, cancel)?;
                if let Some(known) = &session {
                    retry.reached(known.offset);
                }
            }
        }
    }

    /// Begins an upload.
    fn begin(&self, endpoint: &Endpoint, what: &str, cancel: &Cancel) -> Result<Session, RegistryError> {
        let call = Call::new(Method::Post, endpoint.url("blobs/uploads/"), what);
        let mut response = self.client().send(endpoint, &call, cancel)?;
        endpoint.expect(&mut response, what, &[202], cancel)?;
        session_from(endpoint, &call.url, &response, what, 0)
    }

    /// Makes later requests smaller; the error if they cannot be.
    fn smaller(
        &self,
        endpoint: &Endpoint,
        session: &Session,
        error: RegistryError,
    ) -> Result<(), RegistryError> {
        let RegistryError::BodyTooLarge { sent, .. } = &error else { return Err(error) };
        // Another thread may have learnt a smaller limit meanwhile.
        let known = self.client().part(endpoint).filter(|part| part < sent);
        let Some(part) = known.or_else(|| below(*sent)).filter(|_| session.least < *sent) else {
            return Err(error);
        };
        self.client().limit_part(endpoint, part);
        let text = format!(
            "{} takes no request of {sent} bytes (413): it gets parts of at most {part} bytes (`chunk-size` of \
             registry.\"{}\" says so from the start)",
            endpoint.base.authority(),
            endpoint.name.registry()
        );
        self.client().remark(Level::Detail, text);
        Ok(())
    }

    /// Sends the rest of an upload and ends it.
    fn upload_once(
        &self,
        upload: BlobUpload<'_>,
        session: &mut Session,
        cancel: &Cancel,
        progress: &mut dyn FnMut(u64),
    ) -> Result<(), Attempt> {
        let BlobUpload { endpoint, blob, what, .. } = upload;
        let part = self.client().part(endpoint).unwrap_or(u64::MAX);
        let digest = blob.digest.to_string();
        let mut url = session.url.with_query("digest", &digest);
        if session.offset == 0 && blob.size <= self.client().single().min(part) {
            let call = Call::new(Method::Put, url, what);
            let response = self.send_part(upload, call, (0, blob.size), cancel, progress)?;
            return self.committed(response, upload, cancel);
        }
        while session.offset < blob.size {
            let left = blob.size - session.offset;
            let length = left.min(part.max(session.least));
            let mut call = Call::new(Method::Patch, session.url.clone(), what);
            // Every registry takes the whole blob in one request. Only a part must give its range.
            if length < blob.size {
                let last = session.offset + length - 1;
                call = call.header("content-range", format!("{}-{last}", session.offset));
            }
            let asked = call.url.clone();
            let range = (session.offset, length);
            let mut response = self.send_part(upload, call, range, cancel, progress)?;
            if response.status == 416 {
                return Err(Attempt::again("the registry has another part of the upload than was thought"));
            }
            endpoint.expect(&mut response, what, &[200, 201, 202, 204], cancel)?;
            let least = session.least;
            *session = session_from(endpoint, &asked, &response, what, session.offset + length)?;
            session.least = session.least.max(least);
            url = session.url.with_query("digest", &digest);
        }
        let mut commit = Call::new(Method::Put, url, what).header("content-type", "application/octet-stream");
        commit.patience = Some(COMMIT);
        let response = self.client().attempt(endpoint, &commit, cancel, &mut || ())?;
        self.committed(response, upload, cancel)
    }

    /// Sends a part of a blob, given by its offset and length.
    fn send_part(
        &self,
        upload: BlobUpload<'_>,
        mut call: Call<'_>,
        (offset, length): (u64, u64),
        cancel: &Cancel,
        progress: &mut dyn FnMut(u64),
    ) -> Result<Response, Attempt> {
        let sent = Arc::new(AtomicU64::new(0));
        let (path, counter) = (upload.file.to_owned(), Arc::clone(&sent));
        call = call.header("content-type", "application/octet-stream");
        call = call.body(Body::File { path, offset, length, sent: counter });
        if call.method == Method::Put {
            call.patience = Some(COMMIT);
        }
        if upload.again && length > ASK_FIRST {
            // A server that refuses the request may answer and hang up before all of it has come, and we would not read
            // the answer while sending.
            call = call.header("expect", "100-continue");
        }
        let mut tell = || progress(offset + sent.load(Ordering::Relaxed).min(length));
        let mut response = self.client().attempt(upload.endpoint, &call, cancel, &mut tell)?;
        if response.status == 417 {
            call.headers.retain(|(name, _)| *name != "expect");
            response = self.client().attempt(upload.endpoint, &call, cancel, &mut tell)?;
        }
        if response.status == 413 {
            return Err(too_large(upload.endpoint, upload.what, length, upload.blob.size).into());
        }
        tell();
        Ok(response)
    }

    /// Checks the answer to the end of an upload. If the registry has only accepted the blob, it is asked whether it has it.
    fn committed(
        &self,
        mut response: Response,
        BlobUpload { endpoint, blob, what, .. }: BlobUpload<'_>,
        cancel: &Cancel,
    ) -> Result<(), Attempt> {
        endpoint.expect(&mut response, what, &[201, 204, 200, 202], cancel)?;
        check_digest(&response, &blob.digest, what)?;
        if matches!(response.status, 201 | 204) {
            return Ok(());
        }
        match self.presence(endpoint, blob, what, cancel)? {
            Presence::There | Presence::Unknown(_) => Ok(()),
            Presence::Absent(error) => {
                Err(Attempt::again(format!("the registry took the upload and has it not ({error})")))
            }
        }
    }

    /// The progress of an upload by the registry; `None` if the registry does not know the upload any more.
    fn ask_offset(
        &self,
        endpoint: &Endpoint,
        session: &Session,
        blob: &Descriptor,
        what: &str,
        cancel: &Cancel,
    ) -> Result<Option<Session>, RegistryError> {
        let call = Call::new(Method::Get, session.url.clone(), what);
        let response = self.client().send(endpoint, &call, cancel)?;
        if !matches!(response.status, 200 | 202 | 204) {
            return Ok(None);
        }
        // `0-99` means a hundred bytes. `0-0` may mean one byte or none, so that the upload starts again.
        let end = response.header("range").and_then(|range| {
            let range = range.trim_start_matches("bytes").trim_start_matches(['=', ' ']);
            let end = range.split_once('-')?.1;
            end.split('/').next()?.trim().parse::<u64>().ok()
        });
        // An offset beyond the blob's size is wrong.
        let Some(end) = end.filter(|end| *end > 0 && *end < blob.size) else { return Ok(None) };
        if response.header("location").is_none() {
            let (url, least) = (session.url.clone(), session.least);
            return Ok(Some(Session { url, offset: end + 1, least }));
        }
        let known = session_from(endpoint, &call.url, &response, what, end + 1)?;
        Ok(Some(Session { least: known.least.max(session.least), ..known }))
    }

    /// Stores a manifest or an index under a tag or its digest. Everything that it names must be there. True if the registry has
    /// listed it among the referrers of its `subject`.
    ///
    /// # Errors
    ///
    /// If the registry cannot be reached, does not take the manifest or stores another one, or if the work is cancelled.
    pub fn put_manifest(
        &self,
        wanted: Wanted<'_>,
        document: &Encoded,
        cancel: &Cancel,
    ) -> Result<bool, RegistryError> {
        let (what, cancel) = (self.what(wanted), &self.at(wanted, cancel));
        let endpoint = self.write_endpoint(cancel)?;
        let mut call = Call::new(Method::Put, endpoint.url(&format!("manifests/{wanted}")), &what)
            .header("content-type", &document.descriptor.media_type)
            .body(Body::Bytes(Arc::from(document.bytes.as_slice())));
        call.patience = Some(COMMIT);
        let mut retry = self.client().retry(&endpoint);
        loop {
            let result =
                self.client().attempt(&endpoint, &call, cancel, &mut || ()).and_then(|mut response| {
                    if response.status == 413 {
                        let size = document.bytes.len() as u64;
                        return Err(too_large(&endpoint, &what, size, size).into());
                    }
                    endpoint.expect(&mut response, &what, &[201, 200, 202, 204], cancel)?;
                    check_digest(&response, document.digest(), &what)?;
                    Ok(response.header("oci-subject").is_some())
                });
            match result {
                Ok(entered) => return Ok(entered),
                // Something else arrived and may now be under the tag: send it again.
                Err(Attempt::Over(error @ RegistryError::Mismatch { .. })) => {
                    retry.failed(Attempt::again(error.to_string()), &what, cancel)?;
                }
                Err(Attempt::Over(RegistryError::NotFound { what, reason })) => {
                    let host = endpoint.base.authority().to_owned();
                    return Err(RegistryError::Refused { what, host, reason, codes: Vec::new() });
                }
                Err(attempt) => retry.failed(attempt, &what, cancel)?,
            }
        }
    }
}

/// The upload whose URL an answer gives.
fn session_from(
    endpoint: &Endpoint,
    asked: &Url,
    response: &Response,
    what: &str,
    offset: u64,
) -> Result<Session, RegistryError> {
    let url = response.header("location").and_then(|location| asked.join(location));
    let url = url.and_then(|url| endpoint.allowed(url));
    let url = url.ok_or_else(|| RegistryError::Protocol {
        what: what.to_owned(),
        host: endpoint.base.authority().to_owned(),
        reason: "it does not give the URL of the upload, or gives one without TLS".into(),
    })?;
    let least = response.header(LEAST).and_then(|text| text.trim().parse().ok()).unwrap_or(0);
    Ok(Session { url, offset, least })
}

/// The error for a request of `sent` bytes that is too large.
fn too_large(endpoint: &Endpoint, what: &str, sent: u64, size: u64) -> RegistryError {
    let host = endpoint.name.registry().to_owned();
    RegistryError::BodyTooLarge { what: what.to_owned(), host, sent, size }
}

/// Whether a blob must be sent.
enum Taken {
    Has(Pushed),
    Wants(Option<Session>),
}

/// Compares the digest that a registry says it has stored, if it gives one.
fn check_digest(response: &Response, digest: &Digest, what: &str) -> Result<(), RegistryError> {
    let told = response.header("docker-content-digest").and_then(|text| text.parse::<Digest>().ok());
    match told {
        Some(told) if told.algorithm() == digest.algorithm() && told != *digest => {
            Err(RegistryError::Mismatch {
                what: what.to_owned(),
                expected: digest.to_string(),
                found: told.to_string(),
            })
        }
        _ => Ok(()),
    }
}

/// True if the registry says that it has received something else.
fn is_wrong_digest(codes: &[String]) -> bool {
    codes.iter().any(|code| code == "DIGEST_INVALID" || code == "SIZE_INVALID")
}
