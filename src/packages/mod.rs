//! Distributions' packages that go into images.

pub(crate) mod debian;
