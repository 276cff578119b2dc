//! Kubernetes manifests: references to projects become the digests of pushed images.

use std::fs;
use std::sync::{Arc, Mutex, PoisonError};

use serde_json::{Value, json};
use xbuild::error::ExitCode;

use crate::support::command::{Run, tool};
use crate::support::docker::path_with;
use crate::support::http;
use crate::support::project::Project;
use crate::support::registry::Registry;
use crate::support::tools;

/// Two projects beside each other, and manifests about them.
fn projects() -> Project {
    let package = |name: &str| {
        format!("[package]\nname = \"{name}\"\nversion = \"1.0.0\"\nedition = \"2024\"\n\n[workspace]\n")
    };
    let configuration = "platforms = [\"linux/amd64\", \"linux/arm64\"]\nbase = \"scratch\"\n";
    let mut project = Project::empty();
    for name in ["front", "back"] {
        let main = format!("fn main() {{ println!(\"{name}\"); }}\n");
        project = project
            .file(&format!("{name}/Cargo.toml"), &package(name))
            .file(&format!("{name}/src/main.rs"), &main)
            .file(&format!("{name}/xbuild.toml"), configuration);
    }
    let deployment = "# The front end, xbuild://front.\nspec:\n  containers:\n    - image: xbuild://front  # ours\n\
                      \x20   - image: 'xbuild://back'\n    - image: debian:12\n---\nimage: \"xbuild://front\"\n";
    project
        .file("k8s/a.yaml", deployment)
        .file("k8s/more/b.json", "{\"image\":\"xbuild://back\"}\n")
        .file("k8s/notes.txt", "image: xbuild://nowhere\n")
}

fn run(project: &Project, words: &str) -> Run {
    project.xbuild().words(words)
}

#[test]
fn references_become_digests_and_all_else_stays() {
    let (project, registry) = (projects(), Registry::open());
    let repository = registry.name("team");
    let words = format!("resolve -f k8s -R --repository {repository} -t v1,v2");
    let text = run(&project, &words).text();
    let digest = |name: &str| {
        let reference = format!("docker://{repository}/{name}:v2");
        let raw =
            tools::skopeo("linux/amd64").words("inspect --tls-verify=false --raw").arg(reference).text();
        crate::support::layout::digest_of(raw.as_bytes())
    };
    let (front, back) = (digest("front"), digest("back"));
    let expected = format!(
        "# The front end, xbuild://front.\nspec:\n  containers:\n    - image: {repository}/front@{front}  # ours\n\
         \x20   - image: '{repository}/back@{back}'\n    - image: debian:12\n---\nimage: \
         \"{repository}/front@{front}\"\n---\n{{\"image\":\"{repository}/back@{back}\"}}\n"
    );
    assert_eq!(text, expected);
    // The same from standard input, with and without a file.
    let from = |file: &str, words: &str| {
        let shell = ["sh".to_owned(), "-c".to_owned(), format!("exec \"$@\" <{file}"), "sh".to_owned()];
        run(&project, &format!("resolve {words} --repository {repository} -t v1,v2")).wrapped(shell).text()
    };
    assert_eq!(from("k8s/a.yaml", "-f - -f k8s/more"), expected);
    assert_eq!(from("k8s/more/b.json", "-f -"), format!("{{\"image\":\"{repository}/back@{back}\"}}\n"));
    assert_eq!(from("/dev/null", "-f -"), "");
    // A project that names its own destination.
    let own = format!(
        "tags = [\"{}\"]\nplatforms = [\"linux/amd64\"]\nbase = \"scratch\"\n",
        registry.name("own/back:3")
    );
    project.write("back/xbuild.toml", &own);
    let text = run(&project, "resolve -f k8s/more/b.json").text();
    assert!(text.starts_with(&format!("{{\"image\":\"{}@sha256:", registry.name("own/back"))), "{text}");
}

#[test]
fn kubectl_gets_what_was_resolved() {
    let (project, registry) = (projects(), Registry::open());
    let kubectl = "#!/bin/sh\necho \"$@\" >arguments\ncp \"$3\" manifest\necho applied\n";
    let apply = |script: &str| {
        let path = path_with(&project.path("bin"), &[("kubectl", script)]);
        let words = format!("apply -f k8s/more --repository {} -- --namespace team", registry.name("team"));
        run(&project, &words).env("PATH", path).run()
    };
    assert_eq!(apply(kubectl).success().stdout, "applied\n");
    let read = |name: &str| fs::read_to_string(project.path(name)).expect("the script wrote it");
    let words: Vec<String> = read("arguments").split_whitespace().map(str::to_owned).collect();
    assert_eq!(
        (&words[..2], &words[3..]),
        (&["apply".into(), "-f".into()][..], &["--namespace".into(), "team".into()][..])
    );
    assert!(read("manifest").contains("team/back@sha256:"), "{}", read("manifest"));
    let refuses = "#!/bin/sh\necho 'no cluster' >&2\nexit 1\n";
    apply(refuses).fails(ExitCode::Kubectl, &["kubectl", "no cluster", "hint"]);
}

