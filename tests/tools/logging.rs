//! `XBUILD_LOG`: logs what a run does, and no secrets.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;

use crate::support::command::{Run, xbuild};
use crate::support::project::Project;
use crate::support::registry::{PASSWORD, Registry, USER};
use crate::support::token::{Rules, TokenService};
use crate::support::{base, scratch};

/// A directory with a layout, and with a credential helper that docker's file names for a registry.
fn dir(registry: &Registry) -> tempfile::TempDir {
    let dir = scratch();
    base::write(&dir.path().join("base"), &["linux/amd64", "linux/arm64"]);
    let host = registry.host();
    let answer = format!(r#"{{"ServerURL":"{host}","Username":"{USER}","Secret":"{PASSWORD}"}}"#);
    let helper = dir.path().join("docker-credential-test");
    fs::write(&helper, format!("#!/bin/sh\ncat > /dev/null\necho '{answer}'\n"))
        .expect("a directory of the test");
    fs::set_permissions(&helper, fs::Permissions::from_mode(0o755)).expect("a file of the test");
    let config = format!(r#"{{"credHelpers":{{"{host}":"test"}}}}"#);
    fs::write(dir.path().join("config.json"), config).expect("a directory of the test");
    dir
}

fn push(dir: &Path, registry: &Registry, tag: &str) -> Run {
    let path = std::env::var("PATH").unwrap_or_default();
    xbuild()
        .dir(dir)
        .env("PATH", format!("{}:{path}", dir.display()))
        .env("DOCKER_CONFIG", dir)
        .env("HOME", dir)
        .env("XBUILD_REGISTRY_HOST", "other.test")
        .env("XBUILD_REGISTRY_TOKEN", "a-token-of-another")
        .words(&format!("push base {}", registry.name(&format!("team/base:{tag}"))))
}

#[test]
fn requests_processes_and_tokens_are_told_and_no_secret() {
    let registry = Registry::with_tokens(TokenService::start(Rules::default()));
    let dir = dir(&registry);
    let push = |tag| push(dir.path(), &registry, tag);
    let silent = push("1").run().success();
    assert!(!silent.stderr.contains("debug"), "{}", silent.describe());
    let told = push("1").env("XBUILD_LOG", "trace").run().success();
    // Standard output is the same, and so are the messages that appear without a log.
    assert_eq!(told.stdout, silent.stdout);
    let host = registry.host();
    let told = told.tells(&[
        " info  cli ",
        &format!("xbuild push base {host}/team/base:1"),
        " debug http      #1 ",
        &format!(" HEAD http://{host}/v2/"),
        "starts docker-credential-test get directory=/",
        "docker-credential-test ended: exit status: 0 time=",
        " debug registry ",
        "config.json",
        "/token?service=…&scope=…&client_id=…&account=… status=200",
        " debug registry  got a token for",
        "scopes=repository:team/base:pull,push",
        " info  cli       ends well",
    ]);
    assert!(told.stderr.contains("variables=XBUILD_LOG,XBUILD_REGISTRY_HOST,XBUILD_REGISTRY_TOKEN"));
    let basic = STANDARD.encode(format!("{USER}:{PASSWORD}"));
    // Tokens are signed (JWT), and begin like this.
    for secret in [PASSWORD, USER, &basic, "a-token-of-another", "eyJ", "Bearer ey"] {
        assert!(!told.stderr.contains(secret), "`{secret}`: {}", told.describe());
    }
    // A single room, also with JSON progress.
    let one = push("1").env("XBUILD_LOG", "process=debug").run().success();
    assert!(one.stderr.contains(" debug process ") && !one.stderr.contains(" http "), "{}", one.describe());
    let json = push("1").env("XBUILD_LOG", "debug").words("--progress json").run().success();
    assert!(json.stderr.contains(" debug http "), "{}", json.describe());
    for line in json.stderr.lines() {
        assert!(serde_json::from_str::<Value>(line).is_ok(), "{line}");
    }
}

/// Looking for a toolchain runs programs, and Python may be slow to start. One that is there is found once.
#[test]
fn a_toolchain_is_looked_for_once_in_a_run() {
    let project = Project::on_layout();
    let run = || project.build().words("--toolchain zig").env("XBUILD_LOG", "process=debug").run().success();
    // A first run may have to provide it.
    run();
    for built in [run(), run()] {
        let starts = |what: &str| {
            built.stderr.lines().filter(|line| line.contains(" starts ") && line.contains(what)).count()
        };
        assert_eq!(starts("zig version"), 1, "{}", built.describe());
        assert!(starts("import importlib") <= 1, "{}", built.describe());
    }
}
