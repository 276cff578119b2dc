//! What must hold against servers that misbehave, each answered byte by byte.

mod distrust;
mod habits;
mod hostile;
mod led;

use super::*;
use crate::error::{ExitCode, Explain};
use crate::oci::name::Wanted;
use crate::oci::{Descriptor, Digest};
use crate::registry::Repository;
use crate::registry::answer::parse_error_document;
use crate::sys::clock;
use crate::sys::loopback::{Reply, Server};

/// A client that logs in everywhere.
fn client() -> Client {
    let variables = [("XBUILD_REGISTRY_USERNAME", "me"), ("XBUILD_REGISTRY_PASSWORD", "hunter2")];
    let patience = Patience { attempts: 3, back_off: Duration::from_millis(1), ..Patience::default() };
    let config = Config { patience, stall: Duration::from_secs(5), ..Config::default() };
    Client::new(config, &variables.into_iter().collect())
}

fn repository(server: &Server) -> Repository {
    let name = format!("{}/a/b", server.url.trim_start_matches("http://"));
    client().repository(&name.parse().unwrap(), Access::Push)
}

fn answer(status: u16, fields: &str, body: &str) -> Reply {
    let length = body.len();
    Reply::Raw(format!(
        "HTTP/1.1 {status} x\r\n{fields}Content-Length: {length}\r\nConnection: close\r\n\r\n{body}"
    ))
}

/// The requests with the method and path of a registry's; what a client sends to find out about TLS is none.
fn spoken(server: &Server) -> Vec<String> {
    let requests = server.requests().into_iter().map(|request| request.head);
    requests
        .filter(|head| head.starts_with(|c: char| c.is_ascii_uppercase()) && head.contains("HTTP/1.1"))
        .collect()
}

fn blob() -> (Descriptor, String) {
    let text = "the content of a layer";
    (
        Descriptor::new("application/octet-stream", Digest::of(text.as_bytes()), text.len() as u64),
        text.to_owned(),
    )
}

#[test]
fn credentials_do_not_follow_a_redirect() {
    let (descriptor, text) = blob();
    let store = Server::start(move |_| answer(200, "", &text));
    let to = store.url.clone();
    let registry = Server::start(move |request| {
        if request.head.to_ascii_lowercase().contains("authorization: basic bwu6ahvudgvymg==") {
            answer(307, &format!("Location: {to}/layer?signature=secret\r\n"), "")
        } else {
            answer(401, "WWW-Authenticate: Basic realm=\"x\"\r\n", "")
        }
    });
    repository(&registry).small_blob(&descriptor, &Cancel::new()).unwrap();
    let reached = spoken(&store);
    assert_eq!(reached.len(), 1);
    assert!(!reached[0].to_ascii_lowercase().contains("authorization"), "{}", reached[0]);
    assert!(spoken(&registry).iter().any(|head| head.to_ascii_lowercase().contains("authorization")));
}

#[test]
fn what_a_redirect_leads_to_is_not_asked_for_credentials_either() {
    let (descriptor, _) = blob();
    let store = Server::start(|_| answer(401, "WWW-Authenticate: Basic realm=\"x\"\r\n", ""));
    let to = store.url.clone();
    let registry =
        Server::start(move |_| answer(307, &format!("Location: {to}/layer?signature=secret\r\n"), ""));
    let error = repository(&registry).small_blob(&descriptor, &Cancel::new()).unwrap_err();
    let text = format!("{error} {error:?}");
    assert!(!text.contains("secret") && !text.contains("hunter2"), "{text}");
    assert!(spoken(&store).iter().all(|head| !head.to_ascii_lowercase().contains("authorization")));
}

#[test]
fn a_client_shows_nothing_that_it_knows_of_us() {
    let text = format!("{:?}", client());
    assert!(!text.contains("hunter2") && text.contains("Client"), "{text}");
}

