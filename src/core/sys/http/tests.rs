//! Against a server on loopback that answers byte by byte.

use super::super::loopback::{Reply, Server};
use super::*;
use crate::sys::clock::Instant;
use crate::sys::fs;

fn transport() -> Transport {
    Transport::new(&Environment::default(), Duration::from_secs(5))
}

fn get(url: &str) -> Request {
    let (url, headers) = (url.to_owned(), vec![("x-test", "yes".to_owned())]);
    let (trust, patience) = (Trust::default(), None);
    Request { method: Method::Get, url, headers, body: Body::None, trust, patience, led_by: None }
}

fn ask(request: &Request) -> Result<(u16, Vec<u8>), HttpError> {
    let cancel = Cancel::new();
    let mut response = transport().send(request, &cancel, &mut || ())?;
    let (bytes, _) = response.read(u64::MAX, &cancel)?;
    Ok((response.status, bytes))
}

#[test]
fn an_answer_is_handed_over_whatever_its_status() {
    let server = Server::start(|request| match request.number {
        0 => Reply::Whole(vec![7; 300_000]),
        1 => Reply::Raw(
            "HTTP/1.1 307 x\r\nLocation: /other\r\nContent-Length: 0\r\nConnection: close\r\n\r\n".into(),
        ),
        _ => Reply::Status(503),
    });
    assert_eq!(ask(&get(&server.url)).unwrap(), (200, vec![7; 300_000]));
    assert_eq!(ask(&get(&server.url)).unwrap().0, 307);
    assert_eq!(ask(&get(&server.url)).unwrap().0, 503);
    assert!(server.requests()[0].head.contains("x-test: yes"));
}

#[test]
fn a_body_that_is_cut_is_no_shorter_body() {
    let server = Server::start(|_| Reply::Cut(vec![7; 300_000], 100_000));
    assert!(matches!(ask(&get(&server.url)), Err(HttpError::Broken(_))));
}

#[test]
fn a_part_of_a_file_is_sent_and_counted() {
    let server = Server::start(|_| Reply::Status(201));
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("file");
    fs::write_atomic(&path, b"0123456789", 0o644).unwrap();
    let sent = Arc::new(AtomicU64::new(0));
    let body = Body::File { path: path.clone(), offset: 3, length: 5, sent: Arc::clone(&sent) };
    let request = Request { method: Method::Put, body, ..get(&server.url) };
    assert_eq!(ask(&request).unwrap().0, 201);
    assert_eq!((server.requests()[0].body.as_slice(), sent.load(Ordering::Relaxed)), (&b"34567"[..], 5));
    // A file that became shorter is the file's failure and not the connection's.
    let body = Body::File { path, offset: 3, length: 50, sent };
    let request = Request { method: Method::Put, body, ..get(&server.url) };
    assert!(matches!(ask(&request), Err(HttpError::File(_))));
}

#[test]
fn an_empty_body_has_a_length() {
    let server = Server::start(|_| Reply::Status(202));
    let request = Request { method: Method::Post, body: Body::Bytes(Arc::from([])), ..get(&server.url) };
    assert_eq!(ask(&request).unwrap().0, 202);
    assert!(server.requests()[0].head.to_ascii_lowercase().contains("content-length: 0"));
}

#[test]
fn silence_is_a_failure_after_the_limit_and_an_interrupt_sooner() {
    let server = Server::start(|_| Reply::Stall(vec![7; 1000], 10));
    let transport = Transport::new(&Environment::default(), Duration::from_millis(300));
    let cancel = Cancel::new();
    let start = Instant::now();
    let mut response = transport.send(&get(&server.url), &cancel, &mut || ()).unwrap();
    assert!(matches!(response.read(u64::MAX, &cancel), Err(HttpError::Broken(_))));
    assert!(start.elapsed() < Duration::from_secs(20));
    let cancel = Cancel::new().within(Duration::from_secs(2), "the test");
    let patient = Transport::new(&Environment::default(), Duration::from_secs(60));
    let mut response = patient.send(&get(&server.url), &cancel, &mut || ()).unwrap();
    assert!(matches!(response.read(u64::MAX, &cancel), Err(HttpError::Cancelled(_))));
    assert!(start.elapsed() < Duration::from_secs(30));
}

#[test]
fn a_server_without_tls_is_told_apart_from_one_that_is_not_there() {
    let server = Server::start(|_| Reply::Status(200));
    let error = ask(&get(&server.url.replace("http://", "https://"))).unwrap_err();
    assert!(matches!(error, HttpError::Tls { .. } | HttpError::Broken(_)), "{error:?}");
    assert!(matches!(ask(&get("http://127.0.0.1:1/")), Err(HttpError::Broken(_))));
}
