//! Settings and facts for tests.

use std::path::Path;

use semver::Version;

use super::Facts;
use crate::config::{Project, document};
use crate::origin::Source;
use crate::payload::cargo::sample::{metadata, package};
use crate::payload::project;
use crate::settings::{self, Flags, PayloadSettings, ProvidedSettings, ProvidedWay, Settings};
use crate::target::abi::GlibcVersion;
use crate::toolchain::provided::ProvidedFacts;

/// The settings of a project with this `xbuild.toml`. The cache and zig are in `dir`.
pub(crate) fn settings(text: &str, dir: &Path) -> Settings {
    let path = dir.join("xbuild.toml");
    let source = Source { path, shown: "xbuild.toml".into(), text: text.to_owned(), foreign: false };
    let documents = vec![document::parse_project(source).unwrap_or_else(|error| panic!("{error}"))];
    let project = Project { manifest_path: dir.join("Cargo.toml"), documents };
    let environment = [("HOME", "/home/me")].into_iter().collect();
    let platform = "linux/amd64".parse().unwrap();
    let host = settings::Host { platform, dir: dir.to_owned(), color: false };
    let settings = settings::resolve(&Flags::default(), &environment, &project, None, &host);
    let mut settings = settings.unwrap_or_else(|error| panic!("{error}"));
    settings.machine.cache = dir.join("cache");
    settings.machine.provided =
        ProvidedSettings { path: Some(dir.join("zig")), ways: vec![ProvidedWay::Configured] };
    settings
}

/// A project with one program, and zig 0.17.1.
pub(crate) fn facts() -> Facts {
    let metadata = metadata(&[package("app", &["app"], false, None)]);
    Facts {
        project: project::select(&metadata, &PayloadSettings::default()).unwrap(),
        commit: None,
        provided: ProvidedFacts {
            version: Version::new(0, 17, 1),
            from: "/z".into(),
            newest_glibc: GlibcVersion(2, 44),
            files: None,
        },
        tools: Vec::new(),
    }
}