/// Serves as much of a cluster's API as `kubectl apply` needs to create pods in an empty one. Returns what was created,
/// as JSON.
fn cluster() -> (String, Arc<Mutex<Vec<Value>>>) {
    let made: Arc<Mutex<Vec<Value>>> = Arc::default();
    let log = Arc::clone(&made);
    let address = http::serve_bodies(move |method, path, body| {
        let pods = json!({
            "name": "pods", "singularName": "", "namespaced": true, "kind": "Pod", "verbs": ["create", "get", "patch"],
        });
        let answer = match (method, path.split('?').next().unwrap_or_default()) {
            ("GET", "/version") => json!({ "major": "1", "minor": "32", "gitVersion": "v1.32.0" }),
            ("GET", "/api") => json!({ "kind": "APIVersions", "versions": ["v1"] }),
            ("GET", "/apis") => json!({ "kind": "APIGroupList", "apiVersion": "v1", "groups": [] }),
            ("GET", "/api/v1") => {
                json!({ "kind": "APIResourceList", "groupVersion": "v1", "resources": [pods] })
            }
            ("POST", "/api/v1/namespaces/team/pods") => {
                let pod: Value = serde_json::from_slice(body).expect("kubectl sends JSON");
                log.lock().unwrap_or_else(PoisonError::into_inner).push(pod.clone());
                return (201, pod.to_string().into_bytes());
            }
            _ => {
                let none = json!({
                    "kind": "Status", "apiVersion": "v1", "status": "Failure", "reason": "NotFound", "code": 404,
                });
                return (404, none.to_string().into_bytes());
            }
        };
        (200, answer.to_string().into_bytes())
    });
    (address, made)
}

#[test]
fn kubectl_itself_makes_what_runs_the_pushed_image() {
    let (project, registry) = (projects(), Registry::open());
    let (address, made) = cluster();
    let pod = "apiVersion: v1\nkind: Pod\nmetadata:\n  name: front\nspec:\n  containers:\n    - name: front\n      image: \
               xbuild://front  # ours\n";
    project.write("pod.yaml", pod);
    let repository = registry.name("team");
    let words = format!(
        "apply -f pod.yaml --repository {repository} -- --server http://{address} --namespace team --validate=false"
    );
    // kubectl stores what it learned of a cluster in its home directory.
    let text = run(&project, &words).env("HOME", project.path("home")).text();
    assert_eq!(text, "pod/front created\n");
    let made = made.lock().unwrap_or_else(PoisonError::into_inner);
    let [pod] = &made[..] else { panic!("one pod was applied: {made:?}") };
    let image = pod["spec"]["containers"][0]["image"].as_str().expect("a name");
    let (name, digest) = image.split_once('@').expect("a digest");
    assert_eq!(name, format!("{repository}/front"));
    let raw = tools::skopeo("linux/amd64").words("inspect --tls-verify=false --raw");
    let raw = raw.arg(format!("docker://{image}")).text();
    assert_eq!(crate::support::layout::digest_of(raw.as_bytes()), digest);
}

#[test]
fn a_part_of_a_value_is_told_with_its_place() {
    let (project, registry) = (projects(), Registry::open());
    let resolve =
        |words: &str| run(&project, &format!("resolve {words} --repository {}", registry.name("team"))).run();
    let pod = "kind: Pod\nspec:\n  containers:\n  - {name: c, image: \"xbuild://front\", args: [\"--of=xbuild://back\"]}\n";
    project.write("k8s/pod.yaml", pod);
    let told =
        resolve("-f k8s/pod.yaml").fails(ExitCode::Config, &["pod.yaml:4", "--of=xbuild://back", "hint"]);
    assert_eq!(told.stdout, "");
    assert!(!told.stderr.contains("compile"), "{}", told.stderr);
    let texts = "kind: ConfigMap\ndata:\n  config.yaml: |\n    image: xbuild://front\n  json: '{\"image\": \"xbuild://front\"}'\n";
    project.write("k8s/texts.yaml", texts);
    let told = resolve("-f k8s/texts.yaml").success().tells(&["warning", "texts.yaml:4", "texts.yaml:5"]);
    assert_eq!(told.stdout, texts);
    project.write("k8s/broken.yaml", "image: xbuild://front\n{{ if x }}\n");
    resolve("-f k8s/broken.yaml").fails(ExitCode::Config, &["broken.yaml", "line 2", "not YAML", "hint"]);
    // A file without a reference is not parsed.
    project.write("k8s/broken.yaml", "{{ if x }}\nimage: debian\n");
    assert_eq!(resolve("-f k8s/broken.yaml").success().stdout, "{{ if x }}\nimage: debian\n");
}

