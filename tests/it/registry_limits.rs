//! Registries that never answer.

use std::net::{Ipv4Addr, TcpListener};
use std::thread;
use std::time::Duration;

use xbuild::error::ExitCode;

use crate::support::command::xbuild;
use crate::support::project::Project;
use crate::support::{base, scratch};

/// A host and port that accepts connections and never answers. Its thread ends with the test's process.
fn silent() -> String {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("loopback");
    let host = listener.local_addr().expect("a bound socket").to_string();
    thread::spawn(move || listener.incoming().flatten().collect::<Vec<_>>());
    host
}

#[test]
fn every_command_about_images_ends_when_its_time_is_up() {
    let (dir, host) = (scratch(), silent());
    base::write(&dir.path().join("base"), &["linux/amd64", "linux/arm64"]);
    let run = |words: &str| {
        let home = dir.path().join("home");
        xbuild().dir(dir.path()).env("HOME", home).env("XBUILD_REGISTRY_PLAIN_HTTP", &host).words(words)
    };
    for (name, words) in [
        ("push", format!("push base {host}/a:1")),
        ("pull", format!("pull {host}/a:1")),
        ("copy", format!("copy docker://{host}/a:1 oci:there")),
        ("copy", format!("copy oci:base docker://{host}/a:1")),
        ("inspect", format!("inspect {host}/a:1")),
        ("ls", format!("ls {host}/a")),
        ("ls", format!("ls {host}/a:1")),
        ("tag", format!("tag docker://{host}/a:1 {host}/a:2")),
        ("index create", format!("index create base -t {host}/a:1")),
        ("verify", format!("verify docker://{host}/a:1")),
    ] {
        let finished = run(&format!("{words} --timeout 1s")).run();
        let said = format!("`xbuild {name}` did not finish within 1s; it was at ");
        assert!(finished.elapsed < Duration::from_secs(20), "{}", finished.describe());
        finished.fails(ExitCode::TimedOut, &[&said, &host, "hint: give it more time with --timeout"]);
    }
    // The variable has the same effect, and an option overrides it.
    run(&format!("ls {host}/a"))
        .env("XBUILD_TIMEOUT", "700ms")
        .run()
        .fails(ExitCode::TimedOut, &["within 700ms"]);
    let both = run(&format!("ls {host}/a --timeout 1s")).env("XBUILD_TIMEOUT", "1h").run();
    both.fails(ExitCode::TimedOut, &["within 1s"]);
    run("ls base --timeout soon").run().fails(ExitCode::Usage, &["soon", "--timeout"]);
}

#[test]
fn what_asks_for_a_base_ends_when_its_time_is_up() {
    let host = silent();
    let project = Project::quick("app");
    project.write("xbuild.toml", &format!("platforms = [\"linux/arm64\"]\nbase = \"{host}/base:1\"\n"));
    project.write(
        "pod.yaml",
        "apiVersion: v1\nkind: Pod\nspec: {containers: [{name: a, image: \"xbuild://.\"}]}\n",
    );
    for (words, said) in [
        ("plan", "planning did not finish within 5s"),
        ("lock", "locking did not finish within 5s"),
        ("build", "the build did not finish within 5s"),
        ("resolve -f pod.yaml --repository r.example/team", "did not finish within 5s"),
    ] {
        let run = project.xbuild().words(&format!("{words} --timeout 5s"));
        let finished = run.env("XBUILD_REGISTRY_PLAIN_HTTP", &host).env("HOME", project.path("home")).run();
        assert!(finished.elapsed < Duration::from_secs(60), "{}", finished.describe());
        finished.fails(ExitCode::TimedOut, &["linux/arm64", said, &format!("it was at {host}/base:1")]);
    }
}

#[test]
fn kubectl_ends_with_the_time_of_the_whole_command() {
    let project = Project::empty().script("bin/kubectl", "#!/bin/sh\nsleep 60\n");
    project.write(
        "pod.yaml",
        "apiVersion: v1\nkind: Pod\nspec: {containers: [{name: a, image: \"r.example/a\"}]}\n",
    );
    let path = format!("{}:{}", project.path("bin").display(), std::env::var("PATH").expect("a PATH"));
    let finished = project.xbuild().words("apply -f pod.yaml --timeout 2s").env("PATH", path).run();
    assert!(finished.elapsed < Duration::from_secs(40), "{}", finished.describe());
    finished.fails(ExitCode::TimedOut, &["`xbuild apply` did not finish within 2s"]);
}
