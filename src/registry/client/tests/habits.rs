//! What registries and what stands before them are used to do, none of it in the specification, each answered here.

use std::io::Write;

use super::*;

/// The method and the path of a request.
fn line(request: &crate::sys::loopback::Request) -> (String, String) {
    let mut words = request.head.split([' ', '\n']);
    (words.next().unwrap_or_default().to_owned(), words.next().unwrap_or_default().to_owned())
}

fn field(request: &crate::sys::loopback::Request, name: &str) -> Option<String> {
    request.head.lines().find_map(|line| {
        let (known, value) = line.split_once(": ")?;
        known.eq_ignore_ascii_case(name).then(|| value.to_owned())
    })
}

/// A registry: what `special` does not answer is answered as the specification has it, for a blob that is not there.
fn registry(
    special: impl Fn(&crate::sys::loopback::Request) -> Option<Reply> + Send + Sync + 'static,
) -> Server {
    Server::start(move |request| {
        if let Some(reply) = special(request) {
            return reply;
        }
        let (method, path) = line(request);
        match method.as_str() {
            "POST" | "PATCH" => answer(202, "Location: /v2/a/b/blobs/uploads/1?state=x\r\n", ""),
            "PUT" => answer(201, "", ""),
            _ if path.contains("/blobs/uploads/") => answer(204, "Range: 0-0\r\n", ""),
            _ => answer(404, "", ""),
        }
    })
}

/// A file of so many bytes, and its descriptor.
fn file(size: usize) -> (tempfile::NamedTempFile, Descriptor) {
    let bytes: Vec<u8> = (0..size).map(|at| u8::try_from(at * 7 % 251).unwrap()).collect();
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(&bytes).unwrap();
    (file, Descriptor::new("application/octet-stream", Digest::of(&bytes), size as u64))
}

fn push(server: &Server, size: usize) -> (Result<crate::registry::Pushed, RegistryError>, Descriptor) {
    let (file, descriptor) = file(size);
    (repository(server).push_blob(&descriptor, file.path(), &[], &Cancel::new(), &mut |_| ()), descriptor)
}

/// What was asked, as `METHOD path`, without the look at how it speaks.
fn asked(server: &Server) -> Vec<String> {
    spoken(server).iter().map(|head| head.split(' ').take(2).collect::<Vec<_>>().join(" ")).collect()
}

/// The answer to HEAD for so many bytes.
fn headed(length: usize) -> Reply {
    Reply::Raw(format!("HTTP/1.1 200 x\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n"))
}

#[test]
fn a_blob_behind_a_link_that_is_good_for_get_alone_is_there() {
    for status in [400, 401, 403, 405, 501] {
        let (_, descriptor) = file(1000);
        let store = Server::start(move |request| match line(request).0.as_str() {
            "HEAD" => answer(status, "", ""),
            _ => answer(206, "Content-Range: bytes 0-0/1000\r\n", "x"),
        });
        let to = store.url.clone();
        let server = registry(move |request| {
            let is_blob = line(request).1.contains("/blobs/sha256:");
            is_blob.then(|| answer(307, &format!("Location: {to}/x?signature=1\r\n"), ""))
        });
        let repository = repository(&server);
        assert!(repository.has_blob(&descriptor, &Cancel::new()).unwrap(), "{status}");
        let (pushed, _) = push(&server, 1000);
        assert_eq!(pushed.unwrap(), crate::registry::Pushed::Present, "{status}");
        assert_eq!(spoken(&store).len(), 4, "{status}: each by HEAD and by GET, and nothing again");
    }
}

#[test]
fn what_nobody_would_say_is_sent() {
    let refuses = registry(|request| {
        let is_blob = line(request).1.contains("/blobs/sha256:");
        is_blob.then(|| answer(403, "", ""))
    });
    assert_eq!(push(&refuses, 1000).0.unwrap(), crate::registry::Pushed::Uploaded);
    // A length of HEAD's own is looked into.
    let empty = registry(|request| {
        let is_blob = line(request).1.contains("/blobs/sha256:");
        is_blob.then(|| match line(request).0.as_str() {
            "HEAD" => answer(200, "", ""),
            _ => answer(206, "Content-Range: bytes 0-0/1000\r\n", "x"),
        })
    });
    assert_eq!(push(&empty, 1000).0.unwrap(), crate::registry::Pushed::Present);
    let (result, _) = push(&empty, 999);
    assert!(matches!(result, Err(RegistryError::Mismatch { .. })), "{result:?}");
}

#[test]
fn a_manifest_whose_head_is_refused_is_read() {
    let document = r#"{"schemaVersion":2,"layers":[]}"#;
    for status in [400, 403, 405, 406, 501] {
        let server = Server::start(move |request| match line(request).0.as_str() {
            "HEAD" => answer(status, "", ""),
            _ => answer(200, "", document),
        });
        let found = repository(&server).head(Wanted::Tag("v1"), &Cancel::new()).unwrap().unwrap();
        assert_eq!(found.digest, Digest::of(document.as_bytes()), "{status}");
    }
}

