#!/usr/bin/env bash
# Guess: pkgconf answers everything that one call asks: `--modversion --libs --cflags` prints the version and the flags, or is an error.
# Seen:  it prints the version alone and succeeds. `--libs` and `--cflags`, before or after it, are dropped without a word; `--variable`
#        silences them in the same way, and with an undefined variable the answer is an empty line and success. Only `--exists` with
#        `--libs` behaves as guessed.
# With:  pkgconf 3.0.7 (the PyPI package pkgconf 3.0.7.post0), 2026-12-01. Debian bookworm's 1.8.1 does the same for the first.
# Why it matters: a build script that saves a process by asking for both links nothing, and fails much later with undefined symbols.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
changed() { echo "changed: $*"; exit 1; }

python3 -m venv tools
tools/bin/pip install --quiet --disable-pip-version-check pkgconf==3.0.7.post0
printf 'Name: own\nDescription: a library\nVersion: 1.2\nLibs: -lown\nCflags: -I/own\n' > own.pc
ask() { PKG_CONFIG_PATH=$work tools/bin/pkgconf "$@" own || changed "pkgconf $* fails"; }

[ "$(ask --libs)" = "-lown" ] || changed "--libs alone says $(ask --libs)"
[ "$(ask --modversion)" = "1.2" ] || changed "--modversion alone says $(ask --modversion)"
for words in "--modversion --libs --cflags" "--libs --cflags --modversion"; do
    # shellcheck disable=SC2086 # they are words
    said=$(ask $words)
    [ "$said" = "1.2" ] || changed "$words says $said"
done
said=$(ask --libs --variable=nothing)
[ -z "$said" ] || changed "--libs --variable=nothing says $said"
said=$(ask --exists --libs)
[ "$said" = "-lown" ] || changed "--exists --libs says $said"
echo "as described: --modversion and --variable silence --libs and --cflags"
