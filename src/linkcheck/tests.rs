//! Whole checks of small roots.

use super::*;
use crate::rootfs::Root;

#[test]
fn an_image_without_anything_starts_nothing() {
    let (root, execution) = (Root::default(), Execution::default());
    let added = BTreeSet::new();
    let platform = "linux/amd64".parse().unwrap();
    let request = Request {
        platform: &platform,
        root: &root,
        execution: &execution,
        added: &added,
        origin: &Origin::Scratch,
    };
    let report = check(&request, &Cancel::new()).unwrap();
    assert_eq!(report.findings[0].problem, Problem::NoCommand {});
    assert!(!report.fails());
}