#[test]
fn redirects_end() {
    let (descriptor, _) = blob();
    let registry = Server::start(|_| answer(302, "Location: /again\r\n", ""));
    let error = repository(&registry).small_blob(&descriptor, &Cancel::new()).unwrap_err();
    assert_eq!(error.exit_code(), ExitCode::Refused);
    assert!(error.to_string().contains("without end"), "{error}");
}

#[test]
fn a_busy_registry_is_left_alone_for_as_long_as_it_asks() {
    let (descriptor, text) = blob();
    let registry = Server::start(move |request| match request.number {
        // The first look is for TLS.
        0 | 1 => answer(429, "Retry-After: 1\r\n", ""),
        2 => answer(503, "", ""),
        _ => answer(200, "", &text),
    });
    let start = clock::Instant::now();
    repository(&registry).small_blob(&descriptor, &Cancel::new()).unwrap();
    assert!(start.elapsed() >= Duration::from_secs(1));
}

#[test]
fn a_server_that_stays_broken_is_given_up_with_its_words() {
    let body = r#"{"errors":[{"code":"UNAVAILABLE","message":"the disk\nis full"}]}"#;
    let registry = Server::start(move |_| answer(503, "", body));
    let error = repository(&registry).manifest(Wanted::Tag("v1"), &Cancel::new()).unwrap_err();
    assert_eq!(error.exit_code(), ExitCode::Network);
    assert!(error.to_string().contains("503 (UNAVAILABLE: the disk is full) (tried 3 times)"), "{error}");
}

#[test]
fn a_manifest_without_end_is_not_read_to_its_end() {
    let registry = Server::start(|_| answer(200, "", &"x".repeat(5 << 20)));
    let error = repository(&registry).manifest(Wanted::Tag("v1"), &Cancel::new()).unwrap_err();
    assert!(matches!(error, RegistryError::TooLarge { .. }), "{error}");
    let registry = Server::start(|_| {
        Reply::Raw(format!("HTTP/1.1 200 x\r\nConnection: close\r\n\r\n{}", "x".repeat(5 << 20)))
    });
    let error = repository(&registry).manifest(Wanted::Tag("v1"), &Cancel::new()).unwrap_err();
    assert!(matches!(error, RegistryError::TooLarge { .. }), "{error}");
}

