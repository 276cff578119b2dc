//! Registries, token services and what lies in between that say what is not so.

use super::*;
use crate::oci::Encoded;
use crate::sys::loopback::Request;

/// A registry whose first request, which is for TLS, is not counted.
fn registry(answer: impl Fn(&Request, usize) -> Reply + Send + Sync + 'static) -> Server {
    let count = std::sync::atomic::AtomicUsize::new(0);
    Server::start(move |request| {
        if !request.head.contains("HTTP/1.1") {
            return Reply::Status(400);
        }
        answer(request, count.fetch_add(1, std::sync::atomic::Ordering::SeqCst))
    })
}

fn part(range: &str, body: &str) -> Reply {
    answer(206, &format!("Content-Range: bytes {range}\r\n"), body)
}

/// A manifest, and the blob that it names.
fn manifest() -> Encoded {
    let media_type = "application/vnd.oci.image.manifest.v1+json";
    let (blob, _) = blob();
    let document = serde_json::json!({
        "schemaVersion": 2, "mediaType": media_type, "config": blob, "layers": [],
    });
    Encoded::new(media_type, &document)
}

/// A file with the bytes of `blob()`.
fn file() -> (tempfile::TempDir, std::path::PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("blob");
    crate::sys::fs::write_atomic(&path, blob().1.as_bytes(), 0o644).unwrap();
    (dir, path)
}

fn paths(server: &Server) -> Vec<String> {
    spoken(server).iter().map(|head| head.lines().next().unwrap_or_default().to_owned()).collect()
}

#[test]
fn a_web_page_is_no_answer_of_a_registry() {
    // As of a portal that wants a login: it takes everything and has done nothing.
    let portal =
        || registry(|_, _| answer(200, "Content-Type: text/html; charset=utf-8\r\n", "<html>Log in!</html>"));
    let cancel = Cancel::new();
    let told = |error: RegistryError| {
        assert_eq!(error.exit_code(), ExitCode::Refused, "{error}");
        assert!(error.to_string().contains("a web page"), "{error}");
        assert!(error.hint().is_some_and(|hint| hint.contains("something else may answer there")));
    };
    let server = portal();
    let repository = repository(&server);
    told(repository.manifest(Wanted::Tag("v1"), &cancel).unwrap_err());
    told(repository.head(Wanted::Tag("v1"), &cancel).unwrap_err());
    told(repository.has_blob(&blob().0, &cancel).unwrap_err());
    told(repository.tags(&cancel).unwrap_err());
    told(repository.put_manifest(Wanted::Tag("v1"), &manifest(), &cancel).unwrap_err());
    let (_dir, path) = file();
    told(repository.push_blob(&blob().0, &path, &[], &cancel, &mut |_| ()).unwrap_err());
    // A blob may be a page; whether it is the right one its digest tells.
    let error = repository.small_blob(&blob().0, &cancel).unwrap_err();
    assert!(matches!(error, RegistryError::Mismatch { .. }), "{error}");
}

#[test]
fn a_digest_that_is_told_is_not_believed() {
    let wrong = Digest::of(b"something else");
    let document = manifest();
    let text = String::from_utf8(document.bytes.clone()).unwrap();
    let field = format!("Docker-Content-Digest: {wrong}\r\n");
    let server = registry(move |request, _| match request.head.split(' ').next() {
        Some("PUT") => answer(201, &field, ""),
        _ => answer(200, &field, &text),
    });
    let repository = repository(&server);
    let cancel = Cancel::new();
    let told = |error: RegistryError| {
        assert_eq!(error.exit_code(), ExitCode::CorruptDownload, "{error}");
        assert!(error.to_string().contains(wrong.hex()), "{error}");
    };
    told(repository.manifest(Wanted::Tag("v1"), &cancel).unwrap_err());
    told(repository.head(Wanted::Digest(document.digest()), &cancel).unwrap_err());
    // What is stored under a tag is sent again, for the way may have spoilt it, and then it is over.
    let before = spoken(&server).len();
    let error = repository.put_manifest(Wanted::Tag("v1"), &document, &cancel).unwrap_err();
    assert!(matches!(error, RegistryError::Transient { attempts: 3, .. }), "{error}");
    assert_eq!(spoken(&server).len() - before, 3);
    // Of what is not told in an algorithm that is known nothing follows.
    let text = String::from_utf8(document.bytes.clone()).unwrap();
    let server = registry(move |_, _| answer(200, "Docker-Content-Digest: md5:0\r\n", &text));
    let found = super::repository(&server).head(Wanted::Tag("v1"), &cancel).unwrap().unwrap();
    assert_eq!(found.digest, *document.digest());
}

