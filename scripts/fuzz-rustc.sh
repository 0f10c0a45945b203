#!/bin/bash
# Called by cargo instead of rustc for the fuzz package only (RUSTC_WORKSPACE_WRAPPER): adds the coverage counters and
# traced comparisons that guide libFuzzer. They come from LLVM's own passes, so a stable compiler is enough. The
# dependencies are not instrumented, so their artifacts are shared with all other builds.
set -euo pipefail
for argument in "$@"; do
    # Only crates that become part of a target link libFuzzer: no build script, and no call that only queries rustc.
    if [ "$argument" = --crate-type ]; then instrumented=yes; fi
    case "$argument" in build_script_*) instrumented=; break ;; esac
done
[ -n "${instrumented:-}" ] || exec "$@"
exec "$@" \
    -Cpasses=sancov-module \
    -Cllvm-args=-sanitizer-coverage-level=4 \
    -Cllvm-args=-sanitizer-coverage-inline-8bit-counters \
    -Cllvm-args=-sanitizer-coverage-pc-table \
    -Cllvm-args=-sanitizer-coverage-trace-compares
