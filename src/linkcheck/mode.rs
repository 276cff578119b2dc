//! What becomes of errors.

/// What the errors of the link check do.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, serde::Serialize, serde::Deserialize,
)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case")]
pub enum CheckMode {
    /// They fail the platform.
    #[default]
    Error,
    /// They are reported.
    Warn,
    /// Nothing is checked.
    Off,
}
