#!/bin/bash
# Runs a command under noise: two busy loops, and a program that constantly syncs to the disk of the temporary files.
# `scripts/noise.sh cargo test --release --test it`. Exits with the status of the command.
#
# A test that fails under noise has found something: a race in the library, or a test that depends on the machine's
# speed. What always holds: the noise ends with this script, even if the script is killed.
set -euo pipefail

if [ $# -eq 0 ]; then
    echo "usage: scripts/noise.sh COMMAND [ARGUMENT...]" >&2
    exit 2
fi

# Each exits when its parent has changed, which means that this script has ended.
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

# Not exec: the trap must still run.
"$@"
