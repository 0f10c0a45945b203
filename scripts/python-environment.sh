#!/bin/bash
# Creates the virtual environment in which the Python module is built and tested, in the build directory, and prints
# what it installs; does nothing when it is up to date.
set -euo pipefail
cd "$(dirname "$0")/.."
source scripts/environment.sh

readonly wanted=bindings/python/development.txt
readonly venv="$target/python"
readonly installed="$venv/installed.txt" # A copy of the list, written after everything is installed.

if cmp -s "$wanted" "$installed" && "$venv/bin/python" -c '' 2>/dev/null; then
    exit 0
fi

echo "Installing from PyPI into $venv, to build and test the Python module:"
grep -v '^#' "$wanted" | sed 's/^/  /'
rm -rf "$venv"
if ! python3 -m venv "$venv" >/dev/null 2>&1; then
    rm -rf "$venv"
    echo "Cannot create a virtual environment. Ask an administrator for: apt-get install python3-venv" >&2
    exit 1
fi
if ! "$venv/bin/python" -m pip install --quiet --disable-pip-version-check --requirement "$wanted"; then
    echo "The installation failed: is PyPI reachable?" >&2
    exit 1
fi
cp "$wanted" "$installed"