#[test]
fn ranges_that_are_not_those_asked_for_are_put_right_or_refused() {
    let (descriptor, text) = blob();
    let length = text.len();
    let fetch = |then: fn(&str) -> Reply| {
        let whole = text.clone();
        let server = registry(move |_, number| match number {
            0 => Reply::Cut(whole.clone().into_bytes(), 5),
            _ => then(&whole),
        });
        let result = repository(&server).small_blob(&descriptor, &Cancel::new());
        (result, spoken(&server).len())
    };
    // From an earlier byte, from the start, or without saying from where: what is there already is passed over.
    for then in [
        (|whole: &str| part(&format!("3-{}/{}", whole.len() - 1, whole.len()), &whole[3..]))
            as fn(&str) -> Reply,
        |whole| answer(200, "", whole),
        |whole| answer(206, "", &whole[5..]),
    ] {
        assert_eq!(fetch(then).0.unwrap(), text.as_bytes());
    }
    // From a later one: what lies between would be missing.
    let (result, asked) = fetch(|whole| part(&format!("9-{}/{}", whole.len() - 1, whole.len()), &whole[9..]));
    let error = result.unwrap_err();
    assert!(matches!(error, RegistryError::Transient { .. }) && asked <= 5, "{error} {asked}");
    assert!(error.to_string().contains("skipped from byte 5 to 9"), "{error}");
    // Another part under the right name, a part that is too long, and nothing any more.
    for (then, word) in [
        (
            (|whole: &str| part(&format!("5-{}/{}", whole.len() - 1, whole.len()), &whole[..whole.len() - 5]))
                as fn(&str) -> Reply,
            "sha256:",
        ),
        (|whole| part("5-99/100", &whole.repeat(2)), "bytes"),
        (|_| answer(416, "", ""), "no more than 5 bytes"),
    ] {
        let error = fetch(then).0.unwrap_err();
        assert!(matches!(error, RegistryError::Mismatch { .. }), "{error}");
        assert!(error.to_string().contains(word), "{error}");
    }
    assert!(length > 9);
}

