# Sourced by the other scripts: sets the build directory, and the path of libclang if install-needs.sh installed it.
#
# What always holds: every script that calls cargo sees the same LIBCLANG_PATH, because a change of it makes cargo
# compile RocksDB again.

target="${CARGO_TARGET_DIR:-$PWD/target}"
mkdir -p "$target"
target="$(cd "$target" && pwd)"
export CARGO_TARGET_DIR="$target"

# Created by install-needs.sh where Debian's libclang cannot be installed.
libclang_venv="$target/libclang"

system_libclang() {
    local place
    for place in ${LIBCLANG_PATH:-} /usr/lib/llvm-*/lib /usr/lib/*-linux-gnu /usr/lib64 /usr/local/lib /usr/lib; do
        compgen -G "$place/libclang.so*" >/dev/null && return 0
        compgen -G "$place/libclang-[0-9]*.so*" >/dev/null && return 0
    done
    return 1
}

own_libclang() {
    compgen -G "$libclang_venv/lib/python3*/site-packages/clang/native/libclang.so" | head -n 1
}

if [ -z "${LIBCLANG_PATH:-}" ] && [ -n "$(own_libclang)" ]; then
    LIBCLANG_PATH="$(dirname "$(own_libclang)")"
    # That package has no compiler headers (stddef.h and the like), so those of the C compiler are used.
    BINDGEN_EXTRA_CLANG_ARGS="-isystem $(cc -print-file-name=include)"
    export LIBCLANG_PATH BINDGEN_EXTRA_CLANG_ARGS
fi
