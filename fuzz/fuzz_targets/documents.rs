//! Indexes, manifests and configurations, as `xbuild verify` reads them.

#![no_main]

use libfuzzer_sys::fuzz_target;
use xbuild::linkcheck::Execution;
use xbuild::oci::{Descriptor, Digest, media_type};
use xbuild::target::platform::Platform;
use xbuild::internal::verify::documents;

fuzz_target!(|bytes: &[u8]| {
    let descriptor =
        |media_type: &str| Descriptor::new(media_type, Digest::of(bytes), bytes.len() as u64);
    let (index, _) = documents::index(bytes, &descriptor(media_type::INDEX));
    for entry in &index.entries {
        if let Some(platform) = entry.platform.as_ref().and_then(Platform::of_fields) {
            assert!(!platform.to_string().is_empty());
        }
    }
    let (manifest, faults) = documents::manifest(bytes, &descriptor(media_type::MANIFEST));
    assert!(manifest.config.is_some() || !faults.is_empty());
    let (config, faults) = documents::config(bytes, &Digest::of(bytes), manifest.layers.len());
    assert!(config.platform.is_some() || !faults.is_empty());
    for fault in faults {
        assert!(!fault.to_string().is_empty());
    }
    std::hint::black_box(Execution::of_config(&config.document).arguments());
});
