#!/usr/bin/env bash
# Guess: `ranlib -D` makes any archive deterministic: it writes the symbol table anew and zeroes times, owners and modes.
# Seen:  zig's (LLVM's) ranlib writes nothing at all where the archive has a symbol table already, with exit code 0; only where there is none it
#        rewrites, and then zeroes. GNU ranlib -D zeroes the table's own header but leaves the members, too.
# With:  ziglang 0.17.1 from PyPI, archive made by GNU ar 2.40 with U, 2026-11-29: same bytes before and after.
# Why it matters: who relies on ranlib to clean a foreign archive publishes times and owners.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
changed() { echo "changed: $*"; exit 1; }

pip install --quiet --disable-pip-version-check --no-deps --target packages ziglang==0.17.1 2>/dev/null
zig=$work/packages/ziglang/zig
echo 'int value(void) { return 1; }' > member.c
cc -c member.c
chmod 751 member.o
touch -d '2001-02-03 04:05:06 UTC' member.o
ar crUs with.a member.o
ar crUS without.a member.o
sum() { sha256sum < "$1"; }

before=$(sum with.a)
"$zig" ranlib -D with.a || changed "ranlib fails"
[ "$(sum with.a)" = "$before" ] || changed "an archive with a table is rewritten"
TZ=UTC ar tv with.a | grep -q 'rwxr-x--x.*2001' || changed "the member is $(ar tv with.a)"
"$zig" ranlib -D without.a
TZ=UTC ar tv without.a | grep -q 'rw-r--r-- 0/0.*1970' || changed "the member is $(ar tv without.a)"
echo "as described: untouched where there is a symbol table, rewritten where there is none"
