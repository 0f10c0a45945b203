#!/bin/bash
# Builds the library of an earlier commit: scripts/earlier-build.sh COMMIT [PROGRAM]... makes these of its programs too,
# and prints the directory that has all of it: source/ is the worktree of the commit, target/ its build directory. Both are
# in the build directory of this tree, and begin as a copy of what it has built, so that RocksDB is not compiled again as
# long as both have the same.
set -euo pipefail
cd "$(dirname "$0")/.."
source scripts/environment.sh

commit="$(git rev-parse --verify "${1:?the commit of the earlier build is missing}^{commit}")"
before="$target/before-${commit:0:12}"
programs=("${@:2}")

{
    make --no-print-directory library
    if [ ! -e "$before/source" ]; then
        mkdir -p "$before/target"
        cp -a "$target/release" "$before/target/"
        git worktree prune
        git worktree add --quiet --detach "$before/source" "$commit"
    fi
    make --no-print-directory -C "$before/source" CARGO_TARGET_DIR="$before/target" \
        library "${programs[@]/#/$before/target/programs/}"
} >&2
echo "$before"
