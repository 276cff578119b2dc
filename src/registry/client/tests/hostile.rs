//! What no registry says that means well: each answer is made up, each has an error of its own or is of no matter, and none takes
//! more time or memory than it may.

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

/// Each with what its result says, in part.
#[allow(clippy::too_many_lines, reason = "it is a table")]
fn cases() -> Vec<(&'static str, Ask, Said, &'static str)> {
    let good = String::from_utf8_lossy(&document().bytes).into_owned();
    let other = Digest::of(b"something else");
    let led = |to: &str| always(says(307, &format!("location: {to}"), ""));
    let links = |link: &str| always(says(200, &format!("link: <{link}>; rel=\"next\""), r#"{"tags":["a"]}"#));
    let token = |body: &str| behind("https://r.example/token", says(200, "", body));
    let many = |count: usize| {
        let entry = serde_json::to_string(&blob().0).unwrap_or_default();
        format!("{{\"manifests\":[{}]}}", vec![entry; count].join(","))
    };
    vec![
        // Documents.
        ("no JSON", Manifest, always(says(200, "", "x")), "it is no JSON"),
        ("nothing", Manifest, always(says(200, "", "")), "it is no JSON"),
        ("nested", Manifest, always(says(200, "", deep())), "it is no JSON: recursion limit"),
        ("no object", Manifest, always(says(200, "", "[]")), "has not what that has"),
        ("two at once", Manifest, always(says(200, "", r#"{"layers":[],"manifests":[]}"#)), "at once"),
        ("of version 1", Manifest, always(says(200, "", r#"{"schemaVersion":1}"#)), "schema version 1"),
        (
            "called otherwise",
            Manifest,
            always(says(200, "content-type: application/vnd.oci.image.index.v1+json", good.clone())),
            "the registry calls it",
        ),
        (
            "told to be huge",
            Manifest,
            always(says(200, "content-length: 18446744073709551615", "{}")),
            "larger than",
        ),
        ("huge", Manifest, always(says(200, "", vec![b' '; 5 << 20])), "larger than 4194304 bytes"),
        (
            "of a told digest",
            Manifest,
            always(says(200, &format!("docker-content-digest: {other}"), good.clone())),
            "is not what the registry says",
        ),
        (
            "of no told digest",
            Manifest,
            always(says(200, "docker-content-digest: sha256:../../etc/passwd", good.clone())),
            "sha256:",
        ),
        (
            "another",
            ManifestByDigest,
            always(says(200, "", r#"{"schemaVersion":2,"layers":[]}"#)),
            "is not what the registry says",
        ),
        ("a page", Manifest, always(says(200, "content-type: Text/HTML", "<html>")), "a web page"),
        ("no content", Manifest, always(says(204, "", "")), "it answers 204"),
        ("a part", Manifest, always(says(206, "content-range: bytes 0-1/900", "{}")), "it answers 206"),
        ("an odd status", Manifest, always(says(799, "", "")), "it answers 799"),
        (
            "shorter than told",
            Manifest,
            always(says(200, "content-length: 9999", good.clone())),
            "the connection ended after",
        ),
        ("a broken connection", Manifest, always(Err("the connection broke".into())), "tried 3 times"),
        (
            "a huge size by HEAD",
            Head,
            always(says(
                200,
                &format!("docker-content-digest: {other}\ncontent-length: 18446744073709551615"),
                "",
            )),
            "Some",
        ),
        // Failures, and what is said of them.
        (
            "words that a terminal obeys",
            Manifest,
            always(says(500, "", "{\"errors\":[{\"code\":\"A\",\"message\":\"\\u001b[2J\\r\\n\\u0007\"}]}")),
            "answered 500 (A:  [2J   ) (tried",
        ),
        (
            "a book of words",
            Manifest,
            always(says(404, "", format!("{{\"message\":\"{}\"}}", "x".repeat(60_000)))),
            "xxx",
        ),
        ("words that are nested", Manifest, always(says(500, "", deep())), "answered 500 (tried"),
        (
            "busy for ever",
            Manifest,
            always(says(429, "retry-after: 18446744073709551615", "")),
            "too many requests",
        ),
        (
            "busy until then",
            Manifest,
            always(says(503, "retry-after: Wed, 31 Dec 2098 23:59:59 GMT", "")),
            "answered 503 (tried 1 time)",
        ),
        ("busy until never", Manifest, always(says(503, "retry-after: -1", "")), "tried 3 times"),
        // Challenges and tokens.
        ("a challenge without words", Manifest, always(says(401, "", "")), "refuses the credentials"),
        (
            "a challenge of quotes",
            Manifest,
            always(says(401, "www-authenticate: =,=\"\\\"\\", "")),
            "refuses the credentials",
        ),
        (
            "a challenge without a realm",
            Manifest,
            always(says(401, "www-authenticate: Bearer service=\"x\"", "")),
            "refuses the credentials",
        ),
        (
            "a challenge without end",
            Manifest,
            always(says(401, &format!("www-authenticate: {}", "Bearer realm, ".repeat(5000)), "")),
            "refuses the credentials",
        ),
        (
            "a realm of another kind",
            Manifest,
            behind("ftp://r.example/token", says(200, "", "")),
            "its token service has no URL",
        ),
        (
            "a realm with a login",
            Manifest,
            behind("https://u:p@r.example/token", says(200, "", "")),
            "its token service has no URL",
        ),
        (
            "a realm without TLS",
            Manifest,
            behind("http://tokens.example/token", says(200, "", "")),
            "is not secure",
        ),
        (
            "a realm of the cloud",
            Manifest,
            behind("https://169.254.169.254/token", says(200, "", "")),
            "nothing was sent there",
        ),
        (
            "a realm of this machine",
            Manifest,
            behind("http://localhost:8080/token", says(200, "", "")),
            "nothing was sent there",
        ),
        (
            "a realm that leads on",
            Manifest,
            behind("https://r.example/token", says(307, "location: https://other.example/", "")),
            "token service answers 307",
        ),
        ("no token", Manifest, token("{}"), "has no token in it"),
        ("a token that ends the field", Manifest, token("{\"token\":\"a\\r\\nx: y\"}"), "has no token in it"),
        (
            "a token without end",
            Manifest,
            token(&format!("{{\"token\":\"{}\"}}", "x".repeat(2 << 20))),
            "has no token in it",
        ),
        ("a token that is nested", Manifest, token(&deep()), "has no token in it"),
        (
            "a token that is not taken",
            Manifest,
            token("{\"token\":\"x\",\"expires_in\":1e308}"),
            "refuses the credentials",
        ),
        (
            "a service that fails",
            Manifest,
            behind("https://r.example/token", says(500, "", "")),
            "token service r.example answered 500",
        ),
        // Redirects.
        ("led without end", Blob, led("/again"), "without end"),
        ("led to no URL", Blob, led("https://u:p@other.example/"), "redirects to what is no URL"),
        (
            "led to what is not visible",
            Blob,
            led("https://other.example/\u{1b}[2J"),
            "redirects to what is no URL",
        ),
        ("led to a script", Blob, led("javascript://alert(1)"), "redirects to what is no URL"),
        ("led out of TLS", Blob, led("http://other.example/"), "an address without TLS"),
        (
            "led to this machine",
            Blob,
            led("http://127.0.0.1:2375/containers/json"),
            "127.0.0.1, which is an address of this machine; nothing was sent there",
        ),
        ("led to this machine by name", Blob, led("https://localhost/x"), "nothing was sent there"),
        (
            "led to this machine by a mapped address",
            Blob,
            led("https://[::ffff:7f00:1]/x"),
            "nothing was sent there",
        ),
        ("led to any address", Blob, led("https://0.0.0.0/x"), "nothing was sent there"),
        (
            "led to the cloud",
            Blob,
            led("https://169.254.169.254/latest/meta-data/"),
            "an address of this machine's own link or cloud",
        ),
        ("led to the cloud by IPv6", Blob, led("https://[fd00:ec2::254]/latest/"), "nothing was sent there"),
        ("led to the link", ManifestByDigest, led("https://[fe80::1]/"), "nothing was sent there"),
        ("led by a list", Tags, led("http://127.0.0.1:1/"), "nothing was sent there"),
        // Blobs.
        ("another size", Blob, always(says(200, "", "short")), "the connection ended after"),
        (
            "another told size",
            Blob,
            always(says(200, "content-length: 7", "short x")),
            "expected 22 bytes, got 7 bytes",
        ),
        ("more", Blob, always(says(200, "", vec![b'x'; 1 << 20])), "got more"),
        (
            "other bytes",
            Blob,
            always(says(200, "", "THE CONTENT of a layer")),
            "is not what the registry says",
        ),
        ("no range", Blob, always(says(416, "", "")), "no more than 0 bytes"),
        (
            "a range from elsewhere",
            Blob,
            always(says(206, "content-range: bytes 5-21/22", "x")),
            "skipped from byte 0 to 5",
        ),
        (
            "a range without end",
            Blob,
            always(says(206, "content-range: bytes 18446744073709551615-/x", "x")),
            "skipped from byte 0",
        ),
        (
            "sizes that have no sum",
            Blob,
            Box::new(|request, _| {
                if request.headers.iter().any(|(name, _)| *name == "range") {
                    says(206, "content-range: bytes 4-\ncontent-length: 18446744073709551615", "")
                } else {
                    says(200, "content-length: 22", "the c")
                }
            }),
            "expected 22 bytes, got 18446744073709551615 bytes",
        ),
        (
            "a presence of another size",
            HasBlob,
            Box::new(|request, _| match request.method {
                Method::Head => says(200, "content-length: 7", ""),
                _ => says(206, "content-range: bytes 0-0/18446744073709551616", "x"),
            }),
            "true",
        ),
        // Lists.
        (
            "a list of numbers",
            Tags,
            always(says(200, "", r#"{"tags":[1,2]}"#)),
            "its list of tags: invalid type",
        ),
        (
            "a list that is none",
            Tags,
            always(says(200, "", r#"{"tags":{"a":1}}"#)),
            "its list of tags: invalid type",
        ),
        (
            "a list that is nested",
            Tags,
            always(says(200, "", format!("{{\"x\":{}", deep()))),
            "its list of tags: EOF while parsing",
        ),
        (
            "a list of what is no tag",
            Tags,
            always(says(200, "", r#"{"tags":["\u001b[2J","../..","a","-x",""]}"#)),
            "a",
        ),
        (
            "a page without end",
            Tags,
            always(says(200, "", vec![b' '; 17 << 20])),
            "larger than 16777216 bytes",
        ),
        ("a circle", Tags, links("/v2/a/b/tags/list?n=1000"), "leads back to a page"),
        (
            "a list elsewhere",
            Tags,
            links("https://other.example/v2/a/b/tags/list"),
            "goes on at another server",
        ),
        ("a list on this machine", Tags, links("http://127.0.0.1:1/v2/"), "goes on at another server"),
        ("a list at no URL", Tags, links("https://u:p@r.example/"), "goes on at another server"),
        (
            "pages without end",
            Tags,
            Box::new(|_, path| {
                let at: u64 = path.rsplit_once("x=").and_then(|(_, at)| at.parse().ok()).unwrap_or(0);
                says(200, &format!("link: </v2/a/b/tags/list?x={}>; rel=next", at + 1), r#"{"tags":["a"]}"#)
            }),
            "more than 10000 pages",
        ),
        (
            "bytes without end",
            Tags,
            Box::new(|_, path| {
                let at: u64 = path.rsplit_once("x=").and_then(|(_, at)| at.parse().ok()).unwrap_or(0);
                let link = format!("link: </v2/a/b/tags/list?x={}>; rel=next", at + 1);
                says(200, &link, format!("{{\"tags\":[],\"x\":\"{}\"}}", "y".repeat(15 << 20)))
            }),
            "more than 134217728 bytes",
        ),
        (
            "referrers without end",
            Referrers,
            {
                let body = many(10_001);
                always(says(200, "", body))
            },
            "more than 10000 referrers",
        ),
        (
            "referrers that are none",
            Referrers,
            always(says(200, "", r#"{"manifests":[{"digest":"x"}]}"#)),
            "its list of referrers",
        ),
        (
            "a page of referrers without end",
            Referrers,
            always(says(200, "", vec![b' '; 5 << 20])),
            "larger than 4194304 bytes",
        ),
        // Uploads.
        (
            "no place",
            PushBlob,
            at(Method::Post, says(202, "", "")),
            "does not say where the bytes of an upload go",
        ),
        (
            "a place without TLS",
            PushBlob,
            at(Method::Post, says(202, "location: http://other.example/1", "")),
            "a place without TLS",
        ),
        (
            "a place on this machine",
            PushBlob,
            at(Method::Post, says(202, "location: http://127.0.0.1:1/up", "")),
            "nothing was sent there",
        ),
        (
            "a place of the cloud",
            PushBlob,
            at(Method::Post, says(202, "location: https://169.254.169.254/up", "")),
            "nothing was sent there",
        ),
        (
            "led while uploading",
            PushBlob,
            at(Method::Put, says(307, "location: https://[::1]/up", "")),
            "nothing was sent there",
        ),
        (
            "led by another status",
            PushBlob,
            at(Method::Post, says(302, "location: /login", "")),
            "redirects an upload with the status 302",
        ),
        ("never taken", PushBlob, at(Method::Put, says(202, "", "")), "took the upload and has it not"),
        (
            "of another digest",
            PushBlob,
            at(Method::Put, says(201, &format!("docker-content-digest: {other}"), "")),
            "is not what the registry says",
        ),
        ("always too large", PushBlob, at(Method::Put, says(413, "", "")), "takes no request of 22 bytes"),
        ("always lost", PushBlob, at(Method::Put, says(404, "", "")), "the registry lost the upload"),
        (
            "denied at the end",
            PushBlob,
            at(Method::Put, says(403, "", "")),
            "denies repository:a/b:pull,push",
        ),
        (
            "parts that are too large",
            PushBlob,
            at(Method::Post, says(202, "location: /up\noci-chunk-min-length: 18446744073709551615", "")),
            "Uploaded",
        ),
        (
            "a manifest of another digest",
            PutManifest,
            at(Method::Put, says(201, &format!("docker-content-digest: {other}"), "")),
            "tried 3 times",
        ),
        ("a manifest that is not there", PutManifest, at(Method::Put, says(404, "", "")), "refuses it"),
        (
            "a manifest that is too large",
            PutManifest,
            at(Method::Put, says(413, "", "")),
            "takes no request of",
        ),
    ]
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
            "it is no JSON",
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
    let told = ["not waited for", "stalled", "no connection within"];
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
