//! What a hostile registry answers, and what is said of each.

use super::*;

/// Each with what its result says, in part.
#[allow(clippy::too_many_lines, reason = "it is a table")]
pub(super) fn cases() -> Vec<(&'static str, Ask, Said, &'static str)> {
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
        ("no JSON", Manifest, always(says(200, "", "x")), "it is not JSON"),
        ("nothing", Manifest, always(says(200, "", "")), "it is not JSON"),
        ("nested", Manifest, always(says(200, "", deep())), "it is not JSON: recursion limit"),
        ("no object", Manifest, always(says(200, "", "[]")), "and its content is not"),
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
        ("led to no URL", Blob, led("https://u:p@other.example/"), "redirects to an invalid URL"),
        (
            "led to what is not visible",
            Blob,
            led("https://other.example/\u{1b}[2J"),
            "redirects to an invalid URL",
        ),
        ("led to a script", Blob, led("javascript://alert(1)"), "redirects to an invalid URL"),
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
        ("no place", PushBlob, at(Method::Post, says(202, "", "")), "does not give the URL of the upload"),
        (
            "a place without TLS",
            PushBlob,
            at(Method::Post, says(202, "location: http://other.example/1", "")),
            "gives one without TLS",
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
