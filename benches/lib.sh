# Functions that the benchmarks share. Sourced, not run.

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT

need() {
    local tool
    for tool in "$@"; do
        command -v "$tool" >/dev/null || { echo "$0: \`$tool\` is missing" >&2; exit 1; }
    done
}

# Prints where and when a measurement was made.
machine() {
    echo "date     $(date -u +%Y-%m-%d)"
    echo "machine  $(nproc) x $(awk -F': ' '/model name/ { print $2; exit }' /proc/cpuinfo)," \
        "$(awk '/MemTotal/ { printf "%.0f GB", $2 / 1e6 }' /proc/meminfo)"
    echo "rustc    $(rustc --version)"
}

# Prints the seconds that a command takes; its output goes to $scratch/log.
seconds() {
    local start end
    start=$(date +%s%N)
    "$@" >"$scratch/log" 2>&1 || { cat "$scratch/log" >&2; echo "failed: $*" >&2; exit 1; }
    end=$(date +%s%N)
    awk -v nanoseconds=$((end - start)) 'BEGIN { printf "%.3f", nanoseconds / 1e9 }'
}

# Prints the median of numbers, one per line.
median() {
    sort -n | awk '{ all[NR] = $1 } END { print NR % 2 ? all[(NR + 1) / 2] : (all[NR / 2] + all[NR / 2 + 1]) / 2 }'
}

# Copies ELF files of this machine's own Rust toolchain and libraries to $1 until they have $2 bytes. Sorted, so
# that the same machine gives the same directory.
corpus() {
    local directory=$1 wanted=$2 total=0 count=0 file size
    mkdir -p "$directory"
    while IFS= read -r -d '' file; do
        [ "$(head -c 4 "$file" | tail -c 3)" = ELF ] || continue
        size=$(stat -c %s "$file")
        count=$((count + 1)) total=$((total + size))
        cp "$file" "$directory/$(printf '%04d' "$count")-$(basename "$file")"
        [ "$total" -lt "$wanted" ] || return 0
    done < <(find "$(rustc --print sysroot)" /usr/lib/x86_64-linux-gnu /usr/bin -type f -size +64k -print0 | LC_ALL=C sort -z)
    echo "$0: this machine has only $total bytes of ELF files" >&2
    exit 1
}
