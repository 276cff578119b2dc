//! The `cargo xbuild` subcommand.

fn main() {}
