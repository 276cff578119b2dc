#!/usr/bin/env bash
# Guess: a compiler that is told nothing of the processor makes code for all of an architecture, and those of one machine agree which that is.
# Seen:  for s390x `zig cc` takes z13 and fills its vector registers, where rustc takes z10, which has none.
# With:  ziglang 0.17.1 from PyPI, rustc 1.95.0 from rustup, 2026-11-30: zig says `arch11`, which is z13; rustc has no feature `vector`.
# Why it matters: C code that is linked into a Rust program ends it with SIGILL on the processors that Debian and rustc still build for.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
changed() { echo "changed: $*"; exit 1; }

pip install --quiet --disable-pip-version-check --no-deps --target packages ziglang==0.17.1 2>/dev/null
zig=$work/packages/ziglang/zig
export ZIG_GLOBAL_CACHE_DIR=$work/cache ZIG_LOCAL_CACHE_DIR=$work/local
"$zig" build-exe --show-builtin -target s390x-linux >builtin
grep -q 'model = &std.Target.s390x.cpu.arch11' builtin || changed "zig's least processor is $(grep 'model =' builtin)"
grep -q '^ *\.vector,$' builtin || changed "zig's least processor has no vectors"
cat > sums.c <<'C'
void sums(int *to, const int *from, int count) {
    for (int at = 0; at < count; at++) to[at] += from[at];
}
C
"$zig" cc -target s390x-linux-musl -O2 -S sums.c -o baseline.s 2>/dev/null
"$zig" cc -target s390x-linux-musl -mcpu=z10 -O2 -S sums.c -o z10.s 2>/dev/null
grep -q '%v[0-9]' baseline.s || changed "zig's code has no vectors"
! grep -q '%v[0-9]' z10.s || changed "zig's code for z10 has vectors"
rustc --print cfg --target s390x-unknown-linux-gnu >cfg
! grep -q 'target_feature="vector"' cfg || changed "rustc's least processor has vectors"
echo "as described: zig's least processor for s390x is z13, rustc's has no vectors"