/// A registry behind a proxy that takes no body of more than `limit` bytes; what has come is kept.
fn limited(limit: usize, least: u64) -> (Server, Arc<Mutex<Vec<u8>>>) {
    let kept: Arc<Mutex<Vec<u8>>> = Arc::default();
    let store = Arc::clone(&kept);
    let server = registry(move |request| {
        if request.body.len() > limit {
            return Some(answer(413, "Content-Type: text/html\r\n", "<html>"));
        }
        let (method, path) = line(request);
        if !path.contains("/blobs/uploads/") {
            return None;
        }
        let mut store = store.lock().unwrap();
        match method.as_str() {
            "POST" => store.clear(),
            "PATCH" => {
                let start =
                    field(request, "content-range").map(|range| range.split('-').next().unwrap().to_owned());
                if start.is_some_and(|start| start != store.len().to_string()) {
                    return Some(answer(416, "", ""));
                }
                store.extend_from_slice(&request.body);
            }
            "PUT" => {
                store.extend_from_slice(&request.body);
                return Some(answer(201, "", ""));
            }
            _ => return None,
        }
        let fields = format!(
            "Location: /v2/a/b/blobs/uploads/1?state={}\r\nOCI-Chunk-Min-Length: {least}\r\n",
            store.len()
        );
        Some(answer(202, &fields, ""))
    });
    (server, kept)
}

#[test]
fn what_is_too_large_for_one_request_goes_in_smaller_ones() {
    // One that would go whole, and one that goes in parts anyway.
    for (size, limit) in [(3 << 20, 1 << 20), (7 << 20, 5_000_000), (7 << 20, 1 << 20), (300_000, 100_000)] {
        let (server, kept) = limited(limit, 0);
        let (file, descriptor) = file(size);
        let repository = repository(&server);
        let mut told = 0;
        let mut progress = |done| told = done;
        repository.push_blob(&descriptor, file.path(), &[], &Cancel::new(), &mut progress).unwrap();
        assert_eq!(Digest::of(&kept.lock().unwrap()), descriptor.digest, "{size} {limit}");
        assert_eq!(told, size as u64);
        // What was learnt serves the next one at once.
        let before = asked(&server).iter().filter(|asked| asked.starts_with("POST")).count();
        repository.push_blob(&descriptor, file.path(), &[], &Cancel::new(), &mut |_| ()).unwrap();
        let after = asked(&server).iter().filter(|asked| asked.starts_with("POST")).count();
        assert_eq!(after - before, 1, "{size} {limit}");
    }
}

#[test]
fn parts_have_the_size_that_the_user_says() {
    let (server, kept) = limited(1 << 20, 0);
    let host = server.url.trim_start_matches("http://").to_owned();
    let settings = RegistrySettings { chunk_size: Some(400_000), ..RegistrySettings::default() };
    let config = Config { registries: [(host.clone(), settings)].into(), ..Config::default() };
    let client = Client::new(config, &Environment::default());
    let repository = client.repository(&format!("{host}/a/b").parse().unwrap(), Access::Push);
    let (file, descriptor) = file(900_000);
    repository.push_blob(&descriptor, file.path(), &[], &Cancel::new(), &mut |_| ()).unwrap();
    assert_eq!(Digest::of(&kept.lock().unwrap()), descriptor.digest);
    let parts: Vec<String> =
        server.requests().iter().filter_map(|request| field(request, "content-range")).collect();
    assert_eq!(parts, ["0-399999", "400000-799999", "800000-899999"]);
}

#[test]
fn a_body_that_is_always_too_large_is_told_with_its_size() {
    for (limit, least) in [(10, 0), (2_000_000, 5_000_000)] {
        let (server, _) = limited(limit, least);
        let (result, descriptor) = push(&server, 6_000_000);
        let error = result.unwrap_err();
        assert!(matches!(error, RegistryError::BodyTooLarge { size: 6_000_000, .. }), "{error:?}");
        assert_eq!(error.exit_code(), ExitCode::Refused);
        for word in [descriptor.digest.to_string().as_str(), "413", "6.0 MB (6000000 bytes)"] {
            assert!(error.to_string().contains(word), "{error}");
        }
        assert!(error.hint().unwrap().contains("chunk-size"));
    }
    let server = registry(|request| (line(request).0 == "PUT").then(|| answer(413, "", "")));
    let document =
        crate::oci::Encoded::new(crate::oci::media_type::MANIFEST, &serde_json::json!({ "layers": [] }));
    let error = repository(&server).put_manifest(Wanted::Tag("v1"), &document, &Cancel::new()).unwrap_err();
    assert!(matches!(error, RegistryError::BodyTooLarge { .. }), "{error:?}");
    assert!(error.to_string().contains("takes no request of"), "{error}");
}

#[test]
fn a_server_that_knows_no_expectations_gets_the_bytes_all_the_same() {
    let sent = Mutex::new(0);
    let server = registry(move |request| {
        if line(request).0 != "PATCH" {
            return None;
        }
        let mut sent = sent.lock().unwrap();
        *sent += 1;
        match *sent {
            // It is asked only after a failure.
            1 => Some(answer(500, "", "")),
            _ => field(request, "expect").map(|_| answer(417, "", "")),
        }
    });
    assert_eq!(push(&server, 5 << 20).0.unwrap(), crate::registry::Pushed::Uploaded);
    let asked: Vec<bool> = server
        .requests()
        .iter()
        .filter(|request| line(request).0 == "PATCH")
        .map(|request| field(request, "expect").is_some())
        .collect();
    assert_eq!(asked, [false, true, false]);
}

