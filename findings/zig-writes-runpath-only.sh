#!/usr/bin/env bash
# Guess: `-Wl,--disable-new-dtags` is honoured or refused, as every other option of the linker's.
# Seen:  zig takes it without a word, and the program has DT_RUNPATH, as with --enable-new-dtags.
# With:  ziglang 0.15.2 and 0.17.1 (PyPI), readelf of binutils, 2026-11-29.
# Why it matters: RUNPATH counts only for what the program itself needs, RPATH for what its libraries need, too.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
changed() { echo "changed: $*"; exit 1; }

echo 'int main(void) { return 0; }' > main.c
export ZIG_GLOBAL_CACHE_DIR=$work/cache ZIG_LOCAL_CACHE_DIR=$work/cache
for version in 0.15.2 0.17.1; do
    python3 -m venv "$version"
    "$version/bin/pip" install -q "ziglang==$version"
    "$version/bin/python" -m ziglang cc -target x86_64-linux-gnu.2.36 -O1 main.c -o main -Wl,--disable-new-dtags,-rpath,/opt/lib
    tags=$(readelf -d main | grep -oE 'RPATH|RUNPATH' | paste -sd' ')
    [ "$tags" = RUNPATH ] || changed "zig $version writes $tags"
done
echo "as described: no word of it, and RUNPATH"
