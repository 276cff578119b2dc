//! The registry client against a real registry, with skopeo on the other side.

use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::Value;
use xbuild::Cancel;
use xbuild::Environment;
use xbuild::error::{ExitCode, Explain};
use xbuild::oci::name::{ImageName, Wanted};
use xbuild::oci::{Descriptor, Digest, Encoded};
use xbuild::registry::RegistrySettings;
use xbuild::registry::{Access, Client, Config, Patience, Pushed, RegistryError, Repository};

use super::support::registry::{Guard, PASSWORD, Registry, USER};
use super::support::token::{self, IDENTITY, Rules, TokenService};
use super::support::{base, scratch};

fn config() -> Config {
    let patience = Patience { attempts: 4, back_off: Duration::from_millis(5), ..Patience::default() };
    Config { patience, stall: Duration::from_secs(10), ..Config::default() }
}

/// A client that is independent of the test's surroundings, with these variables.
fn client(variables: &[(&str, &str)]) -> Client {
    let environment: Environment = variables.iter().copied().filter(|(_, value)| !value.is_empty()).collect();
    Client::new(config(), &environment)
}

fn login() -> [(&'static str, &'static str); 2] {
    [("XBUILD_REGISTRY_USERNAME", USER), ("XBUILD_REGISTRY_PASSWORD", PASSWORD)]
}

fn repository(client: &Client, name: &str, access: Access) -> Repository {
    let name: ImageName = name.parse().expect("a name of the test");
    client.repository(&name.repository, access)
}

/// A layout with three platforms.
fn layout() -> (tempfile::TempDir, PathBuf) {
    let dir = scratch();
    let path = dir.path().join("base");
    base::write(&path, &["linux/amd64", "linux/arm/v7", "linux/arm64"]);
    (dir, path)
}

fn blob(dir: &Path, bytes: &[u8]) -> (Descriptor, PathBuf) {
    let digest = Digest::of(bytes);
    let path = dir.join(digest.hex());
    std::fs::write(&path, bytes).expect("a directory of the test");
    (Descriptor::new("application/octet-stream", digest, bytes.len() as u64), path)
}

