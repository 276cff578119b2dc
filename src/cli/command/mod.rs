//! One file a command or group of commands: its arguments, whose doc comments are the help text and written for the
//! user, and what it does with them.

pub(super) mod apply;
pub(super) mod build;
pub(super) mod cache;
pub(super) mod completions;
pub(super) mod copy;
pub(super) mod doctor;
pub(super) mod index;
pub(super) mod inspect;
pub(super) mod lock;
pub(super) mod ls;
pub(super) mod man;
pub(super) mod matrix;
pub(super) mod plan;
pub(super) mod pull;
pub(super) mod push;
pub(super) mod repro;
pub(super) mod resolve;
pub(super) mod tag;
pub(super) mod targets;
pub(super) mod toolchain;
pub(super) mod verify;
