#!/bin/bash
# Installs what is missing, builds, runs the tests. The last line is the count: "N passed, N failed".
#   tests/run.sh         build/test, every test but those with the label `slow`; kernels of AVX-512 emulated
#   tests/run.sh --all   and the long lanes: slow, warnings, clang, asan, tsan, fuzz, mutants
#   tests/run.sh LANE..  only these lanes
# Exit status: 0 when nothing failed.
set -u
cd "$(dirname "$0")/.." || exit 1
ROOT=$PWD
JOBS=$(nproc)
PASSED=0 FAILED=0 SKIPPED=0
# what a sanitizer finds ends the test; leaks inside libgrpc's and oneDNN's once-made objects are reachable
export ASAN_OPTIONS=detect_leaks=1:abort_on_error=0:allocator_may_return_null=1
export UBSAN_OPTIONS=print_stacktrace=1
export TSAN_OPTIONS=ignore_noninstrumented_modules=1:halt_on_error=0:exitcode=66

LANES="quick emulated"
case "${1-}" in
    --all) LANES="quick emulated slow gcc clang asan tsan fuzz mutants" ;;
    -*) sed -n '2,6s/^# \{0,1\}//p' "$0"; exit 2 ;;
    ?*) LANES="$*" ;;
esac

say() { printf '\n== %s\n' "$*"; }

# adds the counts of one ctest log to the sums
count_ctest()
{
    local counts
    counts=$(awk '/^ *[0-9]+\/[0-9]+ +Test +#/ {
        if (/   Passed  /) p++; else if (/\*\*\*Skipped/) s++; else f++ }
        END { print p + 0, f + 0, s + 0 }' "$1")
    set -- $counts
    PASSED=$((PASSED + $1)) FAILED=$((FAILED + $2)) SKIPPED=$((SKIPPED + $3))
    [ $(($1 + $2 + $3)) -gt 0 ]
}

# configure_build DIR CMAKE-ARGS...: quiet unless it fails
configure_build()
{
    local dir=$1
    shift
    mkdir -p "$dir"
    if ! cmake -S . -B "$dir" -G Ninja "$@" > "$dir/configure.log" 2>&1; then
        tail -n 40 "$dir/configure.log"
        echo "configure failed: $dir"
        FAILED=$((FAILED + 1))
        return 1
    fi
    if ! ninja -C "$dir" -j "$JOBS" > "$dir/build.log" 2>&1; then
        grep -E -A 12 'error|FAILED' "$dir/build.log" | head -n 80
        echo "build failed: $dir (all of it: $dir/build.log)"
        FAILED=$((FAILED + 1))
        return 1
    fi
}

# run_ctest DIR CTEST-ARGS...
run_ctest()
{
    local dir=$1 log=$1/ctest.log
    shift
    ctest --test-dir "$dir" -j "$JOBS" --output-on-failure --no-label-summary "$@" < /dev/null 2>&1 | tee "$log" |
        grep -v -E '^ *Start +[0-9]+:|^Internal ctest|^Test project'
    count_ctest "$log" || { echo "no test ran: $dir $*"; FAILED=$((FAILED + 1)); }
}

lane_quick()
{
    configure_build build/test && run_ctest build/test -LE slow
}

# AVX-512 on any processor with AVX2
lane_emulated()
{
    configure_build build/emulated -DCMAKE_C_COMPILER=gcc -DFOVEA_EMULATE_AVX512=ON -DFOVEA_ONEDNN=OFF \
        -DFOVEA_SERVE=OFF -DFOVEA_SAMPLES=OFF && run_ctest build/emulated -L ops
}

lane_slow()
{
    configure_build build/test && run_ctest build/test -L slow
}

# warnings are errors; the objects are the result
lane_gcc()
{
    configure_build build/gcc -DCMAKE_C_COMPILER=gcc -DCMAKE_BUILD_TYPE=Release -DFOVEA_WERROR=ON &&
        PASSED=$((PASSED + 1))
}

lane_clang()
{
    configure_build build/clang -DCMAKE_C_COMPILER=clang -DCMAKE_BUILD_TYPE=Release \
        -DFOVEA_WERROR=ON && run_ctest build/clang -LE slow
}

lane_asan()
{
    configure_build build/asan -DFOVEA_SANITIZE=address,undefined && run_ctest build/asan -LE slow
}

# threads meet in the pool, the engine, the server and where plans are shared out; libgrpc itself is not instrumented
lane_tsan()
{
    configure_build build/tsan -DFOVEA_SANITIZE=thread &&
        run_ctest build/tsan -R '^(base|engine|serve)\.|^kvcompress\.test_cut$' -LE slow
}

# the asan build's drivers, 200,000 mutated inputs over all targets
lane_fuzz()
{
    configure_build build/asan -DFOVEA_SANITIZE=address,undefined && run_ctest build/asan -L fuzz-long
}

# each patch breaks one mechanism; a test has to fall
lane_mutants()
{
    local log=build/mutants.log
    mkdir -p build
    python3 tests/mutants/run.py --jobs "$JOBS" 2>&1 | tee "$log"
    set -- $(awk '/^mutants: / { print $2, $4 }' "$log")
    if [ $# -ne 2 ]; then
        set -- 0 1
    fi
    PASSED=$((PASSED + $1)) FAILED=$((FAILED + $2))
}

# the compilers of the long lanes are asked for only when one of them runs
case " $LANES " in
    *" clang "* | *" asan "* | *" tsan "* | *" fuzz "*) sections="build test all" ;;
    *) sections="build test" ;;
esac
tests/packages.sh $sections || { echo "0 passed, 1 failed"; exit 1; }

TABLE=""
for lane in $LANES; do
    if ! declare -F "lane_$lane" > /dev/null; then
        echo "unknown lane: $lane"
        exit 2
    fi
    say "$lane"
    before=$FAILED passed_before=$PASSED
    start=$(date +%s)
    "lane_$lane"
    seconds=$(($(date +%s) - start))
    result=ok
    [ "$FAILED" -eq "$before" ] || result=FAILED
    TABLE+=$(printf '%-8s %5d s  %4d passed  %4d failed  %s' "$lane" "$seconds" \
        $((PASSED - passed_before)) $((FAILED - before)) "$result")$'\n'
done

say "lanes"
printf "%s" "$TABLE"
summary="$PASSED passed, $FAILED failed"
[ "$SKIPPED" -eq 0 ] || summary+=", $SKIPPED skipped"
echo "$summary"
[ "$FAILED" -eq 0 ]
