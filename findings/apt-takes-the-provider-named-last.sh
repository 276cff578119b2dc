#!/usr/bin/env bash
# Guess: of two packages that provide a virtual one, and are as good as each other, apt takes the first by name, or the first in the index.
# Seen:  it takes the one whose name occurs last for the first time in the whole index, in whatever field. A `Suggests` that nobody follows,
#        of a package read earlier, decides which of the two is installed: apt numbers names as it meets them, and the higher number wins.
# With:  apt 2.6.2 of Debian bookworm, unpacked without installing, 2026-11-29; 3.0.4 of trixie does the same.
# Why it matters: a resolver that is to choose as apt does has to read all fields of all packages, in the order of the sources.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
changed() { echo "changed: $*"; exit 1; }

version=2.6.2
apt-get download -qq "apt=$version" "libapt-pkg6.0=$version" 2>/dev/null
for package in *.deb; do dpkg -x "$package" unpacked; done
export LD_LIBRARY_PATH=$work/unpacked/usr/lib/x86_64-linux-gnu
mkdir -p mirror state/lists/partial cache/archives/partial etc
: > status
echo "deb [trusted=yes] file:$work/mirror ./" > etc/sources.list
cat > apt.conf <<CONF
Dir::State "$work/state"; Dir::State::status "$work/status"; Dir::Cache "$work/cache"; Dir::Etc "$work/etc";
Dir::Etc::parts "-"; Dir::Etc::sourceparts "-"; APT::Architecture "amd64"; APT::Architectures { "amd64"; };
APT::Sandbox::User "root"; Debug::NoLocking "true";
CONF
export APT_CONFIG=$work/apt.conf LC_ALL=C

paragraph() { # NAME FIELDS...
    printf 'Package: %s\nArchitecture: all\nVersion: 1\nPriority: optional\nFilename: %s.deb\nSize: 1\nSHA256: %064d\n' "$1" "$1" 0
    printf '%s\n' "${@:2}" ''
}
chosen() {
    rm -rf state/lists cache/*.bin && mkdir -p state/lists/partial
    unpacked/usr/bin/apt-get -q update >/dev/null 2>&1
    unpacked/usr/bin/apt-get -s --no-install-recommends install wanting 2>/dev/null | sed -n 's/^Inst \([pq]\) .*/\1/p'
}

{ paragraph wanting 'Depends: virtual'; paragraph p 'Provides: virtual'; paragraph q 'Provides: virtual'; } > mirror/Packages
[ "$(chosen)" = q ] || changed "of p and q, $(chosen) is taken"
{ paragraph wanting 'Depends: virtual' 'Suggests: q'; paragraph p 'Provides: virtual'; paragraph q 'Provides: virtual'; } > mirror/Packages
[ "$(chosen)" = p ] || changed "with a suggestion of q, $(chosen) is taken"
echo "as described: q is taken, and p once something suggests q"
