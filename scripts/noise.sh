#!/bin/bash
# Runs a command beside noise: two busy loops, and a program that syncs without pause to the disk that temporary files
# are on. `scripts/noise.sh cargo test --release --test it`. Exits as the command does.
#
# A test that fails beside noise found something: a race in the library, or a test that judges the machine. What always
# holds: the noise ends with this script, also with one that is killed.
set -euo pipefail

if [ $# -eq 0 ]; then
    echo "usage: scripts/noise.sh COMMAND [ARGUMENT...]" >&2
    exit 2
fi

# Each looks for its parent once in a while.
readonly busy='
import os
parent = os.getppid()
while os.getppid() == parent:
    for _ in range(1_000_000):
        pass
'
readonly syncing='
import os, tempfile
parent = os.getppid()
with tempfile.TemporaryFile() as file:
    while os.getppid() == parent:
        os.pwrite(file.fileno(), os.urandom(1 << 16), 0)
        os.fdatasync(file.fileno())
'

noise=()
trap 'kill "${noise[@]}" 2>/dev/null || true; wait "${noise[@]}" 2>/dev/null || true' EXIT
for program in "$busy" "$busy" "$syncing"; do
    python3 -c "$program" &
    noise+=($!)
done

# Not exec: the trap comes after it.
"$@"
