#!/bin/bash
# Prints one of the two files of the CMake package for a version, prefix, library directory and header directory:
#
#   cmake-package.sh config|version VERSION PREFIX LIBDIR INCLUDEDIR
#
# Directories below the prefix are written relative to the file, so that an installed tree can be moved.
set -euo pipefail
file="$1" version="$2" prefix="$3" libdir="$4" includedir="$5"
package="$libdir/cmake/almadia"
# While the major version is 0, a minor version may change the interface; the SONAME follows the same rule.
compatible="${version%.*}"

location() { # location DIRECTORY: its path as written into the package
    case "$1/ $libdir/" in
    "$prefix"/*" $prefix"/*) echo "\${CMAKE_CURRENT_LIST_DIR}/$(realpath -ms --relative-to="$package" "$1")" ;;
    *) echo "$1" ;;
    esac
}

print_config() {
    cat <<CMAKE
# Almadia for C and C++: find_package(almadia $compatible REQUIRED), then target_link_libraries(yours almadia::almadia).
# C++ programs include almadia.hpp and need C++17.
include(CMakeFindDependencyMacro)
find_dependency(Threads)
if(NOT TARGET almadia::almadia)
  get_filename_component(_almadia_libdir "$(location "$libdir")" ABSOLUTE)
  get_filename_component(_almadia_includedir "$(location "$includedir")" ABSOLUTE)
  add_library(almadia::almadia SHARED IMPORTED)
  set_target_properties(almadia::almadia PROPERTIES
    IMPORTED_LOCATION "\${_almadia_libdir}/libalmadia.so.$version"
    IMPORTED_SONAME "libalmadia.so.$compatible"
    INTERFACE_INCLUDE_DIRECTORIES "\${_almadia_includedir}"
    INTERFACE_LINK_LIBRARIES Threads::Threads)
  unset(_almadia_libdir)
  unset(_almadia_includedir)
endif()
CMAKE
}

print_version() {
    cat <<CMAKE
# almadia $version satisfies requests for $compatible that are not newer than it.
set(PACKAGE_VERSION "$version")
if(PACKAGE_FIND_VERSION VERSION_EQUAL PACKAGE_VERSION)
  set(PACKAGE_VERSION_EXACT TRUE)
endif()
if("\${PACKAGE_FIND_VERSION_MAJOR}.\${PACKAGE_FIND_VERSION_MINOR}" VERSION_EQUAL "$compatible"
   AND NOT PACKAGE_FIND_VERSION VERSION_GREATER PACKAGE_VERSION)
  set(PACKAGE_VERSION_COMPATIBLE TRUE)
else()
  set(PACKAGE_VERSION_COMPATIBLE FALSE)
endif()
CMAKE
}

case "$file" in
config) print_config ;;
version) print_version ;;
*)
    echo "$0: expected config or version, not $file" >&2
    exit 2
    ;;
esac
