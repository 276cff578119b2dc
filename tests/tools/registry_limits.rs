//! Registries that somebody else has chosen.

use std::fs;

use xbuild::error::ExitCode;

use crate::support::command::Run;
use crate::support::project::Project;
use crate::support::registry::{PASSWORD, Registry, USER};

#[test]
fn passwords_of_no_registry_in_particular_go_where_the_user_says_and_nowhere_else() {
    let (registry, project) = (Registry::with_password(), Project::quick("app"));
    let name = registry.name("me/app:1");
    let configuration = format!("platforms = [\"linux/amd64\"]\nbase = \"scratch\"\ntags = [\"{name}\"]\n");
    project.write("xbuild.toml", &configuration);
    let known = |run: Run| {
        let run = run.env("HOME", project.path("home")).env("XBUILD_REGISTRY_USERNAME", USER);
        run.env("XBUILD_REGISTRY_PASSWORD", PASSWORD)
    };
    let told = ["did not get those of the XBUILD_REGISTRY_ variables", "set XBUILD_REGISTRY_HOST=127.0.0.1:"];
    // The project names the registry: a build with --push, and a resolve whose manifest names the project.
    known(project.build().arg("--push")).run().fails(ExitCode::Unauthorized, &told);
    project.write(
        "pod.yaml",
        "apiVersion: v1\nkind: Pod\nspec: {containers: [{name: a, image: \"xbuild://.\"}]}\n",
    );
    known(project.xbuild().words("resolve -f pod.yaml")).run().fails(ExitCode::Unauthorized, &told);
    // An image has its own names.
    let layout = "push target/xbuild/app";
    known(project.build()).run().success();
    known(project.xbuild().words(layout)).run().fails(ExitCode::Unauthorized, &told);
    // No credentials were sent, and the registry has nothing.
    assert!(!registry.storage("repositories/me/app").exists());
    // The user names it: by the host, or by the image name.
    let host = registry.host();
    known(project.build().arg("--push")).env("XBUILD_REGISTRY_HOST", &host).run().success();
    known(project.xbuild().words(layout)).env("XBUILD_REGISTRY_HOST", &host).run().success();
    known(project.build().args(["--push", "-t", &registry.name("me/app:2")])).run().success();
    known(project.build().arg("--push")).env("XBUILD_TAG", registry.name("me/app:3")).run().success();
    known(project.xbuild().words(layout).arg(registry.name("me/app:4"))).run().success();
    let copy = format!("copy target/xbuild/app docker://{}", registry.name("me/app:5"));
    known(project.xbuild().words(&copy)).run().success();
    let resolve = format!("resolve -f pod.yaml --repository {}", registry.name("me"));
    known(project.xbuild().words(&resolve)).run().success();
    let tags = registry.storage("repositories/me/app/_manifests/tags");
    let mut found: Vec<String> = fs::read_dir(tags)
        .expect("the registry's storage")
        .map(|entry| entry.expect("an entry").file_name().to_string_lossy().into_owned())
        .collect();
    found.sort();
    assert_eq!(found, ["1", "2", "3", "4", "5"]);
}
