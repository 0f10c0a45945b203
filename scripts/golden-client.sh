#!/bin/bash
# Keeps the C header of a release: scripts/golden-client.sh COMMIT NAME copies it to tests/golden/NAME, where a program of
# that time, client.c, is compiled with it and run with each later library (tests/it/golden_client.rs).
set -euo pipefail
cd "$(dirname "$0")/.."

commit="$(git rev-parse --verify "${1:?the commit of the release is missing}^{commit}")"
golden="tests/golden/${2:?the name of the release is missing, as of its golden directory}"
if [ -e "$golden/almadia.h" ]; then
    echo "$golden/almadia.h is there already, and is never changed." >&2
    exit 1
fi
mkdir -p "$golden"
for header in almadia.h almadia_platform.h; do
    git show "$commit:include/$header" >"$golden/$header"
done
if [ ! -e "$golden/client.c" ]; then
    echo "Now write $golden/client.c, a program that uses what this header offers; begin with the last one there is:"
    ls tests/golden/*/client.c
fi
