#!/usr/bin/env bash
# The layer writer against `tar | pigz -p2 -6` and `umoci insert`, on real binaries, in one go.
#
#   benches/layer.sh [DIRECTORY]
#
# DIRECTORY is what is packed; by default 600 MB of this machine's own ELF files. Each round runs all three, so that a
# ratio compares neighbouring runs; the medians of the rounds are printed. xbuild's time includes everything (reading,
# tar, diff_id, compression, digest, writing), pigz's includes neither diff_id nor digest.
set -euo pipefail
. "$(dirname "$0")/lib.sh"
need tar pigz umoci cargo awk
rounds=${ROUNDS:-5}

directory=${1:-}
if [ -z "$directory" ]; then
    directory=$scratch/corpus
    corpus "$directory" $((600 * 1000 * 1000))
fi
directory=$(cd "$directory" && pwd)
bytes=$(find "$directory" -type f -printf '%s\n' | awk '{ sum += $1 } END { printf "%d", sum }')

cargo build --quiet --release --locked --manifest-path "$root/Cargo.toml" --bench layer
writer=$(cargo build --quiet --release --locked --manifest-path "$root/Cargo.toml" --bench layer --message-format json |
    jq -r 'select(.reason == "compiler-artifact" and .target.name == "layer") | .executable')

with_xbuild() { "$writer" "$directory"; }
with_pigz() { tar --sort=name -C "$directory" -cf - . | pigz -p2 -6 >"$scratch/pigz.gz"; }
with_umoci() { umoci insert --image "$scratch/layout:image" "$directory" /; }

# Read the files into the page cache.
find "$directory" -type f -exec cat {} + >/dev/null
for _ in $(seq "$rounds"); do
    rm -rf "$scratch/layout"
    umoci init --layout "$scratch/layout"
    umoci new --image "$scratch/layout:image"
    x=$(seconds with_xbuild)
    x_size=$(awk '{ for (i = 2; i <= NF; i++) if ($i == "bytes") print $(i - 1) }' "$scratch/log")
    p=$(seconds with_pigz)
    p_size=$(stat -c %s "$scratch/pigz.gz")
    u=$(seconds with_umoci)
    u_size=$(find "$scratch/layout/blobs" -type f -printf '%s\n' | sort -n | tail -1)
    echo "$x $p $u"
done >"$scratch/rounds"

machine
awk -v bytes="$bytes" -v xs="$x_size" -v ps="$p_size" -v us="$u_size" -v rounds="$rounds" \
    -v x="$(awk '{ print $1 }' "$scratch/rounds" | median)" \
    -v p="$(awk '{ print $2 }' "$scratch/rounds" | median)" \
    -v u="$(awk '{ print $3 }' "$scratch/rounds" | median)" \
    -v xp="$(awk '{ print $2 / $1 }' "$scratch/rounds" | median)" \
    -v xu="$(awk '{ print $3 / $1 }' "$scratch/rounds" | median)" 'BEGIN {
    printf "input    %.0f MB of files, %d rounds, medians\n\n", bytes / 1e6, rounds
    printf "%-22s %8s %8s %12s %10s\n", "", "seconds", "MB/s", "bytes", "of pigz"
    printf "%-22s %8.2f %8.0f %12d %9.2f%%\n", "xbuild", x, bytes / 1e6 / x, xs, 100 * xs / ps
    printf "%-22s %8.2f %8.0f %12d %9.2f%%\n", "tar | pigz -p2 -6", p, bytes / 1e6 / p, ps, 100
    printf "%-22s %8.2f %8.0f %12d %9.2f%%\n\n", "umoci insert", u, bytes / 1e6 / u, us, 100 * us / ps
    printf "xbuild is %.2f times as fast as tar | pigz -p2 -6, and %.2f times as fast as umoci insert\n", xp, xu
}'
