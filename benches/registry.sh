#!/usr/bin/env bash
# Pushing and pulling, compared with skopeo and podman, on the same registry, in one run.
#
#   benches/registry.sh [MEGABYTES]
#
# An image of three platforms with 300 MB of layers by default, of random bytes, so that compression gains nothing. Each
# push goes to an empty registry; all tools read the same layout (podman through its own manifest list). The medians of
# the rounds are printed, with the ratios of neighbouring runs.
set -euo pipefail
. "$(dirname "$0")/lib.sh"
need cargo jq skopeo docker-registry openssl sha256sum awk
rounds=${ROUNDS:-5}
megabytes=${1:-300}

cargo build --quiet --release --locked --manifest-path "$root/Cargo.toml"
xbuild=$(cargo metadata --format-version 1 --no-deps --manifest-path "$root/Cargo.toml" | jq -r .target_directory)/release/xbuild
machine
cd "$scratch"
export XDG_CACHE_HOME=$scratch/cache HOME=$scratch/home
mkdir -p "$HOME"

# An empty registry. Each has its own port, because skopeo and podman remember what a registry has had.
port=${PORT:-5790}
registry=
trap '[ -z "$registry" ] || kill "$registry"; rm -rf "$scratch"' EXIT
fresh() {
    if [ -n "$registry" ]; then
        kill "$registry"
        wait "$registry" 2>/dev/null || true
    fi
    rm -rf storage
    port=$((port + 1))
    host=127.0.0.1:$port
    cat >config.yml <<YAML
version: 0.1
log: { level: error, accesslog: { disabled: false } }
storage: { filesystem: { rootdirectory: $scratch/storage } }
http: { addr: "$host" }
YAML
    docker-registry serve config.yml >requests 2>&1 &
    registry=$!
    until (exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null; do
        kill -0 "$registry" || { cat requests >&2; exit 1; }
        sleep 0.05
    done
}

# blob LAYOUT FILE MEDIA_TYPE: stores a file and prints its descriptor.
blob() {
    local digest size
    digest=$(sha256sum "$2" | cut -d ' ' -f 1) size=$(stat -c %s "$2")
    mv "$2" "$1/blobs/sha256/$digest"
    jq -nc --arg type "$3" --arg digest "sha256:$digest" --argjson size "$size" \
        '{ mediaType: $type, digest: $digest, size: $size }'
}

# layout PATH LAYERS BYTES PLATFORM…: an image of random layers, the same for the same path.
layout() {
    local path=$1 layers=$2 bytes=$3 platform index=() all i
    shift 3
    mkdir -p "$path/blobs/sha256"
    echo '{"imageLayoutVersion":"1.0.0"}' >"$path/oci-layout"
    for platform; do
        all=()
        for ((i = 0; i < layers; i++)); do
            # A tar of one file, for readers that inspect it.
            mkdir -p "files-$i"
            head -c "$bytes" /dev/zero | openssl enc -aes-128-ctr -nosalt -pass "pass:$path $platform $i" 2>/dev/null >"files-$i/data-$i"
            tar --sort=name --mtime=@0 --owner=0 --group=0 -C "files-$i" -cf piece .
            rm -r "files-$i"
            all+=("$(blob "$path" piece application/vnd.oci.image.layer.v1.tar)")
        done
        jq -nc --arg platform "$platform" '$ARGS.positional as $layers | {
            os: "linux", architecture: $platform,
            rootfs: { type: "layers", diff_ids: [$layers[].digest] },
        }' --jsonargs "${all[@]}" >piece
        config=$(blob "$path" piece application/vnd.oci.image.config.v1+json)
        jq -nc --argjson config "$config" '{
            schemaVersion: 2, mediaType: "application/vnd.oci.image.manifest.v1+json",
            config: $config, layers: $ARGS.positional,
        }' --jsonargs "${all[@]}" >piece
        index+=("$(blob "$path" piece application/vnd.oci.image.manifest.v1+json |
            jq -c --arg platform "$platform" '. + { platform: { os: "linux", architecture: $platform } }')")
    done
    jq -nc '{ schemaVersion: 2, mediaType: "application/vnd.oci.image.index.v1+json", manifests: $ARGS.positional }' \
        --jsonargs "${index[@]}" >piece
    blob "$path" piece application/vnd.oci.image.index.v1+json |
        jq -c '{ schemaVersion: 2, manifests: [. + { annotations: { "org.opencontainers.image.ref.name": "1" } }] }' >"$path/index.json"
}

# Requests since a mark, without each client's first ping.
requests_since() { tail -n "+$(($1 + 1))" requests | grep -c '] "[A-Z]* /v2/[^ ]' || true; }
uploads_since() { tail -n "+$(($1 + 1))" requests | grep -c '] "POST /v2/[^ ]*/blobs/uploads/' || true; }
# The registry writes its log a moment after its response.
mark() { sleep 0.3; wc -l <requests; }

skopeo_copy() { skopeo --insecure-policy copy --all --src-tls-verify=false --dest-tls-verify=false "$@"; }
push_xbuild() { "$xbuild" push oci:image:1 "$host/$1:1"; }
push_skopeo() { skopeo_copy oci:image:1 "docker://$host/$1:1"; }

