//! Invalid images in a registry, and registries that do not accept what they get: each case has its own message and an
//! exit code that says what to do about it.

use std::io::Write;
use std::path::PathBuf;

use serde_json::{Value, json};
use xbuild::error::ExitCode;

use crate::support::base;
use crate::support::command::Finished;
use crate::support::layout::digest_of;
use crate::support::project::Project;
use crate::support::registry::{PASSWORD, Registry, USER};
use crate::support::token::{Rules, TokenService};

const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";

/// A registry with a base for linux/amd64, and a project that uses it.
struct Setup {
    registry: Registry,
    project: Project,
}

impl Setup {
    fn new() -> Self {
        let project = Project::program("app").file("xbuild.toml", "platforms = [\"linux/amd64\"]\n");
        base::write(&project.path("base"), &["linux/amd64"]);
        let registry = Registry::open();
        registry.fill(&format!("oci:{}:base", project.path("base").display()), "team/base:1");
        Self { registry, project }
    }

    #[track_caller]
    fn build(&self, base: &str) -> Finished {
        let run = self.project.build().env("XBUILD_CACHE_DIR", self.project.path("cache"));
        run.args(["--base", &self.registry.name(base)]).run()
    }

    /// A document that the registry has.
    fn document(&self, reference: &str) -> Value {
        let name = format!("docker://{}", self.registry.name(reference));
        serde_json::from_str(&self.registry.skopeo("inspect").args(["--raw", &name]).text()).expect("JSON")
    }

    /// The manifest below the index `team/base:1`, and its digest.
    fn manifest(&self) -> (Value, String) {
        let index = self.document("team/base:1");
        let digest = index["manifests"][0]["digest"].as_str().expect("a digest").to_owned();
        (self.document(&format!("team/base@{digest}")), digest)
    }

    /// The path at which the registry stores the bytes of a blob.
    fn stored(&self, digest: &str) -> PathBuf {
        let hex = digest.trim_start_matches("sha256:");
        self.registry.storage(&format!("blobs/sha256/{}/{hex}/data", &hex[..2]))
    }

    /// Stores an image with this configuration and this layer, under a tag.
    fn put(&self, tag: &str, config: &[u8], layer: &[u8], media_type: &str) {
        let config = self.registry.put_blob("team/base", config, "application/vnd.oci.image.config.v1+json");
        let layer = self.registry.put_blob("team/base", layer, media_type);
        let manifest =
            json!({ "schemaVersion": 2, "mediaType": MANIFEST, "config": config, "layers": [layer] });
        self.registry.put_manifest("team/base", tag, MANIFEST, &manifest.to_string());
    }
}

fn digest(descriptor: &Value) -> &str {
    descriptor["digest"].as_str().expect("a digest")
}

#[test]
fn a_layer_with_other_bytes_is_refused_and_not_kept() {
    let setup = Setup::new();
    let (manifest, _) = setup.manifest();
    let layer = digest(&manifest["layers"][0]).to_owned();
    let mut bytes = std::fs::read(setup.stored(&layer)).expect("the registry's own file");
    *bytes.last_mut().expect("a layer") ^= 1;
    std::fs::write(setup.stored(&layer), bytes).expect("the registry's own file");
    setup.build("team/base:1").fails(
        ExitCode::CorruptDownload,
        &[&layer, "is not what the registry says it is: expected", "got sha256:", "alters content"],
    );
    let kept = crate::support::names(&setup.project.path("cache/registry/blobs/sha256"));
    let kept_of_it = |name: &&String| layer.contains(name.split('.').next().expect("a name"));
    let left: Vec<&String> = kept.iter().filter(kept_of_it).collect();
    assert!(left.iter().all(|name| name.contains(".lock")), "{left:?}");
}

#[test]
fn a_layer_that_is_shorter_than_its_manifest_says_is_refused() {
    let setup = Setup::new();
    let (manifest, _) = setup.manifest();
    let layer = digest(&manifest["layers"][0]).to_owned();
    std::fs::write(setup.stored(&layer), b"short").expect("the registry's own file");
    setup.build("team/base:1").fails(ExitCode::CorruptDownload, &[&layer, "got 5 bytes"]);
}

#[test]
fn an_index_that_leads_out_of_its_repository_names_what_is_missing() {
    let setup = Setup::new();
    let (_, manifest) = setup.manifest();
    let hex = manifest.trim_start_matches("sha256:");
    let link = setup.registry.storage(&format!("repositories/team/base/_manifests/revisions/sha256/{hex}"));
    std::fs::remove_dir_all(link).expect("the registry's own directory");
    setup.build("team/base:1").fails(
        ExitCode::CorruptBase,
        &["is damaged", "refers to", &manifest, "which the repository does not have"],
    );
}

