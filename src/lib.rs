//! xbuild builds multi-platform container images on one plain amd64 host with nothing emulated.

pub mod base;
pub mod build;
pub mod catalog;
pub mod cli;
pub mod compile;
pub mod config;
pub mod debian;
pub mod elf;
pub mod error;
pub mod facts;
pub mod files;
pub mod image;
pub mod index;
pub mod layer;
pub mod layout;
pub mod oci;
pub mod output;
pub mod payload;
pub mod plan;
pub mod platform;
pub mod report;
pub mod settings;
pub mod sys;
pub mod toolchain;
