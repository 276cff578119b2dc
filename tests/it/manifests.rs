//! Kubernetes manifests: references to projects become the digests of pushed images.

use std::fs;

use xbuild::error::ExitCode;

use crate::support::command::Run;
use crate::support::docker::path_with;
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
    // From standard input, of which there is none here.
    assert_eq!(run(&project, &format!("resolve -f - --repository {repository}")).text(), "");
    // A project that says itself where it goes.
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
