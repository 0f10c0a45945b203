#!/bin/bash
# Runs all fuzz targets, or the named ones, for FUZZ_SECONDS=60 each: scripts/fuzz.sh [target...]
#
# Uses libFuzzer with the counters of a stable compiler (scripts/fuzz-rustc.sh). A run starts from the committed corpus
# and saves new inputs in the build directory; with FUZZ_KEEP=yes, those that add coverage are then copied to the
# committed corpus, up to its size limits. Exits with an error when a target fails, and keeps the failing input.
set -euo pipefail
cd "$(dirname "$0")/.."
source scripts/environment.sh

seconds="${FUZZ_SECONDS:-60}"
# The maximum length of an input in bytes (longer ones add no coverage and run slower), and its timeout in seconds.
declare -A length=([log_recovery]=65536 [frames]=8192 [handshake]=1200 [commands]=4096 [cluster]=600 [c_calls]=400)
declare -A timeout_s=([cluster]=120 [c_calls]=120)
# Limits that keep a corpus small enough for every `make test` to replay it: inputs, total bytes, bytes of one input.
declare -A inputs_max=([cluster]=160 [c_calls]=200)
readonly corpus_bytes_max=150000 input_bytes_max=4000
work="$target/fuzz"
scratch="$(mktemp -d)"
trap 'rm -rf "$scratch"' EXIT

build() {
    # The same lock file as the library's, so that RocksDB is not compiled again.
    [ fuzz/Cargo.lock -nt Cargo.lock ] || cp Cargo.lock fuzz/Cargo.lock
    RUSTC_WORKSPACE_WRAPPER="$PWD/scripts/fuzz-rustc.sh" \
        cargo build --release --manifest-path fuzz/Cargo.toml "${@/#/--bin=}"
}

run() { # run TARGET: fuzzes it and prints the result
    local name="$1" log="$scratch/$1.log" before after status=0
    mkdir -p "$work/$name" "$work/findings"
    before="$(find "$work/$name" -type f | wc -l)"
    TMPDIR="$scratch" RUST_BACKTRACE=1 "$target/release/$name" "$work/$name" "fuzz/corpus/$name" \
        -max_total_time="$seconds" -max_len="${length[$name]}" -len_control=0 -timeout="${timeout_s[$name]:-10}" \
        -rss_limit_mb=2048 -print_final_stats=1 -artifact_prefix="$work/findings/$name-" >"$log" 2>&1 || status=$?
    after="$(find "$work/$name" -type f | wc -l)"
    printf '%-13s %10s executions, %6s per second, %5d new inputs, %s\n' "$name" \
        "$(stat_of executed_units "$log")" "$(stat_of exec_per_sec "$log")" "$((after - before))" \
        "$(coverage "$log")"
    [ "$status" -eq 0 ] && return 0
    cp "$log" "$work/findings/$name.log"
    echo "$name FAILED: $(grep -m 1 -A 1 "panicked at\|ERROR: libFuzzer" "$log" | tr '\n' ' ')"
    echo "  input: $(grep -o 'written to .*' "$log" | cut -d' ' -f3), log: $work/findings/$name.log"
    return 1
}

stat_of() { # stat_of NAME LOG
    sed -n "s/^stat::\(number_of_\|average_\)$1: *//p" "$2"
}

coverage() { # coverage LOG: the number of edges that the inputs cover
    grep -o 'cov: [0-9]*' "$1" | tail -n 1
}

keep() { # keep TARGET: adds a minimal set of inputs with the same coverage to the committed corpus, up to its limits
    local name="$1" most="${inputs_max[$1]:-400}" corpus="fuzz/corpus/$1" reduced="$scratch/kept-$1" input
    mkdir -p "$reduced"
    TMPDIR="$scratch" "$target/release/$name" -merge=1 -max_len="${length[$name]}" -timeout="${timeout_s[$name]:-10}" \
        "$reduced" "$corpus" "$work/$name" >"$scratch/merge.log" 2>&1
    # Names are digests, so their order is arbitrary.
    for input in "$reduced"/*; do
        [ "$(find "$corpus" -type f | wc -l)" -lt "$most" ] || break
        [ "$(cat "$corpus"/* | wc -c)" -lt "$corpus_bytes_max" ] || break
        if [ "$(wc -c <"$input")" -le "$input_bytes_max" ]; then cp "$input" "$corpus/"; fi
    done
}

if [ "$#" -eq 0 ]; then
    set -- log_recovery frames handshake commands cluster c_calls
fi
build "$@"
echo "Running $# targets for $seconds seconds each; new inputs go to $work."
failed=0
for name in "$@"; do
    run "$name" || failed=1
    if [ "${FUZZ_KEEP:-}" = yes ]; then keep "$name"; fi
done
exit "$failed"
