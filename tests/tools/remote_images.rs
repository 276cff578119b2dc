//! Images in registries: tagged, reduced to some platforms, and copied with what refers to them.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use xbuild::Cancel;
use xbuild::Environment;
use xbuild::error::ExitCode;
use xbuild::oci::Digest;
use xbuild::oci::name::ImageName;
use xbuild::registry::{Access, Client, Config, Repository};

use crate::support::command::{Finished, xbuild};
use crate::support::layout::{Layout, REF_NAME, digest_of};
use crate::support::registry::Registry;
use crate::support::{base, names, scratch, tools};

/// A directory with a layout of three platforms, `base:base`.
fn with_base() -> tempfile::TempDir {
    let dir = scratch();
    base::write(&dir.path().join("base"), &["linux/amd64", "linux/arm/v7", "linux/arm64"]);
    dir
}

fn run_in(dir: &Path, words: &str) -> Finished {
    xbuild().dir(dir).env("HOME", dir.join("home")).words(words).run()
}

/// A document in a registry, as skopeo gets it.
fn raw(registry: &Registry, name: &str) -> String {
    let name = format!("docker://{}", registry.name(name));
    registry.skopeo("inspect").args(["--raw", &name]).text()
}

#[test]
fn an_image_in_a_registry_gets_more_tags_and_nothing_else_moves() {
    let (dir, registry) = (with_base(), Registry::open());
    let run = |words: &str| run_in(dir.path(), words);
    let name = registry.name("team/app");
    run(&format!("push base {name}:1")).success();
    let before = registry.requests().len();
    let tagged = run(&format!("tag {name}:1 :stable {name}:latest")).success();
    let digest = tagged.digest();
    assert_eq!(tagged.stdout, format!("{name}@{digest}\n"));
    tagged.tells(&["team/app:stable is new", "team/app:latest is new"]);
    let requests = registry.requests().split_off(before);
    assert!(requests.iter().all(|request| request.contains("/manifests/")), "{requests:#?}");
    for tag in ["stable", "latest"] {
        assert_eq!(raw(&registry, &format!("team/app:{tag}")), raw(&registry, "team/app:1"));
    }
    // A tag that already points to the image is left alone; a change is reported.
    let before = registry.requests().len();
    run(&format!("tag docker://{name}@{digest} :stable")).success().tells(&["stable was this image already"]);
    let requests = registry.requests().split_off(before);
    assert!(!requests.iter().any(|request| request.starts_with("PUT")), "{requests:#?}");
    base::write_as(&dir.path().join("base"), &["linux/amd64"], "another");
    run(&format!("push base {name}:2")).success();
    run(&format!("tag {name}:2 :stable")).success().tells(&[&format!("stable was {digest} before")]);
    assert_eq!(raw(&registry, "team/app:stable"), raw(&registry, "team/app:2"));
    // Another repository does not have what the name would point to.
    let other = registry.name("other/app:1");
    run(&format!("tag {name}:1 {other}")).fails(
        ExitCode::Usage,
        &[
            "other/app:1` is in a different repository from",
            &format!("xbuild copy docker://{name}:1 docker://{other}"),
        ],
    );
    run(&format!("tag {name}:none :x")).fails(ExitCode::NotFound, &["team/app:none"]);
    run(&format!("tag {name}:1 :not:a:tag")).fails(ExitCode::Config, &["not:a:tag"]);
    assert!(tools::json(&raw(&registry, "team/app:1"))["manifests"].is_array());
}

/// A layout that has more than images, which `Layout` would refuse. Its blobs match the digests in their names.
struct Stored {
    dir: PathBuf,
    entries: Vec<Value>,
}

impl Stored {
    fn open(dir: PathBuf) -> Self {
        for name in names(&dir.join("blobs/sha256")) {
            let bytes = fs::read(dir.join("blobs/sha256").join(&name)).expect("a blob");
            assert_eq!(digest_of(&bytes), format!("sha256:{name}"));
        }
        let text = fs::read_to_string(dir.join("index.json")).expect("an index");
        let entries = tools::json(&text)["manifests"].as_array().expect("a list").clone();
        Self { dir, entries }
    }

    /// The digest of the entry with this tag.
    fn tagged(&self, tag: &str) -> String {
        let found = self.entries.iter().find(|entry| entry["annotations"][REF_NAME] == tag);
        found.expect("a tag")["digest"].as_str().expect("a digest").to_owned()
    }

