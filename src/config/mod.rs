//! Configuration files: what may stand in them, and where they are looked for. Parse only.
//!
//! A project's configuration (`ProjectFile`) is `xbuild.toml` beside its `Cargo.toml`, or the table
//! `[package.metadata.xbuild]` in it; a workspace's is the same beside the workspace's `Cargo.toml`, or
//! `[workspace.metadata.xbuild]`. The user's own ([`UserFile`]) is `xbuild/config.toml` in the user's
//! configuration directory and says what belongs to the machine.
//!
//! Values keep their place in the file, so that `settings`, which gives them their meaning, can point at
//! them. Deliberately absent: precedence, defaults and the meaning of any text; that is `settings`.

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
    AllowTable, FileTable, HealthcheckTable, ImageTable, PlatformTable, Port, ProjectFile,
};
pub use user::UserFile;

/// A text in a configuration file and its place.
pub(crate) type Text = toml::Spanned<String>;
