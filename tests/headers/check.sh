#!/bin/bash
# Each public header alone, and twice in a row, must compile as C11 and as C++17 without a warning.
#   check.sh INCLUDE-FOLDER
set -u
include=$1
failed=0
flags="-I$include -fsyntax-only -Wall -Wextra -Wpedantic -Wundef -Werror"
for header in "$include"/fovea/*.h; do
    name=fovea/$(basename "$header")
    source=$(printf '#include <%s>\n#include <%s>\ntypedef int alone;\n' "$name" "$name")
    gcc -std=c11 $flags -Wstrict-prototypes -x c - <<< "$source" || failed=1
    g++ -std=c++17 $flags -x c++ - <<< "$source" || failed=1
    [ $failed -eq 0 ] && echo "ok $name"
done
exit $failed
