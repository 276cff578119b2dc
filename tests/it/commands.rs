//! The commands other than `build`.

use std::net::{Ipv4Addr, TcpListener};

use xbuild::error::ExitCode;

use crate::support::command::{tool, xbuild};
use crate::support::{json, names, repository, scratch};

#[test]
fn targets_lists_every_data_file() {
    let text = xbuild().arg("targets").text();
    let json = json(&xbuild().words("targets --json").text()).to_string();
    for name in names(&repository().join("targets")) {
        let triple = name.trim_end_matches(".toml");
        assert!(text.contains(triple) && json.contains(triple), "{triple} is missing");
    }
}

#[test]
fn completions_are_what_the_shell_reads() {
    let script = xbuild().words("completions bash").text();
    let dir = scratch();
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
