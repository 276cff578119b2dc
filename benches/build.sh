#!/usr/bin/env bash
# `xbuild build` against the bare `cargo build` that it contains: the same triples, linkers and flags.
#
#   benches/build.sh [PROJECT]
#
# PROJECT is examples/service by default. A first run provides the toolchains, warms the caches, and records cargo's
# command line and environment with a wrapper for `cargo`. The bare build is that command line again. In each round,
# both start from an empty target directory, one after the other, and then run once more with nothing changed.
set -euo pipefail
. "$(dirname "$0")/lib.sh"
need cargo awk jq
rounds=${ROUNDS:-3}

project=$(cd "${1:-$root/examples/service}" && pwd)
cargo build --quiet --release --locked --manifest-path "$root/Cargo.toml"
xbuild=$(cargo metadata --format-version 1 --no-deps --manifest-path "$root/Cargo.toml" | jq -r .target_directory)/release/xbuild

target=$scratch/target record=$scratch/record
mkdir "$scratch/bin" "$record"
REAL_CARGO=$(command -v cargo)
export REAL_CARGO RECORD=$record SOURCE_DATE_EPOCH=1700000000
# Record only the builds: xbuild also asks cargo about the project. One directory per build, since a set of triples may
# need more than one.
cat >"$scratch/bin/cargo" <<'SCRIPT'
#!/usr/bin/env bash
case " $* " in
*" build "* | *" rustc "*)
    directory=$(mktemp -d -p "$RECORD")
    pwd >"$directory/directory"
    printf '%s\0' "$@" >"$directory/arguments"
    env -0 >"$directory/environment"
    ;;
esac
exec "$REAL_CARGO" "$@"
SCRIPT
chmod +x "$scratch/bin/cargo"

with_xbuild() { "$xbuild" build "$project" --target-dir "$target" --output "$scratch/image" --progress quiet; }
bare() {
    local directory arguments environment
    for directory in "$record"/*/; do
        mapfile -d '' -t arguments <"$directory/arguments"
        mapfile -d '' -t environment <"$directory/environment"
        (cd "$(cat "$directory/directory")" && env -i "${environment[@]}" "$REAL_CARGO" "${arguments[@]}" >/dev/null)
    done
}

CARGO=$scratch/bin/cargo PATH=$scratch/bin:$PATH seconds with_xbuild >/dev/null
[ -n "$(ls -A "$record")" ] || { echo "$0: xbuild called no cargo that could be recorded" >&2; exit 1; }

for _ in $(seq "$rounds"); do
    rm -rf "$target"
    b=$(seconds bare)
    bn=$(seconds bare)
    rm -rf "$target" "$scratch/image"
    x=$(seconds with_xbuild)
    xn=$(seconds with_xbuild)
    echo "$x $b $xn $bn"
done >"$scratch/rounds"

column() { awk -v n="$1" '{ print $n }' "$scratch/rounds" | median; }
machine
awk -v project="$(basename "$project")" -v rounds="$rounds" -v builds="$(find "$record" -name directory | wc -l)" \
    -v x="$(column 1)" -v b="$(column 2)" -v xn="$(column 3)" -v bn="$(column 4)" \
    -v ratio="$(awk '{ print $1 / $2 }' "$scratch/rounds" | median)" \
    -v over="$(awk '{ print $1 - $2 }' "$scratch/rounds" | median)" \
    -v idle="$(awk '{ print $3 - $4 }' "$scratch/rounds" | median)" 'BEGIN {
    printf "input    %s, %d cargo process(es) a build, %d rounds, medians\n\n", project, builds, rounds
    printf "%-24s %10s %10s\n", "", "from empty", "no change"
    printf "%-24s %9.2fs %9.2fs\n", "xbuild build", x, xn
    printf "%-24s %9.2fs %9.2fs\n\n", "cargo build, the same", b, bn
    printf "from empty: %.3f times cargo (%+.2f s; the limit of 3 %% and half a second is %+.2f s)\n", ratio, over, 0.03 * b + 0.5
    printf "no change:  %+.2f s over cargo (the limit is +1 s)\n", idle
}'
