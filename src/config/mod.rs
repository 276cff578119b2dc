//! Configuration files: what may stand in them, and where they are looked for. Parse only.
//!
//! A project's configuration ([`ProjectFile`]) is `xbuild.toml` beside its `Cargo.toml`, or the table
//! `[package.metadata.xbuild]` in it; a workspace's is the same beside the workspace's `Cargo.toml`, or
//! `[workspace.metadata.xbuild]`. The user's own ([`UserFile`]) is `xbuild/config.toml` in the user's
//! configuration folder and says what belongs to the machine.
//!
//! Values keep their place in the file, so that `settings`, which gives them their meaning, can point at
//! them. Deliberately absent: precedence, defaults and the meaning of any text; that is `settings`.

mod document;
mod error;
mod failure;
mod locate;
mod project;
mod schema;
#[cfg(test)]
mod tests;
mod user;

pub use document::{Document, parse_project, parse_user};
pub use error::{Error, Fault};
pub use failure::OnFailure;
pub use locate::{Project, find_project, load_user, user_file_path};
pub use project::{
    AllowTable, CheckTable, DebianTable, FileTable, HealthcheckTable, ImageTable, PayloadTable,
    PlatformTable, Port, ProjectFile,
};
pub use schema::project_schema;
pub use user::{UserDebianTable, UserFile, UserRegistryTable, UserZigTable};

/// A text in a configuration file and its place.
pub type Text = toml::Spanned<String>;