/// Pushes an image of one layer and returns its manifest.
fn push(repository: &Repository, dir: &Path, tag: &str, layer: &[u8]) -> Result<Encoded, RegistryError> {
    let cancel = Cancel::new();
    let (mut config, config_path) = blob(dir, br#"{"architecture":"amd64","os":"linux"}"#);
    config.media_type = "application/vnd.oci.image.config.v1+json".into();
    let (mut layer, layer_path) = blob(dir, layer);
    layer.media_type = "application/vnd.oci.image.layer.v1.tar".into();
    for (descriptor, path) in [(&config, &config_path), (&layer, &layer_path)] {
        repository.push_blob(descriptor, path, &[], &cancel, &mut |_| ())?;
    }
    let media_type = "application/vnd.oci.image.manifest.v1+json";
    let document = serde_json::json!({
        "schemaVersion": 2, "mediaType": media_type, "config": config, "layers": [layer],
    });
    let manifest = Encoded::new(media_type, &document);
    repository.put_manifest(Wanted::Tag(tag), &manifest, &cancel)?;
    Ok(manifest)
}

#[test]
fn what_skopeo_wrote_is_read_byte_for_byte() {
    let registry = Registry::open();
    let (dir, layout) = layout();
    registry.fill(&format!("oci:{}:base", layout.display()), "team/base:1");
    let (client, cancel) = (client(&[]), Cancel::new());
    let repository = repository(&client, &registry.name("team/base"), Access::Pull);
    let index = repository.manifest(Wanted::Tag("1"), &cancel).unwrap();
    let document: Value = serde_json::from_slice(&index.bytes).unwrap();
    let entries: Vec<Descriptor> = serde_json::from_value(document["manifests"].clone()).unwrap();
    assert_eq!(entries.len(), 3);
    for entry in entries {
        let manifest = repository.manifest(Wanted::Digest(&entry.digest), &cancel).unwrap();
        assert_eq!(manifest.descriptor, Descriptor::new(&entry.media_type, entry.digest.clone(), entry.size));
        let manifest: Value = serde_json::from_slice(&manifest.bytes).unwrap();
        let config: Descriptor = serde_json::from_value(manifest["config"].clone()).unwrap();
        let bytes = repository.small_blob(&config, &cancel).unwrap();
        assert_eq!(bytes, std::fs::read(layout.join("blobs/sha256").join(config.digest.hex())).unwrap());
        let layer: Descriptor = serde_json::from_value(manifest["layers"][0].clone()).unwrap();
        let path = dir.path().join("layer");
        repository.fetch_blob(&layer, &path, &cancel, &mut |_| ()).unwrap();
        assert_eq!(Digest::of(&std::fs::read(&path).unwrap()), layer.digest);
        assert!(repository.has_blob(&layer, &cancel).unwrap());
    }
    assert_eq!(repository.head(Wanted::Tag("1"), &cancel).unwrap(), Some(index.descriptor));
    assert_eq!(repository.head(Wanted::Tag("2"), &cancel).unwrap(), None);
}

#[test]
fn what_is_pushed_is_read_by_skopeo_whatever_guards_the_registry() {
    for registry in [
        Registry::open(),
        Registry::with_password(),
        Registry::with_tokens(TokenService::start(Rules::default())),
    ] {
        let dir = scratch();
        let client = client(&login());
        let repository = repository(&client, &registry.name("a/b"), Access::Push);
        // Larger than what is sent in one request.
        let layer: Vec<u8> = (0..6_000_000_u32).flat_map(u32::to_le_bytes).take(9_000_000).collect();
        let manifest = push(&repository, dir.path(), "v1", &layer).unwrap();
        let raw = registry
            .skopeo("inspect")
            .args(["--raw", &format!("docker://{}", registry.name("a/b:v1"))])
            .text();
        assert_eq!(raw.as_bytes(), manifest.bytes);
        registry.copy_out("a/b:v1", &dir.path().join("copy"));
        let before = registry.requests().len();
        push(&repository, dir.path(), "v1", &layer).unwrap();
        let again = registry.requests().split_off(before);
        assert!(!again.iter().any(|request| request.contains("uploads")), "{again:?}");
        assert_eq!(repository.tags(&Cancel::new()).unwrap(), ["v1"]);
    }
}

#[test]
fn tokens_are_kept_and_asked_for_with_both_repositories_of_a_mount() {
    let registry = Registry::with_tokens(TokenService::start(Rules::default()));
    let dir = scratch();
    let (client, cancel) = (client(&login()), Cancel::new());
    let source = repository(&client, &registry.name("one/source"), Access::Push);
    push(&source, dir.path(), "v1", b"a layer").unwrap();
    let (layer, path) = blob(dir.path(), b"a layer");
    let target = repository(&client, &registry.name("two/target"), Access::Push);
    let from = [source.name().clone()];
    let missing = dir.path().join("nothing");
    let mounted = target.push_blob(&layer, &missing, &from, &cancel, &mut |_| ()).unwrap();
    assert_eq!(mounted, Pushed::Mounted);
    assert_eq!(target.push_blob(&layer, &missing, &from, &cancel, &mut |_| ()).unwrap(), Pushed::Present);
    // A registry without the blob there begins an upload instead.
    let (other, other_path) = blob(dir.path(), b"another layer");
    assert_eq!(target.push_blob(&other, &other_path, &from, &cancel, &mut |_| ()).unwrap(), Pushed::Uploaded);
    drop(path);
    let Guard::Token(service) = &registry.guard else { unreachable!() };
    let scopes = |request: &String| request.matches("scope=").count();
    let asked = service.asked();
    // One scope for each repository, and one token for both.
    assert_eq!(asked.iter().map(scopes).collect::<Vec<_>>(), [1, 1, 2], "{asked:#?}");
    assert!(asked[2].contains("one/source:pull&") && asked[2].contains("two/target:pull,push"), "{asked:#?}");
}

#[test]
fn an_identity_token_is_exchanged_for_tokens() {
    let registry = Registry::with_tokens(TokenService::start(Rules::default()));
    let dir = scratch();
    let known = client(&[("XBUILD_REGISTRY_TOKEN", IDENTITY)]);
    push(&repository(&known, &registry.name("a/b"), Access::Push), dir.path(), "v1", b"a layer").unwrap();
    let Guard::Token(service) = &registry.guard else { unreachable!() };
    let asked = service.asked();
    assert!(
        asked.iter().all(|request| request.starts_with("POST /token HTTP/1.1 grant_type=refresh_token&")),
        "{asked:?}"
    );
    let wrong = self::client(&[("XBUILD_REGISTRY_TOKEN", "wrong-token-4")]);
    let error = push(&repository(&wrong, &registry.name("a/b"), Access::Push), dir.path(), "v2", b"a layer")
        .unwrap_err();
    assert_eq!(error.exit_code(), ExitCode::Unauthorized);
    assert!(
        error.to_string().contains("invalid_grant") && !format!("{error:?}").contains("wrong-token-4"),
        "{error}"
    );
}

#[test]
fn who_is_nobody_who_is_wrong_and_who_may_not_are_told_apart() {
    let wrong = [("XBUILD_REGISTRY_USERNAME", USER), ("XBUILD_REGISTRY_PASSWORD", "hunter2")];
    let rules = |refuses| Rules {
        writable: ["mine/app".to_owned()].into(),
        public: ["open/base".to_owned()].into(),
        refuses,
        ..Rules::default()
    };
    let dir = scratch();
    for registry in [Registry::with_password(), Registry::with_tokens(TokenService::start(rules(false)))] {
        let attempt = |variables: &[(&str, &str)]| {
            let repository = repository(&client(variables), &registry.name("mine/app"), Access::Push);
            push(&repository, dir.path(), "v1", b"a layer")
        };
        let error = attempt(&[]).unwrap_err();
        assert_eq!(error.exit_code(), ExitCode::Unauthorized);
        assert!(error.to_string().contains("there are none for it"), "{error}");
        assert!(error.hint().unwrap().contains(&format!("docker login {}", registry.host())));
        let error = attempt(&wrong).unwrap_err();
        assert_eq!(error.exit_code(), ExitCode::Unauthorized);
        let text = format!("{error} {error:?}");
        assert!(text.contains("the XBUILD_REGISTRY_ variables") && !text.contains("hunter2"), "{text}");
        attempt(&login()).unwrap();
    }
    // A token service may give a token for less, or refuse to give one.
    for refuses in [false, true] {
        let registry = Registry::with_tokens(TokenService::start(rules(refuses)));
        let other = repository(&client(&login()), &registry.name("not/mine"), Access::Push);
        let error = push(&other, dir.path(), "v1", b"a layer").unwrap_err();
        assert_eq!(error.exit_code(), ExitCode::Denied);
        assert!(error.to_string().contains("denies repository:not/mine:pull"), "{error}");
    }
}

#[test]
fn what_refers_to_an_image_is_found_by_a_tag_where_the_registry_keeps_no_list() {
    let registry = Registry::open();
    let (dir, cancel) = (scratch(), Cancel::new());
    let repository = repository(&client(&[]), &registry.name("a/b"), Access::Push);
    let subject = push(&repository, dir.path(), "v1", b"a layer").unwrap();
    let of = |kind: Option<&str>| repository.referrers(subject.digest(), kind, &cancel).unwrap();
    assert_eq!(of(None), []);
    let (empty, path) = blob(dir.path(), b"{}");
    repository.push_blob(&empty, &path, &[], &cancel, &mut |_| ()).unwrap();
    let mut entries = Vec::new();
    for kind in ["text/one", "text/two"] {
        let media_type = "application/vnd.oci.image.manifest.v1+json";
        let document = Encoded::new(
            media_type,
            &serde_json::json!({
                "schemaVersion": 2, "mediaType": media_type, "artifactType": kind,
                "config": empty, "layers": [empty], "subject": subject.descriptor,
            }),
        );
        let mut entry = document.descriptor.clone();
        entry.other.insert("artifactType".into(), kind.into());
        for _ in 0..2 {
            repository.put_referrer(subject.digest(), &document, &entry, &cancel).unwrap();
        }
        entries.push(entry);
    }
    assert_eq!(of(None), entries);
    assert_eq!(of(Some("text/two")), entries[1..]);
}

#[test]
fn a_long_list_of_tags_comes_in_pages() {
    let registry = Registry::open();
    let dir = scratch();
    let repository = repository(&client(&[]), &registry.name("a/b"), Access::Push);
    let manifest = push(&repository, dir.path(), "v0", b"a layer").unwrap();
    // Written directly into the registry's storage: a thousand uploads would prove no more.
    let tags = registry.storage("repositories/a/b/_manifests/tags");
    for number in 1..1100 {
        let dir = tags.join(format!("v{number}/current"));
        std::fs::create_dir_all(&dir).unwrap();
        std::fs::write(dir.join("link"), manifest.digest().to_string()).unwrap();
    }
    let mut expected: Vec<String> = (0..1100).map(|number| format!("v{number}")).collect();
    expected.sort();
    assert_eq!(repository.tags(&Cancel::new()).unwrap(), expected);
}

#[test]
fn a_registry_with_a_certificate_of_its_own_is_trusted_when_told_so() {
    let dir = scratch();
    let (authority, certificate, key) = token::authority(dir.path());
    let registry = Registry::with_tls(&certificate, &key);
    let untrusted = repository(&client(&[]), &registry.name("a/b"), Access::Push);
    let error = push(&untrusted, dir.path(), "v1", b"a layer").unwrap_err();
    assert_eq!(error.exit_code(), ExitCode::Tls);
    assert!(error.to_string().contains("certificate") && error.hint().unwrap().contains("`ca`"), "{error}");
    let settings = RegistrySettings { ca: Some(authority), ..RegistrySettings::default() };
    let config = Config { registries: [(registry.host(), settings)].into(), ..config() };
    let client = Client::new(config, &Environment::default());
    push(&repository(&client, &registry.name("a/b"), Access::Push), dir.path(), "v1", b"a layer").unwrap();
}

#[test]
fn mirrors_are_asked_first_and_a_rewrite_leads_elsewhere() {
    let (mirror, origin) = (Registry::open(), Registry::open());
    let dir = scratch();
    let plain = client(&[]);
    push(&repository(&plain, &mirror.name("hub/a/b"), Access::Push), dir.path(), "v1", b"in the mirror")
        .unwrap();
    let there =
        push(&repository(&plain, &origin.name("a/only"), Access::Push), dir.path(), "v1", b"not in it")
            .unwrap();
    let settings = |mirrors: Vec<String>, rewrite: Option<String>| RegistrySettings {
        mirrors,
        rewrite,
        ..RegistrySettings::default()
    };
    let registries = [
        (
            "registry.example".to_owned(),
            settings(vec!["127.0.0.1:1".into(), mirror.name("hub")], Some(origin.host())),
        ),
        ("registry.example/moved".to_owned(), settings(vec![], Some(mirror.name("hub/a")))),
    ];
    let patience = Patience { attempts: 2, back_off: Duration::from_millis(5), ..Patience::default() };
    let config = Config { registries: registries.into(), patience, ..config() };
    let client = Client::new(config, &Environment::default());
    let cancel = Cancel::new();
    let read = |name: &str| repository(&client, name, Access::Pull).manifest(Wanted::Tag("v1"), &cancel);
    assert!(read("registry.example/a/b").is_ok());
    assert_eq!(read("registry.example/a/only").unwrap(), there);
    assert!(read("registry.example/moved/b").is_ok());
    // Writes go to the real address, and never to a mirror.
    let target = repository(&client, "registry.example/new/app", Access::Push);
    push(&target, dir.path(), "v1", b"a layer").unwrap();
    let own = repository(&plain, &origin.name("new/app"), Access::Pull);
    assert!(own.head(Wanted::Tag("v1"), &cancel).unwrap().is_some());
}
