//! Where a registry leads, and what is told while it is waited for.

use std::sync::Mutex as StdMutex;

use super::*;
use crate::sys::loopback::Request as Seen;

/// The events of a client.
#[derive(Debug, Default)]
struct Heard(StdMutex<Vec<Event>>);

impl Reporter for Heard {
    fn report(&self, event: Event) {
        self.0.lock().unwrap().push(event);
    }
}

impl Heard {
    fn notes(&self) -> Vec<(Level, String)> {
        let events = self.0.lock().unwrap();
        let note = |event: &Event| match event {
            Event::Note { level, text, .. } => Some((*level, text.clone())),
            _ => None,
        };
        events.iter().filter_map(note).collect()
    }
}

/// A registry out in the network, `r.example`, which is reached through a proxy: all that is asked of it is asked of this server.
fn outside(server: &Server, more: &[(&str, &str)]) -> (Client, Repository) {
    let proxy = [("http_proxy", server.url.as_str()), ("no_proxy", "")];
    let environment: Environment = proxy.iter().chain(more).copied().collect();
    let plain = RegistrySettings { plain_http: Some(true), ..RegistrySettings::default() };
    let registries = std::iter::once(("r.example".to_owned(), plain)).collect();
    let patience = Patience { attempts: 2, back_off: Duration::from_millis(1), ..Patience::default() };
    let config = Config { patience, registries, stall: Duration::from_secs(5), ..Config::default() };
    let client = Client::new(config, &environment);
    let repository = client.repository(&"r.example/a/b".parse().unwrap(), Access::Push);
    (client, repository)
}

#[test]
fn a_registry_outside_leads_nobody_to_this_machine_and_one_on_it_may() {
    let (descriptor, text) = blob();
    let store = Server::start(move |_| answer(200, "", &text));
    for to in [
        store.url.clone(),
        store.url.replace("127.0.0.1", "127.1"),
        store.url.replace("127.0.0.1", "2130706433"),
    ] {
        let location = format!("Location: {to}/layer\r\n");
        let registry = Server::start(move |_| answer(307, &location, ""));
        // What is no address by its letters is one for the system, which is asked only where no proxy is.
        let shown = to.contains("127.0.0.1");
        let error = outside(&registry, &[]).1.small_blob(&descriptor, &Cancel::new());
        if shown {
            let error = error.unwrap_err();
            assert_eq!(error.exit_code(), ExitCode::Refused, "{error}");
            assert!(
                error
                    .to_string()
                    .contains("r.example leads to 127.0.0.1, which is an address of this machine"),
                "{error}"
            );
        }
        // The same of a registry that is on this machine itself.
        repository(&registry).small_blob(&descriptor, &Cancel::new()).unwrap();
    }
}

#[test]
fn a_name_that_is_looked_up_to_this_machine_is_one_of_it() {
    let store = Server::start(|_| answer(200, "", "x"));
    let transport = Transport::new(&Environment::default(), Duration::from_secs(5));
    let ask = |to: &str, from: Option<&str>| {
        let request = Request {
            method: Method::Get,
            url: store.url.replace("127.0.0.1", to),
            headers: Vec::new(),
            body: Body::None,
            trust: Trust::default(),
            patience: None,
            led_by: from.map(str::to_owned),
        };
        transport.send(&request, &Cancel::new(), &mut || ()).map(|response| response.status)
    };
    // These are names for us, and the system looks them up.
    for host in ["127.1", "0x7f.1", "2130706433"] {
        let error = ask(host, Some("r.example")).unwrap_err();
        assert!(matches!(error, HttpError::Inward(_)), "{host}: {error:?}");
        assert!(error.to_string().contains("(127.0.0.1), which is an address of this machine"), "{error}");
    }
    assert_eq!(store.requests().len(), 0);
    // The user may name one, and what is there may lead to others.
    assert_eq!(ask("127.1", None).unwrap(), 200);
    assert_eq!(ask("127.0.0.1", Some("127.1")).unwrap(), 200);
}

