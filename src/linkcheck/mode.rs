//! The severity of the link check's errors.

/// What the link check does with errors.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, serde::Serialize, serde::Deserialize,
)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case")]
pub enum CheckMode {
    /// They fail the platform.
    #[default]
    Error,
    /// They are reported, but do not fail the platform.
    Warn,
    /// Nothing is checked.
    Off,
}
