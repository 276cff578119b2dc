//! `examples/service`: C and assembly for every platform, and a program that does real work.

use std::fs;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::support::command::Running;
use crate::support::example::{Example, SERVICE};
use crate::support::http::request;
use crate::support::podman::Pulled;
use crate::support::tools::{self, architecture, json};
use crate::support::{PLATFORMS, free_port, scratch};

/// Waits until the service answers, for at most two minutes.
fn wait_for(port: u16, describe: impl Fn() -> String) {
    let start = Instant::now();
    while !request(port, "GET", "/health", "").is_ok_and(|(status, _)| status == 200) {
        assert!(start.elapsed() < Duration::from_secs(120), "no answer on port {port}: {}", describe());
        thread::sleep(Duration::from_millis(50));
    }
}

#[track_caller]
fn ask(port: u16, method: &str, path: &str, body: &str) -> Value {
    let (status, answer) =
        request(port, method, path, body).unwrap_or_else(|error| panic!("{path}: {error}"));
    assert_eq!(status, 200, "{method} {path}: {answer}");
    json(&answer)
}

/// Talks to a running service as its README describes.
fn converse(port: u16, platform: &str) {
    let about = ask(port, "GET", "/", "");
    assert_eq!(about["architecture"], architecture(platform));
    assert_eq!(about["pointer-bits"], if platform == "linux/arm/v7" { 32 } else { 64 });
    let long = "all work and no play ".repeat(500);
    assert_eq!(ask(port, "POST", "/notes", "first")["id"], 1);
    let stored = ask(port, "POST", "/notes", &long)["stored-bytes"].as_u64().expect("a number");
    assert!(stored < 200, "{stored} bytes are not compressed");
    assert_eq!(ask(port, "GET", "/notes", ""), json!({ "notes": ["first", long] }));
    let tls = ask(port, "GET", "/tls", "");
    assert_eq!((&tls["protocol"], &tls["greeting"]), (&json!("TLSv1_3"), &json!("hello over TLS")));
}

fn is_database(path: &Path) -> bool {
    fs::read(path).is_ok_and(|bytes| bytes.starts_with(b"SQLite format 3\0"))
}

#[test]
fn the_layout_is_valid_for_everyone() {
    SERVICE.open();
    tools::copy_all(&SERVICE.layout);
}

#[test]
fn the_configuration_is_the_files() {
    for platform in PLATFORMS {
        let config = &tools::inspect_config(&SERVICE.layout, platform)["config"];
        assert_eq!(config["User"], "65532:65532");
        assert_eq!(config["WorkingDir"], "/data");
        assert_eq!(config["ExposedPorts"], json!({ "8080/tcp": {} }));
        assert_eq!(config["Volumes"], json!({ "/data": {} }));
        assert_eq!(config["Labels"]["org.opencontainers.image.title"], "service");
        let environment = config["Env"].as_array().expect("an environment");
        assert!(environment.contains(&json!("DATABASE=/data/notes.db")), "{config}");
        let check = SERVICE.open().image(&SERVICE.digest, platform).config["config"]["Healthcheck"].clone();
        assert_eq!(check["Test"], json!(["CMD", "/usr/local/bin/service", "health"]));
        assert_eq!(check["Interval"], 30_000_000_000_u64);
    }
}

#[test]
fn no_file_of_the_payload_knows_this_machine() {
    let layout = SERVICE.open();
    let home = std::env::var("HOME").unwrap_or_default();
    let places = [
        crate::support::repository().display().to_string(),
        crate::support::scratch_root().display().to_string(),
        std::env::var("CARGO_HOME").unwrap_or_else(|_| format!("{home}/.cargo")),
        std::env::var("RUSTUP_HOME").unwrap_or_else(|_| format!("{home}/.rustup")),
    ];
    let mut programs = 0;
    for image in layout.images(&SERVICE.digest) {
        for layer in image.manifest["layers"].as_array().expect("layers") {
            let Some(program) = layout.files(layer).remove("usr/local/bin/service") else { continue };
            programs += 1;
            for place in places.iter().filter(|place| place.len() > 1) {
                let found = program.windows(place.len()).any(|window| window == place.as_bytes());
                assert!(!found, "the program for {} has `{place}` in it", image.platform);
            }
        }
    }
    assert_eq!(programs, PLATFORMS.len());
}

/// In a container, as the image is configured: its user, its directory, its database.
fn works_in_a_container(platform: &str) {
    let port = free_port();
    let container = Pulled::from_layout(&SERVICE.layout, platform).start(&[("PORT", &port.to_string())]);
    wait_for(port, || container.logs());
    converse(port, platform);
    let dir = scratch();
    let database = dir.path().join("notes.db");
    container.copy("/data/notes.db", &database);
    assert!(is_database(&database));
    assert_eq!(container.stop(), "0", "{}", container.logs());
}

#[test]
fn amd64_works_in_a_container() {
    works_in_a_container("linux/amd64");
}

#[test]
fn arm64_works_in_a_container() {
    works_in_a_container("linux/arm64");
}

#[test]
fn arm_v7_works_in_a_container() {
    works_in_a_container("linux/arm/v7");
}

/// Without an engine: the root filesystem unpacked by umoci, its own loader and libraries.
fn works_on_its_root(example: &Example, platform: &str) {
    let dir = scratch();
    let root = tools::unpack(&example.layout, platform, dir.path());
    let (port, database) = (free_port(), dir.path().join("notes.db"));
    let running: Running = tools::program(&root, platform, "/usr/local/bin/service")
        .env("PORT", port.to_string())
        .env("DATABASE", &database)
        .start();
    wait_for(port, || running.stderr());
    converse(port, platform);
    assert!(is_database(&database));
    running.signal(rustix::process::Signal::TERM);
    running.wait().success();
}

#[test]
fn every_platform_works_on_its_root() {
    for platform in PLATFORMS {
        works_on_its_root(&SERVICE, platform);
    }
}
