#!/usr/bin/env bash
# Guess: what is given with `--config` on the command line wins over a configuration file.
# Seen:  arrays are joined, and `[target.'cfg(…)'] rustflags` of the file come after those of `--config target.<triple>.rustflags`. rustc takes the
#        last of two options, so that the file wins. And where the file writes the same key as one string, which cargo documents as
#        equal to an array, there is no order at all: cargo refuses to merge a string with an array.
# With:  cargo 1.95.0 (fetched by rustup), 2026-11-29: codegen-units=5, then codegen-units=3; "expected string, but found array".
# Why it matters: a linker that a tool sets with --config loses to one in a cfg() table.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
changed() { echo "changed: $*"; exit 1; }

rustup toolchain install 1.95.0 --profile minimal --no-self-update >/dev/null 2>&1
triple=x86_64-unknown-linux-gnu
mkdir -p src .cargo
printf '[package]\nname = "order"\nversion = "0.1.0"\nedition = "2021"\n' > Cargo.toml
echo 'fn main() {}' > src/main.rs
build() { env -u RUSTFLAGS rustup run 1.95.0 cargo build -v --target "$triple" --config "target.$triple.rustflags=['-Ccodegen-units=5']" 2>&1; }

printf "[target.'cfg(target_os = \"linux\")']\nrustflags = ['-Ccodegen-units=3']\n" > .cargo/config.toml
order=$(build | grep -oE 'codegen-units=[0-9]+' | paste -sd' ')
[ "$order" = 'codegen-units=5 codegen-units=3' ] || changed "the order is $order"

printf "[target.$triple]\nrustflags = '-Ccodegen-units=3'\n" > .cargo/config.toml
if said=$(build); then changed "a string and an array are merged"; fi
grep -q 'expected string, but found array' <<< "$said" || changed "cargo says: $said"
echo "as described: cfg() tables come after --config, and a string cannot be joined with an array"
