//! Configuration files: their content and their locations. This room only parses.
//!
//! A project's configuration (`ProjectFile`) is `xbuild.toml` beside its `Cargo.toml`, or the table
//! `[package.metadata.xbuild]` in it. A workspace's is the same beside the workspace's `Cargo.toml`, or
//! `[workspace.metadata.xbuild]`. The user's own ([`UserFile`]) is `xbuild/config.toml` in the user's configuration
//! directory and has the settings of the machine.
//!
//! Values keep their location in the file, so that `settings`, which interprets them, can point at them. Precedence,
//! defaults and the interpretation of values are deliberately not here, but in `settings`.

pub(crate) mod document;
mod error;
mod failure;
mod locate;
mod project;
pub(crate) mod schema;
#[cfg(test)]
mod tests;
mod user;

pub use document::Document;
pub use error::{Error, Fault};
pub use failure::OnFailure;
pub use locate::{Project, find_project, load_user};
pub(crate) use project::{
    AUTO, AllowTable, BuildPackages, FileTable, HealthcheckTable, ImageTable, PlatformTable, Port,
    ProjectFile,
};
pub use user::UserFile;

/// A string in a configuration file, with its location.
pub(crate) type Text = toml::Spanned<String>;
