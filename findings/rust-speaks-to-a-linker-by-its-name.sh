#!/usr/bin/env bash
# Guess: on Linux a linker that `-C linker=` names is spoken to as a C compiler, `-Wl,--as-needed`, as the target's documentation says.
# Seen:  rustc looks at the file's name. A program called `link`, `ld` or `rust-lld` gets a bare linker's arguments, `--as-needed`, no
#        `-nodefaultlibs` and nothing for position-dependent code; `cc`, `linker` or `my-linker` get those for a compiler. Nothing is said of
#        it, and a wrapper called `link` makes programs without start files, or static ones that crash.
# With:  rustc 1.95.0 (the toolchain is fetched by rustup), x86_64-unknown-linux-gnu, 2026-12-01.
# Why it matters: the name of xbuild's own linker scripts; `-C linker-flavor` is the way to be sure.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
changed() { echo "changed: $*"; exit 1; }

rustup toolchain install 1.95.0 --profile minimal --no-self-update >/dev/null 2>&1
echo 'fn main() {}' > main.rs
# A linker that only writes down what it is told.
said() {
    printf '#!/bin/sh\nprintf "%%s\\n" "$@" > %s/said\ntouch "%s/main"\n' "$work" "$work" > "$1"
    chmod +x "$1"
    rm -f said
    rustup run 1.95.0 rustc main.rs -o main --target x86_64-unknown-linux-gnu -C "linker=$work/$1" "${@:2}" >/dev/null 2>&1 || true
    [ -s said ] || changed "nothing called $1"
}
for name in link ld rust-lld; do
    said "$name"
    grep -qx -- '--as-needed' said && ! grep -q -- '^-Wl,' said || changed "$name is spoken to as a compiler"
done
for name in cc linker my-linker; do
    said "$name"
    grep -qx -- '-Wl,--as-needed' said && grep -qx -- '-nodefaultlibs' said || changed "$name is spoken to as a linker"
done
said link -C linker-flavor=gcc
grep -qx -- '-Wl,--as-needed' said || changed "-C linker-flavor=gcc does not help"
echo "as described: link, ld and rust-lld are bare linkers, other names are compilers"
