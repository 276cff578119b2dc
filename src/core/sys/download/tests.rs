//! Downloads from a server on loopback that cuts, stalls and lies.

use crate::sys::clock;
use crate::sys::loopback::{Reply, Server};
use sha2::{Digest as _, Sha256};

use super::*;

fn body() -> Vec<u8> {
    (0..300_000_u32).map(|number| (number % 251) as u8).collect()
}

fn digest() -> [u8; 32] {
    Sha256::digest(body()).into()
}

struct Setup {
    dir: fs::TempDir,
    url: String,
}

impl Setup {
    fn new(server: &Server) -> Self {
        Self { dir: tempfile::tempdir().unwrap(), url: format!("{}/file", server.url) }
    }

    fn get(&self, cancel: &Cancel) -> Result<Vec<u8>, DownloadError> {
        let path = self.dir.path().join("file");
        let download =
            Download { url: &self.url, path: &path, sha256: Some(digest()), size: None, limit: 1 << 20 };
        Client::new(false).file(&download, cancel, &mut |_, _| ())?;
        Ok(fs::read(&path).unwrap())
    }
}

#[test]
fn a_cut_connection_is_resumed_where_it_broke() {
    let server = Server::start(|request| match request.number {
        0 => Reply::Cut(body(), 100_000),
        _ => Reply::Whole(body()),
    });
    assert_eq!(Setup::new(&server).get(&Cancel::new()).unwrap(), body());
    let requests = server.requests();
    assert_eq!((requests.len(), requests[1].offset), (2, 100_000));
}

#[test]
fn who_brings_next_to_nothing_at_each_attempt_is_given_up() {
    // Each answer has ten bytes more than the one before it.
    let server = Server::start(|request| Reply::Cut(body(), 10.min(body().len() - request.offset)));
    let error = Setup::new(&server).get(&Cancel::new()).unwrap_err();
    assert!(matches!(error, DownloadError::Network { attempts: 4, .. }), "{error}");
    assert_eq!(server.requests().len(), 4);
}

#[test]
fn what_an_earlier_process_left_is_resumed_and_dropped_if_it_was_wrong() {
    let server = Server::start(|_| Reply::Whole(body()));
    let setup = Setup::new(&server);
    fs::write_atomic(&setup.dir.path().join("file.partial"), b"something else", 0o644).unwrap();
    assert_eq!(setup.get(&Cancel::new()).unwrap(), body());
    let offsets: Vec<_> = server.requests().iter().map(|request| request.offset).collect();
    assert_eq!(offsets, [14, 0]);
}

#[test]
fn wrong_bytes_are_refused_and_not_kept() {
    let server = Server::start(|_| Reply::Whole(vec![7; 1000]));
    let setup = Setup::new(&server);
    let error = setup.get(&Cancel::new()).unwrap_err();
    assert_eq!(error.exit_code(), ExitCode::CorruptDownload);
    let left: Vec<_> = fs::read_dir(setup.dir.path()).unwrap().map(|e| e.unwrap().file_name()).collect();
    assert_eq!(left, ["file.lock"]);
}

#[test]
fn a_busy_server_is_asked_again_and_a_missing_file_is_not() {
    let server = Server::start(|request| match request.number {
        0 => Reply::Status(503),
        _ => Reply::Whole(body()),
    });
    assert_eq!(Setup::new(&server).get(&Cancel::new()).unwrap(), body());
    let server = Server::start(|_| Reply::Status(404));
    assert!(Setup::new(&server).get(&Cancel::new()).unwrap_err().is_not_found());
    assert_eq!(server.requests().len(), 1);
}

#[test]
fn a_stalled_server_does_not_delay_an_interrupt() {
    let server = Server::start(|_| Reply::Stall(body(), 1000));
    let cancel = Cancel::new().within(Duration::from_millis(300), "the test");
    let start = clock::Instant::now();
    let error = Setup::new(&server).get(&cancel).unwrap_err();
    assert_eq!(error.exit_code(), ExitCode::TimedOut);
    assert!(start.elapsed() < Duration::from_secs(10));
}

