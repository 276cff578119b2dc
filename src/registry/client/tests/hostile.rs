//! What no registry says that means well: each answer is made up, each has an error of its own or is of no matter, and none takes
//! more time or memory than it may.

mod answers;

use self::answers::cases;
use super::*;
use crate::oci::Encoded;
use crate::sys::http::{Answer, Transport};

/// What is asked of a registry.
#[derive(Clone, Copy, Debug)]
enum Ask {
    Manifest,
    ManifestByDigest,
    Head,
    HasBlob,
    Blob,
    Tags,
    Referrers,
    PushBlob,
    PutManifest,
}

use Ask::{Blob, HasBlob, Head, Manifest, ManifestByDigest, PushBlob, PutManifest, Referrers, Tags};

const OCI: &str = "application/vnd.oci.image.manifest.v1+json";
/// No case may take longer: none waits for anything but its own few attempts.
const LONGEST: Duration = Duration::from_secs(20);

fn document() -> Encoded {
    let (blob, _) = blob();
    Encoded::new(
        OCI,
        &serde_json::json!({ "schemaVersion": 2, "mediaType": OCI, "config": blob, "layers": [] }),
    )
}

/// Asks, and tells what came of it.
fn ask(repository: &Repository, what: Ask) -> Result<String, RegistryError> {
    let cancel = Cancel::new().within(LONGEST, "the case");
    let (blob, text) = blob();
    Ok(match what {
        Manifest => repository.manifest(Wanted::Tag("v1"), &cancel)?.digest().to_string(),
        ManifestByDigest => {
            repository.manifest(Wanted::Digest(document().digest()), &cancel)?.digest().to_string()
        }
        Head => format!("{:?}", repository.head(Wanted::Tag("v1"), &cancel)?.map(|found| found.digest)),
        HasBlob => repository.has_blob(&blob, &cancel)?.to_string(),
        Blob => String::from_utf8_lossy(&repository.small_blob(&blob, &cancel)?).into_owned(),
        Tags => repository.tags(&cancel)?.join(" "),
        Referrers => repository.referrers(&blob.digest, None, &cancel)?.len().to_string(),
        PushBlob => {
            let mut file = tempfile::NamedTempFile::new()?;
            std::io::Write::write_all(&mut file, text.as_bytes())?;
            format!("{:?}", repository.push_blob(&blob, file.path(), &[], &cancel, &mut |_| ())?)
        }
        PutManifest => repository.put_manifest(Wanted::Tag("v1"), &document(), &cancel)?.to_string(),
    })
}

/// An answer: its status, header fields as `name: value` on lines, and body.
#[allow(clippy::unnecessary_wraps, reason = "beside it there are connections that break")]
fn says(status: u16, fields: &str, body: impl Into<Vec<u8>>) -> Result<Answer, String> {
    let field = |line: &str| line.split_once(": ").map(|(name, value)| (name.to_owned(), value.to_owned()));
    Ok(Answer { status, headers: fields.lines().filter_map(field).collect(), body: body.into() })
}

type Said = Box<dyn Fn(&Request, &str) -> Result<Answer, String> + Send + Sync>;

fn always(answer: Result<Answer, String>) -> Said {
    Box::new(move |_, _| answer.clone())
}

/// A registry whose tokens come from `realm`, which is answered by `tokens`.
fn behind(realm: &str, tokens: Result<Answer, String>) -> Said {
    let challenge = format!("www-authenticate: Bearer realm=\"{realm}\",service=\"s\"");
    Box::new(move |_, path| if path.contains("token") { tokens.clone() } else { says(401, &challenge, "") })
}

/// A registry that takes uploads, but for what `special` says to a method.
fn taking(special: impl Fn(Method) -> Option<Result<Answer, String>> + Send + Sync + 'static) -> Said {
    Box::new(move |request, path| {
        special(request.method).unwrap_or_else(|| match request.method {
            Method::Post => says(202, "location: /v2/a/b/blobs/uploads/1", ""),
            Method::Get if path.contains("/uploads/") => says(204, "range: 0-0", ""),
            Method::Put => says(201, "", ""),
            _ => says(404, "", ""),
        })
    })
}

fn at(method: Method, answer: Result<Answer, String>) -> Said {
    taking(move |asked| (asked == method).then(|| answer.clone()))
}

/// A document that is nested a hundred thousand times.
fn deep() -> String {
    "[".repeat(100_000)
}