layout image 2 $((megabytes * 1000000 / 6)) amd64 arm64 riscv64
layout eight 8 $((megabytes * 1000000 / 16)) amd64
find image eight -type f -exec cat {} + >/dev/null

podman=
if command -v podman >/dev/null; then
    printf '[containers]\ndefault_ulimits = ["nofile=1024:1024", "nproc=1024:1024"]\n' >containers.conf
    export CONTAINERS_CONF=$scratch/containers.conf
    podman="podman --root $scratch/podman --runroot $scratch/run --storage-driver vfs --runtime runc --cgroup-manager cgroupfs"
    $podman manifest create bench >/dev/null
    $podman manifest add --all bench oci:image:1 >/dev/null
fi
push_podman() { $podman manifest push --all --tls-verify=false bench "docker://$host/$1:1"; }

echo
for _ in $(seq "$rounds"); do
    fresh
    x=$(seconds push_xbuild x)
    fresh
    s=$(seconds push_skopeo x)
    fresh
    p=0
    [ -z "$podman" ] || p=$(seconds push_podman x)
    echo "$x $s $p" >>cold
done
column() { awk -v column="$2" '{ print $column }' "$1" | median; }
printf 'cold push of three platforms, %d MB: xbuild %.2f s, skopeo copy %.2f s (%.2f times as long)' "$megabytes" \
    "$(column cold 1)" "$(column cold 2)" "$(awk '{ print $2 / $1 }' cold | median)"
[ -z "$podman" ] || printf ', podman manifest push %.2f s (%.2f)' "$(column cold 3)" "$(awk '{ print $3 / $1 }' cold | median)"
echo

fresh
seconds push_xbuild x >/dev/null
before=$(mark)
seconds push_xbuild x >/dev/null
mark >/dev/null
echo "the same again: $(requests_since "$before") requests (three images, one tag)"

# One byte of one layer of one platform.
cp -r image image-changed
index=$(jq -r '.manifests[0].digest[7:]' image/index.json)
manifest=$(jq -r '.manifests[0].digest[7:]' "image/blobs/sha256/$index")
layer=$(jq -r '.layers[1].digest[7:]' "image/blobs/sha256/$manifest")
cp "image/blobs/sha256/$layer" piece
printf 'X' | dd of=piece bs=1 seek=2000 conv=notrunc status=none
new=$(blob image-changed piece application/vnd.oci.image.layer.v1.tar)
config=$(jq -r '.config.digest[7:]' "image/blobs/sha256/$manifest")
jq -c --argjson new "$new" '.rootfs.diff_ids[1] = $new.digest' "image/blobs/sha256/$config" >piece
config=$(blob image-changed piece application/vnd.oci.image.config.v1+json)
jq -c --argjson new "$new" --argjson config "$config" '.layers[1] = $new | .config = $config' \
    "image/blobs/sha256/$manifest" >piece
manifest=$(blob image-changed piece application/vnd.oci.image.manifest.v1+json)
jq -c --argjson new "$manifest" '.manifests[0] |= . + $new' "image/blobs/sha256/$index" >piece
blob image-changed piece application/vnd.oci.image.index.v1+json |
    jq -c '{ schemaVersion: 2, manifests: [. + { annotations: { "org.opencontainers.image.ref.name": "1" } }] }' >image-changed/index.json
before=$(mark)
"$xbuild" push oci:image-changed:1 "$host/x:1" >/dev/null 2>&1
mark >/dev/null
echo "one byte changed: $(uploads_since "$before") blobs uploaded (the layer and its configuration)"

skopeo_copy oci:eight:1 "docker://$host/eight:1" >/dev/null
pull_xbuild() { rm -rf "out-x" && "$xbuild" copy "docker://$host/eight:1" oci:out-x:1; }
pull_skopeo() { rm -rf "out-s" && skopeo_copy "docker://$host/eight:1" oci:out-s:1; }
for _ in $(seq "$rounds"); do
    echo "$(seconds pull_xbuild) $(seconds pull_skopeo)"
done >pulls
printf 'pull of 8 layers, %d MB: xbuild %.2f s, skopeo copy %.2f s (%.2f times as long)\n' "$((megabytes / 2))" \
    "$(column pulls 1)" "$(column pulls 2)" "$(awk '{ print $2 / $1 }' pulls | median)"

# VmHWM of a command; the value only grows.
peak() {
    "$@" >log 2>&1 &
    local process=$! value peak=0
    while value=$(awk '/^VmHWM/ { print $2 }' "/proc/$process/status" 2>/dev/null) && [ -n "$value" ]; do
        peak=$value
        sleep 0.01
    done
    wait "$process" || { cat log >&2; exit 1; }
    awk -v peak="$peak" 'BEGIN { printf "%.0f", peak * 1024 / 1e6 }'
}
layout large 1 $((megabytes * 1000000)) amd64
echo "peak memory, one layer of $megabytes MB: push $(peak "$xbuild" push oci:large:1 "$host/large:1") MB," \
    "pull $(peak "$xbuild" copy "docker://$host/large:1" oci:out-large:1) MB (the limit is 64 MB)"
