#!/usr/bin/env bash
# Guess: the same clang with the same options generates the same code, whatever start-up files lie in the sysroot.
# Seen:  for arm64, clang decides by the presence of usr/lib/gcc/<triple>/<version>/crtbegin.o (an empty file is enough) whether atomic operations
#        become calls of libgcc's outline helpers (__aarch64_ldadd8_acq_rel) or loops in place.
# With:  clang-14 1:14.0.6-12 of Debian bookworm, unpacked without installing, 2026-11-29.
# Why it matters: a sysroot with other packages gives other objects; say -m[no-]outline-atomics.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
changed() { echo "changed: $*"; exit 1; }

version='1:14.0.6-12'
apt-get download -qq "clang-14=$version" "libclang-cpp14=$version" "libllvm14=$version" "libclang-common-14-dev=$version" \
    libedit2 libz3-4 libxml2 libicu72 libtinfo6 libbsd0 libmd0 2>/dev/null
for package in *.deb; do dpkg -x "$package" unpacked; done
export LD_LIBRARY_PATH=$work/unpacked/usr/lib/llvm-14/lib:$work/unpacked/usr/lib/x86_64-linux-gnu
clang=$work/unpacked/usr/lib/llvm-14/bin/clang
echo 'long add(long *at) { return __atomic_fetch_add(at, 1, __ATOMIC_ACQ_REL); }' > add.c
calls() { "$clang" --target=aarch64-linux-gnu --sysroot="$work/sysroot" -O2 -S -o - add.c | grep -c '__aarch64_ldadd8_acq_rel' || true; }

mkdir -p sysroot/usr/lib/gcc/aarch64-linux-gnu/12
[ "$(calls)" = 0 ] || changed "helpers are called without libgcc"
touch sysroot/usr/lib/gcc/aarch64-linux-gnu/12/crtbegin.o
[ "$(calls)" != 0 ] || changed "no helper is called with libgcc"
echo "as described: an empty crtbegin.o turns loops into calls"
