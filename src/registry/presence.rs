//! Whether a repository has a blob: asked by HEAD, and by a GET of the first byte if HEAD is refused. Links that were signed
//! for GET, gateways and caches answer HEAD with 403, 405 or a wrong length although the blob exists.

use super::client::Call;
use super::endpoint::Endpoint;
use super::error::RegistryError;
use super::repository::{Repository, is_of_head_alone};
use super::retry::Attempt;
use crate::oci::Descriptor;
use crate::oci::name::Wanted;
use crate::sys::cancel::Cancel;
use crate::sys::http::{Method, Response};

/// Whether a repository has a blob.
#[derive(Debug)]
pub(super) enum Presence {
    /// It is there.
    There,
    /// It is not, with the registry's answer.
    Absent(RegistryError),
    /// The registry does not say.
    Unknown(RegistryError),
}

impl Repository {
    /// True if the repository has a blob.
    ///
    /// # Errors
    ///
    /// If the registry cannot be reached or does not say whether it has the blob, or if the work is cancelled.
    pub fn has_blob(&self, blob: &Descriptor, cancel: &Cancel) -> Result<bool, RegistryError> {
        let wanted = Wanted::Digest(&blob.digest);
        let (what, cancel) = (self.what(wanted), &self.at(wanted, cancel));
        let found =
            self.ask_endpoints(cancel, |endpoint| match self.presence(endpoint, blob, &what, cancel)? {
                Presence::There => Ok(()),
                Presence::Absent(error) | Presence::Unknown(error) => Err(error),
            });
        match found {
            Ok(()) => Ok(true),
            Err(error) if error.is_not_found() => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Whether an endpoint has a blob. An error is one that every other request would have, too.
    pub(super) fn presence(
        &self,
        endpoint: &Endpoint,
        blob: &Descriptor,
        what: &str,
        cancel: &Cancel,
    ) -> Result<Presence, RegistryError> {
        let url = endpoint.url(&format!("blobs/{}", blob.digest));
        match self.client().send(endpoint, &Call::new(Method::Head, url.clone(), what), cancel) {
            Ok(head) if head.status == 200 && head.length().is_none_or(|length| length == blob.size) => {
                return Ok(Presence::There);
            }
            Ok(mut head) if matches!(head.status, 404 | 410) => {
                let absent = endpoint.expect(&mut head, what, &[], cancel);
                return Ok(absent.map_or_else(Presence::Absent, |()| Presence::There));
            }
            // The store behind a registry may treat GET differently.
            Ok(_) => {}
            Err(error) if is_of_head_alone(&error) => {}
            Err(error) => return Err(error),
        }
        let call = Call::new(Method::Get, url, what).header("range", "bytes=0-0");
        let told = self.client().attempt(endpoint, &call, cancel, &mut || ()).and_then(|mut response| {
            endpoint.expect(&mut response, what, &[200, 206, 416], cancel)?;
            Ok(whole(&response))
        });
        match told {
            Ok(Some(length)) if length != blob.size => Err(RegistryError::Mismatch {
                what: what.to_owned(),
                expected: format!("{} bytes", blob.size),
                found: format!("{length} bytes"),
            }),
            Ok(_) => Ok(Presence::There),
            Err(Attempt::Over(error)) if error.is_not_found() => Ok(Presence::Absent(error)),
            Err(Attempt::Over(
                error @ (RegistryError::Denied { .. }
                | RegistryError::Refused { .. }
                | RegistryError::Protocol { .. }
                | RegistryError::Inward { .. }
                | RegistryError::Transient { .. }
                | RegistryError::Proxy { .. }
                | RegistryError::Tls { .. }),
            )) => Ok(Presence::Unknown(error)),
            Err(Attempt::Over(error)) => Err(error),
            Err(Attempt::Again(failure)) => {
                let (what, reason) = (what.to_owned(), failure.reason);
                Ok(Presence::Unknown(RegistryError::Transient { what, reason, attempts: 1 }))
            }
        }
    }
}

/// The size of the blob by an answer that has its first byte or all of it: `Content-Range: bytes 0-0/1234`.
fn whole(response: &Response) -> Option<u64> {
    match response.status {
        200 => response.length(),
        _ => response.header("content-range")?.rsplit_once('/')?.1.trim().parse().ok(),
    }
}
