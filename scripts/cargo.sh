#!/bin/bash
# Runs cargo with the given arguments and reports progress while RocksDB compiles. `cargo.sh maturin ...` runs maturin
# instead, which calls cargo.
#
# RocksDB takes about 15 minutes on 2 cores (about 370 C++ files), once per build directory and set of features. cargo
# prints nothing meanwhile, so this script counts the new object files. Without a terminal it prints a line every 30
# seconds.
set -euo pipefail
cd "$(dirname "$0")/.."
source scripts/environment.sh

readonly rocksdb_objects=370

rocksdb_built() {
    compgen -G "$target/release/build/librocksdb-sys-*/out/librocksdb.a" >/dev/null
}

count_new_objects() {
    find "$target"/release/build/librocksdb-sys-*/out -name '*.o' -newer "$start_mark" 2>/dev/null | wc -l || true
}

announce() {
    echo "Compiling RocksDB: about 15 minutes on 2 cores, only once." >&2
}

show_progress() {
    local pause=30 line objects before=0 clock
    [ -t 2 ] && pause=1
    exec {clock}<> <(:) # never readable: a read with a timeout is a sleep that leaves no process behind
    while ! read -r -t "$pause" -u "$clock"; do
        objects="$(count_new_objects)"
        [ "$objects" -gt "$before" ] || continue
        [ "$before" -gt 0 ] || [ -n "$announced" ] || announce
        before="$objects"
        line="$(printf 'RocksDB: %d of about %d files compiled, %d:%02d' \
            "$objects" "$rocksdb_objects" $((SECONDS / 60)) $((SECONDS % 60)))"
        if [ -t 2 ]; then printf '\r\033[K%s\r' "$line" >&2; else echo "$line" >&2; fi
    done
}

announced=""
if ! rocksdb_built; then
    announce
    announced=yes
    export CARGO_TERM_PROGRESS_WHEN=never
fi
start_mark="$(mktemp)"
show_progress &
progress=$!
trap 'kill $progress 2>/dev/null || true; wait $progress 2>/dev/null || true; rm -f "$start_mark"' EXIT
if [ "${1:-}" = maturin ]; then
    PATH="$target/python/bin:$PATH" "$@"
else
    cargo "$@"
fi
