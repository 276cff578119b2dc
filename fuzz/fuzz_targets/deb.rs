//! Debian's packages: ar, the decompressors, tar, and the control paragraph.

#![no_main]

use libfuzzer_sys::fuzz_target;
use xbuild::internal::packages::debian::unpack::unpack;
use xbuild::Cancel;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(unpacked) = unpack(bytes, ("hello", "1.0"), Some(16), &Cancel::new()) {
        for entry in unpacked.entries {
            assert!(!entry.path.starts_with('/') && !entry.path.split('/').any(|part| part == ".."));
        }
    }
});
