#!/usr/bin/env bash
# Guess: flate2 with `default-features = false, features = ["zlib-rs"]` is the same zlib-rs: the default features only choose the backend.
# Seen:  looking what the processor has is a default feature as well (`runtime_detection`). Without it everything is built for the least x86-64: no
#        `pclmulqdq` in the checksum, no AVX2 in copying, though nothing in the program or its name says so.
# With:  flate2 1.1.11, zlib-rs 0.6.8, from crates.io, rustc 1.95.0 on x86-64, objdump 2.40, 2026-11-29.
# Why it matters: layers are inflated with it; it costs nothing but a word in Cargo.toml.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
changed() { echo "changed: $*"; exit 1; }

mkdir src
cat > src/main.rs <<'RUST'
use std::io::Read;
fn main() {
    let mut bytes = Vec::new();
    flate2::read::MultiGzDecoder::new(std::io::stdin()).read_to_end(&mut bytes).unwrap();
    println!("{}", bytes.len());
}
RUST
build() {
    printf '[package]\nname = "reads"\nversion = "1.0.0"\nedition = "2024"\n[dependencies]\nzlib-rs = { version = "=0.6.8", default-features = false }\nflate2 = { version = "=1.1.11", default-features = false, features = [%s] }\n' \
        "$1" > Cargo.toml
    cargo build --quiet --release --target-dir "$2"
    objdump --disassemble --no-show-raw-insn "$2/release/reads" | grep -c 'pclmul' || true
}
without=$(build '"zlib-rs"' without)
with=$(build '"zlib-rs", "runtime_detection"' with)
[ "$without" = 0 ] || changed "without it there are $without instructions for carry-less multiplication"
[ "$with" -gt 0 ] || changed "with it there is none either"
echo "as described: no pclmulqdq without runtime_detection, $with with it"
