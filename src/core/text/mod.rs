//! Text for users: suggestions for mistyped words, sizes and lists in sentences, and visible forms of text from others.
//!
//! Nothing here knows what the words are about.

mod nearest;
pub mod visible;
mod words;

pub use nearest::nearest;
pub use words::{counted, listed, size};
