//! Text for users: suggestions for mistyped words, sizes and lists in sentences, and visible forms of text from others.
//!
//! Nothing here knows what the words are about.

mod nearest;
pub(crate) mod visible;
mod words;

pub(crate) use nearest::nearest;
pub(crate) use words::{counted, listed, size};
