#!/usr/bin/env bash
# Guess: apt installs what its solver finds; where that finds nothing there is an error, and a different solver is asked for by `--solver 3.0`.
# Seen:  since 2.9.33, where the classic solver fails, `apt-get install` takes the answer of the 3.0 one, which takes choices back. It exits with 0
#        and says nothing of it, neither on standard output nor on standard error. The same archive and command are an error with 2.6.
# With:  apt 3.0.4 in a root of Debian trixie made by mmdebstrap, and 2.6.2 of bookworm, unpacked without installing, 2026-11-29.
# Why it matters: what `apt-get install` of a release gives cannot be foretold without knowing which apt the release has.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
changed() { echo "changed: $*"; exit 1; }

mmdebstrap --quiet --variant=apt trixie trixie >/dev/null 2>&1
apt-get download -qq apt=2.6.2 libapt-pkg6.0=2.6.2 2>/dev/null
for package in *.deb; do dpkg -x "$package" bookworm; done
new() { trixie/lib64/ld-linux-x86-64.so.2 --library-path trixie/usr/lib/x86_64-linux-gnu trixie/usr/bin/apt-get "$@"; }
old() { LD_LIBRARY_PATH=bookworm/usr/lib/x86_64-linux-gnu bookworm/usr/bin/apt-get "$@"; }
[[ $(new --version) == 'apt 3.0.4 '* ]] || changed "trixie has $(new --version | head -1)"

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
# The first choice for `n`, which is `k`, conflicts with the first choice for `m`, made a moment before.
{
    paragraph a 'Depends: m, n'
    paragraph m 'Depends: x | y'
    paragraph n 'Depends: k | l'
    paragraph k 'Conflicts: x'
    paragraph l; paragraph x; paragraph y
} > mirror/Packages
old -q update >/dev/null 2>&1

if old -s install a >old.txt 2>&1; then changed "2.6 finds an answer"; fi
new -s install a >new.txt 2>&1 || changed "3.0 finds no answer"
chosen=$(sed -n 's/^Inst \([^ ]*\) .*/\1/p' new.txt | sort | paste -sd' ')
[ "$chosen" = 'a l m n x' ] || changed "3.0 installs $chosen"
if grep -qi solver new.txt; then changed "it says: $(grep -i solver new.txt)"; fi
echo "as described: 2.6 refuses, 3.0 installs l in place of k, without a word of another solver"
