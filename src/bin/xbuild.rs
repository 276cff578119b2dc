//! The `xbuild` command.

fn main() {}
