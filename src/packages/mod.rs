//! Packages of distributions that go into images.

pub mod debian;
