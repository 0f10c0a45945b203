#!/bin/bash
# Prints almadia.pc: pkg-config.sh VERSION PREFIX LIBDIR INCLUDEDIR. Directories below the prefix are written relative
# to the file, so that an installed tree can be moved. pkg-config splits its flags at blanks that have no backslash; it
# adds those of the place where it found the file.
set -euo pipefail
version="$1" prefix="$2" libdir="$3" includedir="$4"
case "$libdir/" in
"$prefix"/*) written_prefix="\${pcfiledir}/$(realpath -ms --relative-to="$libdir/pkgconfig" "$prefix")" ;;
*) written_prefix="$prefix" ;;
esac
written_libdir="${libdir/#$prefix/\$\{prefix\}}" written_includedir="${includedir/#$prefix/\$\{prefix\}}"
cat <<PC
prefix=${written_prefix// /\\ }
libdir=${written_libdir// /\\ }
includedir=${written_includedir// /\\ }

Name: almadia
Description: A replicated, ordered key-value store that you link into your program
Version: $version
Libs: -L\${libdir} -lalmadia
Cflags: -I\${includedir}
PC
