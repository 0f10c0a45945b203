#!/bin/bash
# Prints almadia.pc for a version, prefix, library directory and header directory. Directories below the prefix
# are written relative to it, so that an installed tree can be moved.
set -euo pipefail
version="$1" prefix="$2" libdir="$3" includedir="$4"
cat <<PC
prefix=$prefix
libdir=${libdir/#$prefix/\$\{prefix\}}
includedir=${includedir/#$prefix/\$\{prefix\}}

Name: almadia
Description: A replicated, ordered key-value store that you link into your program
Version: $version
Libs: -L\${libdir} -lalmadia
Cflags: -I\${includedir}
PC
