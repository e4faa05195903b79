#!/bin/bash
# Installs the build tree into a fresh folder and uses it as a stranger would: samples/hello.c built by
# pkg-config and by CMake and run on the installed model; soname, headers and programs are what they should be.
#   check.sh BUILD-FOLDER SOURCE-FOLDER
set -eu -o pipefail
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
cp "$source/samples/hello.c" .
cp "$source/tests/install/hello.cmake" CMakeLists.txt

# an answer of at least two words, then the bytes
run()
{
    LD_LIBRARY_PATH=$libdir "$1" "$prefix/share/fovea/model" "$source/samples/images/shapes.png" \
        "Describe the picture." | tee "$work/answer"
    [ "$(head -n 1 "$work/answer" | wc -w)" -ge 2 ]
    grep -q '^[1-9][0-9]* of [1-9][0-9]* KV bytes$' "$work/answer"
}

echo "-- pkg-config"
export PKG_CONFIG_PATH=$libdir/pkgconfig
version=$(sed -n 's/^project(fovea VERSION \([0-9.]*\).*/\1/p' "$source/CMakeLists.txt")
[ "$(pkg-config --modversion fovea)" = "$version" ]
gcc -std=c11 -Wall -Wextra -Werror hello.c -o hello $(pkg-config --cflags --libs fovea)
readelf -d hello | grep -q "NEEDED.*\[libfovea\.so\.${version%.*}\]"
run ./hello

echo "-- CMake"
cmake -S . -B build -G Ninja -DCMAKE_PREFIX_PATH="$prefix" > cmake.log
cmake --build build > build.log
run build/hello

echo "-- what is installed"
diff -r "$source/sdk/include/fovea" "$prefix/include/fovea"
[ -z "$(find "$prefix" -name '*.a')" ]
for program in fovead fovea-caption fovea-vqa fovea-eval fovea-bench; do
    missing=$(ldd "$prefix/bin/$program" | grep 'not found' || true)
    [ -z "$missing" ] || { echo "$program: $missing"; exit 1; }
    "$prefix/bin/$program" --help > /dev/null
done
ls "$prefix"/share/fovea/proto/fovea/v1/*.proto
