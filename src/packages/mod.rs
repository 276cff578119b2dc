//! Packages of distributions that go into images.

pub(crate) mod debian;
