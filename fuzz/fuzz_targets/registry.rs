//! What a registry answers while an image is pulled from it and pushed to it, its tokens, redirects and lists included.
//!
//! The first line says what is asked for; the answers follow, separated by lines `===`, and are given in turn: a status, header
//! fields, an empty line, a body. Nothing is sent anywhere.

#![no_main]

use std::path::PathBuf;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use libfuzzer_sys::fuzz_target;
use xbuild::oci::{Descriptor, Digest, Encoded, is_tag, media_type};
use xbuild::registry::{Access, Client, Config, Patience, RegistryError, Repository};
use xbuild::oci::name::{Wanted};
use xbuild::Cancel;
use xbuild::Environment;
use xbuild::internal::sys::http::{Answer, Inward, Request, Transport, Url};

const HOST: &str = "r.example";
/// More requests are answered by a broken connection.
const MOST: usize = 200;
const BLOB: &[u8] = b"the content of a layer";

/// A file with the blob that is pushed.
fn blob() -> &'static PathBuf {
    static FILE: OnceLock<PathBuf> = OnceLock::new();
    FILE.get_or_init(|| {
        let path = std::env::temp_dir().join(format!("xbuild-fuzz-registry-{}", std::process::id()));
        std::fs::write(&path, BLOB).expect("a file for the blob");
        path
    })
}

/// The answers in the input.
fn answers(text: &[u8]) -> Vec<Answer> {
    let mut parts: Vec<&[u8]> = Vec::new();
    let mut rest = text;
    while let Some(at) = rest.windows(5).position(|window| window == b"\n===\n") {
        parts.push(&rest[..at]);
        rest = &rest[at + 5..];
        if parts.len() == MOST {
            break;
        }
    }
    parts.push(rest);
    parts.into_iter().map(answer).collect()
}

fn answer(part: &[u8]) -> Answer {
    let end = part.windows(2).position(|window| window == b"\n\n").unwrap_or(part.len());
    let head = String::from_utf8_lossy(&part[..end]).into_owned();
    let body = part.get(end + 2..).unwrap_or_default().to_vec();
    let mut lines = head.lines();
    let status = lines.next().and_then(|line| line.trim().parse().ok()).unwrap_or(200);
    let field = |line: &str| {
        let (name, value) = line.split_once(": ")?;
        Some((name.to_ascii_lowercase(), value.to_owned()))
    };
    Answer { status, headers: lines.filter_map(field).take(64).collect(), body }
}

/// No request may go where no registry may lead us, and a token to nobody but the registry.
fn check(request: &Request) {
    let url = Url::parse(&request.url).expect("a URL");
    assert!(url.is_secure(), "{}", request.url);
    assert!(Inward::of_host(url.host()).is_none(), "{}", request.url);
    for (name, value) in &request.headers {
        assert!(!value.contains(['\r', '\n']), "{name}");
        assert!(*name != "authorization" || !value.starts_with("Bearer") || url.host() == HOST, "{}", request.url);
    }
}

fn pull(repository: &Repository, cancel: &Cancel) -> Result<(), RegistryError> {
    let manifest = repository.manifest(Wanted::Tag("v1"), cancel)?;
    assert_eq!(manifest.descriptor.size, manifest.bytes.len() as u64);
    let mut hasher = manifest.digest().algorithm().hasher();
    hasher.update(&manifest.bytes);
    assert_eq!(hasher.finish(), *manifest.digest());
    let document: serde_json::Value = serde_json::from_slice(&manifest.bytes).expect("JSON, as it was found to be");
    let entries = ["manifests", "layers"].iter().filter_map(|key| document[*key].as_array()).flatten();
    let named = entries.chain([&document["config"]]);
    for blob in named.filter_map(|entry| serde_json::from_value::<Descriptor>(entry.clone()).ok()).take(8) {
        let bytes = repository.small_blob(&blob, cancel)?;
        let mut hasher = blob.digest.algorithm().hasher();
        hasher.update(&bytes);
        assert_eq!((hasher.finish(), bytes.len() as u64), (blob.digest.clone(), blob.size));
    }
    Ok(())
}

fn push(repository: &Repository, cancel: &Cancel) -> Result<(), RegistryError> {
    let layer = Descriptor::new("application/vnd.oci.image.layer.v1.tar", Digest::of(BLOB), BLOB.len() as u64);
    let from = ["r.example/other".parse().expect("a name")];
    repository.push_blob(&layer, blob(), &from, cancel, &mut |_| ())?;
    let document = serde_json::json!({ "schemaVersion": 2, "config": layer, "layers": [layer] });
    let manifest = Encoded::new(media_type::MANIFEST, &document);
    repository.put_manifest(Wanted::Tag("v1"), &manifest, cancel)?;
    repository.put_referrer(&layer.digest, &manifest, &manifest.descriptor, cancel)
}

fuzz_target!(|bytes: &[u8]| {
    let end = bytes.iter().position(|byte| *byte == b'\n').unwrap_or(bytes.len());
    let (ask, rest) = (&bytes[..end], bytes.get(end + 1..).unwrap_or_default());
    let answers = answers(rest);
    let next = AtomicUsize::new(0);
    let environment: Environment =
        [("XBUILD_REGISTRY_USERNAME", "me"), ("XBUILD_REGISTRY_PASSWORD", "hunter2")].into_iter().collect();
    // Whoever is to be waited for is given up: the time of the test is for answers.
    let patience = Patience { attempts: 3, back_off: Duration::ZERO, asked: Duration::ZERO };
    let config = Config { patience, single: 8, ..Config::default() };
    let transport = Transport::scripted(&environment, config.stall, move |request| {
        check(request);
        let number = next.fetch_add(1, Ordering::Relaxed);
        let answer = answers.get(number % answers.len()).filter(|_| number < MOST);
        answer.cloned().ok_or_else(|| "the connection broke".to_owned())
    });
    let client = Client::over(transport, config, &environment);
    let repository = client.repository(&format!("{HOST}/a/b").parse().expect("a name"), Access::Push);
    let cancel = Cancel::new().within(Duration::from_secs(10), "an input");
    let result = match ask {
        b"push" => push(&repository, &cancel),
        b"tags" => repository.tags(&cancel).map(|tags| assert!(tags.iter().all(|tag| is_tag(tag)))),
        b"referrers" => repository.referrers(&Digest::of(BLOB), None, &cancel).map(drop),
        b"head" => repository.head(Wanted::Tag("v1"), &cancel).map(drop),
        _ => pull(&repository, &cancel),
    };
    if let Err(error) = result {
        assert!(!format!("{error} {error:?}").contains("hunter2"));
    }
});
