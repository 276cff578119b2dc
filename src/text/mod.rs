//! Words for people: what they may have meant, sizes and lists in sentences, and what others have written made visible.
//!
//! Nothing here knows what the words are about.

mod nearest;
pub(crate) mod visible;
mod words;

pub(crate) use nearest::nearest;
pub(crate) use words::{counted, listed, size};
