#!/usr/bin/env bash
# Guess: with --remap-path-prefix for every directory, a program is the same wherever its directory tree lies: cargo's hashes are of names,
#        versions and profiles.
# Seen:  true for members and for path dependencies below the workspace's root. A path dependency beside the root goes into `-C metadata` with
#        its absolute path, and that into the names of all symbols of it and of what depends on it, though no path is in the program.
# With:  cargo and rustc 1.95.0, 2026-11-29.
# Why it matters: builds of a project with `path = "../other"` cannot be compared across directories, whatever is remapped; a workspace above
#        both, or the same absolute directory (as in a container), makes them equal.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
changed() { echo "changed: $*"; exit 1; }

project() { # DIRECTORY PATH-OF-THE-DEPENDENCY
    mkdir -p "$1/app/src" "$1/app/$2/src"
    printf '[package]\nname = "app"\nversion = "0.1.0"\nedition = "2021"\n[dependencies]\nengine = { path = "%s" }\n[workspace]\n' "$2" \
        > "$1/app/Cargo.toml"
    printf '[package]\nname = "engine"\nversion = "0.1.0"\nedition = "2021"\n' > "$1/app/$2/Cargo.toml"
    echo 'fn main() { println!("{}", engine::run(std::env::args().count())) }' > "$1/app/src/main.rs"
    printf '#[inline(never)]\npub fn run(at: usize) -> u8 { b"engine".to_vec()[at] }\n' > "$1/app/$2/src/lib.rs"
}
digest() { # DIRECTORY
    RUSTFLAGS="--remap-path-prefix=$1=/tree" cargo +1.95.0 build --quiet --release --offline --manifest-path "$1/app/Cargo.toml"
    if grep -q "$1" "$1/app/target/release/app"; then changed "the directory is in the program"; fi
    sha256sum < "$1/app/target/release/app"
}
rustup toolchain install 1.95.0 --profile minimal --no-self-update > /dev/null 2>&1

for tree in one a/longer/two; do
    project "$work/inside/$tree" engine
    project "$work/beside/$tree" ../engine
done
[ "$(digest "$work/inside/one")" = "$(digest "$work/inside/a/longer/two")" ] || changed "below the root, the place counts"
[ "$(digest "$work/beside/one")" != "$(digest "$work/beside/a/longer/two")" ] || changed "beside the root, the place does not count"
echo "as described: the same program from two places only where the dependency lies below the workspace's root"