#[test]
fn a_wait_that_a_registry_asks_for_is_told_before_it_is_over() {
    let (descriptor, text) = blob();
    let registry = Server::start(move |request| match request.number {
        0 => answer(429, "Retry-After: 1\r\n", ""),
        _ => answer(200, "", &text),
    });
    let (client, repository) = outside(&registry, &[]);
    let heard = Heard::default();
    let told = client.telling(&heard, || {
        repository.small_blob(&descriptor, &Cancel::new()).unwrap();
        heard.0.lock().unwrap().clone()
    });
    let [Event::Waiting { what, reason, milliseconds: 1000 }] = told.as_slice() else { panic!("{told:?}") };
    assert!(
        what.contains(descriptor.digest.hex()) && reason.contains("r.example answered 429"),
        "{what}: {reason}"
    );
}

#[test]
fn who_else_is_told_a_login_is_told_once() {
    let (descriptor, text) = blob();
    let registry = Server::start(move |request: &Seen| {
        if request.path.contains("/token") {
            return answer(200, "", r#"{"token":"good","expires_in":0}"#);
        }
        if request.head.contains("Bearer good") {
            return answer(200, "", &text);
        }
        let host = if request.path.contains("/own/") { "auth.r.example" } else { "tokens.else.test" };
        answer(401, &format!("WWW-Authenticate: Bearer realm=\"http://{host}/token\"\r\n"), "")
    });
    let login = [("XBUILD_REGISTRY_USERNAME", "me"), ("XBUILD_REGISTRY_PASSWORD", "hunter2")];
    for (variables, level) in [(&login[..], Level::Warning), (&[], Level::Detail)] {
        let (client, repository) = outside(&registry, variables);
        for _ in 0..3 {
            repository.small_blob(&descriptor, &Cancel::new()).unwrap();
        }
        let heard = Heard::default();
        client.tell(&heard);
        let notes = heard.notes();
        let [(found, text)] = notes.as_slice() else { panic!("{notes:?}") };
        assert_eq!(*found, level);
        assert!(
            text.contains("r.example") && text.contains("tokens.else.test") && !text.contains("hunter2"),
            "{text}"
        );
    }
    let (client, _) = outside(&registry, &login);
    let own = client.repository(&"r.example/own/b".parse().unwrap(), Access::Push);
    own.small_blob(&descriptor, &Cancel::new()).unwrap();
    let heard = Heard::default();
    client.tell(&heard);
    assert_eq!(heard.notes(), []);
}

#[test]
fn a_login_that_was_withheld_is_told_however_the_registry_refuses() {
    let login = [("XBUILD_REGISTRY_USERNAME", "me"), ("XBUILD_REGISTRY_PASSWORD", "hunter2")];
    let refuse: [fn(&Seen) -> Reply; 4] = [
        |_| answer(401, "WWW-Authenticate: Basic realm=\"x\"\r\n", ""),
        |_| answer(403, "", r#"{"errors":[{"code":"DENIED"}]}"#),
        // As ghcr.io: an anonymous token for a push is denied.
        |request| {
            if request.path.contains("/token") {
                answer(403, "", r#"{"errors":[{"code":"DENIED"}]}"#)
            } else {
                answer(401, "WWW-Authenticate: Bearer realm=\"http://r.example/token\"\r\n", "")
            }
        },
        // As Docker Hub: it is given, and is good for less.
        |request| {
            if request.path.contains("/token") {
                return answer(200, "", r#"{"token":"x"}"#);
            }
            let realm = "Bearer realm=\"http://r.example/token\",error=\"insufficient_scope\"";
            answer(401, &format!("WWW-Authenticate: {realm}\r\n"), "")
        },
    ];
    for refuse in refuse {
        let registry = Server::start(refuse);
        let environment: Environment =
            login.iter().copied().chain([("http_proxy", registry.url.as_str())]).collect();
        let plain = RegistrySettings { plain_http: Some(true), ..RegistrySettings::default() };
        let registries = std::iter::once(("r.example".to_owned(), plain)).collect();
        let push = |named: &[&str]| {
            let named = Some(named.iter().map(ToString::to_string).collect());
            let registries = BTreeMap::clone(&registries);
            let client = Client::new(Config { registries, named, ..Config::default() }, &environment);
            let repository = client.repository(&"r.example/a/b".parse().unwrap(), Access::Push);
            repository.manifest(Wanted::Tag("v1"), &Cancel::new()).unwrap_err()
        };
        let error = push(&["other.example"]);
        assert_eq!(error.exit_code(), ExitCode::Unauthorized, "{error}");
        assert!(error.to_string().contains("did not get those of the XBUILD_REGISTRY_ variables"), "{error}");
        assert!(error.hint().unwrap().contains("XBUILD_REGISTRY_HOST=r.example"));
        let told = spoken(&registry).join("\n").to_ascii_lowercase();
        assert!(!told.contains("authorization: basic"), "{told}");
        // Who names it gets as far as the login does.
        let error = push(&["r.example"]);
        assert!(!error.to_string().contains("did not get those"), "{error}");
        let told = spoken(&registry).join("\n").to_ascii_lowercase();
        assert!(told.contains("authorization: basic") || error.exit_code() == ExitCode::Denied, "{told}");
    }
}

#[test]
fn a_head_that_leads_to_nothing_keeps_nobody_from_pushing() {
    let (descriptor, text) = blob();
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("blob");
    crate::sys::fs::write_atomic(&path, text.as_bytes(), 0o644).unwrap();
    // A port that nobody listens at.
    let nowhere = "Location: http://127.0.0.1:1/x\r\n";
    let serve = move |special: fn(&Seen) -> Option<Reply>| {
        Server::start(move |request| {
            let method = request.head.split(' ').next().unwrap_or_default();
            special(request).unwrap_or_else(|| match method {
                "POST" => answer(202, "Location: /v2/a/b/blobs/uploads/1\r\n", ""),
                "PUT" => answer(201, "", ""),
                _ => answer(307, nowhere, ""),
            })
        })
    };
    let push = |server: &Server| {
        let start = clock::Instant::now();
        let pushed = repository(server).push_blob(&descriptor, &path, &[], &Cancel::new(), &mut |_| ());
        assert!(start.elapsed() < Duration::from_secs(10), "{:?}", start.elapsed());
        pushed.unwrap()
    };
    // Neither HEAD nor GET says whether it is there: it is sent.
    assert_eq!(push(&serve(|_| None)), crate::registry::Pushed::Uploaded);
    // GET says that it is.
    let there = serve(|request| {
        request.head.starts_with("GET").then(|| answer(206, "Content-Range: bytes 0-0/22\r\n", "t"))
    });
    assert_eq!(push(&there), crate::registry::Pushed::Present);
    // And a manifest's HEAD is followed by GET.
    let document = r#"{"schemaVersion":2,"layers":[]}"#;
    let manifests = Server::start(move |request| match request.head.split(' ').next() {
        Some("HEAD") => answer(307, nowhere, ""),
        _ => answer(200, "", document),
    });
    let found = repository(&manifests).head(Wanted::Tag("v1"), &Cancel::new()).unwrap().unwrap();
    assert_eq!(found.digest, Digest::of(document.as_bytes()));
}

#[test]
fn time_that_is_up_tells_what_it_was_at_and_for_which_platform() {
    let index = {
        let (blob, _) = blob();
        let entry = serde_json::json!({
            "mediaType": "application/vnd.oci.image.manifest.v1+json", "digest": blob.digest, "size": blob.size,
            "platform": { "os": "linux", "architecture": "arm64" },
        });
        serde_json::json!({ "schemaVersion": 2, "manifests": [entry] }).to_string()
    };
    let registry = Server::start(move |request| {
        if request.path.contains("/v1") { answer(200, "", &index) } else { Reply::Stall(vec![b' '; 100], 1) }
    });
    let repository = repository(&registry);
    repository.manifest(Wanted::Tag("v1"), &Cancel::new()).unwrap();
    let (blob, _) = blob();
    let cancel = Cancel::new().within(Duration::from_millis(400), "`xbuild pull`");
    let error = repository.manifest(Wanted::Digest(&blob.digest), &cancel).unwrap_err();
    assert_eq!(error.exit_code(), ExitCode::TimedOut);
    let at = format!(
        "`xbuild pull` did not finish within 400ms; it was at {}/a/b@{} (linux/arm64)",
        registry.url.trim_start_matches("http://"),
        blob.digest
    );
    assert_eq!(error.to_string(), at);
    assert!(error.hint().unwrap().contains("--timeout"));
}
