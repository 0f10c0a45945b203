#!/bin/bash
# What cargo calls instead of rustc for the fuzz package itself (RUSTC_WORKSPACE_WRAPPER), and for nothing else: adds
# the counters and traced comparisons that libFuzzer steers by. The passes are LLVM's own, so a stable compiler has
# them. Dependencies are compiled without, and so are shared with every other build.
set -euo pipefail
for argument in "$@"; do
    # Only what becomes part of a target links libFuzzer; a build script does not, nor does a question about rustc.
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