#[test]
fn more_than_the_limit_is_refused() {
    let server = Server::start(|_| Reply::Whole(body()));
    let error = Client::new(false).small(&server.url, 1000, &Cancel::new()).unwrap_err();
    assert_eq!(error.exit_code(), ExitCode::CorruptDownload);
}

#[test]
fn redirects_are_followed_and_end() {
    let other = Server::start(|_| Reply::Whole(body()));
    let to = format!("{}/moved", other.url);
    let moved = |to: &str| {
        Reply::Raw(format!(
            "HTTP/1.1 302 x\r\nLocation: {to}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
        ))
    };
    let server = Server::start(move |_| moved(&to));
    assert_eq!(Setup::new(&server).get(&Cancel::new()).unwrap(), body());
    assert_eq!(other.requests()[0].path, "/moved");
    let server = Server::start(move |_| moved("/again"));
    let error = Setup::new(&server).get(&Cancel::new()).unwrap_err();
    assert!(error.to_string().contains("without end"), "{error}");
}

#[test]
fn offline_asks_nobody() {
    let server = Server::start(|_| Reply::Whole(body()));
    let error = Client::new(true).small(&server.url, 1000, &Cancel::new()).unwrap_err();
    assert_eq!(error.exit_code(), ExitCode::Offline);
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("file");
    let download = Download { url: &server.url, path: &path, sha256: None, size: None, limit: 1 << 20 };
    let error = Client::new(true).file(&download, &Cancel::new(), &mut |_, _| ()).unwrap_err();
    assert_eq!(error.exit_code(), ExitCode::Offline);
    assert!(!dir.path().join("file.partial").exists());
    assert!(server.requests().is_empty());
}

/// A file of text, with or without its digest and size.
struct Text<'a> {
    sha256: Option<&'a str>,
    size: Option<u64>,
}

impl Text<'_> {
    fn get(&self, server: &Server) -> Result<String, DownloadError> {
        let dir = tempfile::tempdir().unwrap();
        let (url, path) = (format!("{}/file", server.url), dir.path().join("file"));
        let sha256 = self.sha256.map(|text| Sha256::digest(text).into());
        let download = Download { url: &url, path: &path, sha256, size: self.size, limit: 1 << 20 };
        quick().file(&download, &Cancel::new(), &mut |_, _| ())?;
        Ok(fs::read_to_string(&path).unwrap())
    }
}

/// A client that does not wait long between attempts.
fn quick() -> Client {
    let client = Client::with(&Environment::default(), false);
    let patience = http::Patience { back_off: Duration::from_millis(1), ..client.patience };
    Client { patience, ..client }
}

/// An answer whose body may be shorter than `length`.
fn answer(status: u16, fields: &str, length: usize, body: &str) -> Reply {
    Reply::Raw(format!(
        "HTTP/1.1 {status} x\r\n{fields}Content-Length: {length}\r\nConnection: close\r\n\r\n{body}"
    ))
}

fn moved(status: u16, to: &str) -> Reply {
    answer(status, &format!("Location: {to}\r\n"), 0, "")
}

#[test]
fn a_server_is_left_alone_for_as_long_as_it_asks() {
    let server = Server::start(|request| match request.number {
        0 => answer(429, "Retry-After: 1\r\n", 0, ""),
        _ => answer(200, "", 4, "text"),
    });
    let told = std::sync::Arc::new(std::sync::Mutex::new(Vec::new()));
    let cancel = {
        let told = std::sync::Arc::clone(&told);
        Cancel::new().telling(std::sync::Arc::new(move |text| told.lock().unwrap().push(text)))
    };
    let start = clock::Instant::now();
    assert_eq!(quick().small(&server.url, 1000, &cancel).unwrap(), b"text");
    assert!(start.elapsed() >= Duration::from_secs(1));
    let host = server.url.trim_start_matches("http://");
    assert_eq!(
        told.lock().unwrap().as_slice(),
        [format!("waiting 1s, as asked: {host} answered 429 (`{}`)", server.url)]
    );
    // A date, and longer than anybody waits.
    let server = Server::start(|_| answer(503, "Retry-After: Wed, 31 Dec 2098 23:59:59 GMT\r\n", 0, ""));
    let error = quick().small(&server.url, 1000, &Cancel::new()).unwrap_err();
    assert!(matches!(error, DownloadError::Network { attempts: 1, .. }), "{error}");
    assert!(error.hint().unwrap().contains("as the server asks"), "{:?}", error.hint());
    // With another server at hand there is no need to wait for a minute.
    let server = Server::start(|_| answer(503, "Retry-After: 60\r\n", 0, ""));
    let start = clock::Instant::now();
    quick().trying(2).small(&server.url, 1000, &Cancel::new()).unwrap_err();
    assert!(start.elapsed() < Duration::from_secs(30));
}

