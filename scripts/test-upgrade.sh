#!/bin/bash
# Upgrades the members of a cluster one after the other, under load, from an earlier build to this one, and takes them
# back: scripts/test-upgrade.sh COMMIT [FLAG]..., with the flags of tests/chaos/run.py.
set -euo pipefail
cd "$(dirname "$0")/.."
source scripts/environment.sh

before="$(scripts/earlier-build.sh "${1:?the commit of the earlier build is missing}" chaos_member)"
make --no-print-directory library "$target/programs/chaos_member"
python3 tests/chaos/run.py "$target/programs" --before "$before/target/programs" "${@:2}"
