#!/usr/bin/env bash
# Guess: Rust's *-linux-musl targets make static programs.
# Seen:  it depends on the architecture. riscv64gc, loongarch64 and s390x link dynamically unless `-C target-feature=+crt-static` is given, and
#        then want a musl loader in the image; x86_64, aarch64, armv7, i686 and powerpc64le are static.
# With:  rustc 1.95.0 (the toolchain is fetched by rustup), 2026-11-29.
# Why it matters: an image FROM scratch works on amd64 and arm64 and has no loader on riscv64.
set -euo pipefail
changed() { echo "changed: $*"; exit 1; }

rustup toolchain install 1.95.0 --profile minimal --no-self-update >/dev/null 2>&1
rustc=(rustup run 1.95.0 rustc)
is_static() { "${rustc[@]}" --print cfg --target "$1" | grep -qx 'target_feature="crt-static"'; }
for target in x86_64 aarch64 i686 powerpc64le; do
    is_static "$target-unknown-linux-musl" || changed "$target is dynamic"
done
is_static armv7-unknown-linux-musleabihf || changed "armv7 is dynamic"
for target in riscv64gc loongarch64 s390x; do
    ! is_static "$target-unknown-linux-musl" || changed "$target is static"
done
echo "as described: three of the eight musl targets are dynamic by default"
