//! Kubernetes manifests: found references, and the text with them replaced.

#![no_main]

use std::collections::BTreeMap;

use libfuzzer_sys::fuzz_target;
use xbuild::internal::kubernetes::{Manifest, PREFIX};

fuzz_target!(|bytes: &[u8]| {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    for kustomized in [false, true] {
        let Ok(manifest) = Manifest::read(text, kustomized) else { continue };
        // Without an image nothing changes.
        assert_eq!(manifest.replaced(&BTreeMap::new()), text);
        let projects = manifest.projects();
        let image = |path: &String| (path.clone(), "r.example/a@sha256:0".to_owned());
        let replaced = manifest.replaced(&projects.iter().map(image).collect());
        // What is not replaced is still there, and what is found is a path.
        assert!(projects.is_empty() || replaced != text);
        assert!(projects.iter().all(|path| !path.is_empty() && !path.contains(PREFIX)));
        for left in &manifest.left {
            assert!(left.line >= 1 && left.line <= text.matches('\n').count() + 1);
        }
    }
});