#[test]
fn the_end_of_an_upload_that_is_only_accepted_is_looked_after() {
    for (status, there) in [(200, true), (202, true), (202, false)] {
        let done = Arc::new(Mutex::new(false));
        let flag = Arc::clone(&done);
        let server = registry(move |request| match line(request).0.as_str() {
            "PUT" => {
                *flag.lock().unwrap() = there;
                Some(answer(status, "", ""))
            }
            "HEAD" if *flag.lock().unwrap() => Some(headed(1000)),
            _ => None,
        });
        let (result, _) = push(&server, 1000);
        assert_eq!(result.is_ok(), there, "{status} {result:?}");
    }
}

#[test]
fn a_failure_at_the_end_of_an_upload_that_has_worked_is_none() {
    for status in [500, 502, 504] {
        let done = Arc::new(Mutex::new(false));
        let flag = Arc::clone(&done);
        let server = registry(move |request| match line(request).0.as_str() {
            "PUT" => {
                *flag.lock().unwrap() = true;
                Some(answer(status, "", ""))
            }
            "HEAD" if *flag.lock().unwrap() => Some(headed(1000)),
            _ => None,
        });
        assert_eq!(push(&server, 1000).0.unwrap(), crate::registry::Pushed::Uploaded, "{status}");
    }
}

#[test]
fn a_limit_of_pulls_is_told_with_what_helps() {
    let said = r#"{"errors":[{"code":"TOOMANYREQUESTS","message":"You have reached your pull rate limit"}]}"#;
    let limit = |fields: &'static str, known: bool| {
        let server = Server::start(move |request| {
            if known && field(request, "authorization").is_none() {
                return answer(401, "WWW-Authenticate: Basic realm=\"x\"\r\n", "");
            }
            answer(429, fields, said)
        });
        let host = server.url.trim_start_matches("http://").to_owned();
        let variables = [
            ("XBUILD_REGISTRY_USERNAME", "me"),
            ("XBUILD_REGISTRY_PASSWORD", "hunter2"),
            ("XBUILD_REGISTRY_HOST", host.as_str()),
        ];
        let patience = Patience { attempts: 3, back_off: Duration::from_millis(1), ..Patience::default() };
        let client = Client::new(Config { patience, ..Config::default() }, &variables.into_iter().collect());
        let repository = client.repository(&format!("{host}/a/b").parse().unwrap(), Access::Pull);
        let error = repository.manifest(Wanted::Tag("v1"), &Cancel::new()).unwrap_err();
        assert_eq!(error.exit_code(), ExitCode::Network);
        assert!(
            error.to_string().contains("pull rate limit") && error.to_string().contains("429"),
            "{error}"
        );
        (error.to_string(), error.hint().unwrap())
    };
    let (message, hint) = limit("", false);
    assert!(message.contains("tried 3 times"), "{message}");
    assert!(
        hint.starts_with("wait; or log in with `docker login 127.0.0.1:") && hint.contains("mirrors"),
        "{hint}"
    );
    let (message, hint) = limit("Retry-After: 21600\r\n", true);
    assert!(message.contains("tried 1 time)"), "{message}");
    assert!(hint.starts_with("wait 6h, as it asks; or name a mirror") && !hint.contains("log in"), "{hint}");
}

#[test]
fn tags_go_on_where_a_full_page_does_not_say_so() {
    let tags = |from: usize, to: usize| {
        let tags: Vec<String> = (from..to).map(|at| format!("v{at:05}")).collect();
        serde_json::json!({ "name": "a/b", "tags": tags }).to_string()
    };
    let server = Server::start(move |request| match line(request).1.split_once("last=") {
        None => answer(200, "", &tags(0, 1000)),
        Some((_, "v00999")) => answer(200, "", &tags(1000, 1500)),
        Some(_) => answer(404, "", ""),
    });
    assert_eq!(repository(&server).tags(&Cancel::new()).unwrap().len(), 1500);
    // One that does not know how to go on says the same again.
    let server = Server::start(move |_| answer(200, "", &tags(0, 1000)));
    assert_eq!(repository(&server).tags(&Cancel::new()).unwrap().len(), 1000);
}

#[test]
fn a_token_service_may_be_named_without_its_host() {
    let server = Server::start(|request| {
        if line(request).1.starts_with("/token?") {
            return answer(200, "", r#"{"access_token":"T","expires_in":"300"}"#);
        }
        match field(request, "authorization").as_deref() {
            Some("Bearer T") => answer(200, "", r#"{"layers":[]}"#),
            _ => answer(401, "WWW-Authenticate: Bearer realm=\"/token\" service=x\r\n", ""),
        }
    });
    repository(&server).manifest(Wanted::Tag("v1"), &Cancel::new()).unwrap();
}