    fn document(&self, digest: &str) -> Value {
        let path = self.dir.join("blobs").join(digest.replace(':', "/"));
        tools::json(&fs::read_to_string(path).expect("a blob"))
    }
}

const INDEX: &str = "application/vnd.oci.image.index.v1+json";
const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";

/// Stores a manifest that is not an image: an attestation or, with a `subject`, a referrer. Returns its descriptor.
fn put_artifact(registry: &Registry, repository: &str, kind: &str, subject: Option<&Value>) -> Value {
    let empty = registry.put_blob(repository, b"{}", "application/vnd.oci.empty.v1+json");
    let text =
        format!("{kind} of {}", subject.map_or("", |subject| subject["digest"].as_str().expect("a digest")));
    let layer = registry.put_blob(repository, text.as_bytes(), "text/plain");
    let mut document = json!({
        "schemaVersion": 2, "mediaType": MANIFEST, "artifactType": kind, "config": empty, "layers": [layer],
        "annotations": { "made": "by the test" },
    });
    if let Some(subject) = subject {
        document["subject"] = json!({
            "mediaType": subject["mediaType"], "digest": subject["digest"], "size": subject["size"],
        });
    }
    let text = document.to_string();
    let digest = digest_of(text.as_bytes());
    let mut entry = registry.put_manifest(repository, &digest, MANIFEST, &text);
    entry["artifactType"] = kind.into();
    entry
}

/// Stores the list of a document's referrers, for a registry that has no list of its own.
fn put_referrers(registry: &Registry, repository: &str, subject: &Value, entries: &[&Value]) {
    let index = json!({ "schemaVersion": 2, "mediaType": INDEX, "manifests": entries });
    let tag = subject["digest"].as_str().expect("a digest").replace(':', "-");
    registry.put_manifest(repository, &tag, INDEX, &index.to_string());
}

#[test]
fn some_platforms_are_an_index_of_those_and_their_attestations() {
    let (dir, registry) = (with_base(), Registry::open());
    let run = |words: &str| run_in(dir.path(), words);
    registry.fill(&format!("oci:{}:base", dir.path().join("base").display()), "team/app:plain");
    let mut index = tools::json(&raw(&registry, "team/app:plain"));
    let images = index["manifests"].as_array().expect("a list").clone();
    for image in &images[..2] {
        let mut entry = put_artifact(&registry, "team/app", "attestation", None);
        entry["platform"] = json!({ "os": "unknown", "architecture": "unknown" });
        entry["annotations"] = json!({
            "vnd.docker.reference.type": "attestation-manifest", "vnd.docker.reference.digest": image["digest"],
        });
        // One attestation for each, which only its entry distinguishes.
        index["manifests"].as_array_mut().expect("a list").push(entry);
    }
    index["annotations"] = json!({ "kept": "yes" });
    registry.put_manifest("team/app", "1", INDEX, &index.to_string());
    let name = registry.name("team/app:1");
    run(&format!("copy docker://{name} oci:two:x --platform amd64 --platform linux/arm64")).success();
    let layout = Stored::open(dir.path().join("two"));
    let two = layout.document(&layout.tagged("x"));
    let digests = |index: &Value| -> Vec<String> {
        let entries = index["manifests"].as_array().expect("a list").iter();
        entries.map(|entry| entry["digest"].as_str().expect("a digest").to_owned()).collect()
    };
    let all = digests(&index);
    // amd64, arm64 and the attestation of the first; that of arm/v7 is about an image that is not included.
    assert_eq!(digests(&two), [&all[0], &all[2], &all[3]].map(String::clone));
    assert_eq!(two["annotations"]["kept"], "yes");
    assert_eq!(two["manifests"][2]["annotations"]["vnd.docker.reference.digest"], images[0]["digest"]);
    // Into a registry: the same bytes, and all platforms are the unchanged image.
    let other = registry.name("team/app:two");
    run(&format!("copy docker://{name} docker://{other} --platform amd64,arm64")).success();
    assert_eq!(digest_of(raw(&registry, "team/app:two").as_bytes()), layout.tagged("x"));
    let plain = registry.name("team/app:plain");
    run(&format!("copy docker://{plain} all --platform arm64,amd64,linux/arm/v7")).success();
    let copied = Layout::valid(&dir.path().join("all"));
    assert_eq!(copied.tags()["plain"], digest_of(raw(&registry, "team/app:plain").as_bytes()));
    run(&format!("pull {name} -o none --platform amd64,s390x"))
        .fails(ExitCode::NoImage, &["linux/s390x", "linux/arm/v7"]);
    assert!(!dir.path().join("none").exists());
}