#[test]
fn pieces_of_two_versions_are_not_put_together() {
    let (old, new) = ("old old old", "new new new");
    let server = Server::start(move |request| match request.number {
        0 => Reply::Cut(old.into(), 4),
        _ => Reply::Whole(new.into()),
    });
    let text = Text { sha256: Some(new), size: Some(11) };
    assert_eq!(text.get(&server).unwrap(), new);
    let offsets: Vec<_> = server.requests().iter().map(|request| request.offset).collect();
    assert_eq!(offsets, [0, 4, 0]);
}

/// Makes the answer to the second request.
type Then = Box<dyn Fn() -> Reply + Send + Sync>;

#[test]
fn a_file_without_a_digest_is_resumed_if_it_has_not_changed() {
    let tag = |tag: &str| format!("ETag: {tag}\r\nLast-Modified: Wed, 01 Jul 2026 00:00:00 GMT\r\n");
    let part = |tag: &str, range: &str, body: &str| {
        answer(206, &format!("{tag}Content-Range: bytes {range}\r\n"), body.len(), body)
    };
    let (same, other) = (tag("\"1\""), tag("\"2\""));
    let cases: [(&str, Then, &str); 5] = [
        (
            "the same",
            Box::new({
                let same = same.clone();
                move || part(&same, "4-8/9", "-rest")
            }),
            "part-rest",
        ),
        ("a server without tags", Box::new(move || part("", "4-8/9", "-rest")), "part-rest"),
        (
            "another",
            Box::new({
                let other = other.clone();
                move || answer(200, &other, 5, "other")
            }),
            "other",
        ),
        ("a server that overlooks the condition", Box::new(move || part(&other, "4-8/9", "-wron")), "again"),
        ("another size", Box::new(move || part("", "4-9/10", "-wrong")), "again"),
    ];
    for (name, then, expected) in cases {
        let first = same.clone();
        let server = Server::start(move |request| match request.number {
            0 => answer(200, &first, 9, "part"),
            1 => then(),
            _ => answer(200, "", 5, "again"),
        });
        assert_eq!(Text { sha256: None, size: None }.get(&server).unwrap(), expected, "{name}");
        let asked = server.requests()[1].head.to_ascii_lowercase();
        assert!(asked.contains("range: bytes=4-") && asked.contains("if-range: \"1\""), "{asked}");
    }
    // With a digest the tag is of no matter: mirrors that share a name have different ones.
    let server = Server::start(move |request| match request.number {
        0 => answer(200, &tag("\"1\""), 9, "part"),
        _ => part(&tag("\"2\""), "4-8/9", "-rest"),
    });
    assert_eq!(Text { sha256: Some("part-rest"), size: None }.get(&server).unwrap(), "part-rest");
    assert!(!server.requests()[1].head.to_ascii_lowercase().contains("if-range"));
}

#[test]
fn a_body_that_ends_with_its_connection_is_resumed_if_it_is_too_short() {
    let server = Server::start(|request| match request.number {
        0 => Reply::Raw("HTTP/1.1 200 x\r\nConnection: close\r\n\r\npart".into()),
        _ => answer(206, "Content-Range: bytes 4-8/9\r\n", 5, "-rest"),
    });
    assert_eq!(Text { sha256: Some("part-rest"), size: Some(9) }.get(&server).unwrap(), "part-rest");
}

#[test]
fn a_file_of_another_size_is_refused_before_it_has_come() {
    let server = Server::start(|_| answer(200, "", 500_000, "x"));
    let error = Text { sha256: Some("part-rest"), size: Some(9) }.get(&server).unwrap_err();
    assert!(error.to_string().ends_with("expected 9 bytes, got 500000 bytes"), "{error}");
    assert_eq!(server.requests().len(), 1);
}

