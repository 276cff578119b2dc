#!/usr/bin/env bash
# Guess: DT_TEXTREL in a program says that there are relocations in its code.
# Seen:  with `-z notext` LLD always writes DT_TEXTREL and DF_TEXTREL; GNU ld only where there is such a relocation. Hardening checkers that look for
#        the tag report programs that have none.
# With:  ziglang 0.17.1 from PyPI (LLD 22) and the machine's GNU ld 2.40, 2026-11-29.
# Why it matters: count the relocations, not the tag.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
changed() { echo "changed: $*"; exit 1; }

pip install --quiet --disable-pip-version-check --no-deps --target packages ziglang==0.17.1 2>/dev/null
zig=$work/packages/ziglang/zig
export ZIG_GLOBAL_CACHE_DIR=$work/cache ZIG_LOCAL_CACHE_DIR=$work/local
printf '#include <stdio.h>\nint main(void) { return puts("x") < 0; }\n' > program.c
options=(-fPIE -pie -Wl,-z,notext program.c)
tagged() { readelf -dW "$1" | grep -q TEXTREL; }

cc -fuse-ld=bfd "${options[@]}" -o gnu
"$zig" cc -target x86_64-linux-gnu "${options[@]}" -o lld
! tagged gnu || changed "GNU ld marks it"
tagged lld || changed "LLD does not mark it"
# No relocation of it lies in a section that holds code.
read -r begin end < <(readelf -SW lld | awk '{ gsub(/^ *\[ *[0-9]+\] */, "") } $1 == ".text" { print $3, $5 }')
readelf -rW lld | awk '$1 ~ /^[0-9a-f]+$/ { print $1 }' | while read -r at; do
    if ((16#$at >= 16#$begin && 16#$at < 16#$begin + 16#$end)); then changed "there is a relocation at $at"; fi
done
echo "as described: LLD writes DT_TEXTREL without a relocation in code, GNU ld does not"
