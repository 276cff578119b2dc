//! Docker: `docker load` and `docker save`.
//!
//! The archive that is loaded is in two formats at once: an OCI layout, which a daemon with containerd's image store
//! reads with all its platforms, and `docker save`'s own format, from which the classic store takes the image for its
//! platform.

use std::path::Path;

use super::{ASK, Engine, EngineError, Loadable, Loaded, TRANSFER, program, run, succeeds};
use crate::oci::{Descriptor, Digest};
use crate::output::archive::{Archive, Flavour, config_of};
use crate::sys::cancel::{Cancel, Cancelled};
use crate::sys::env::Environment;
use crate::sys::process::{Command, ProcessError};
use crate::sys::staging::Staging;
use crate::target::catalog::Target;
use crate::target::platform::Platform;

const ENGINE: Engine = Engine::Docker;

/// The properties of a daemon.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Server {
    /// The platform that it runs.
    pub(super) platform: Platform,
    /// True if its store holds images of many platforms under one name.
    pub(super) multi_platform: bool,
}

/// Asks the daemon for its properties.
pub(super) fn server(environment: &Environment, cancel: &Cancel) -> Result<Server, EngineError> {
    let docker = Command::new(program(ENGINE, environment)?).here();
    let ask = docker.args(["info", "--format", "{{.OSType}} {{.Architecture}} {{json .DriverStatus}}"]);
    let answer = match run(ENGINE, &ask, ASK, cancel) {
        Ok(answer) => answer,
        Err(EngineError::Failed { source: ProcessError::Failed { stderr, .. }, .. }) => {
            let reason = stderr.lines().next().unwrap_or("`docker info` fails").to_owned();
            return Err(EngineError::Unreachable { reason });
        }
        // The time limit of this call, and not that of the run.
        Err(EngineError::Cancelled(Cancelled::TimedOut { what, .. })) if what == ENGINE.program() => {
            let reason = format!("`docker info` took more than {} seconds", ASK.as_secs());
            return Err(EngineError::Unreachable { reason });
        }
        Err(error) => return Err(error),
    };
    parse(&answer).ok_or_else(|| EngineError::Unreachable {
        reason: format!("`docker info` prints `{}`", answer.trim()),
    })
}

/// `linux x86_64 [["driver-type","io.containerd.snapshotter.v1"]]`; the last part is `null` for some drivers. Without a
/// daemon the first two are empty, and some versions of the program still succeed.
fn parse(answer: &str) -> Option<Server> {
    let mut words = answer.trim_end().splitn(3, ' ');
    let (os, architecture) = (words.next()?, words.next()?);
    if os.is_empty() || architecture.is_empty() {
        return None;
    }
    let multi_platform = words.next().is_some_and(|status| status.contains("io.containerd.snapshotter"));
    // The daemon reports the kernel's name of the architecture.
    let known = Target::by_machine_name(architecture).map(|target| &target.platform);
    let variant = known.and_then(|known| known.variant());
    let architecture = known.map_or(architecture, |known| known.architecture());
    Some(Server { platform: Platform::new(os, architecture, variant), multi_platform })
}

/// Loads all platforms if the store can hold them, otherwise the daemon's own.
pub(super) fn load(
    image: &Loadable<'_>,
    work: &Path,
    environment: &Environment,
    cancel: &Cancel,
) -> Result<Loaded, EngineError> {
    let server = server(environment, cancel)?;
    let best = image
        .manifests
        .iter()
        .filter_map(|(platform, manifest)| Some((server.platform.rank(platform)?, platform, manifest)))
        .min_by_key(|(rank, ..)| *rank);
    let (root, own, platforms) = match best {
        Some((_, platform, manifest)) if !server.multi_platform => {
            (manifest, Some(manifest), vec![platform.clone()])
        }
        None if !server.multi_platform => {
            return Err(EngineError::NoPlatform {
                wanted: server.platform,
                available: image.manifests.iter().map(|(platform, _)| platform.to_string()).collect(),
            });
        }
        other => {
            let all = image.manifests.iter().map(|(platform, _)| platform.clone()).collect();
            (image.root, other.map(|(.., manifest)| manifest), all)
        }
    };
    let archive = Archive {
        layout: image.layout,
        root,
        names: image.names,
        flavour: own.map_or(Flavour::Oci, Flavour::Docker),
    };
    let dir = Staging::beside(&work.join("load"), cancel)?;
    let file = dir.path().join("image.tar");
    archive.write(&file, cancel)?;
    let docker = Command::new(program(ENGINE, environment)?).here();
    run(ENGINE, &docker.args(["load", "--quiet", "--input"]).arg(file), TRANSFER, cancel)?;
    let id = id(image, if server.multi_platform { None } else { own })?;
    Ok(Loaded { engine: ENGINE, platforms, names: image.names.to_vec(), id: Some(id) })
}

