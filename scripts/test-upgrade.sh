#!/bin/bash
# Upgrades the members of a cluster one after the other, under load, from an earlier build to this one:
# scripts/test-upgrade.sh COMMIT. The earlier build is made of a worktree of its own, in the build directory, beside a copy
# of what this one is made of, so that RocksDB is not compiled again as long as both have the same.
set -euo pipefail
cd "$(dirname "$0")/.."
source scripts/environment.sh

commit="$(git rev-parse --verify "${1:?the commit of the earlier build is missing}^{commit}")"
before="$target/before-${commit:0:12}"

make --no-print-directory library "$target/programs/chaos_member"
if [ ! -e "$before/source" ]; then
    mkdir -p "$before/target"
    cp -a "$target/release" "$before/target/"
    git worktree prune
    git worktree add --quiet --detach "$before/source" "$commit"
fi
make --no-print-directory -C "$before/source" CARGO_TARGET_DIR="$before/target" \
    library "$before/target/programs/chaos_member"
python3 tests/chaos/run.py "$target/programs" --before "$before/target/programs" "${@:2}"
