#!/usr/bin/env bash
# Guess: asking `zig cc` for a glibc that it does not know is an error, whichever side it lies on.
# Seen:  too old for the architecture is an error; too new is a warning and exit code 0, and the program is made for the newest glibc
#        that zig knows. A build that asks for what does not exist yet passes.
# With:  ziglang 0.17.1 from PyPI, 2026-11-29.
#        warning: zig cannot build new glibc version 2.99.0; providing instead 2.44.0
#        error: unable to provide libc for target "loongarch64-linux…-gnu.2.28"
# Why it matters: a floor has to be held against what zig knows before zig is called.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
changed() { echo "changed: $*"; exit 1; }

pip install --quiet --disable-pip-version-check --no-deps --target packages ziglang==0.17.1 2>/dev/null
zig=$work/packages/ziglang/zig
export ZIG_GLOBAL_CACHE_DIR=$work/cache ZIG_LOCAL_CACHE_DIR=$work/local
echo 'int main(void) { return 0; }' > program.c

"$zig" cc -target x86_64-linux-gnu.2.99 program.c -o new 2> said || changed "too new a glibc is refused: $(cat said)"
grep -q 'cannot build new glibc version 2.99.0; providing instead 2.44.0' said || changed "the warning is $(cat said)"
if "$zig" cc -target loongarch64-linux-gnu.2.28 program.c -o old 2> said; then changed "too old a glibc is taken"; fi
grep -q 'unable to provide libc for target' said || changed "the error is $(cat said)"
echo "as described: exit code 0, and the program is made for glibc 2.44"
