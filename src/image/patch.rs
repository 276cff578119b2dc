//! A project's changes to the configuration of its base.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Serialize;

/// The configuration of an image (image specification, "Image Configuration", `config`), as a patch on
/// the base's: `None` and empty collections leave the base's value as it is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct ImageSettings {
    /// `Entrypoint`. If `None`, it is the program, provided that the image has only one.
    pub entrypoint: Option<Vec<String>>,
    /// `Cmd`.
    pub cmd: Option<Vec<String>>,
    /// `Env`, by name.
    pub env: BTreeMap<String, String>,
    /// `WorkingDir`, absolute.
    pub workdir: Option<String>,
    /// `User`: `name`, `uid`, `name:group` or `uid:gid`.
    pub user: Option<String>,
    /// `ExposedPorts`, each `port/protocol`, sorted.
    pub expose: Vec<String>,
    /// `Volumes`: absolute paths, sorted.
    pub volumes: Vec<String>,
    /// `Labels`.
    pub labels: BTreeMap<String, String>,
    /// Annotations of the manifest, and of the index if all platforms have them.
    pub annotations: BTreeMap<String, String>,
    /// Annotations of the manifest alone.
    pub manifest_annotations: BTreeMap<String, String>,
    /// Annotations of the manifest's entry in the index.
    pub descriptor_annotations: BTreeMap<String, String>,
    /// `StopSignal`.
    pub stop_signal: Option<String>,
    /// `Healthcheck`, Docker's extension of the configuration.
    pub healthcheck: Option<Healthcheck>,
}

/// Docker's `Healthcheck`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Healthcheck {
    /// `Test`: `["NONE"]`, `["CMD", …]` or `["CMD-SHELL", …]`.
    pub test: Vec<String>,
    /// `Interval`.
    pub interval: Option<Duration>,
    /// `Timeout`.
    pub timeout: Option<Duration>,
    /// `StartPeriod`.
    pub start_period: Option<Duration>,
    /// `StartInterval`.
    pub start_interval: Option<Duration>,
    /// `Retries`.
    pub retries: Option<u32>,
}