/// A repository of a registry out in the network, which says this.
fn scripted(said: Said) -> Repository {
    let variables = [("XBUILD_REGISTRY_USERNAME", "me"), ("XBUILD_REGISTRY_PASSWORD", "hunter2")];
    let environment: Environment = variables.into_iter().collect();
    let patience = Patience { attempts: 3, back_off: Duration::from_millis(1), ..Patience::default() };
    let config = Config { patience, stall: Duration::from_secs(5), ..Config::default() };
    let answers = move |request: &Request| {
        let url = Url::parse(&request.url).ok_or("no URL")?;
        // Nobody but the registry itself is ever told who we are.
        let told = request.headers.iter().any(|(name, _)| *name == "authorization");
        assert!(!told || url.host() == "r.example", "{}", request.url);
        let path = url.text().split_once("r.example").map_or_else(String::new, |(_, path)| path.to_owned());
        said(request, &path)
    };
    let transport = Transport::scripted(&environment, config.stall, answers);
    let client = Client::over(transport, config, &environment);
    client.repository(&"r.example/a/b".parse().unwrap(), Access::Push)
}

#[test]
fn every_hostile_answer_has_its_error_and_none_takes_long() {
    let cases = cases();
    let count = cases.len();
    let mut wrong = Vec::new();
    for (name, what, said, expected) in cases {
        let start = clock::Instant::now();
        let (text, length) = match ask(&scripted(said), what) {
            Ok(text) => (text.clone(), text.len()),
            Err(error) => {
                assert!(error.hint().is_some(), "{name}: {error}");
                let text = error.to_string();
                assert!(!text.chars().any(char::is_control) && !text.contains("hunter2"), "{name}: {text:?}");
                (text.clone(), text.len())
            }
        };
        if !text.contains(expected) || length > 2000 || start.elapsed() > LONGEST {
            wrong.push(format!("{name} ({what:?}, {:?}): {text}\n    and not: {expected}", start.elapsed()));
        }
    }
    println!("{count} hostile answers");
    assert!(wrong.is_empty() && count >= 35, "{count} cases, wrong:\n{}", wrong.join("\n"));
}

/// What is sent byte by byte, on loopback.
fn raw(text: &str) -> Reply {
    Reply::Raw(text.replace('\n', "\r\n"))
}

