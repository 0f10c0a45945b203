#!/bin/bash
# Lints the Python code and tests the module as users get it: type checks and tests see only the wheel that
# install-wheel.sh installed.
#
#   test-python.sh [PYTEST_ARGUMENT...]
set -euo pipefail
cd "$(dirname "$0")/.."
source scripts/environment.sh

readonly venv="$target/python"
readonly bin="$venv/bin"

cd bindings/python
readonly allowed="$PWD/stubtest.txt"
"$bin/ruff" check --quiet . ../../examples/python ../../benches/python
"$bin/ruff" format --quiet --check . ../../examples/python ../../benches/python
# In another directory, so that nothing is imported from the source tree instead of the installed package.
checks="$(mktemp -d)"
trap 'rm -rf "$checks"' EXIT
cp -r tests ../../examples/python "$checks"
cp ../../benches/python/bench.py "$checks/python"
(
    cd "$checks"
    MYPY_CACHE_DIR="$target/mypy" "$bin/mypy" --strict --no-error-summary -p almadia -p almadia_pytest
    MYPY_CACHE_DIR="$target/mypy" "$bin/mypy" --strict --no-error-summary tests python
    MYPY_CACHE_DIR="$target/mypy-stubs" "$bin/python" -m mypy.stubtest --concise --allowlist "$allowed" almadia
)
exec timeout --foreground 15m "$bin/python" -m pytest --quiet -p no:cacheprovider "$@"
