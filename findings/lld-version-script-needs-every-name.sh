#!/usr/bin/env bash
# Guess: a version script may name a symbol that this configuration of a library does not define; GNU ld has always passed over it.
# Seen:  LLD ends the link, with and without --no-undefined-version; --undefined-version brings GNU ld's behaviour back. LLD 14 still
#        passed over it, so that the same library links with an old LLD and fails with a new one.
# With:  ziglang 0.17.1 from PyPI (LLD 22) and the machine's GNU ld 2.40 through its C compiler, 2026-11-29.
#        ld.lld: error: version script assignment of 'V1' to symbol 'not_there' failed: symbol not defined
# Why it matters: cdylibs and C libraries whose version script covers several configurations.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
changed() { echo "changed: $*"; exit 1; }

pip install --quiet --disable-pip-version-check --no-deps --target packages ziglang==0.17.1 2>/dev/null
zig=$work/packages/ziglang/zig
export ZIG_GLOBAL_CACHE_DIR=$work/cache ZIG_LOCAL_CACHE_DIR=$work/local
echo 'int there(void) { return 1; }' > library.c
echo 'V1 { global: there; not_there; local: *; };' > versions.map
library=(-shared -fPIC -Wl,--version-script=versions.map library.c)

cc -fuse-ld=bfd "${library[@]}" -o gnu.so || changed "GNU ld refuses the script"
if "$zig" cc -target x86_64-linux-gnu "${library[@]}" -o lld.so 2> said; then changed "LLD takes the script"; fi
grep -q "version script assignment of 'V1' to symbol 'not_there' failed: symbol not defined" said || changed "the error is $(cat said)"
"$zig" cc -target x86_64-linux-gnu "${library[@]}" -Wl,--undefined-version -o lld.so || changed "--undefined-version does not help"
echo "as described: GNU ld links it, LLD refuses it, LLD with --undefined-version links it"
