//! The commands other than `build`.

use std::net::{Ipv4Addr, TcpListener};

use xbuild::error::ExitCode;

use crate::support::command::{cargo_xbuild, tool, xbuild};
use crate::support::project::Project;
use crate::support::{PLATFORMS, names, tools};

#[test]
fn a_plan_tells_all_and_does_nothing() {
    let project = Project::program("app").file("xbuild.toml", "[debian]\nsuites = [\"bookworm\"]\n");
    let before = names(project.dir());
    let human = project.xbuild().arg("plan").text();
    let json = tools::json(&project.xbuild().words("plan --json").text()).to_string();
    for text in [&human, &json] {
        for platform in PLATFORMS {
            assert!(text.contains(platform), "{text}");
        }
        assert!(text.contains("armv7-unknown-linux-gnueabihf") && text.contains("apt:bookworm"), "{text}");
    }
    assert!(!project.path("target").exists(), "a plan builds nothing: {before:?} {:?}", names(project.dir()));
}

#[test]
fn targets_lists_every_data_file() {
    let text = xbuild().arg("targets").text();
    let json = tools::json(&xbuild().words("targets --json").text()).to_string();
    for name in names(&crate::support::repository().join("targets")) {
        let triple = name.trim_end_matches(".toml");
        assert!(text.contains(triple) && json.contains(triple), "{triple} is missing");
    }
}

#[test]
fn the_cargo_subcommand_is_the_same_program() {
    let project = Project::quick("app");
    let first = project.build().run().success().digest();
    let epoch = |run: crate::support::command::Run| run.env("SOURCE_DATE_EPOCH", "1700000000");
    // As cargo calls it: with the subcommand's name as its first argument.
    let run = epoch(cargo_xbuild().dir(project.dir()).words("xbuild build"));
    assert_eq!(run.run().success().digest(), first);
    let run = epoch(cargo_xbuild().dir(project.dir()).arg("xbuild"));
    assert_eq!(run.run().success().digest(), first);
}

#[test]
fn completions_are_what_the_shell_reads() {
    let script = xbuild().words("completions bash").text();
    let dir = crate::support::scratch();
    let file = dir.path().join("xbuild.bash");
    std::fs::write(&file, &script).expect("a directory of the test");
    tool("bash").arg("-n").arg(&file).run().success();
    assert!(script.contains("--platform"), "{script}");
    for shell in ["zsh", "fish"] {
        assert!(xbuild().args(["completions", shell]).text().contains("platform"), "{shell}");
    }
}

#[test]
fn the_manual_is_roff_and_the_help_has_every_option() {
    assert!(xbuild().arg("man").text().contains(".TH"));
    let help = xbuild().words("build --help").text();
    for option in
        ["--platform", "--base", "--tag", "--output", "--toolchain", "--timeout", "--progress", "--locked"]
    {
        assert!(help.contains(option), "{option} is missing:\n{help}");
    }
    let version = format!("xbuild {}\n", env!("CARGO_PKG_VERSION"));
    assert_eq!(xbuild().arg("--version").text(), version);
}

#[test]
fn the_toolchains_are_listed() {
    let text = xbuild().words("toolchain list").text();
    assert!(text.contains("zig") && text.contains("rust"), "{text}");
    let report = xbuild().arg("doctor").run();
    assert!(report.stdout.contains("zig") || report.stderr.contains("zig"), "{}", report.describe());
}

#[test]
fn a_look_at_the_machine_ends_in_time_and_tells_what_was_found() {
    // The system accepts connections, but nobody answers them.
    let silent = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("loopback");
    let address = format!("http://{}/debian", silent.local_addr().expect("a bound socket"));
    let report = xbuild()
        .words("doctor --timeout 2s")
        .env("XBUILD_DEBIAN_MIRROR", &address)
        .env("XBUILD_DEBIAN_SECURITY_MIRROR", &address)
        .run();
    assert_eq!(report.status.code(), Some(ExitCode::TimedOut.number().into()), "{}", report.describe());
    assert!(report.stdout.contains("rust") && report.stdout.contains("cache"), "{}", report.describe());
    assert!(report.elapsed < std::time::Duration::from_secs(30), "{}", report.describe());
    report.tells(&["`xbuild doctor`", "2s"]);
}
