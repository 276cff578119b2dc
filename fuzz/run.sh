#!/usr/bin/env bash
# Runs fuzz targets one after another, each for a while, with the limits that they have to keep: 256 MB of memory, and
# 1 s for an input, of 1 MB at most.
#
#   fuzz/run.sh [SECONDS [TARGET…]]        10 minutes each and all of them where nothing is said
#
# It needs a nightly Rust toolchain (`rustup toolchain install nightly`), and no cargo-fuzz: what guides libFuzzer is
# compiled in by the flags below, which are those of `cargo fuzz`. What is found is kept in fuzz/artifacts, what has
# shown new ways through the code in fuzz/corpus.
set -euo pipefail
cd "$(dirname "$0")"

seconds=${1:-600}
[ $# -gt 0 ] && shift
if [ $# -gt 0 ]; then targets=("$@"); else targets=(elf cache layers disk documents layouts names config kubernetes index deb registry lock cache_records); fi

triple=$(rustc -vV | sed -n 's/^host: //p')
export RUSTFLAGS="-Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 \
-Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table \
-Cllvm-args=-sanitizer-coverage-trace-compares --cfg fuzzing -Ccodegen-units=1"
cargo +nightly build --locked --release --target "$triple" --bins

failed=0
for target in "${targets[@]}"; do
    program="target/$triple/release/$target"
    mkdir -p "corpus/$target" "artifacts/$target"
    ./seeds.sh "$target"
    echo "== $target: $seconds s"
    # libFuzzer counts the time on the clock, also what others take of the processor meanwhile: an input that is slow
    # for it is run again, alone, below.
    "$program" "corpus/$target" -max_total_time="$seconds" -timeout=20 -report_slow_units=1 -rss_limit_mb=256 \
        -malloc_limit_mb=256 -max_len=1048576 -artifact_prefix="artifacts/$target/" -print_final_stats=1 \
        >"artifacts/$target.log" 2>&1 || failed=1
    grep -E '^(SUMMARY|stat::|Done|==[0-9]+== ERROR)|ALARM|panicked' "artifacts/$target.log" || true
    for slow in "artifacts/$target"/slow-unit-*; do
        [ -e "$slow" ] || continue
        took=$( { TIMEFORMAT=%U; time "$program" "$slow" >/dev/null 2>&1; } 2>&1 )
        echo "$slow: $took s of processor time"
        awk -v took="$took" 'BEGIN { exit took >= 1 }' || failed=1
    done
done
exit "$failed"