#[test]
fn kustomizations_are_built_and_changed() {
    let (project, registry) = (projects(), Registry::open());
    let repository = registry.name("team");
    let pod = "apiVersion: v1\nkind: Pod\nmetadata:\n  name: app\nspec:\n  containers:\n  - image: app:v1\n    name: app\n";
    project.write("base/pod.yaml", pod);
    let kustomization =
        "# Ours.\nresources: [pod.yaml]\nimages:\n- name: app\n  newName: xbuild://front # built\n";
    project.write("base/kustomization.yaml", kustomization);
    let resolve = |words: &str| run(&project, &format!("resolve {words} --repository {repository}")).text();
    let built = resolve("-k base");
    assert!(built.contains(&format!("image: {repository}/front@sha256:")), "{built}");
    assert_eq!(resolve("-f base"), built);
    let digest = built.split_once("front@").and_then(|(_, rest)| rest.lines().next()).expect("a digest");
    let changed = resolve("-f base/kustomization.yaml");
    assert_eq!(
        changed,
        kustomization
            .replace("xbuild://front # built", &format!("{repository}/front # built\n  digest: {digest}"))
    );
    // kustomize gives the same result.
    project.write("base/kustomization.yaml", &changed);
    assert_eq!(tool("kubectl").words("kustomize base").dir(project.dir()).text(), built);
    project.write("base/kustomization.yaml", "resources: [nowhere.yaml]\n");
    let failed = run(&project, "resolve -k base").run();
    failed.fails(ExitCode::Kubectl, &["base", "nowhere.yaml", "hint"]);
}

#[test]
fn nothing_is_printed_unless_all_is_pushed() {
    let (project, registry) = (projects(), Registry::open());
    let repository = format!("--repository {}", registry.name("team"));
    let resolve = |words: &str| run(&project, &format!("resolve {words}")).run();
    resolve("-f nowhere.yaml").fails(ExitCode::MissingFile, &["nowhere.yaml"]);
    resolve("-f front").fails(ExitCode::MissingFile, &["front", ".yaml", "hint"]);
    resolve("k8s -f k8s/a.yaml").fails(ExitCode::Usage, &["k8s", "hint", "-f k8s"]);
    resolve("-f k8s/a.yaml").fails(ExitCode::Config, &["hint"]);
    project.write("k8s/c.yaml", "image: xbuild://missing\n");
    resolve(&format!("-f k8s/c.yaml {repository}")).fails(ExitCode::NoManifest, &["missing", "hint"]);
    project.write("front/src/main.rs", "fn main() { this is no Rust }\n");
    resolve(&format!("-f k8s/a.yaml {repository}")).fails(ExitCode::Compile, &["src/main.rs"]);
}

#[test]
fn a_project_outside_of_the_current_directory_is_built_only_when_asked() {
    let project = projects().file("inner/note", "");
    std::os::unix::fs::symlink("../front", project.path("inner/door")).expect("a link of the test");
    let absolute = project.path("front").display().to_string();
    let registry = Registry::open();
    let words = format!("resolve -f pod.yaml --repository {}", registry.name("team"));
    for path in ["../front", "a/../../front", absolute.as_str(), "door"] {
        project.write("inner/pod.yaml", &format!("image: xbuild://{path}\n"));
        let run =
            |more: &str| project.xbuild().dir(project.path("inner")).words(&format!("{words}{more}")).run();
        run("").fails(
            ExitCode::PathEscape,
            &[path, "leads out of the current directory", "hint", "--allow-outside"],
        );
        if path != "a/../../front" {
            let resolved = run(" --allow-outside").success();
            assert!(resolved.stdout.contains("/front@sha256:"), "{path}: {}", resolved.stdout);
        }
    }
    assert!(
        run(&project, &format!("{words} -f k8s/a.yaml").replace("-f pod.yaml ", ""))
            .run()
            .success()
            .stdout
            .contains("@sha256:")
    );
}
