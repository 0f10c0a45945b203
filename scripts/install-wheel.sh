#!/bin/bash
# Installs a wheel into the build directory's virtual environment, as a user would into one of their own.
#
#   install-wheel.sh DIRECTORY     where DIRECTORY has the wheel
set -euo pipefail
cd "$(dirname "$0")/.."
source scripts/environment.sh

"$target/python/bin/python" -m pip install --quiet --disable-pip-version-check --no-index --no-deps --force-reinstall \
    "$1"/almadia-*.whl
