//! Layers: decompressors, tar, whiteouts and opaque directories, and the merged root filesystem that the link check walks.
//! The first byte is passed over, and the rest says itself how it is compressed; where a mark stands in it, it is two layers.

#![no_main]

use std::collections::BTreeSet;

use libfuzzer_sys::fuzz_target;
use xbuild::linkcheck::{Execution, Origin, Request, check};
use xbuild::oci::Algorithm;
use xbuild::target::platform::Platform;
use xbuild::rootfs::{Limits, Root, scan};
use xbuild::Cancel;

const MARK: &[u8] = b"--next layer--";
/// As a layer's own limits, for inputs of 1 MB: a decompressor makes a thousand times as much of them.
const LIMITS: Limits = Limits { bytes: 64 << 20, entries: 1 << 14, names: 16 << 20 };

fuzz_target!(|input: &[u8]| {
    let Some((_, bytes)) = input.split_first() else { return };
    let cancel = Cancel::new();
    let middle = bytes.windows(MARK.len()).position(|window| window == MARK);
    let parts = match middle {
        Some(at) => vec![&bytes[..at], &bytes[at + MARK.len()..]],
        None => vec![bytes],
    };
    let mut root = Root::default();
    for part in parts {
        let Ok(layer) = scan(part, Algorithm::Sha256, LIMITS, &cancel) else { continue };
        for (path, _) in &layer.entries {
            assert!(!path.starts_with('/') && !path.split('/').any(|part| matches!(part, "" | "." | "..")));
        }
        // It may be deeper or larger than is read.
        if root.lay(&layer, &cancel).is_err() {
            return;
        }
    }
    for (path, node) in root.nodes() {
        assert_eq!(root.entry(&path), Some(node));
        // Every directory above is a directory.
        assert!(path.match_indices('/').all(|(at, _)| root.entry(&path[..at]).is_some_and(|node| node.is_dir())));
    }
    let execution = Execution {
        entrypoint: vec!["a".into(), "b".into()],
        env: vec!["PATH=/bin:/:/a".into(), "LD_LIBRARY_PATH=/lib:$ORIGIN".into()],
        user: "a".into(),
        workdir: "/a".into(),
        ..Execution::default()
    };
    let added: BTreeSet<String> = root.nodes().take(16).map(|(path, _)| path.to_owned()).collect();
    let platform: Platform = "linux/amd64".parse().expect("a platform");
    let (root, execution, added, origin) = (&root, &execution, &added, &Origin::Image);
    check(&Request { platform: &platform, root, execution, added, origin }, &cancel).expect("nobody cancels");
});
