#!/bin/bash
# Installs missing build dependencies and reports them; does nothing when none is missing.
#
#   install-needs.sh build|wheel|test-python|test
#
# As root it installs Debian packages with apt-get. Otherwise it installs libclang from PyPI into a virtual environment
# in the build directory, and prints the packages that an administrator must install.
set -euo pipefail
cd "$(dirname "$0")/.."
purpose="${1:-build}"
missing=()
reasons=()

need() { # need PACKAGE REASON: records a missing Debian package
    missing+=("$1")
    reasons+=("  $1: $2")
}

clang_sanitizes() {
    echo 'int main() {}' | clang++ -x c++ -fsanitize=address,undefined - -o /dev/null 2>/dev/null
}

find_missing() {
    missing=()
    reasons=()
    command -v cc >/dev/null || need gcc "the C compiler"
    command -v c++ >/dev/null || need g++ "compiles RocksDB"
    command -v make >/dev/null || need make "runs the Makefile"
    command -v readelf >/dev/null || need binutils "reads the library's name"
    [ -e /usr/include/stdlib.h ] || compgen -G "/usr/include/*/stdlib.h" >/dev/null || need libc6-dev "the C headers"
    if [ "$purpose" = test ]; then
        command -v valgrind >/dev/null || need valgrind "checks the memory accesses of C programs and the library"
        [ -e /usr/include/rocksdb/c.h ] || need librocksdb-dev "a second RocksDB in the same process, for a test"
        command -v clang++ >/dev/null || need clang "compiles the C++ tests, in addition to g++"
        clang_sanitizes || need libclang-rt-dev "clang's AddressSanitizer, for the C++ tests"
        command -v ccache >/dev/null || need ccache "keeps the compiled C and C++ tests that have not changed"
        command -v cmake >/dev/null || need cmake "builds an external project against the installed library"
        command -v pkg-config >/dev/null || need pkg-config "the same without CMake"
    fi
    case "$purpose" in
    test | test-python)
        python3 -c 'import test.mapping_tests, test.test_shelve' 2>/dev/null ||
            need "libpython$(python3 -c 'import sys; print("%d.%d" % sys.version_info[:2])')-testsuite" \
                "Python's own tests of mappings and shelves, for a test of the Python package"
        ;;
    esac
    system_libclang || [ -n "$(own_libclang)" ] || need libclang-dev "reads RocksDB's C header for the Rust bindings"
    [ "$purpose" = build ] || python3 -c 'import ensurepip, venv' 2>/dev/null ||
        need python3-venv "the virtual environment in which the Python module is built"
}

check_rust() {
    if ! command -v cargo >/dev/null; then
        echo "Rust is missing: install it with rustup (Debian's package is too old), then run this again." >&2
        exit 1
    fi
    local wanted found
    wanted="$(sed -n 's/^rust-version = "\(.*\)"/\1/p' Cargo.toml)"
    found="$(rustc --version | cut -d' ' -f2)"
    if [ "$(printf '%s\n%s\n' "$wanted" "$found" | sort -V | head -n 1)" != "$wanted" ]; then
        echo "Rust $found is too old, $wanted or newer is needed: run 'rustup update'." >&2
        exit 1
    fi
    [ "$purpose" = test ] || return 0
    if ! cargo fmt --version >/dev/null 2>&1 || ! cargo clippy --version >/dev/null 2>&1; then
        echo "The tests need rustfmt and clippy: run 'rustup component add rustfmt clippy'." >&2
        exit 1
    fi
}

check_python() {
    if ! python3 -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
        echo "Python 3.11 or newer is needed as python3: on Debian, apt-get install python3." >&2
        exit 1
    fi
}

install_as_root() {
    echo "Installing missing build dependencies with apt-get:"
    printf '%s\n' "${reasons[@]}"
    export DEBIAN_FRONTEND=noninteractive
    if ! apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null 2>&1; then
        echo "Fetching Debian's package lists first (apt-get update)."
        apt-get update -qq
        apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
    fi
}

install_own_libclang() {
    echo "Installing libclang from PyPI into $libclang_venv (it reads RocksDB's C header; Debian's package needs root)."
    if ! python3 -m venv "$libclang_venv" >/dev/null 2>&1; then
        rm -rf "$libclang_venv"
        echo "Cannot create a virtual environment. Ask an administrator for: apt-get install python3-venv" >&2
        echo "or for: apt-get install libclang-dev" >&2
        exit 1
    fi
    if ! "$libclang_venv/bin/python" -m pip install --quiet --disable-pip-version-check 'libclang>=14'; then
        rm -rf "$libclang_venv"
        echo "Cannot install libclang from PyPI. Ask an administrator for: apt-get install libclang-dev" >&2
        exit 1
    fi
}

install_without_root() {
    if [[ " ${missing[*]} " == *" libclang-dev "* ]]; then
        install_own_libclang
        source scripts/environment.sh
        find_missing
    fi
    [ ${#missing[@]} -eq 0 ] && return 0
    echo "Missing, and only root can install them:" >&2
    printf '%s\n' "${reasons[@]}" >&2
    echo "Ask an administrator for: apt-get install ${missing[*]}" >&2
    exit 1
}

source scripts/environment.sh
check_rust
check_python
find_missing
[ ${#missing[@]} -eq 0 ] && exit 0
if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
    install_as_root
else
    install_without_root
fi
find_missing
if [ ${#missing[@]} -ne 0 ]; then
    echo "Still missing after the installation: ${missing[*]}" >&2
    exit 1
fi
