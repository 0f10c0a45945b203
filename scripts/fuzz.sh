#!/bin/bash
# Runs every fuzz target for FUZZ_SECONDS=60 each, or those that are named: scripts/fuzz.sh [target...]
#
# libFuzzer with the counters of a stable compiler (scripts/fuzz-rustc.sh). What a run finds new grows in the build
# directory; the committed corpus is where it begins and stays as it is, unless FUZZ_KEEP=yes asks to merge into it what
# reaches further, as far as there is room. Ends with an error when a target found something, whose input is then kept.
set -euo pipefail
cd "$(dirname "$0")/.."
source scripts/environment.sh

seconds="${FUZZ_SECONDS:-60}"
# Longest inputs, in bytes, and seconds for one input. Longer ones reach no further and run slower.
declare -A length=([log_recovery]=65536 [frames]=8192 [handshake]=1200 [commands]=4096 [cluster]=600 [c_calls]=400)
declare -A patience=([cluster]=120 [c_calls]=120)
# A corpus is small enough to be replayed by every `make test`: this many inputs, bytes in all, bytes of one.
declare -A kept=([cluster]=160 [c_calls]=200)
readonly kept_bytes=150000 input_bytes=4000
grown="$target/fuzz"
scratch="$(mktemp -d)"
trap 'rm -rf "$scratch"' EXIT

build() {
    # The dependencies are those of the library, down to the versions: then RocksDB is not compiled again.
    [ fuzz/Cargo.lock -nt Cargo.lock ] || cp Cargo.lock fuzz/Cargo.lock
    RUSTC_WORKSPACE_WRAPPER="$PWD/scripts/fuzz-rustc.sh" \
        cargo build --release --manifest-path fuzz/Cargo.toml "${@/#/--bin=}"
}

run() { # run TARGET: fuzzes it and says what came of it
    local name="$1" log="$scratch/$1.log" before after status=0
    mkdir -p "$grown/$name" "$grown/findings"
    before="$(find "$grown/$name" -type f | wc -l)"
    TMPDIR="$scratch" RUST_BACKTRACE=1 "$target/release/$name" "$grown/$name" "fuzz/corpus/$name" \
        -max_total_time="$seconds" -max_len="${length[$name]}" -len_control=0 -timeout="${patience[$name]:-10}" \
        -rss_limit_mb=2048 -print_final_stats=1 -artifact_prefix="$grown/findings/$name-" >"$log" 2>&1 || status=$?
    after="$(find "$grown/$name" -type f | wc -l)"
    printf '%-13s %10s executions, %6s a second, %5d new inputs, %s\n' "$name" \
        "$(stat_of executed_units "$log")" "$(stat_of exec_per_sec "$log")" "$((after - before))" \
        "$(reached "$log")"
    [ "$status" -eq 0 ] && return 0
    cp "$log" "$grown/findings/$name.log"
    echo "$name FOUND SOMETHING: $(grep -m 1 -A 1 "panicked at\|ERROR: libFuzzer" "$log" | tr '\n' ' ')"
    echo "  the input is $(grep -o 'written to .*' "$log" | cut -d' ' -f3), the log $grown/findings/$name.log"
    return 1
}

stat_of() { # stat_of NAME LOG
    sed -n "s/^stat::\(number_of_\|average_\)$1: *//p" "$2"
}

reached() { # reached LOG: edges of the code that the inputs reach
    grep -o 'cov: [0-9]*' "$1" | tail -n 1
}

keep() { # keep TARGET: adds to the committed corpus, out of the fewest inputs that reach what all reach, as many as fit
    local name="$1" most="${kept[$1]:-400}" corpus="fuzz/corpus/$1" reduced="$scratch/kept-$1" input
    mkdir -p "$reduced"
    TMPDIR="$scratch" "$target/release/$name" -merge=1 -max_len="${length[$name]}" -timeout="${patience[$name]:-10}" \
        "$reduced" "$corpus" "$grown/$name" >"$scratch/merge.log" 2>&1
    # Names are digests, so their order is any order.
    for input in "$reduced"/*; do
        [ "$(find "$corpus" -type f | wc -l)" -lt "$most" ] || break
        [ "$(cat "$corpus"/* | wc -c)" -lt "$kept_bytes" ] || break
        if [ "$(wc -c <"$input")" -le "$input_bytes" ]; then cp "$input" "$corpus/"; fi
    done
}

if [ "$#" -eq 0 ]; then
    set -- log_recovery frames handshake commands cluster c_calls
fi
build "$@"
echo "Each of $# targets for $seconds seconds; inputs grow in $grown."
failed=0
for name in "$@"; do
    run "$name" || failed=1
    if [ "${FUZZ_KEEP:-}" = yes ]; then keep "$name"; fi
done
exit "$failed"
