#!/usr/bin/env bash
# Guess: the standard library of armv7-unknown-linux-gnueabihf, whose target says `+vfp3d16` and `-neon`, keeps to the sixteen
#        double registers d0 to d15 that VFPv3-D16 has.
# Seen:  most of its objects carry the build attribute Tag_FP_arch VFPv3 (thirty-two registers), few VFPv3-D16. A processor without d16 to
#        d31 (Tegra 2, some Marvell Armada) is named by the target and not served by what is shipped for it.
# With:  rust-std 1.95.0 (fetched by rustup) and the machine's readelf 2.40, 2026-11-29.
# Why it matters: build attributes alone cannot decide whether a program runs on VFPv3-D16.
set -euo pipefail
changed() { echo "changed: $*"; exit 1; }

rustup toolchain install 1.95.0 --profile minimal --no-self-update >/dev/null 2>&1
rustup target add --toolchain 1.95.0 armv7-unknown-linux-gnueabihf >/dev/null 2>&1
sysroot=$(rustup run 1.95.0 rustc --print sysroot)
attributes=$(readelf -A "$sysroot"/lib/rustlib/armv7-unknown-linux-gnueabihf/lib/*.rlib 2>/dev/null | grep 'Tag_FP_arch')
full=$(grep -c 'VFPv3$' <<< "$attributes" || true)
half=$(grep -c 'VFPv3-D16$' <<< "$attributes" || true)
[ "$full" -gt "$half" ] || changed "VFPv3 in $full objects, VFPv3-D16 in $half"
echo "as described: VFPv3 in $full objects, VFPv3-D16 in $half"
