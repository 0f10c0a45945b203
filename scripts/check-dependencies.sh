#!/bin/bash
# Checks the dependencies against deny.toml: with cargo-deny if it is installed, otherwise with check-licenses.py.
# Advisories need a database from the network and are not part of the tests.
set -euo pipefail
cd "$(dirname "$0")/.."
source scripts/environment.sh
if command -v cargo-deny >/dev/null; then
    exec cargo deny --offline --all-features check bans licenses sources
fi
echo "============================================================================================"
echo "cargo-deny is not installed. scripts/check-licenses.py checks licences, bans and sources with"
echo "the same deny.toml instead; for the advisories: cargo install cargo-deny; cargo deny check."
echo "============================================================================================"
exec python3 scripts/check-licenses.py