#[test]
fn a_manifest_that_is_not_what_was_asked_for_is_refused() {
    let registry = Server::start(|_| answer(200, "", r#"{"schemaVersion":2,"layers":[]}"#));
    let wanted = Digest::of(b"something else");
    let error = repository(&registry).manifest(Wanted::Digest(&wanted), &Cancel::new()).unwrap_err();
    assert_eq!(error.exit_code(), ExitCode::CorruptDownload);
    assert!(error.to_string().contains(wanted.hex()), "{error}");
}

#[test]
fn a_blob_goes_on_where_it_broke_and_one_of_another_size_is_refused() {
    let (descriptor, text) = blob();
    let whole = text.clone().into_bytes();
    let registry = Server::start(move |request| match request.number {
        0 => Reply::Status(404),
        1 => Reply::Cut(whole.clone(), 5),
        _ => Reply::Whole(whole.clone()),
    });
    assert_eq!(repository(&registry).small_blob(&descriptor, &Cancel::new()).unwrap(), text.as_bytes());
    assert_eq!(registry.requests().last().unwrap().offset, 5);
    for other in ["short", "a text that is longer than it should be"] {
        let registry = Server::start(move |_| answer(200, "", other));
        let error = repository(&registry).small_blob(&descriptor, &Cancel::new()).unwrap_err();
        assert!(matches!(error, RegistryError::Mismatch { .. }), "{error}");
    }
}

#[test]
fn a_token_that_has_expired_is_replaced_and_one_that_is_good_is_kept() {
    let (descriptor, text) = blob();
    let tokens = Server::start(|request| {
        answer(200, "", &format!(r#"{{"token":"token-{}","expires_in":300}}"#, request.number))
    });
    let challenge = format!("WWW-Authenticate: Bearer realm=\"{}/token\",service=\"s\"\r\n", tokens.url);
    let used = std::sync::atomic::AtomicUsize::new(0);
    let registry = Server::start(move |request| {
        let has = |token: &str| {
            request.head.ends_with(&format!("Bearer {token}"))
                || request.head.contains(&format!("Bearer {token}\n"))
        };
        // The first token is good twice, and then no more.
        let good = if has("token-0") {
            used.fetch_add(1, std::sync::atomic::Ordering::SeqCst) < 2
        } else {
            has("token-1")
        };
        if good { answer(200, "", &text) } else { answer(401, &challenge, "") }
    });
    let repository = repository(&registry);
    for _ in 0..4 {
        repository.small_blob(&descriptor, &Cancel::new()).unwrap();
    }
    let asked = spoken(&tokens);
    assert_eq!(asked.len(), 2, "{asked:#?}");
    assert!(
        asked[0].contains("scope=repository:a/b:pull,push") && asked[0].contains("service=s"),
        "{}",
        asked[0]
    );
}

#[test]
fn a_token_service_without_tls_gets_no_credentials_of_a_registry_with_it() {
    let endpoint = Endpoint {
        name: "r.example/a".parse().unwrap(),
        base: Url::parse("https://r.example/v2/a").unwrap(),
        trust: Certificates::default(),
        part: None,
        named: true,
        access: Access::Push,
    };
    let challenge =
        Challenge::Bearer { realm: "http://tokens.example/".into(), service: None, scope: None, error: None };
    let client = client();
    let call = Call::new(Method::Get, endpoint.url("tags/list"), "x");
    let exchange = Exchange { endpoint: &endpoint, call: &call, scopes: Vec::new() };
    let result = client.0.tokens.authorization(&client, &exchange, &challenge, None, &Cancel::new());
    assert!(matches!(result, Err(Attempt::Over(RegistryError::InsecureRealm { .. }))));
}

#[test]
fn an_upload_is_not_led_to_an_address_without_tls() {
    let endpoint = Endpoint {
        name: "r.example/a".parse().unwrap(),
        base: Url::parse("https://r.example/v2/a").unwrap(),
        trust: Certificates::default(),
        part: None,
        named: true,
        access: Access::Push,
    };
    let allowed = |text: &str| endpoint.allowed(Url::parse(text).unwrap()).map(|url| url.text());
    assert_eq!(allowed("http://r.example/x").as_deref(), Some("https://r.example/x"));
    assert_eq!(allowed("http://other.example/x"), None);
    assert_eq!(allowed("https://other.example/x").as_deref(), Some("https://other.example/x"));
}

#[test]
fn an_errors_words_are_one_line() {
    assert_eq!(
        parse_error_document(br#"{"errors":[{"code":"A","message":"b\nc"},{"code":"D"}]}"#),
        "A: b c; D"
    );
    assert_eq!(parse_error_document(br#"{"details":"wrong password"}"#), "wrong password");
    assert_eq!(parse_error_document(b"<html>"), "");
    assert!(parse_error_document(format!(r#"{{"message":"{}"}}"#, "x".repeat(9000)).as_bytes()).len() <= 300);
}

#[test]
fn offline_asks_nobody() {
    let registry = Server::start(|_| answer(200, "", ""));
    let name = format!("{}/a/b", registry.url.trim_start_matches("http://"));
    let client = Client::new(Config { offline: true, ..Config::default() }, &Environment::default());
    let repository = client.repository(&name.parse().unwrap(), Access::Pull);
    let error = repository.manifest(Wanted::Tag("v1"), &Cancel::new()).unwrap_err();
    assert_eq!(error.exit_code(), ExitCode::Offline);
    assert!(registry.requests().is_empty());
}
