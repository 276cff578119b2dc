//! What a platform's failure does.

use serde::Serialize;

/// What happens to the other platforms when one fails.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, serde::Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case")]
pub enum OnFailure {
    /// They continue, and every failure is reported.
    #[default]
    KeepGoing,
    /// They are stopped.
    FailFast,
}