/// A signature of an image, and an SBOM of one of its platforms, which is signed as well.
fn put_signatures(registry: &Registry, index: &Value, platform: &Value) -> [Value; 3] {
    let signature = put_artifact(registry, "team/app", "test/signature", Some(index));
    let sbom = put_artifact(registry, "team/app", "test/sbom", Some(platform));
    let signed = put_artifact(registry, "team/app", "test/signature", Some(&sbom));
    for (subject, referrer) in [(index, &signature), (platform, &sbom), (&sbom, &signed)] {
        put_referrers(registry, "team/app", subject, &[referrer]);
    }
    [signature, sbom, signed]
}

/// Checks that a repository has exactly one referrer of a manifest.
fn assert_refers(repository: &Repository, subject: &Value, referrer: &Value) {
    let digest: Digest = subject["digest"].as_str().expect("a digest").parse().expect("a digest");
    let found = repository.referrers(&digest, None, &Cancel::new()).expect("a list");
    assert_eq!(found.len(), 1);
    assert_eq!(
        (found[0].digest.to_string().as_str(), &found[0].other["artifactType"]),
        (referrer["digest"].as_str().expect("a digest"), &referrer["artifactType"])
    );
    assert_eq!(found[0].annotation("made"), Some("by the test"));
}

#[test]
fn what_refers_to_an_image_goes_along() {
    let (dir, from, to) = (with_base(), Registry::open(), Registry::open());
    let run = |words: &str| run_in(dir.path(), words);
    from.fill(&format!("oci:{}:base", dir.path().join("base").display()), "team/app:1");
    let text = raw(&from, "team/app:1");
    let index = json!({ "mediaType": INDEX, "digest": digest_of(text.as_bytes()), "size": text.len() });
    let arm = tools::json(&text)["manifests"][2].clone();
    let [signature, sbom, signed] = put_signatures(&from, &index, &arm);
    let name = from.name("team/app:1");
    // Without `--referrers`, none of it is copied.
    run(&format!("copy docker://{name} oci:plain:1")).success();
    assert_eq!(Layout::valid(&dir.path().join("plain")).entries.len(), 1);
    run(&format!("copy docker://{name} oci:image:1 --referrers")).success().tells(&["3 referrers go along"]);
    let layout = Stored::open(dir.path().join("image"));
    assert_eq!(layout.entries.len(), 1, "{:?}", layout.entries);
    for entry in [&signature, &sbom, &signed] {
        let digest = entry["digest"].as_str().expect("a digest");
        assert!(layout.document(digest)["subject"]["digest"].is_string());
    }
    // The layout still has one image, also for other tools, which take the only entry for the image.
    assert_eq!(run("inspect --raw image").success().stdout, text);
    let list = tools::json(&run("ls --json image").success().stdout);
    assert_eq!(list.as_array().map(Vec::len), Some(1), "{list}");
    let report = run("verify image --strict --json");
    assert!(!report.stdout.contains("unreachable-blob"), "{}", report.describe());
    let artifacts = tools::json(&run("inspect --json image").success().stdout)["artifacts"].clone();
    assert_eq!(artifacts.as_array().map(Vec::len), Some(3), "{artifacts}");
    let tree =
        run(&format!("inspect image@{}", signature["digest"].as_str().expect("a digest"))).success().stdout;
    assert!(tree.contains("test/signature"), "{tree}");
    tools::skopeo("linux/arm64")
        .dir(dir.path())
        .words("copy --quiet --all oci:image oci:other:1")
        .run()
        .success();
    // And on to another registry, where they are found as the specification says: the tag comes last.
    let before = to.requests().len();
    run(&format!("copy image docker://{} --referrers", to.name("new/app:1"))).success();
    let puts: Vec<String> = to
        .requests()
        .split_off(before)
        .into_iter()
        .filter(|line| line.starts_with("PUT /v2/new/app/manifests/"))
        .collect();
    assert!(puts.last().expect("a tag").starts_with("PUT /v2/new/app/manifests/1 "), "{puts:#?}");
    let client = Client::new(Config::default(), &Environment::default());
    let repository: ImageName = to.name("new/app").parse().expect("a name");
    let repository = client.repository(&repository.repository, Access::Pull);
    for (subject, referrer) in [(&index, &signature), (&arm, &sbom), (&sbom, &signed)] {
        assert_refers(&repository, subject, referrer);
    }
    // Again: only the referrers' own entries are sent anew, and no list grows.
    run(&format!("copy image docker://{} --referrers", to.name("new/app:1"))).success();
    let digest: Digest = index["digest"].as_str().expect("a digest").parse().expect("a digest");
    assert_eq!(repository.referrers(&digest, None, &Cancel::new()).expect("a list").len(), 1);
    // One platform is copied with only its own referrers.
    run(&format!("copy docker://{name} oci:arm:1 --referrers --platform arm64"))
        .success()
        .tells(&["2 referrers go along"]);
    run("copy image oci-archive:image.tar --referrers")
        .fails(ExitCode::NoImage, &["image.tar` cannot hold the referrers", "has 3", "hint"]);
    // A referrer alone, without its subject.
    let digest = signature["digest"].as_str().expect("a digest");
    run(&format!("copy docker://{}@{digest} oci-archive:signature.tar", from.name("team/app"))).success();
    run(&format!("copy image@{digest} oci:alone")).success();
    assert_eq!(Stored::open(dir.path().join("alone")).entries[0]["digest"], digest);
    assert_eq!(names(&dir.path().join("alone/blobs/sha256")).len(), 3);
}

