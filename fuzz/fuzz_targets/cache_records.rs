//! Records of xbuild's cache. The first byte says which; a digest that a record begins with is put right, since whoever writes to a
//! cache can do that, too.

#![no_main]

use libfuzzer_sys::fuzz_target;
use xbuild::internal::base::apt::layer_of_record;
use xbuild::internal::packages::debian::packages_of_record;
use xbuild::oci::Digest;
use xbuild::internal::rootfs::cached_index;
use xbuild::rootfs::Root;
use xbuild::Cancel;

fuzz_target!(|bytes: &[u8]| {
    let Some((kind, document)) = bytes.split_first() else { return };
    let digest = Digest::of(document);
    match kind % 4 {
        0 => {
            let record = [digest.to_string().as_bytes(), b"\n", document].concat();
            if let Some(index) = cached_index(&record) {
                let mut root = Root::default();
                let cancel = Cancel::new();
                // It may be more than a root filesystem can be, and then says so.
                if root.lay(&index, &cancel).is_ok() && root.lay(&index, &cancel).is_ok() {
                    std::hint::black_box(root.dirs(&cancel).ok());
                    std::hint::black_box(root.system());
                }
            }
        }
        1 => {
            let record = [digest.hex().as_bytes(), b"\n", document].concat();
            for package in packages_of_record(&record).unwrap_or_default() {
                assert_eq!(package.sha256.len(), 32);
            }
        }
        2 => {
            if let Some(layer) = layer_of_record(document) {
                // It becomes a part of a path.
                assert!(layer.hex().bytes().all(|byte| byte.is_ascii_hexdigit()));
            }
        }
        // As they are: a wrong digest is as good as none.
        _ => {
            assert!(cached_index(document).is_none() || document.starts_with(b"sha256:"));
            std::hint::black_box(packages_of_record(document));
        }
    }
});