/// containerd's store identifies an image by the digest of its index or manifest, the classic store by that of its
/// configuration.
fn id(image: &Loadable<'_>, classic: Option<&Descriptor>) -> Result<Digest, EngineError> {
    classic.map_or_else(|| Ok(image.root.digest.clone()), |manifest| Ok(config_of(image.layout, manifest)?))
}

/// Writes an image to an archive.
pub(crate) fn export(
    name: &str,
    to: &Path,
    environment: &Environment,
    cancel: &Cancel,
) -> Result<(), EngineError> {
    server(environment, cancel)?;
    let docker = Command::new(program(ENGINE, environment)?).here();
    let inspect = docker.clone().args(["image", "inspect", "--format", "{{.Id}}", name]);
    if !succeeds(ENGINE, &inspect, cancel)? {
        return Err(EngineError::NoImage { engine: ENGINE, name: name.to_owned() });
    }
    let save = docker.clone().args(["save", "--output"]).arg(to);
    match run(ENGINE, &save.clone().arg(name), TRANSFER, cancel) {
        Err(EngineError::Failed { source: ProcessError::Failed { stderr, .. }, .. })
            if lacks_its_own(&stderr) => {}
        outcome => return outcome.map(drop),
    }
    // Docker 28 and newer can write another platform's image if `--platform` names it.
    let format = "{{.Os}}/{{.Architecture}}{{with .Variant}}/{{.}}{{end}}";
    let ask = docker.args(["image", "inspect", "--format", format, name]);
    let platform = run(ENGINE, &ask, ASK, cancel)?.trim().to_owned();
    match run(ENGINE, &save.args(["--platform", &platform, name]), TRANSFER, cancel) {
        Err(EngineError::Failed { .. }) => Err(EngineError::Foreign { name: name.to_owned(), platform }),
        outcome => outcome.map(drop),
    }
}

/// `docker save` looks for its own platform of an image in containerd's store, and fails if only others were pulled
/// (docker/cli#5476).
fn lacks_its_own(stderr: &str) -> bool {
    stderr.contains("content digest") && stderr.contains("not found")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_platform_is_told_from_other_failures() {
        let told = "Error response from daemon: unable to create manifests file: NotFound: content digest \
                    sha256:ab9ee099: not found";
        assert!(lacks_its_own(told));
        assert!(!lacks_its_own("Error response from daemon: No such image: app:1"));
        assert!(!lacks_its_own("write image.tar: no space left on device"));
    }

    #[test]
    fn a_daemon_tells_what_it_is() {
        let server = |platform: &str, multi_platform| {
            Some(Server { platform: platform.parse().unwrap(), multi_platform })
        };
        assert_eq!(parse("linux x86_64 null\n"), server("linux/amd64", false));
        assert_eq!(parse("linux aarch64 [[\"Backing Filesystem\",\"extfs\"]]"), server("linux/arm64", false));
        let containerd = "linux x86_64 [[\"driver-type\",\"io.containerd.snapshotter.v1\"]]";
        assert_eq!(parse(containerd), server("linux/amd64", true));
        assert_eq!(parse("linux armv7l null"), server("linux/arm/v7", false));
        for text in ["", "  null", " x null"] {
            assert_eq!(parse(text), None, "{text}");
        }
    }
}
