//! Platforms, references and digests: what is read is written back as it was read.

#![no_main]

use libfuzzer_sys::fuzz_target;
use xbuild::oci::{Digest, Reference};
use xbuild::target::platform::Platform;

fuzz_target!(|text: &str| {
    if let Ok(platform) = text.parse::<Platform>() {
        assert_eq!(platform.to_string().parse(), Ok(platform.clone()));
        assert_eq!(platform.rank(&platform), Some(0));
        assert!(!platform.file_name().contains('/'));
    }
    if let Ok(digest) = text.parse::<Digest>() {
        assert_eq!(digest.to_string(), text);
        assert!(!digest.hex().contains(['/', '.']));
    }
    if let Ok(reference) = text.parse::<Reference>() {
        assert_eq!(reference.to_string().parse(), Ok(reference));
    }
});
