#!/bin/bash
# Installs the build tree into a fresh folder and uses it as a stranger would: a one-file app by pkg-config
# and by CMake, run on the installed model; soname and link are what they should be.
#   check.sh BUILD-FOLDER SOURCE-FOLDER
set -eu
build=$1
source=$2
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

cmake --install "$build" --prefix "$work/first" > "$work/install.log"
# an installed tree may be moved
mv "$work/first" "$work/prefix"
prefix=$work/prefix
libdir=$(dirname "$(find "$prefix" -name libfovea.so)")
cd "$work"
cp "$source/tests/install/app.c" .
cp "$source/tests/install/app.cmake" CMakeLists.txt

run()
{
    echo "-- $1"
    LD_LIBRARY_PATH=$libdir "$1" "$prefix/share/fovea/model" "$source/samples/images/shapes.png" \
        vl-cache:keep=0.5
}

export PKG_CONFIG_PATH=$libdir/pkgconfig
[ "$(pkg-config --modversion fovea)" = "$(sed -n 's/^project(fovea VERSION \([0-9.]*\).*/\1/p' "$source/CMakeLists.txt")" ]
gcc -std=c11 -Wall -Wextra -Werror app.c -o app-pkg-config $(pkg-config --cflags --libs fovea)
run ./app-pkg-config

cmake -S . -B build -DCMAKE_PREFIX_PATH="$prefix" > cmake.log
cmake --build build > build.log
run build/app

# exactly one library, reached by its soname
readelf -d app-pkg-config | grep -q 'NEEDED.*\[libfovea\.so\.[0-9]*\.[0-9]*\]'
[ "$(find "$prefix" -name 'libfovea*' ! -name 'libfovea.so*' | wc -l)" -eq 0 ]

# installed headers are those of the sources, and programs start from where they are
diff -r "$source/sdk/include/fovea" "$prefix/include/fovea"
for program in "$prefix"/bin/*; do
    [ -x "$program" ] || continue
    ! ldd "$program" | grep 'not found'
done
ls "$prefix"/share/fovea/proto/fovea/v1/*.proto > /dev/null
echo "installed tree is usable"
