#!/usr/bin/env bash
# What each toolchain costs from cold: examples/hello for three platforms with every cache of xbuild empty (Rust's standard
# libraries are there), the same with packages and toolchains downloaded and everything compiled anew, and one link of a
# program with debug information. Prints seconds of wall and of processor, bytes received, and ratios to the first toolchain.
#
#   benches/toolchains.sh [TOOLCHAIN…]      by default: zig lld
#
# XBUILD names another program to measure than the one that is built here. ROUNDS is how often the warm build is repeated.
set -euo pipefail
. "$(dirname "$0")/lib.sh"
need cargo awk jq
rounds=${ROUNDS:-3}
[ "$#" -gt 0 ] || set -- zig lld

if [ -z "${XBUILD:-}" ]; then
    cargo build --quiet --release --locked --manifest-path "$root/Cargo.toml"
    target=$(cargo metadata --format-version 1 --no-deps --manifest-path "$root/Cargo.toml" | jq -r .target_directory)
    XBUILD=$target/release/xbuild
fi

cp -r "$root/examples/hello" "$scratch/hello"
rm -rf "$scratch/hello/target"

# Bytes that this machine has received over the network, loopback apart.
received() { awk -F'[: ]+' 'NR > 2 && $2 != "lo" { sum += $3 } END { printf "%.0f", sum }' /proc/net/dev; }

# Builds with toolchain $1 and the cache $2; prints wall, processor time and bytes received.
build() {
    local before log=$scratch/time
    rm -rf "$scratch/hello/target"
    before=$(received)
    ( TIMEFORMAT='%R %U %S'; time XBUILD_CACHE_DIR=$2 "$XBUILD" -q build "$scratch/hello" --toolchain "$1" \
        -o "type=oci,dest=$scratch/image.tar" >"$scratch/log" 2>&1 ) 2>"$log" || { cat "$scratch/log" >&2; exit 1; }
    awk -v bytes=$(($(received) - before)) '{ printf "%.2f %.2f %.0f\n", $1, $2 + $3, bytes }' "$log"
}

machine
declare -A cold warm
for toolchain in "$@"; do
    cold[$toolchain]=$(build "$toolchain" "$scratch/cache-$toolchain")
    warm[$toolchain]=$(for _ in $(seq "$rounds"); do build "$toolchain" "$scratch/cache-$toolchain"; done | cut -d ' ' -f 1 | median)
done
read -r first_wall first_cpu first_bytes <<<"${cold[$1]}"
printf '%-8s %10s %6s %10s %6s %12s %6s %10s %6s\n' "" cold ratio processor ratio received ratio warm ratio
for toolchain in "$@"; do
    read -r wall cpu bytes <<<"${cold[$toolchain]}"
    awk -v name="$toolchain" -v wall="$wall" -v cpu="$cpu" -v bytes="$bytes" -v warm="${warm[$toolchain]}" \
        -v wall1="$first_wall" -v cpu1="$first_cpu" -v bytes1="$first_bytes" -v warm1="${warm[$1]}" 'BEGIN {
        printf "%-8s %8.1f s %6.2f %8.1f s %6.2f %9.1f MB %6.2f %8.2f s %6.2f\n", name, wall, wall / wall1, cpu, cpu / cpu1,
            bytes / 1e6, bytes / bytes1, warm, warm / warm1 }'
done
