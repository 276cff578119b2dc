//! Images on a base from a layout that xbuild did not make.

use std::os::unix::fs::PermissionsExt;

use serde_json::json;

use crate::support::base;
use crate::support::command::tool;
use crate::support::layout::Layout;
use crate::support::project::Project;
use crate::support::tools::unpack;

const STATIC: &str = "platforms = [\"linux/amd64\", \"linux/arm64\"]\nbase = \"oci:base:base\"\n\
    [platform.\"linux/amd64\"]\ntriple = \"x86_64-unknown-linux-musl\"\n\
    [platform.\"linux/arm64\"]\ntriple = \"aarch64-unknown-linux-musl\"\n";

fn project() -> Project {
    let project = Project::program("app").file("xbuild.toml", STATIC);
    // The base has more platforms than are built; the others stay out.
    base::write(&project.path("base"), &["linux/amd64", "linux/arm/v7", "linux/arm64"]);
    project
}

#[test]
fn what_the_base_says_survives() {
    let project = project();
    project.write(
        "xbuild.toml",
        &format!("{STATIC}[image]\nenv = {{ OURS = \"1\" }}\nlabels = {{ ours = \"1\" }}\n"),
    );
    let digest = project.build().run().success().digest();
    let base = Layout::valid(&project.path("base"));
    let built = Layout::valid(&project.default_layout("app"));
    let images = built.images(&digest);
    assert_eq!(images.len(), 2);
    for image in images {
        let below = base.image(&base.tags()[base::TAG], &image.platform);
        assert_eq!(image.manifest["layers"][0], below.manifest["layers"][0]);
        let config = &image.config;
        assert_eq!(config["org.example.unknown"], json!([1, 2, 3]));
        assert_eq!(config["config"]["org.example.unknown"], json!({ "kept": true }));
        assert_eq!(config["config"]["StopSignal"], "SIGUSR1");
        assert_eq!(config["config"]["Labels"], json!({ "from-base": "yes", "ours": "1" }));
        let environment = json!(["PATH=/usr/local/bin:/usr/bin:/bin", "FROM_BASE=yes", "OURS=1"]);
        assert_eq!(config["config"]["Env"], environment);
        // The base's arguments were for the base's program, so they are cleared.
        assert_eq!(config["config"]["Entrypoint"], json!(["/usr/local/bin/app"]));
        assert!(config["config"].get("Cmd").is_none_or(serde_json::Value::is_null));
        let history = config["history"].as_array().expect("a history");
        assert_eq!(history[0], json!({ "created_by": "by hand" }));
        assert!(history.len() > 1);
        let manifest_digest = |name: &str| image.manifest["annotations"][name].as_str().map(str::to_owned);
        let digest = manifest_digest("org.opencontainers.image.base.digest").expect("an annotation");
        assert!(base.stored.contains(&digest), "{digest} is no manifest of the base");
    }
}

#[test]
fn an_archive_of_the_base_gives_the_same_image() {
    let project = project();
    let from_dir = project.build().run().success().digest();
    tool("tar").words("-C base -cf base.tar .").dir(project.dir()).run().success();
    let from_archive = project.build().words("--base oci:base.tar:base").run().success().digest();
    let (built, images) = (Layout::valid(&project.default_layout("app")), |digest: &str| {
        Layout::valid(&project.default_layout("app")).images(digest)
    });
    assert!(built.tags().values().any(|digest| *digest == from_archive));
    // Only the base's name differs, and that is an annotation.
    let layers = |digest: &str| -> Vec<_> {
        images(digest).into_iter().map(|image| image.manifest["layers"].clone()).collect()
    };
    let after = layers(&from_archive);
    project.build().run().success();
    assert_eq!(layers(&from_dir), after);
}

#[test]
fn our_own_image_is_a_base() {
    let below = Project::quick("below");
    below.build().words("--tag below:1").run().success();
    let above = Project::quick("above");
    let base = format!("oci:{}:1", below.default_layout("below").display());
    let digest = above.build().args(["--base", &base]).args(["--config", "static.toml"]);
    above.write("static.toml", &STATIC.replace("base = \"oci:base:base\"\n", ""));
    let digest = digest.run().success().digest();
    let layout = Layout::valid(&above.default_layout("above"));
    for image in layout.images(&digest) {
        let layers = image.manifest["layers"].as_array().expect("layers");
        let has = |name: &str| layers.iter().any(|layer| layout.files(layer).contains_key(name));
        assert!(has("usr/local/bin/below") && has("usr/local/bin/above"), "{}", image.platform);
    }
}

#[test]
fn files_leave_the_bases_links_and_directories_as_they_are() {
    let project = project();
    project.write("xbuild.toml", &format!("{STATIC}[[files]]\nfrom = \"rootfs\"\nto = \"/\"\n"));
    for path in ["lib/data/a", "tmp/b", "srv/c"] {
        project.write(&format!("rootfs/{path}"), path);
    }
    let digest = project.build().run().success().digest();
    let layout = Layout::valid(&project.default_layout("app"));
    for image in layout.images(&digest) {
        let files = layout.files(&image.manifest["layers"][1]);
        let paths: Vec<&String> = files.keys().collect();
        assert_eq!(paths, ["srv/c", "tmp/b", "usr/lib/data/a"], "{}", image.platform);
    }
    // As an engine sees it.
    let root = unpack(&project.default_layout("app"), "linux/amd64", project.dir());
    assert!(root.join("lib").is_symlink() && root.join("lib/data/a").is_file());
    assert_eq!(
        std::fs::metadata(root.join("tmp")).expect("a directory").permissions().mode() & 0o7777,
        0o1777
    );
}