#[test]
fn a_digest_that_would_lead_elsewhere_on_this_machine_is_none() {
    let setup = Setup::new();
    let (_, manifest) = setup.manifest();
    let path = setup.stored(&manifest);
    let text = std::fs::read_to_string(&path).expect("the registry's own file");
    let document: Value = serde_json::from_str(&text).expect("a manifest");
    let text = text.replace(digest(&document["layers"][0]), "sha256:../../../../../../etc/passwd");
    let config = std::fs::read(setup.stored(digest(&document["config"]))).expect("the registry's own file");
    // The registry verifies digests as xbuild does, so this comes from a server that does not.
    let server = crate::support::http::serve(move |path| match path {
        path if path.contains("/manifests/") => Some((MANIFEST.to_owned(), text.clone().into_bytes())),
        path if path.contains("/blobs/") => Some(("application/octet-stream".to_owned(), config.clone())),
        _ => None,
    });
    let run = setup.project.build().env("XBUILD_CACHE_DIR", setup.project.path("cache"));
    let run = run.args(["--base", &format!("{server}/team/base:1")]).run();
    run.fails(ExitCode::CorruptBase, &["`layers`", "etc/passwd` is not a sha256 or sha512 digest"]);
}

#[test]
fn a_configuration_that_is_no_json_is_told() {
    let setup = Setup::new();
    setup.put("broken", b"not json", b"a layer", "application/vnd.oci.image.layer.v1.tar");
    let config = digest_of(b"not json");
    setup.build("team/base:broken").fails(ExitCode::CorruptBase, &["is damaged", &config, "is not JSON"]);
}

#[test]
fn a_layer_without_end_is_not_read_to_its_end() {
    let setup = Setup::new();
    // A name that claims a terabyte, with two gigabytes present: some hundred kilobytes when compressed.
    let mut header = tar::Header::new_gnu();
    header.set_entry_type(tar::EntryType::GNULongName);
    header.set_size(1 << 40);
    header.set_cksum();
    let mut encoder = zstd::Encoder::new(Vec::new(), 1).expect("in memory");
    encoder.write_all(header.as_bytes()).expect("in memory");
    let piece = vec![b'x'; 1 << 20];
    for _ in 0..2048 {
        encoder.write_all(&piece).expect("in memory");
    }
    let layer = encoder.finish().expect("in memory");
    let config = json!({
        "architecture": "amd64", "os": "linux", "rootfs": { "type": "layers", "diff_ids": [digest_of(b"")] },
    });
    setup.put("bomb", config.to_string().as_bytes(), &layer, "application/vnd.oci.image.layer.v1.tar+zstd");
    let finished = setup.build("team/base:bomb");
    let finished = finished
        .fails(ExitCode::CorruptBase, &[&digest_of(&layer), "the pax records of an entry take more than"]);
    assert!(finished.elapsed.as_secs() < 60, "{}", finished.describe());
}

#[test]
fn a_registry_that_does_not_take_a_tag_says_why() {
    let setup = Setup::new();
    let body = r#"{"errors":[{"code":"TAG_INVALID","message":"release tags cannot be overwritten"}]}"#;
    let server = crate::support::http::serve_with(move |method, path| match (method, path) {
        ("PUT", path) if path.contains("/manifests/") => (400, body.as_bytes().to_vec()),
        ("HEAD", path) if path.contains("/blobs/") => (200, Vec::new()),
        ("HEAD", _) => (404, Vec::new()),
        _ => (500, Vec::new()),
    });
    setup.project.write("xbuild.toml", "platforms = [\"linux/amd64\"]\nbase = \"scratch\"\n");
    let name = format!("{server}/team/app:1.0");
    let run = setup.project.build().args(["--push", "-t", &name]).run();
    let words =
        ["refuses it: TAG_INVALID: release tags cannot be overwritten", "the registry's rules decide"];
    run.fails(ExitCode::Refused, &words);
}

#[test]
fn a_base_that_may_not_be_read_and_a_server_that_is_not_there_are_told_apart() {
    let setup = Setup::new();
    let rules = Rules { writable: ["mine/app".to_owned()].into(), ..Rules::default() };
    let guarded = Registry::with_tokens(TokenService::start(rules));
    let build = |base: &str| {
        let run = setup.project.build().env("XBUILD_CACHE_DIR", setup.project.path("cache"));
        run.env("HOME", setup.project.path("home")).args(["--base", base]).run()
    };
    let base = guarded.name("not/mine:1");
    let host = guarded.host();
    build(&base).fails(ExitCode::Unauthorized, &["wants credentials", &format!("docker login {host}")]);
    let login = json!({ "auths": { host: { "username": USER, "password": PASSWORD } } });
    setup.project.write("home/.docker/config.json", &login.to_string());
    let denied =
        build(&base).fails(ExitCode::Denied, &["denies repository:not/mine:pull", "give the user or token"]);
    assert!(!denied.stderr.contains(PASSWORD));
    build("127.0.0.1:1/a:1").fails(ExitCode::Network, &["127.0.0.1:1/a:1", "tried 6 times", "run again"]);
}

#[test]
fn a_portal_that_answers_everything_with_a_page_is_told() {
    let setup = Setup::new();
    let page = b"<!doctype html><title>Log in to the network</title>".to_vec();
    let server = crate::support::http::serve(move |_| Some(("text/html".to_owned(), page.clone())));
    let name = format!("{server}/team/app:1.0");
    let words = [
        "does not speak the registry protocol: it answers with a web page",
        "something else may answer there",
    ];
    for command in [format!("push base {name}"), format!("pull {name} -o pulled"), format!("tag {name} :x")] {
        setup.project.xbuild().words(&command).run().fails(ExitCode::Refused, &words);
    }
    assert!(!setup.project.path("pulled").exists());
}
