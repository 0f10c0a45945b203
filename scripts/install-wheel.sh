#!/bin/bash
# Installs a wheel into the virtual environment in the build directory, as a user would install it.
#
#   install-wheel.sh DIRECTORY     DIRECTORY contains the wheel
set -euo pipefail
cd "$(dirname "$0")/.."
source scripts/environment.sh

"$target/python/bin/python" -m pip install --quiet --disable-pip-version-check --no-index --no-deps --force-reinstall \
    "$1"/almadia-*.whl
