//! Classifies answers: whether another attempt may help, whether a registry or a proxy has answered, and what it says.

use super::client::Call;
use super::endpoint::Endpoint;
use super::error::RegistryError;
use super::retry::{Attempt, of_answer};
use crate::sys::cancel::Cancel;
use crate::sys::http::{HttpError, Method, ProxyError, Response, Trail, Url, may_pass};

/// The most bytes of an error document that are read.
const ERROR_LIMIT: u64 = 64 * 1024;

/// Classifies an answer that is neither a redirect nor a challenge. An answer that the caller has to judge is returned.
pub(super) fn classify_response(
    endpoint: &Endpoint,
    call: &Call<'_>,
    trail: &Trail,
    scopes: &[String],
    mut response: Response,
    cancel: &Cancel,
) -> Result<Response, Attempt> {
    let host = trail.at().authority().to_owned();
    match response.status {
        // Signed links and gateways often allow GET only. The caller finds out by a GET.
        401 | 403 if call.method == Method::Head => Ok(response),
        status if may_pass(status, trail) => {
            let reason = reason(&mut response, cancel)?;
            Err(of_answer(&response, "", &host, &reason))
        }
        // With an error document it is the registry's answer. Without one it may be a proxy's.
        403 if response.proxy.is_some() && response.header("docker-distribution-api-version").is_none() => {
            let (proxy, what) = (response.proxy.clone(), call.what.to_owned());
            let reason = reason(&mut response, cancel)?;
            let scope = scopes.join(" ");
            Err(match proxy.filter(|_| reason.is_empty()) {
                Some(proxy) => {
                    let reason = ProxyError::Refuses { proxy, host, status: 403 };
                    RegistryError::Proxy { what, reason }
                }
                None => RegistryError::Denied { what, host, scope, reason },
            }
            .into())
        }
        403 => {
            let (what, scope) = (call.what.to_owned(), scopes.join(" "));
            let reason = reason(&mut response, cancel)?;
            Err(RegistryError::Denied { what, host, scope, reason }.into())
        }
        // A registry has no web pages. A portal that wants a login answers every request with one and does nothing.
        200..=299 if is_page(&response) && !(call.method == Method::Get && is_blob(&call.url)) => {
            let (what, reason) = (call.what.to_owned(), "it answers with a web page".to_owned());
            Err(RegistryError::Protocol { what, host, reason }.into())
        }
        // nginx reports a missing client certificate in a page and not by a TLS alert.
        400 if is_page(&response) => {
            let page = page(&mut response, cancel)?;
            let (what, reason) = (call.what.to_owned(), "it answers 400".to_owned());
            Err(if page.contains("SSL certificate") {
                endpoint.failed(HttpError::Identity(reason), trail.at(), call.what)
            } else {
                RegistryError::Refused { what, host, reason, codes: Vec::new() }.into()
            })
        }
        _ => Ok(response),
    }
}

/// True for the URL of a blob that is read.
fn is_blob(url: &Url) -> bool {
    url.path().contains("/blobs/") && !url.path().contains("/blobs/uploads/")
}

fn is_page(response: &Response) -> bool {
    response.header("content-type").is_some_and(|kind| kind.to_ascii_lowercase().starts_with("text/html"))
}

/// The server's explanation of a failure: its error document as one line, or an empty text.
pub(super) fn reason(response: &mut Response, cancel: &Cancel) -> Result<String, RegistryError> {
    Ok(parse_error_document(page(response, cancel)?.as_bytes()))
}

/// The server's explanation, and the error codes in its document.
pub(super) fn refusal(
    response: &mut Response,
    cancel: &Cancel,
) -> Result<(String, Vec<String>), RegistryError> {
    let page = page(response, cancel)?;
    let document: serde_json::Value = serde_json::from_slice(page.as_bytes()).unwrap_or_default();
    let errors = document["errors"].as_array().into_iter().flatten();
    let codes = errors.filter_map(|error| error["code"].as_str().map(str::to_owned)).collect();
    Ok((parse_error_document(page.as_bytes()), codes))
}

/// The text of an answer that reports a failure.
fn page(response: &mut Response, cancel: &Cancel) -> Result<String, RegistryError> {
    match response.read(ERROR_LIMIT, cancel) {
        Ok((bytes, _)) => Ok(String::from_utf8_lossy(&bytes).into_owned()),
        Err(HttpError::Cancelled(cancelled)) => Err(cancelled.into()),
        // The status alone is enough.
        Err(_) => Ok(String::new()),
    }
}

/// `CODE: message` of each error in an error document.
pub(super) fn parse_error_document(bytes: &[u8]) -> String {
    let document: serde_json::Value = serde_json::from_slice(bytes).unwrap_or_default();
    let text = |value: &serde_json::Value, key: &str| value[key].as_str().unwrap_or_default().to_owned();
    let mut said: Vec<String> = Vec::new();
    for error in document["errors"].as_array().into_iter().flatten() {
        let (code, message) = (text(error, "code"), text(error, "message"));
        said.push(match (code.is_empty(), message.is_empty()) {
            (false, false) => format!("{code}: {message}"),
            _ => code + &message,
        });
    }
    if said.is_empty() {
        // Token services and some registries have other formats.
        let keys = ["details", "error_description", "message", "error"];
        said.extend(keys.iter().map(|key| text(&document, key)).find(|text| !text.is_empty()));
    }
    let line = said.join("; ");
    line.chars().map(|c| if c.is_control() { ' ' } else { c }).take(300).collect()
}