#[test]
fn redirects_are_followed_ten_times_and_a_wrong_one_is_not_tried_again() {
    let chain = |length: usize| {
        Server::start(move |request| match request.number {
            number if number < length => moved(301, &format!("/{number}")),
            _ => answer(200, "", 4, "text"),
        })
    };
    let get = |server: &Server| quick().small(&server.url, 1000, &Cancel::new());
    assert_eq!(get(&chain(10)).unwrap(), b"text");
    let server = chain(11);
    let error = get(&server).unwrap_err();
    assert!(matches!(error, DownloadError::Redirect { .. }), "{error}");
    assert_eq!((error.exit_code(), server.requests().len()), (ExitCode::Network, 11));
    let server = Server::start(|_| moved(302, "ftp://mirror.example/"));
    assert!(get(&server).unwrap_err().to_string().contains("redirects to an invalid URL"));
    assert_eq!(server.requests().len(), 1);
    let error = quick().small("mirror.example", 1000, &Cancel::new()).unwrap_err();
    assert!(matches!(error, DownloadError::Invalid { .. }), "{error}");
}

#[test]
fn a_link_that_has_expired_is_asked_for_anew() {
    let store = Server::start(|request| match request.number {
        0 => answer(403, "", 0, ""),
        _ => answer(200, "", 4, "text"),
    });
    let to = format!("{}/signed", store.url);
    let server = Server::start(move |_| moved(307, &to));
    assert_eq!(quick().small(&server.url, 1000, &Cancel::new()).unwrap(), b"text");
    assert_eq!((server.requests().len(), store.requests().len()), (2, 2));
}

#[test]
fn what_another_attempt_would_not_change_is_not_tried_again() {
    for status in [403, 501, 505] {
        let server = Server::start(move |_| Reply::Status(status));
        let error = quick().small(&server.url, 1000, &Cancel::new()).unwrap_err();
        assert!(matches!(error, DownloadError::Status { status: found, .. } if found == status), "{error}");
        assert_eq!(server.requests().len(), 1);
    }
    let url = Url::parse("https://mirror.example/file").unwrap();
    let failed = |error| {
        let attempt = Anonymous { url: "https://mirror.example/file" }.failed(error, &Trail::new(&url, &url));
        let http::Attempt::Over(error) = attempt else { panic!("{attempt:?}") };
        assert!(error.is_of_server() && error.hint().is_some(), "{error}");
        (error.to_string(), error.exit_code())
    };
    let reason = "invalid peer certificate: UnknownIssuer".to_owned();
    let (message, code) = failed(HttpError::Tls { reason: reason.clone(), certificate: true });
    assert_eq!(
        message,
        format!("`https://mirror.example/file`: no secure connection to mirror.example: {reason}")
    );
    assert_eq!(code, ExitCode::Tls);
    assert_eq!(failed(HttpError::Identity("certificate required".into())).1, ExitCode::Tls);
    assert_eq!(failed(HttpError::Invalid("too long".into())).1, ExitCode::Network);
}

#[test]
fn a_document_must_come_within_a_time_that_its_size_bounds() {
    let head = "HTTP/1.1 200 x\r\nContent-Length: 1000000\r\n\r\n";
    let text = "x".repeat(1_000_000);
    let server =
        Server::start(move |_| Reply::Trickle(head.into(), text.clone(), Duration::from_micros(200)));
    let transport = Transport::new(&Environment::default(), Duration::from_millis(500));
    let client = Client { transport, ..quick().trying(1) };
    let error = client.small(&server.url, 2_000_000, &Cancel::new()).unwrap_err();
    assert!(error.to_string().contains("for a document"), "{error}");
}

#[test]
fn a_proxy_that_may_have_refused_is_named() {
    let proxy = Server::start(|_| answer(403, "", 0, ""));
    let environment = [("http_proxy", proxy.url.as_str())].into_iter().collect();
    let client = Client::with(&environment, false);
    let error = client.small("http://mirror.example/file", 1000, &Cancel::new()).unwrap_err();
    let expected = format!(
        "`http://mirror.example/file`: the server answered 403 through the proxy {} of http_proxy",
        proxy.url
    );
    assert_eq!(error.to_string(), expected);
}