#[test]
#[allow(clippy::too_many_lines, reason = "a table")]
fn what_is_no_http_is_told_and_not_waited_for() {
    let cases: Vec<(&str, Ask, Reply, &str)> = vec![
        ("another protocol", Manifest, raw("SSH-2.0-OpenSSH_9.2\n"), "127.0.0.1"),
        ("nothing", Manifest, raw(""), "tried 2 times"),
        (
            "a field without end",
            Manifest,
            Reply::Raw(format!("HTTP/1.1 200 x\r\nx: {}", "y".repeat(1 << 20))),
            "127.0.0.1",
        ),
        (
            "fields without end",
            Manifest,
            Reply::Raw(format!("HTTP/1.1 200 x\r\n{}", "x: y\r\n".repeat(100_000))),
            "127.0.0.1",
        ),
        ("a length below nothing", Manifest, raw("HTTP/1.1 200 x\nContent-Length: -5\n\n{}"), "127.0.0.1"),
        (
            "two lengths",
            Manifest,
            raw("HTTP/1.1 200 x\nContent-Length: 2\nContent-Length: 3\n\n{}x"),
            "127.0.0.1",
        ),
        (
            "chunks of no size",
            Manifest,
            raw("HTTP/1.1 200 x\nTransfer-Encoding: chunked\n\nzz\n{}\n"),
            "127.0.0.1",
        ),
        (
            "a chunk of any size",
            Manifest,
            raw("HTTP/1.1 200 x\nTransfer-Encoding: chunked\n\nffffffffffffffff\n{}"),
            "127.0.0.1",
        ),
        // Nobody has asked for it, and so it is what it is: no JSON.
        (
            "a document in gzip",
            Manifest,
            raw("HTTP/1.1 200 x\nContent-Encoding: gzip\nContent-Length: 4\n\n\u{1f}a.."),
            "it is not JSON",
        ),
        ("informed without end", Manifest, Reply::Raw("HTTP/1.1 103 x\r\n\r\n".repeat(20_000)), "127.0.0.1"),
        (
            "a document without end",
            Manifest,
            Reply::Endless("HTTP/1.1 200 x\r\n\r\n".into(), " ".repeat(65_536)),
            "larger than 4194304 bytes",
        ),
        (
            "a list without end",
            Tags,
            Reply::Endless("HTTP/1.1 200 x\r\n\r\n{\"x\":\"".into(), "y".repeat(65_536)),
            "larger than 16777216 bytes",
        ),
        (
            "words without end",
            Manifest,
            Reply::Endless("HTTP/1.1 500 x\r\n\r\n".into(), " ".repeat(65_536)),
            "answered 500",
        ),
        (
            "a blob without end",
            Blob,
            Reply::Endless("HTTP/1.1 200 x\r\n\r\n".into(), " ".repeat(65_536)),
            "got more",
        ),
    ];
    let count = cases.len();
    let mut wrong = Vec::new();
    for (name, what, reply, expected) in cases {
        let server = Server::start(move |_| reply.clone());
        let start = clock::Instant::now();
        let text =
            ask(&patient(&server, Duration::from_secs(10)), what).unwrap_or_else(|error| error.to_string());
        let (took, written) = (start.elapsed(), server.written());
        // What lies in the buffers on the way is beside what is read.
        if !text.contains(expected) || took > LONGEST || written > 2 * ((16 << 20) + (12 << 20)) {
            wrong.push(format!("{name}: {took:?}, {written} bytes: {text}\n    and not: {expected}"));
        }
    }
    println!("{count} answers that are no HTTP or have no end");
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// A repository of a server on loopback, which tries twice.
fn patient(server: &Server, stall: Duration) -> Repository {
    let host = server.url.trim_start_matches("http://").to_owned();
    let patience = Patience { attempts: 2, back_off: Duration::from_millis(1), ..Patience::default() };
    let plain = RegistrySettings { plain_http: Some(true), ..RegistrySettings::default() };
    let registries = std::iter::once((host.clone(), plain)).collect();
    let config = Config { registries, patience, stall, ..Config::default() };
    let name = format!("{host}/a/b").parse().unwrap();
    Client::new(config, &Environment::default()).repository(&name, Access::Pull)
}

/// How long a server of these tests may say nothing.
const STALL: Duration = Duration::from_secs(1);

fn is_given_up(name: &str, what: Ask, server: &Server) {
    let start = clock::Instant::now();
    let error = ask(&patient(server, STALL), what).unwrap_err();
    assert_eq!(error.exit_code(), ExitCode::Network, "{name}: {error}");
    let text = error.to_string();
    let told = ["less than 1024 bytes a second", "stalled", "no connection within"];
    assert!(told.iter().any(|told| text.contains(told)), "{name}: {error}");
    assert!(start.elapsed() < LONGEST, "{name}: {:?}", start.elapsed());
}

#[test]
fn who_sends_a_byte_now_and_then_is_given_up() {
    let pause = Duration::from_millis(60);
    let head = "HTTP/1.1 200 x\r\nContent-Length: 4000\r\n\r\n";
    let trickle = |head: &str, text: &str| Reply::Trickle(head.into(), text.repeat(4000), pause);
    // Its last byte would come after a quarter of a minute, and every attempt brings one.
    let blob = Reply::Trickle(head.replace("4000", "22"), blob().1, Duration::from_millis(700));
    let chunked = "HTTP/1.1 200 x\r\nTransfer-Encoding: chunked\r\n\r\n1;";
    let cases = [
        ("a document", Manifest, trickle(head, " ")),
        ("a list", Tags, trickle(head, " ")),
        ("a blob", Blob, blob),
        // No data at all, and no silence either: the size of a chunk that does not end.
        ("a chunk's size", Manifest, trickle(chunked, "x")),
        ("the head", Manifest, trickle("HTTP/1.1 200 x\r\n", "x: y\r\n")),
    ];
    let token = Server::start(move |request| {
        if request.path.starts_with("/token") {
            return Reply::Trickle(head.into(), " ".repeat(4000), pause);
        }
        answer(401, "WWW-Authenticate: Bearer realm=\"/token\"\r\n", "")
    });
    std::thread::scope(|scope| {
        scope.spawn(|| is_given_up("a token", Manifest, &token));
        for (name, what, reply) in cases {
            scope.spawn(move || is_given_up(name, what, &Server::start(move |_| reply.clone())));
        }
    });
}

#[test]
fn who_brings_next_to_nothing_at_each_attempt_is_given_up() {
    let text = blob().1.into_bytes();
    let server =
        Server::start(move |request| Reply::Cut(text.clone(), usize::from(request.offset < text.len())));
    let error = ask(&patient(&server, Duration::from_secs(30)), Blob).unwrap_err();
    assert!(matches!(error, RegistryError::Transient { attempts: 2, .. }), "{error}");
    assert_eq!(spoken(&server).len(), 2);
}
