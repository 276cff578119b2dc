//! Container engines on this machine, podman and Docker: images are loaded into their storage and exported from it.
//!
//! We use only their command-line programs, so that they take care of contexts, remote hosts and rootless setups. Every
//! call has a time limit. Images are loaded from a complete layout.

pub(crate) mod docker;
mod error;
pub(crate) mod podman;

use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Serialize;

pub(crate) use error::EngineError;

use crate::oci::{Descriptor, Digest};
use crate::sys::cancel::Cancel;
use crate::sys::env::Environment;
use crate::sys::process::{self, Command, ProcessError};
use crate::target::platform::Platform;

/// The time limit of a query.
const ASK: Duration = Duration::from_secs(20);
/// The time limit of loading or exporting an image.
const TRANSFER: Duration = Duration::from_secs(30 * 60);

/// An engine.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Engine {
    /// Docker.
    Docker,
    /// podman.
    Podman,
}

impl Engine {
    /// The name of its program.
    #[must_use]
    pub const fn program(self) -> &'static str {
        match self {
            Self::Docker => "docker",
            Self::Podman => "podman",
        }
    }
}

/// An image in a layout, to be loaded into an engine.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Loadable<'a> {
    /// The layout.
    pub layout: &'a Path,
    /// The index of all platforms, or the manifest of the only one.
    pub root: &'a Descriptor,
    /// Each platform's manifest.
    pub manifests: &'a [(Platform, Descriptor)],
    /// The names that it gets; at least one.
    pub names: &'a [String],
}

/// The result of loading an image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Loaded {
    /// The engine.
    pub engine: Engine,
    /// The platforms that are in its storage now.
    pub platforms: Vec<Platform>,
    /// The names.
    pub names: Vec<String>,
    /// Its ID in the engine, with which `run` starts it; `None` if the engine has no image for its own platform.
    pub id: Option<Digest>,
}

/// Finds the engine that an image is loaded into: the requested one, which must be installed and answer, otherwise
/// Docker if its daemon answers, otherwise podman.
pub(crate) fn find(
    wanted: Option<Engine>,
    environment: &Environment,
    cancel: &Cancel,
) -> Result<Engine, EngineError> {
    match wanted {
        Some(Engine::Docker) => return docker::server(environment, cancel).map(|_| Engine::Docker),
        Some(Engine::Podman) => return program(Engine::Podman, environment).map(|_| Engine::Podman),
        None => {}
    }
    let docker = program(Engine::Docker, environment).and_then(|_| docker::server(environment, cancel));
    match (docker, program(Engine::Podman, environment)) {
        (Ok(_), _) => Ok(Engine::Docker),
        (Err(error @ EngineError::Cancelled(_)), _) => Err(error),
        (Err(_), Ok(_)) => Ok(Engine::Podman),
        (Err(EngineError::Missing { .. }), Err(_)) => Err(EngineError::None),
        (Err(error), Err(_)) => Err(error),
    }
}

/// Loads an image into an engine's storage. `work` is a directory for temporary files, which take as much space as the
/// image.
pub(crate) fn load(
    engine: Engine,
    image: &Loadable<'_>,
    work: &Path,
    environment: &Environment,
    cancel: &Cancel,
) -> Result<Loaded, EngineError> {
    match engine {
        Engine::Docker => docker::load(image, work, environment, cancel),
        Engine::Podman => podman::load(image, work, environment, cancel),
    }
}

/// The engine's program on `PATH`.
fn program(engine: Engine, environment: &Environment) -> Result<PathBuf, EngineError> {
    process::find_any(Path::new(engine.program()), environment.var_os("PATH"))
        .map_err(|source| failed(engine, source))?
        .ok_or(EngineError::Missing { engine })
}

/// Runs a command of the engine, which must succeed, and returns its output.
fn run(engine: Engine, command: &Command, limit: Duration, cancel: &Cancel) -> Result<String, EngineError> {
    let cancel = cancel.within(limit, engine.program());
    command.text(&cancel).map_err(|source| failed(engine, source))
}

/// True if a command of the engine succeeds.
fn succeeds(engine: Engine, command: &Command, cancel: &Cancel) -> Result<bool, EngineError> {
    let cancel = cancel.within(ASK, engine.program());
    command.output(&cancel).map(|output| output.status.success()).map_err(|source| failed(engine, source))
}

fn failed(engine: Engine, source: ProcessError) -> EngineError {
    match source {
        ProcessError::Cancelled(cancelled) => EngineError::Cancelled(cancelled),
        source => EngineError::Failed { engine, source },
    }
}
