#!/bin/bash
# Runs cargo with the arguments given, and shows that it moves while RocksDB compiles.
#
# RocksDB is about 370 C++ files and 15 minutes on 2 cores, once for a build directory. cargo itself says
# nothing meanwhile, so this counts the object files. Without a terminal it prints a line every 30 seconds.
set -euo pipefail
cd "$(dirname "$0")/.."
source scripts/environment.sh

readonly rocksdb_objects=370

rocksdb_built() {
    compgen -G "$target/release/build/librocksdb-sys-*/out/librocksdb.a" >/dev/null
}

count_objects() {
    find "$target"/release/build/librocksdb-sys-*/out -name '*.o' 2>/dev/null | wc -l || true
}

show_progress() {
    local begun=$SECONDS pause=30 line objects clock
    [ -t 2 ] && pause=1
    exec {clock}<> <(:) # never readable: waiting on it is a sleep that leaves no process behind
    while ! read -r -t "$pause" -u "$clock" && ! rocksdb_built; do
        objects="$(count_objects)"
        line="$(printf 'RocksDB: %d of about %d files compiled, %d:%02d' \
            "$objects" "$rocksdb_objects" $(((SECONDS - begun) / 60)) $(((SECONDS - begun) % 60)))"
        if [ -t 2 ]; then printf '\r\033[K%s' "$line" >&2; else echo "$line" >&2; fi
    done
    if [ -t 2 ]; then printf '\r\033[K' >&2; fi
}

if rocksdb_built; then
    exec cargo "$@"
fi
echo "The first build compiles RocksDB: about 15 minutes on 2 cores, once." >&2
show_progress &
progress=$!
trap 'kill $progress 2>/dev/null || true; wait $progress 2>/dev/null || true' EXIT
CARGO_TERM_PROGRESS_WHEN=never cargo "$@"
