#!/usr/bin/env bash
# The check of an image for three platforms, each a root filesystem of 120 MB made of Debian's packages: the time that
# `xbuild verify` takes when all blobs are local, the memory that it needs, and whether it reads each layer once.
#
#   benches/check.sh [ROUNDS]
#
# The packages are those of the tests' corpus, which must have run: cargo test --release --test tools corpus
# XBUILD names another program to measure than the one that is built here.
set -euo pipefail
. "$(dirname "$0")/lib.sh"
need cargo awk jq gzip tar sha256sum
rounds=${1:-5}

target=$(cargo metadata --format-version 1 --no-deps --manifest-path "$root/Cargo.toml" | jq -r .target_directory)
if [ -z "${XBUILD:-}" ]; then
    cargo build --quiet --release --locked --manifest-path "$root/Cargo.toml"
    XBUILD=$target/release/xbuild
fi

layout=$scratch/image
blobs=$layout/blobs/sha256
mkdir -p "$blobs"
echo '{"imageLayoutVersion":"1.0.0"}' >"$layout/oci-layout"

# Stores a file as a blob and prints its descriptor of media type $2.
blob() {
    local digest
    digest=$(sha256sum "$1" | cut -d ' ' -f 1)
    jq -cn --arg type "$2" --arg digest "sha256:$digest" --argjson size "$(stat -c %s "$1")" \
        '{mediaType: $type, digest: $digest, size: $size}'
    mv "$1" "$blobs/$digest"
}

# One platform: all packages, the links of a merged /usr, and text up to 120 MB.
image() {
    local debian=$1 platform=$2 directory unpacked=$scratch/$1 type diff_id layer config manifest
    directory=$(find "$target/tmp/cache/corpus" -maxdepth 1 -name "bookworm-$debian-*" | sort | head -n 1)
    [ -n "$directory" ] || { echo "$0: no packages for $debian: cargo test --release --test tools corpus" >&2; exit 1; }
    mkdir -p "$unpacked/usr/bin" "$unpacked/usr/sbin" "$unpacked/usr/lib" "$unpacked/usr/lib64" "$unpacked/usr/share"
    for name in bin sbin lib lib64; do ln -s "usr/$name" "$unpacked/$name"; done
    for package in "$directory"/*.merged.tar; do tar -C "$unpacked" --no-same-owner -xf "$package"; done
    local wanted=$((120000000 - $(du -sb "$unpacked" | cut -f 1)))
    if [ "$wanted" -gt 0 ]; then
        # Text of this machine, cut when it is long enough; `head` ends the other commands.
        { find /usr/share -type f -name '*.txt' -print0 | LC_ALL=C sort -z | xargs -0 cat; yes "$debian"; } \
            2>/dev/null | head -c "$wanted" >"$unpacked/usr/share/text" || true
    fi
    tar -C "$unpacked" --sort=name --owner=0 --group=0 --numeric-owner --mtime=@0 -cf "$scratch/$debian.tar" .
    diff_id=sha256:$(sha256sum "$scratch/$debian.tar" | cut -d ' ' -f 1)
    gzip -6n "$scratch/$debian.tar"
    type=application/vnd.oci.image
    layer=$(blob "$scratch/$debian.tar.gz" "$type.layer.v1.tar+gzip")
    jq -cn --argjson platform "$platform" --arg diff_id "$diff_id" \
        '$platform + {config: {Entrypoint: ["curl", "--version"]}, rootfs: {type: "layers", diff_ids: [$diff_id]}}' \
        >"$scratch/config"
    config=$(blob "$scratch/config" "$type.config.v1+json")
    jq -cn --argjson config "$config" --argjson layer "$layer" '{schemaVersion: 2, config: $config, layers: [$layer]}' \
        >"$scratch/manifest"
    manifest=$(blob "$scratch/manifest" "$type.manifest.v1+json")
    jq -cn --argjson manifest "$manifest" --argjson platform "$platform" '$manifest + {platform: $platform}'
}

{
    image amd64 '{"os": "linux", "architecture": "amd64"}'
    image arm64 '{"os": "linux", "architecture": "arm64"}'
    image armhf '{"os": "linux", "architecture": "arm", "variant": "v7"}'
} | jq -cs '{schemaVersion: 2, manifests: .}' >"$scratch/index"
index=$(blob "$scratch/index" application/vnd.oci.image.index.v1+json)
jq -cn --argjson index "$index" '{schemaVersion: 2, manifests: [$index]}' >"$layout/index.json"

machine
printf 'input    three platforms, %d bytes in gzip\n\n' "$(du -sb "$blobs" | cut -f 1)"
check() { "$XBUILD" verify "$layout" --json --quiet; }
seconds check >/dev/null
jq -r '.platforms[] | "\(.platform): runs \(.runs), \(.checked | length) files checked"' "$scratch/log"
for _ in $(seq "$rounds"); do
    seconds check
    echo
done | median | awk '{ printf "\ncheck    %.2f s in all, median (the limit is 1.0 s)\n", $1 }'

"$XBUILD" verify "$layout" --quiet >/dev/null &
process=$!
peak=0
while value=$(awk '/^VmHWM/ { print $2 }' "/proc/$process/status" 2>/dev/null) && [ -n "$value" ]; do
    peak=$value
    sleep 0.005
done
wait "$process"
awk -v peak="$peak" 'BEGIN { printf "memory   %.0f MB at most (the limit is 200 MB)\n", peak * 1024 / 1e6 }'

if command -v strace >/dev/null; then
    strace -f -qq -e trace=openat,openat2 -o "$scratch/trace" "$XBUILD" verify "$layout" --quiet >/dev/null
    grep -o 'blobs/sha256/[0-9a-f]*' "$scratch/trace" | sort | uniq -c |
        awk '$1 > most { most = $1 } END { printf "reading  no blob is opened more than %d time(s)\n", most }'
fi
