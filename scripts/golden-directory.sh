#!/bin/bash
# Adds the golden directory of a release: scripts/golden-directory.sh COMMIT [NAME] has the build of that commit write a
# store (tests/golden/write.c), kills it, and keeps the store and what it promises in tests/golden/NAME, or level-N after
# its feature level. tests/it/golden.rs opens it from then on. Never made anew: what a build has written is what counts.
set -euo pipefail
cd "$(dirname "$0")/.."
source scripts/environment.sh

commit="$(git rev-parse --verify "${1:?the commit of the release is missing}^{commit}")"
before="$(scripts/earlier-build.sh "$commit")"
scratch="$(mktemp -d)"
trap 'rm -rf "$scratch"' EXIT

cc -std=c99 -Wall -Wextra -Wpedantic -Werror -O1 -I"$before/source/include" -o "$scratch/write" tests/golden/write.c \
    -L"$before/target/lib" -Wl,-rpath,"$before/target/lib" -lalmadia -lpthread
status=0
# What the shell has to say of the signal goes there too.
{ "$scratch/write" "$scratch/directory" "$scratch/written" || status=$?; } 2>"$scratch/errors"
if [ "$status" != 137 ]; then
    cat "$scratch/errors" >&2
    echo "The program ended with $status: it should have killed itself." >&2
    exit 1
fi

name="${2:-level-$(sed -n 's/^level //p' "$scratch/written")}"
golden="tests/golden/$name"
if [ -e "$golden/directory.tar.gz" ]; then
    echo "$golden is there already: give this one another name, scripts/golden-directory.sh $1 NAME." >&2
    exit 1
fi
mkdir -p "$golden"
{
    echo "# What must be read from directory.tar.gz, which scripts/golden-directory.sh made with the build of this commit."
    echo "commit $commit"
    cat "$scratch/written"
} >"$golden/promises.txt"
# The segments of the log have their final size from the beginning, most of it holes. What RocksDB tells in LOG is of the
# machine, and it writes it anew.
tar --sparse --exclude=directory/data/LOG --sort=name --owner=0 --group=0 --numeric-owner -C "$scratch" -c directory |
    gzip -9n >"$golden/directory.tar.gz"
du -h --apparent-size "$golden"/*
