//! The command line of cargo.

use std::collections::BTreeSet;

use super::{Request, TargetRequest};
use crate::settings::OnFailure;
use crate::sys::process::Command;

/// The command line for some of a request's triples.
pub(super) fn command(request: &Request<'_>, targets: &[&TargetRequest]) -> Command {
    let settings = request.settings;
    let mut command = Command::new(request.cargo)
        .folder(request.folder)
        .arg("build")
        .arg("--message-format=json-render-diagnostics")
        .args(["--color", if request.color { "always" } else { "never" }])
        .arg("--manifest-path")
        .arg(request.manifest)
        .arg("--target-dir")
        .arg(request.target_directory)
        .args(["--profile", &settings.profile]);
    if request.on_failure == OnFailure::KeepGoing {
        command = command.arg("--keep-going");
    }
    for (name, given) in [
        ("--all-features", settings.all_features),
        ("--no-default-features", settings.no_default_features),
        ("--locked", settings.locked),
        ("--offline", settings.offline),
        ("--frozen", settings.frozen),
    ] {
        if given {
            command = command.arg(name);
        }
    }
    if !settings.features.is_empty() {
        command = command.args(["--features", &settings.features.join(",")]);
    }
    if let Some(jobs) = settings.jobs {
        // One word, since a negative number would be taken for an option.
        command = command.arg(format!("--jobs={jobs}"));
    }
    command = command.args((0..settings.verbose.saturating_sub(1)).map(|_| "-v"));
    let packages: BTreeSet<_> = request.binaries.iter().map(|binary| binary.package.as_str()).collect();
    for package in packages {
        command = command.args(["--package", package]);
    }
    for binary in request.binaries {
        command = command.args(["--bin", &binary.name]);
    }
    // Given triple by triple instead.
    command = command.env_remove("RUSTFLAGS").env_remove("CARGO_ENCODED_RUSTFLAGS");
    for target in targets {
        command = command.args(["--target", &target.triple]);
        if !target.rustflags.is_empty() {
            let flags = toml::Value::Array(target.rustflags.iter().cloned().map(Into::into).collect());
            command = command.args(["--config", &format!("target.{}.rustflags={flags}", target.triple)]);
        }
        command.environment.extend(target.environment.iter().cloned());
        if target.build_std {
            // `-Z` flags need this on a stable toolchain; the compiler is the same.
            command = command.env("RUSTC_BOOTSTRAP", "1");
        }
    }
    if targets.iter().any(|target| target.build_std) {
        command = command.arg("-Zbuild-std=std,panic_unwind,panic_abort");
    }
    command
}