#[test]
fn a_list_that_leads_elsewhere_or_in_a_circle_is_not_taken_for_whole() {
    let page = |link: String| {
        registry(move |request, _| {
            let fields = format!("Link: {link}\r\n");
            if request.path.contains("last=") {
                answer(200, "", r#"{"tags":["b"]}"#)
            } else {
                answer(200, &fields, r#"{"tags":["a"]}"#)
            }
        })
    };
    let tags = |link: &str| repository(&page(link.to_owned())).tags(&Cancel::new());
    assert_eq!(tags(r#"</v2/a/b/tags/list?n=1000&last=a>; rel="next""#).unwrap(), ["a", "b"]);
    assert_eq!(tags(r#"<list?n=1000&last=a>; rel="next""#).unwrap(), ["a", "b"]);
    let elsewhere = registry(|_, _| answer(200, "", r#"{"tags":["c"]}"#));
    let error = tags(&format!(r#"<{}/v2/a/b/tags/list?last=a>; rel="next""#, elsewhere.url)).unwrap_err();
    assert!(error.to_string().contains("goes on at another server"), "{error}");
    assert_eq!(spoken(&elsewhere).len(), 0);
    let error = tags(r#"<?n=1000>; rel="next""#).unwrap_err();
    assert_eq!(error.exit_code(), ExitCode::Refused);
    assert!(error.to_string().contains("leads back"), "{error}");
    // Told without TLS by a registry that does not know of what is in front of it.
    let endpoint = endpoint("https://r.example:8443/v2/a");
    let allowed = |text: &str| endpoint.allowed(Url::parse(text).unwrap()).map(|url| url.text());
    assert_eq!(
        allowed("http://r.example/v2/a?last=x").as_deref(),
        Some("https://r.example:8443/v2/a?last=x")
    );
    assert_eq!(allowed("http://r.example:5000/v2/a").as_deref(), Some("https://r.example:8443/v2/a"));
}

fn endpoint(base: &str) -> Endpoint {
    Endpoint {
        name: "r.example/a".parse().unwrap(),
        base: Url::parse(base).unwrap(),
        trust: Certificates::default(),
        part: None,
        named: true,
        access: Access::Push,
    }
}

/// Pushes the blob to a registry with a password, which tells this place for uploads.
fn push(server: &Server) -> Result<crate::registry::Pushed, RegistryError> {
    let (_dir, path) = file();
    repository(server).push_blob(&blob().0, &path, &[], &Cancel::new(), &mut |_| ())
}

#[test]
fn an_upload_goes_where_it_is_led_and_who_we_are_stays() {
    let known = |request: &Request| request.head.to_ascii_lowercase().contains("authorization: basic");
    let guarded = move |location: String| {
        registry(move |request, _| match request.head.split(' ').next() {
            _ if !known(request) => answer(401, "WWW-Authenticate: Basic realm=\"x\"\r\n", ""),
            Some("HEAD") => Reply::Status(404),
            Some("POST") => answer(202, &format!("Location: {location}\r\n"), ""),
            Some("PUT") if request.body == blob().1.as_bytes() => answer(201, "", ""),
            _ => answer(500, "", ""),
        })
    };
    // Relative in either way.
    for location in ["/v2/a/b/blobs/uploads/1?state=x", "1?state=x"] {
        let server = guarded(location.to_owned());
        push(&server).unwrap();
        let put = paths(&server).pop().unwrap();
        assert!(put.starts_with("PUT /v2/a/b/blobs/uploads/1?state=x&digest=sha256:"), "{put}");
    }
    // Another port is another server.
    let store = registry(|_, _| answer(201, "", ""));
    let server = guarded(format!("{}/up/1", store.url));
    push(&server).unwrap();
    let reached = spoken(&store);
    assert_eq!(reached.len(), 1);
    assert!(!reached[0].to_ascii_lowercase().contains("authorization"), "{}", reached[0]);
    // One that asks who we are is not told, and what is no address is no place.
    let curious = registry(|_, _| answer(401, "WWW-Authenticate: Basic realm=\"x\"\r\n", ""));
    let server = guarded(format!("{}/up/1", curious.url));
    let error = push(&server).unwrap_err();
    assert_eq!(error.exit_code(), ExitCode::Network);
    assert!(spoken(&curious).iter().all(|head| !head.to_ascii_lowercase().contains("authorization")));
    for location in ["ftp://x/1", "https://user:pass@127.0.0.1/1"] {
        let error = push(&guarded(location.to_owned())).unwrap_err();
        assert!(error.to_string().contains("does not give the URL of the upload"), "{error}");
    }
}

#[test]
fn an_upload_that_is_always_said_to_be_further_ends() {
    let count = std::sync::atomic::AtomicU64::new(1 << 40);
    let server = registry(move |request, _| match request.head.split(' ').next() {
        Some("HEAD") => Reply::Status(404),
        Some("POST") => answer(202, "Location: /v2/a/b/blobs/uploads/1\r\n", ""),
        Some("GET") => {
            let end = count.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
            answer(204, &format!("Range: 0-{end}\r\n"), "")
        }
        _ => answer(503, "", ""),
    });
    let error = push(&server).unwrap_err();
    assert!(matches!(error, RegistryError::Transient { attempts: 3, .. }), "{error}");
}

#[test]
fn an_upload_that_creeps_forward_is_given_up() {
    let text = "x".repeat(200_000);
    let blob = Descriptor::new("application/octet-stream", Digest::of(text.as_bytes()), text.len() as u64);
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("blob");
    crate::sys::fs::write_atomic(&path, text.as_bytes(), 0o644).unwrap();
    // Each attempt brings less than counts as progress, and two of them together bring more.
    let count = std::sync::atomic::AtomicU64::new(0);
    let server = registry(move |request, _| match request.head.split(' ').next() {
        Some("HEAD") => Reply::Status(404),
        Some("POST") => answer(202, "Location: /v2/a/b/blobs/uploads/1\r\n", ""),
        Some("GET") => {
            let end = count.fetch_add(3000, std::sync::atomic::Ordering::SeqCst) + 2999;
            answer(204, &format!("Range: 0-{end}\r\n"), "")
        }
        _ => answer(503, "", ""),
    });
    let pushed = repository(&server).push_blob(&blob, &path, &[], &Cancel::new(), &mut |_| ());
    let error = pushed.unwrap_err();
    assert!(matches!(error, RegistryError::Transient { attempts: 3, .. }), "{error}");
}

/// A registry with a token service that gives this answer; how often each was asked after three blobs.
fn with_token(body: &'static str) -> (Result<(), RegistryError>, usize) {
    let tokens = Server::start(move |_| answer(200, "", body));
    let challenge = format!(
        "WWW-Authenticate: Negotiate abc==, Basic realm=\"x\", Bearer realm=\"{}/token\"\r\n",
        tokens.url
    );
    let server = registry(move |request, _| {
        let known = request.head.contains("Bearer good");
        if known { answer(200, "", &blob().1) } else { answer(401, &challenge, "") }
    });
    let repository = repository(&server);
    let fetch = || repository.small_blob(&blob().0, &Cancel::new()).map(drop);
    let result = (0..3).try_for_each(|_| fetch());
    (result, spoken(&tokens).len())
}

#[test]
fn tokens_are_taken_in_every_form_and_kept_as_long_as_they_are_good() {
    for (body, asked) in [
        (r#"{"access_token":"good"}"#, 1),
        (r#"{"token":"","access_token":"good","expires_in":3600}"#, 1),
        (r#"{"token":"good","expires_in":"3600"}"#, 1),
        (r#"{"token":"good","expires_in":3600.5}"#, 1),
        (r#"{"token":"good","expires_in":18446744073709551615}"#, 1),
        (r#"{"token":"good","expires_in":null,"issued_at":null}"#, 1),
        (r#"{"token":"good","expires_in":-1}"#, 1),
        // Whatever its clock says: a token's life begins when it comes.
        (r#"{"token":"good","expires_in":300,"issued_at":"1999-01-01T00:00:00Z"}"#, 1),
        (r#"{"token":"good","expires_in":300,"issued_at":"2999-01-01T00:00:00Z"}"#, 1),
        // Good for this one request.
        (r#"{"token":"good","expires_in":0}"#, 3),
        (r#"{"token":"good","expires_in":3}"#, 3),
    ] {
        let (result, times) = with_token(body);
        result.unwrap_or_else(|error| panic!("{body}: {error}"));
        assert_eq!(times, asked, "{body}");
    }
    for body in ["{}", r#"{"token":""}"#, r#"{"token":"a\r\nx: y"}"#, "<html>", r#"{"token":7}"#] {
        let error = with_token(body).0.unwrap_err();
        assert!(error.to_string().contains("has no token in it"), "{body}: {error}");
    }
    // A token that the registry does not take is not asked for without end.
    let (result, times) = with_token(r#"{"token":"bad"}"#);
    assert_eq!((result.unwrap_err().exit_code(), times), (ExitCode::Unauthorized, 2));
}

#[test]
fn who_we_are_does_not_follow_where_a_token_service_leads() {
    let other = Server::start(|_| answer(200, "", r#"{"token":"good"}"#));
    let to = other.url.clone();
    let tokens = Server::start(move |_| answer(307, &format!("Location: {to}/token\r\n"), ""));
    let challenge = format!("WWW-Authenticate: Bearer realm=\"{}/token\"\r\n", tokens.url);
    let server = registry(move |_, _| answer(401, &challenge, ""));
    let error = repository(&server).small_blob(&blob().0, &Cancel::new()).unwrap_err();
    assert!(error.to_string().contains("token service answers 307"), "{error}");
    assert_eq!(spoken(&other).len(), 0);
}

#[test]
fn a_registry_lists_what_refers_to_an_image_by_itself() {
    let media_type = "application/vnd.oci.image.manifest.v1+json";
    let entry = |kind: &str| {
        let mut entry = Descriptor::new(media_type, Digest::of(kind.as_bytes()), 3);
        entry.other.insert("artifactType".into(), kind.into());
        entry
    };
    let list = serde_json::json!({ "schemaVersion": 2, "manifests": [entry("a/one"), entry("a/two")] });
    let server = registry(move |request, _| match request.head.split(' ').next() {
        Some("GET") if request.path.contains("/referrers/sha256:") => answer(200, "", &list.to_string()),
        Some("PUT") => answer(201, "OCI-Subject: sha256:0\r\n", ""),
        _ => Reply::Status(404),
    });
    let (repository, cancel) = (repository(&server), Cancel::new());
    let subject = manifest();
    let found = repository.referrers(subject.digest(), None, &cancel).unwrap();
    assert_eq!(found, [entry("a/one"), entry("a/two")]);
    // A registry need not know how to choose.
    let found = repository.referrers(subject.digest(), Some("a/two"), &cancel).unwrap();
    assert_eq!(found, [entry("a/two")]);
    assert!(paths(&server).last().unwrap().contains("artifactType=a/two"));
    // One that enters them itself gets no index under a tag.
    let before = paths(&server).len();
    repository.put_referrer(subject.digest(), &subject, &entry("a/one"), &cancel).unwrap();
    assert_eq!(paths(&server).len() - before, 1);
}
