#!/usr/bin/env bash
# Compares src/packages/debian/libraries.toml with the indexes of Debian's releases: is each package there, and does it,
# or one that it depends on, have the library? Prints what is missing, and fails if anything is.
#
# It needs the network, and is not part of CI. The indexes come from the mirror that this machine's apt has; they are
# only looked at, so nothing is verified. An index that cannot be fetched or read is skipped, and named. About 150 MB are
# downloaded. With an argument, the indexes are stored in that directory, and used again.
set -euo pipefail
cd "$(dirname "$0")/.."
data=src/packages/debian/libraries.toml
releases=(bullseye bookworm trixie)
architectures=(amd64 arm64 armhf)
# Their links are made by update-alternatives when a package is installed, so no index of files has them; and HDF5 is in
# a directory of its own.
unlisted=' blas hdf5 hdf5_hl lapack openblas '

if [ $# -gt 0 ]; then
    mkdir -p "$1"
    work=$(cd "$1" && pwd)
else
    work=$(mktemp -d)
    trap 'rm -rf "$work"' EXIT
fi

mirror=$(apt-get indextargets --format '$(REPO_URI) $(LABEL)' 'Created-By: Packages' | awk '$2 == "Debian" { print $1; exit }')
[ -n "$mirror" ] || { echo "tests/libraries.sh: apt has no mirror of Debian" >&2; exit 2; }

# fetch PATH FILE: an index, if it is intact.
fetch() {
    local file=$work/$2 test=(gzip -t)
    case $1 in *.xz) test=(xz -t) ;; esac
    [ -s "$file" ] && return
    curl -fsSL --retry 2 --max-time 300 -o "$file.part" "${mirror%/}/dists/$1" && "${test[@]}" "$file.part" 2>/dev/null &&
        mv "$file.part" "$file" && return
    rm -f "$file.part"
    echo "skipped: $1 cannot be fetched, or is damaged"
    return 1
}

# All packages of the data as `RELEASE PACKAGE`, and the names of libraries as `RELEASE SECTION NAME PACKAGE`.
awk -v all="${releases[*]}" '
    BEGIN { count = split(all, releases, " ") }
    function put(release, package) {
        print release, package > "/dev/fd/3"
        if (section != "") print release, section, name, package > "/dev/fd/4"
    }
    # Strings are for all releases; tables name theirs.
    function value(text,    i, rest) {
        rest = text
        while (match(rest, /(bullseye|bookworm|trixie) = "[^"]*"/)) {
            split(substr(rest, RSTART, RLENGTH), part, /[ ="]+/)
            put(part[1], part[2])
            rest = substr(rest, 1, RSTART - 1) substr(rest, RSTART + RLENGTH)
        }
        while (match(rest, /"[^"]*"/)) {
            for (i = 1; i <= count; i++) put(releases[i], substr(rest, RSTART + 1, RLENGTH - 2))
            rest = substr(rest, RSTART + RLENGTH)
        }
    }
    /^#/ { next }
    /^\[pkg-config\]/ { section = "pkg-config"; next }
    /^\[linker\]/ { section = "linker"; next }
    section != "" && / = / {
        name = $0; sub(/ = .*/, "", name); gsub(/"/, "", name)
        text = $0; sub(/^[^=]* = /, "", text); value(text)
    }
    section == "" && /^packages = / { many = 1 }
    section == "" && many { text = $0; sub(/^packages = /, "", text); value(text); if ($0 ~ /\]$/) many = 0 }
' "$data" 3>"$work/packages" 4>"$work/names"
sort -u -o "$work/packages" "$work/packages"
echo "$(cut -d' ' -f2 "$work/packages" | sort -u | wc -l) packages, $(cut -d' ' -f2,3 "$work/names" | sort -u | wc -l) names of libraries"

missing=0
report() { if [ -s "$1" ]; then cat "$1"; missing=1; fi; }

for release in "${releases[@]}"; do
    for architecture in "${architectures[@]}"; do
        index=$release-$architecture.xz
        fetch "$release/main/binary-$architecture/Packages.xz" "$index" || continue
        # What provides a package counts as the package.
        xz -dc "$work/$index" | sed -n 's/^Package: //p; s/^Provides: //p' | tr ',' '\n' | sed 's/^ *//; s/[ (].*//' |
            sort -u > "$work/there"
        awk -v release="$release" '$1 == release { print $2 }' "$work/packages" | sort -u | comm -23 - "$work/there" |
            sed "s/^/missing: $release $architecture /" > "$work/report"
        report "$work/report"
    done
done

# The files of one architecture are those of the others.
for release in "${releases[@]}"; do
    fetch "$release/main/Contents-amd64.gz" "$release-files.gz" || continue
    fetch "$release/main/Contents-all.gz" "$release-files-all.gz" || continue
    [ -s "$work/$release-amd64.xz" ] || continue
    zcat "$work/$release-files.gz" "$work/$release-files-all.gz" | awk '
        $1 ~ /^usr\/(lib|lib\/x86_64-linux-gnu|share)\/pkgconfig\/[^\/]*\.pc$/ { kind = "pkg-config" }
        $1 ~ /^(usr\/)?lib\/(x86_64-linux-gnu\/)?lib[^\/]*\.so$/ { kind = "linker" }
        kind != "" {
            name = $1; sub(/.*\//, "", name); sub(/\.(pc|so)$/, "", name)
            if (kind == "linker") sub(/^lib/, "", name)
            owners = split($NF, owner, ",")
            for (i = 1; i <= owners; i++) { sub(/.*\//, "", owner[i]); print kind, name, owner[i] }
            kind = ""
        }' > "$work/owners"
    xz -dc "$work/$release-amd64.xz" | awk '
        /^Package: / { package = $2 }
        /^(Pre-)?Depends: / {
            sub(/^[^:]*: /, ""); count = split($0, all, /[,|] */)
            for (i = 1; i <= count; i++) { sub(/^ */, "", all[i]); sub(/[ (:].*/, "", all[i]); print package, all[i] }
        }' > "$work/depends"
    # A package may depend on the one with the file, also through another.
    awk -v release="$release" -v unlisted="$unlisted" '
        FILENAME ~ /owners$/ { owned[$1 " " $2 " " $3] = 1; next }
        FILENAME ~ /depends$/ { depends[$1] = depends[$1] " " $2; next }
        function has(library, package, depth,    i, all, count) {
            if (owned[library " " package]) return 1
            if (depth == 0) return 0
            count = split(depends[package], all, " ")
            for (i = 1; i <= count; i++) if (has(library, all[i], depth - 1)) return 1
            return 0
        }
        $1 == release && index(unlisted, " " $3 " ") == 0 && !has($2 " " $3, $4, 2) {
            print "missing: " release " " $4 " does not have " $3 " (" $2 ")"
        }' "$work/owners" "$work/depends" "$work/names" > "$work/report"
    report "$work/report"
done
[ "$missing" = 0 ] && echo "nothing is missing"
exit "$missing"
