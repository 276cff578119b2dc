//! `examples/workspace`: several programs of several packages, and files, in one image.

use std::fs;
use std::os::unix::fs::MetadataExt;

use serde_json::json;

use crate::support::example::WORKSPACE;
use crate::support::podman::Pulled;
use crate::support::tools::{self, architecture};
use crate::support::{PLATFORMS, scratch};

const COUNT: &str = "crossing.txt: 3 lines, 33 words, 186 bytes\nlayers.txt: 3 lines, 27 words, 130 bytes\n";

#[test]
fn the_configuration_is_the_files() {
    let layout = WORKSPACE.open();
    for platform in PLATFORMS {
        let config = &tools::inspect_config(&WORKSPACE.layout, platform)["config"];
        assert_eq!(config["Entrypoint"], json!(["/usr/local/bin/count"]));
        assert_eq!(config["User"], "nonroot");
        assert_eq!(config["WorkingDir"], "/usr/share/texts");
        assert_eq!(config["Labels"]["org.opencontainers.image.title"], "workspace");
        assert!(config["Env"].as_array().expect("an environment").contains(&json!("TEXTS=/usr/share/texts")));
        let manifest = layout.image(&WORKSPACE.digest, platform).manifest;
        let description = "org.opencontainers.image.description";
        assert_eq!(manifest["annotations"][description], "Counts and searches texts");
    }
    let index = layout.document(&WORKSPACE.digest);
    let description = "org.opencontainers.image.description";
    assert_eq!(index["annotations"][description], "Counts and searches texts");
}

#[test]
fn umoci_unpacks_every_platform_and_the_programs_run_on_its_root() {
    for platform in PLATFORMS {
        let dir = scratch();
        let root = tools::unpack(&WORKSPACE.layout, platform, dir.path());
        let texts = root.join("usr/share/texts");
        for text in ["crossing.txt", "layers.txt"] {
            assert_eq!(fs::metadata(texts.join(text)).expect("a text").mode() & 0o7777, 0o444);
        }
        let program = |name: &str| {
            tools::program(&root, platform, &format!("/usr/local/bin/{name}")).env("TEXTS", &texts)
        };
        let counted = format!("{COUNT}counted on {}\n", architecture(platform));
        assert_eq!(program("count").text(), counted);
        assert_eq!(
            program("find-lines").arg("archives").text(),
            "layers.txt:1: An image is a pile of archives.\n"
        );
        assert_eq!(program("longest-word").text(), "crossing.txt: microprocessors\nlayers.txt: archives\n");
    }
}

#[test]
fn podman_runs_every_program_of_every_platform() {
    for platform in PLATFORMS {
        let image = Pulled::from_layout(&WORKSPACE.layout, platform);
        let counted = format!("{COUNT}counted on {}\n", architecture(platform));
        assert_eq!(image.run(&[]).text(), counted);
        let found = image.run_program("/usr/local/bin/find-lines", &["topmost"]).text();
        assert_eq!(found, "layers.txt:3: The topmost file of a name is the one that programs see.\n");
        let longest = image.run_program("/usr/local/bin/longest-word", &[]).text();
        assert_eq!(longest, "crossing.txt: microprocessors\nlayers.txt: archives\n");
    }
}
