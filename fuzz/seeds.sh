#!/usr/bin/env bash
# Puts something to begin with into a target's corpus: what is on this machine, and a few lines.
set -euo pipefail
target=$1
cd "$(dirname "$0")/corpus/$target"

small() { [ -f "$1" ] && [ "$(stat -L -c %s "$1")" -lt 100000 ] && cp -L "$1" "seed-${1##*/}"; return 0; }

case $1 in
    elf)
        for file in /usr/bin/true /usr/bin/env /lib/*-linux-gnu/libdl.so.2 /lib/*-linux-gnu/libanl.so.1; do small "$file"; done
        # Code for Arm, with symbols and without: what the tests have linked, if they ran.
        for file in ../../../target/tmp/cache/corpus/programs/*; do
            [ "$(ls seed-arm-* 2>/dev/null | wc -l)" -lt 8 ] || break
            [ -f "$file" ] && [ "$(stat -c %s "$file")" -lt 100000 ] || continue
            # The machine in the header is 40.
            [ "$(od -An -tu1 -j18 -N1 "$file" | tr -d ' ')" != 40 ] || cp "$file" "seed-arm-${file##*/}"
        done
        ;;
    cache) small /etc/ld.so.cache ;;
    documents)
        digest="sha256:$(printf '%064d' 0)"
        printf '{"schemaVersion":2,"manifests":[{"mediaType":"application/vnd.oci.image.manifest.v1+json","digest":"%s","size":1,"platform":{"os":"linux","architecture":"arm64","variant":"v8"}}]}' "$digest" >seed-index
        printf '{"schemaVersion":2,"config":{"mediaType":"application/vnd.oci.image.config.v1+json","digest":"%s","size":1},"layers":[{"mediaType":"application/vnd.oci.image.layer.v1.tar+gzip","digest":"%s","size":1}]}' "$digest" "$digest" >seed-manifest
        printf '{"os":"linux","architecture":"arm","variant":"v7","created":"2026-01-01T00:00:00Z","config":{"Env":["A=1"],"Entrypoint":["/a"],"Cmd":["b"]},"rootfs":{"type":"layers","diff_ids":["%s"]},"history":[{"created_by":"x"},{"empty_layer":true}]}' "$digest" >seed-config
        ;;
    layouts)
        entry() { printf '{"mediaType":"application/vnd.oci.image.%s.v1+json","digest":"sha256:%064x","size":1%s}' "$1" "$2" "${3:-}"; }
        name() { printf ',"annotations":{"org.opencontainers.image.ref.name":"%s"}' "$1"; }
        platform() { printf ',"platform":{"os":"linux","architecture":"%s"}' "$1"; }
        mark=--next\ document--
        # Two indexes that lead to each other, and two platforms side by side.
        printf '{"manifests":[%s]}%s{"manifests":[%s,%s]}%s{"manifests":[%s]}' "$(entry index 1 "$(name 1.0)")" "$mark" \
            "$(entry index 2)" "$(entry index 1)" "$mark" "$(entry index 1)" >seed-circle
        printf '{"manifests":[%s,%s]}%s{"config":{},"subject":{}}' "$(entry manifest 1 "$(platform amd64)")" \
            "$(entry manifest 2 "$(platform arm64)")" "$mark" >seed-platforms
        ;;
    layers | disk)
        work=$(mktemp -d)
        trap 'rm -rf "$work"' EXIT
        mkdir -p "$work/a/etc" "$work/a/bin" "$work/b/etc"
        echo 'a:x:1:1::/:/bin/a' >"$work/a/etc/passwd"
        printf '#!/bin/b -x\n' >"$work/a/bin/a"
        chmod 755 "$work/a/bin/a"
        ln -s a "$work/a/bin/b"
        ln "$work/a/bin/a" "$work/a/bin/c"
        cp -L /usr/bin/true "$work/a/bin/true"
        : >"$work/b/etc/.wh.passwd"
        : >"$work/b/etc/.wh..wh..opq"
        tar -C "$work/a" -cf "$work/a.tar" . && tar -C "$work/b" -cf "$work/b.tar" .
        # A target that looks at what a layer is passes over the first byte.
        first() { [ "$1" = layers ] || return 0; printf "$2"; }
        { first "$target" '\0'; cat "$work/a.tar"; printf -- '--next layer--'; cat "$work/b.tar"; } >seed-plain
        { first "$target" '\1'; gzip -c "$work/a.tar"; printf -- '--next layer--'; gzip -c "$work/b.tar"; } >seed-gzip
        ;;
    names)
        printf linux/arm/v7 >seed-platform
        printf 'registry.example:5000/a/b:1.0@sha256:%064d' 0 >seed-reference
        ;;
    kubernetes)
        printf 'a: xbuild://front # ours\nb: [&x "xbuild://back", *x]\nimages:\n- name: app\n  newName: xbuild://app\n  digest: x\ndata:\n  f: |\n    image: xbuild://c\n' >seed-yaml
        printf '{"image":"xbuild:\\/\\/a","args":["--x=xbuild://b"]}' >seed-json
        ;;
    lock) cp ../../../src/lock/snapshots/xbuild.lock seed-lock ;;
    cache_records)
        digest="sha256:$(printf '%064d' 0)"
        printf '\0{"diff-id":"%s","size":1,"opaque":["a"],"whiteouts":["b"],"entries":[["etc",{"put":{"kind":"directory","mode":493}}],["etc/a",{"link":"etc/b"}]]}' "$digest" >seed-index
        printf '\1{"packages":[{"name":"libc6","version":"2.36-9","pool":"debian","path":"pool/a.deb","sha256":"%064d","size":10,"installed_size":1,"why":"x","libraries":[]}],"lacking":{}}' 0 >seed-answer
        printf '\2{"descriptor":{"mediaType":"application/vnd.oci.image.layer.v1.tar+gzip","digest":"%s","size":1},"diff-id":"%s","environment":["A=1"],"directories":["etc"],"unrun":[]}' "$digest" "$digest" >seed-base
        # What the tests have kept, if they ran.
        for file in ../../../target/tmp/cache/xbuild/rootfs/*; do
            [ "$(ls seed-kept-* 2>/dev/null | wc -l)" -lt 8 ] || break
            [ -f "$file" ] && [ "$(stat -c %s "$file")" -lt 100000 ] || continue
            { printf '\0'; tail -n +2 "$file"; } >"seed-kept-${file##*/}"
        done
        ;;
    config) cp ../../../docs/xbuild.example.toml seed-example ;;
    index)
        printf 'Package: libc6\nVersion: 2.36-9\nArchitecture: amd64\nDepends: libgcc-s1 (>= 3) | a, b:any\nProvides: x (= 1)\nFilename: pool/a.deb\nSize: 10\nSHA256: %064d\n\n' 0 >seed-index
        ;;
    registry)
        layer=$(printf 'the content of a layer' | sha256sum | cut -d' ' -f1)
        entry=$(printf '{"mediaType":"application/vnd.oci.image.layer.v1.tar","digest":"sha256:%s","size":22}' "$layer")
        manifest=$(printf '{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json","config":%s,"layers":[%s]}' "$entry" "$entry")
        index=$(printf '{"schemaVersion":2,"manifests":[%s]}' "$entry")
        challenge='www-authenticate: Bearer realm="https://r.example/token",service="s",scope="repository:a/b:pull"'
        blob='200\ncontent-length: 22\n\nthe content of a layer'
        printf 'pull\n401\n%s\n\n{"errors":[{"code":"UNAUTHORIZED","message":"x"}]}\n===\n200\n\n{"token":"abc","expires_in":300}\n===\n200\ncontent-type: application/vnd.oci.image.manifest.v1+json\n\n%s\n===\n307\nlocation: https://store.example/x?y=z\n\n\n===\n'"$blob"'\n===\n206\ncontent-range: bytes 5-21/22\n\nontent of a layer' "$challenge" "$manifest" >seed-pull
        printf 'pull\n200\n\n%s\n===\n'"$blob" "$manifest" >seed-plain
        printf 'push\n404\n\n\n===\n202\nlocation: /v2/a/b/blobs/uploads/1?_state=x\noci-chunk-min-length: 4\nrange: 0-0\n\n\n===\n202\nlocation: 1?_state=y\nrange: 0-21\n\n\n===\n201\ndocker-content-digest: sha256:%s\n\n' "$layer" >seed-push
        printf 'push\n200\ncontent-length: 22\n\n\n===\n201\noci-subject: sha256:%s\n\n\n===\n413\n\n\n===\n429\nretry-after: 1\n\n{"errors":[{"code":"TOOMANYREQUESTS"}]}' "$layer" >seed-mount
        printf 'tags\n200\nlink: </v2/a/b/tags/list?n=1000&last=v2>; rel="next"\n\n{"name":"a/b","tags":["v1","v2"]}\n===\n200\n\n{"tags":["v3"]}' >seed-tags
        printf 'referrers\n200\ncontent-type: application/vnd.oci.image.index.v1+json\n\n%s' "$index" >seed-referrers
        printf 'head\n200\ndocker-content-digest: sha256:%s\ncontent-length: 22\n\n\n===\n405\n\n' "$layer" >seed-head
        ;;
    deb)
        command -v dpkg-deb >/dev/null || exit 0
        work=$(mktemp -d)
        trap 'rm -rf "$work"' EXIT
        mkdir -p "$work/hello/DEBIAN" "$work/hello/usr/bin"
        printf 'Package: hello\nVersion: 1.0\nArchitecture: all\nMaintainer: a\nDescription: a\n' >"$work/hello/DEBIAN/control"
        echo hello >"$work/hello/usr/bin/hello"
        for kind in none gzip xz; do
            dpkg-deb --root-owner-group -Z$kind -b "$work/hello" "seed-$kind" >/dev/null
        done
        ;;
esac
