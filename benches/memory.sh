#!/usr/bin/env bash
# xbuild's own peak memory with a large file in the image.
#
#   benches/memory.sh [BYTES]
#
# A file of 1 GB by default, of this machine's own ELF files. It measures the peak resident set of the xbuild process
# (VmHWM), without cargo and rustc, which are separate processes.
set -euo pipefail
. "$(dirname "$0")/lib.sh"
need cargo awk jq
bytes=${1:-1000000000}

cargo build --quiet --release --locked --manifest-path "$root/Cargo.toml"
xbuild=$(cargo metadata --format-version 1 --no-deps --manifest-path "$root/Cargo.toml" | jq -r .target_directory)/release/xbuild

project=$scratch/project
mkdir -p "$project/src"
corpus "$scratch/corpus" $((200 * 1000 * 1000))
while [ "$(stat -c %s "$project/large" 2>/dev/null || echo 0)" -lt "$bytes" ]; do
    cat "$scratch/corpus"/* >>"$project/large"
done
truncate -s "$bytes" "$project/large"
echo 'fn main() {}' >"$project/src/main.rs"
cat >"$project/Cargo.toml" <<'TOML'
[package]
name = "large"
version = "0.1.0"
edition = "2024"

[workspace]
TOML
cat >"$project/xbuild.toml" <<'TOML'
platforms = ["linux/amd64", "linux/arm64"]
base = "scratch"

[[files]]
from = "large"
to = "/large"
TOML

machine
printf 'input    a file of %d bytes, on two platforms at once\n\n' "$bytes"
for compression in gzip zstd; do
    "$xbuild" build "$project" --output "$scratch/image-$compression" --compression "$compression" \
        --progress quiet >"$scratch/out" 2>"$scratch/err" &
    process=$!
    peak=0
    # The value only grows, and the process's last moments are short.
    while value=$(awk '/^VmHWM/ { print $2 }' "/proc/$process/status" 2>/dev/null) && [ -n "$value" ]; do
        peak=$value
        sleep 0.02
    done
    wait "$process" || { cat "$scratch/err" >&2; exit 1; }
    awk -v codec="$compression" -v peak="$peak" \
        'BEGIN { printf "%-6s peak memory %.0f MB (the limit is 150 MB)\n", codec, peak * 1024 / 1e6 }'
done
