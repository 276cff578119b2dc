#!/usr/bin/env bash
# Guess: PT_GNU_STACK says whether the stack is executable and nothing else; its size is 0, as every other linker driver leaves it.
# Seen:  `zig cc` writes 16 MiB there. musl takes the field as the least size of the stacks of threads (up to 8 MiB; 128 KiB where it is 0),
#        so that the same C program has other thread stacks when it changes its linker.
# With:  ziglang 0.17.1 from PyPI against the machine's C compiler, 2026-11-29: memory size 0x1000000 against 0.
# Why it matters: programs with deep recursion in threads run when linked by zig and overflow when linked by rust-lld.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
changed() { echo "changed: $*"; exit 1; }

pip install --quiet --disable-pip-version-check --no-deps --target packages ziglang==0.17.1 2>/dev/null
zig=$work/packages/ziglang/zig
export ZIG_GLOBAL_CACHE_DIR=$work/cache ZIG_LOCAL_CACHE_DIR=$work/local
cat > program.c <<'C'
#define _GNU_SOURCE
#include <pthread.h>
#include <stdio.h>
int main(void) {
    pthread_attr_t attributes;
    size_t size;
    pthread_getattr_default_np(&attributes);
    pthread_attr_getstacksize(&attributes, &size);
    printf("%zu\n", size);
    return 0;
}
C
stack() { readelf -lW "$1" | awk '$1 == "GNU_STACK" { print $6 }'; }
cc program.c -o native -pthread
"$zig" cc -target x86_64-linux-musl program.c -o static
"$zig" cc -target x86_64-linux-musl program.c -o small -Wl,-z,stack-size=0
[ "$(stack native)" = 0x000000 ] || changed "the C compiler's program has $(stack native)"
[ "$(stack static)" = 0x1000000 ] || changed "zig's program has $(stack static)"
[ "$(./static)" = 8388608 ] || changed "musl's threads have $(./static) bytes"
[ "$(./small)" = 131072 ] || changed "musl's threads have $(./small) bytes without the field"
echo "as described: 16 MiB in the header, 8 MiB for each thread of musl instead of 128 KiB"
