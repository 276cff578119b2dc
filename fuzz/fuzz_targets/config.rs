//! xbuild.toml and the user's configuration file.

#![no_main]

use libfuzzer_sys::fuzz_target;
use xbuild::internal::config::{parse_project, parse_user};
use xbuild::error::Explain;
use xbuild::origin::Source;

fuzz_target!(|text: &str| {
    let source = || Source { path: "/p/xbuild.toml".into(), shown: "xbuild.toml".into(), text: text.into(), foreign: false };
    if let Err(error) = parse_project(source()) {
        // What a person sees: the places are within the text.
        for snippet in error.snippets() {
            assert!(snippet.text.get(snippet.span).is_some());
        }
    }
    if let Err(error) = parse_user(source()) {
        assert!(!error.to_string().is_empty());
    }
});
