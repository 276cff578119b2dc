//! `/etc/ld.so.cache`, in both byte orders.

#![no_main]

use libfuzzer_sys::fuzz_target;
use xbuild::target::catalog::Endianness;
use xbuild::internal::linkcheck::Cache;

fuzz_target!(|bytes: &[u8]| {
    for endianness in [Endianness::Little, Endianness::Big] {
        if let Some(cache) = Cache::parse(bytes, endianness) {
            for name in ["libc.so.6", "libone.so.1", ""] {
                for entry in cache.find(name) {
                    assert!(entry.path.len() <= 4096);
                }
            }
        }
    }
});