#[test]
fn a_registry_gets_what_its_name_says_and_all_that_an_index_has() {
    let (dir, registry) = (with_base(), Registry::open());
    let run = |words: &str| run_in(dir.path(), words);
    let base = Stored::open(dir.path().join("base"));
    let (own, other) = (base.tagged("base"), digest_of(b"other"));
    // A different digest: nothing is requested from the registry, let alone written.
    let before = registry.requests().len();
    for name in [format!("team/app@{other}"), format!("team/app:1@{other}")] {
        run(&format!("push base {} {}", registry.name("team/app:2"), registry.name(&name)))
            .fails(ExitCode::NoImage, &[&format!("names {other}"), &own, "nothing was written"]);
        let output = format!("index create -t {} base", registry.name(&name));
        run(&output).fails(ExitCode::NoImage, &[&format!("names {other}")]);
    }
    assert_eq!(registry.requests().len(), before);
    run(&format!("push base {}", registry.name(&format!("team/app:1@{own}")))).success();
    assert_eq!(digest_of(raw(&registry, "team/app:1").as_bytes()), own);
    // An entry of an unknown kind is copied, and can be copied back.
    let unknown = dir.path().join("base/blobs/sha256").join(&digest_of(b"no JSON")["sha256:".len()..]);
    fs::write(unknown, "no JSON").expect("a directory of the test");
    let mut index = base.document(&own);
    let entry = json!({ "mediaType": "text/plain", "digest": digest_of(b"no JSON"), "size": 7 });
    index["manifests"].as_array_mut().expect("a list").push(entry);
    let text = index.to_string();
    let digest = digest_of(text.as_bytes());
    fs::write(dir.path().join("base/blobs/sha256").join(&digest["sha256:".len()..]), &text)
        .expect("a directory of the test");
    let entry = json!({ "mediaType": INDEX, "digest": digest, "size": text.len() });
    fs::write(
        dir.path().join("base/index.json"),
        json!({ "schemaVersion": 2, "manifests": [entry] }).to_string(),
    )
    .expect("a directory of the test");
    let odd = registry.name("team/odd:1");
    run(&format!("push base {odd}")).success().tells(&[
        "text/plain",
        "stored as a blob",
        "leave the entry out with --platform",
    ]);
    run(&format!("pull {odd} -o back")).success();
    let back = Stored::open(dir.path().join("back"));
    assert_eq!(back.entries[0]["digest"], digest);
    assert!(
        names(&dir.path().join("back/blobs/sha256"))
            .contains(&digest_of(b"no JSON")["sha256:".len()..].to_owned())
    );
    run(&format!("inspect {odd}")).success();
    run(&format!("pull {odd} -o one --platform amd64")).success();
}
