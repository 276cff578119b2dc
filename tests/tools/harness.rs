//! Tests that a layout which passes our checks is read by other tools as well.

use std::fs;

use crate::support::base;
use crate::support::layout::Layout;
use crate::support::{scratch, tools};

#[test]
fn a_good_layout_passes_here_and_elsewhere() {
    let dir = scratch();
    base::write(dir.path(), &["linux/amd64", "linux/arm/v7"]);
    let layout = Layout::valid(dir.path());
    assert_eq!(layout.stored.len(), 7);
    assert_eq!(layout.stored, layout.reachable);
    assert_eq!(tools::inspect(dir.path(), "linux/arm/v7")["Architecture"], "arm");
    tools::copy_all(dir.path());
    let unpacked = scratch();
    let root = tools::unpack(dir.path(), "linux/arm/v7", unpacked.path());
    let file = fs::read_to_string(root.join("etc/base")).expect("the base's file");
    assert_eq!(file, "the base for linux/arm/v7\n");
}
