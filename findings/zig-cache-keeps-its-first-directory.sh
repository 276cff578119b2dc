#!/usr/bin/env bash
# Guess: a compiler's cache only saves time. The same command on the same object gives the same program, whatever the cache has seen.
# Seen:  the start-up files that zig compiles for a target carry the directory of the first link that ever needed them as DW_AT_comp_dir, and
#        the directory is not in the cache's key. Every later program of that target, of other projects too, has this directory
#        in it; with another cache it has another one. `-ffile-prefix-map` on the link does not reach these compilations.
# With:  ziglang 0.17.1 from PyPI, readelf of binutils, 2026-11-29.
# Why it matters: a strange project's path is published, and two builders never get one digest. The project leads zig to its directories by
#        descriptors of fixed numbers and says PWD=/proc/self/cwd (src/toolchain/driver/neutral.rs).
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
changed() { echo "changed: $*"; exit 1; }

pip install --quiet --disable-pip-version-check --no-deps --target packages ziglang==0.17.1 2>/dev/null
zig=$work/packages/ziglang/zig
mkdir mine stranger
echo 'int main(void) { return 0; }' > mine/program.c
# link CACHE FIRST-DIRECTORY OUTPUT: the same link in `mine`, with a cache that was first used elsewhere.
link() {
    export ZIG_GLOBAL_CACHE_DIR=$work/$1 ZIG_LOCAL_CACHE_DIR=$work/$1
    (cd mine && "$zig" cc -target aarch64-linux-gnu.2.36 -O2 -ffile-prefix-map="$work/mine"=/mine -c program.c -o program.o)
    (cd "$2" && "$zig" cc -target aarch64-linux-gnu.2.36 -O2 -g "$work/mine/program.o" -o "$work/first")
    (cd mine && "$zig" cc -target aarch64-linux-gnu.2.36 -O2 -g -ffile-prefix-map="$work"=/work program.o -o "$work/$3")
}
link one mine a
link two stranger b
readelf --debug-dump=info b 2> /dev/null | grep -q "DW_AT_comp_dir.*$work/stranger" || changed "the stranger's directory is not there"
if readelf --debug-dump=info a 2> /dev/null | grep -q "$work/stranger"; then changed "it is there in any case"; fi
if cmp -s a b; then changed "the programs are the same"; fi
echo "as described: the program has the path of the directory that another program was linked in before"
