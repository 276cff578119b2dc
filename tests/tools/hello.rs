//! `examples/hello`: the simplest program, with almost no configuration, on three platforms.

use std::fs;
use std::os::unix::fs::MetadataExt;

use serde_json::json;

use crate::support::example::HELLO;
use crate::support::podman::Pulled;
use crate::support::tools::{self, architecture};
use crate::support::{PLATFORMS, scratch};

fn greeting(platform: &str) -> String {
    let bits = if platform == "linux/arm/v7" { 32 } else { 64 };
    format!("hello from {}\na pointer has {bits} bits\n", architecture(platform))
}

#[test]
fn one_index_leads_to_three_images() {
    let layout = HELLO.open();
    assert_eq!(layout.entries.len(), 1);
    assert_eq!(layout.entries[0]["mediaType"], "application/vnd.oci.image.index.v1+json");
    let platforms: Vec<String> =
        layout.images(&HELLO.digest).into_iter().map(|image| image.platform).collect();
    assert_eq!(platforms, PLATFORMS);
    assert_eq!(layout.reachable, layout.stored, "a blob is stored that nothing leads to");
}

#[test]
fn stdout_is_the_reference_and_stderr_the_story() {
    assert!(HELLO.finished.stdout.contains("hello"), "{}", HELLO.finished.describe());
    for platform in PLATFORMS {
        assert!(HELLO.finished.stderr.contains(platform), "{}", HELLO.finished.describe());
    }
}

#[test]
fn the_configuration_starts_the_program() {
    let layout = HELLO.open();
    for image in layout.images(&HELLO.digest) {
        let config = &image.config["config"];
        assert_eq!(config["Entrypoint"], json!(["/usr/local/bin/hello"]), "{}", image.platform);
        assert!(config.get("Cmd").is_none_or(serde_json::Value::is_null), "{config}");
        let path =
            config["Env"].as_array().expect("an environment").iter().filter_map(|entry| entry.as_str());
        assert!(
            path.clone().any(|entry| entry.starts_with("PATH=/usr/local/sbin:/usr/local/bin")),
            "{config}"
        );
        // SOURCE_DATE_EPOCH.
        assert_eq!(image.config["created"], "2023-11-14T22:13:20Z");
        assert_eq!(image.manifest["annotations"]["org.opencontainers.image.version"], "0.1.0");
        assert!(image.manifest["annotations"]["org.opencontainers.image.base.name"].is_string());
    }
}

#[test]
fn no_two_platforms_share_a_payload() {
    let layout = HELLO.open();
    let mut programs: Vec<Vec<u8>> = Vec::new();
    for image in layout.images(&HELLO.digest) {
        let layers = image.manifest["layers"].as_array().expect("layers");
        let found: Vec<Vec<u8>> =
            layers.iter().filter_map(|layer| layout.files(layer).remove("usr/local/bin/hello")).collect();
        assert_eq!(found.len(), 1, "{} has its program in one layer", image.platform);
        programs.extend(found);
    }
    programs.sort();
    programs.dedup();
    assert_eq!(programs.len(), PLATFORMS.len());
}

#[test]
fn skopeo_reads_every_platform() {
    for platform in PLATFORMS {
        let answer = tools::inspect(&HELLO.layout, platform);
        assert_eq!(format!("linux/{}", answer["Architecture"].as_str().unwrap_or_default()), {
            platform.trim_end_matches("/v7")
        });
        let config = tools::inspect_config(&HELLO.layout, platform);
        assert_eq!(config["variant"].as_str(), (platform == "linux/arm/v7").then_some("v7"));
    }
    tools::copy_all(&HELLO.layout);
}

#[test]
fn umoci_unpacks_every_platform_and_the_program_runs_on_its_root() {
    for platform in PLATFORMS {
        let dir = scratch();
        let root = tools::unpack(&HELLO.layout, platform, dir.path());
        let program = fs::metadata(root.join("usr/local/bin/hello")).expect("the program");
        assert_eq!(program.mode() & 0o7777, 0o755);
        for file in
            ["etc/os-release", "etc/passwd", "etc/ssl/certs/ca-certificates.crt", "usr/share/zoneinfo/UTC"]
        {
            assert!(root.join(file).exists(), "{platform} lacks /{file}");
        }
        assert_eq!(tools::program(&root, platform, "/usr/local/bin/hello").text(), greeting(platform));
    }
}

#[test]
fn podman_runs_every_platform() {
    for platform in PLATFORMS {
        assert_eq!(Pulled::from_layout(&HELLO.layout, platform).run(&[]).text(), greeting(platform));
    }
}
