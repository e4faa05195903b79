#!/bin/bash
# From a clean checkout on Debian 12 to answers about pictures: installs what is missing (root or sudo),
# builds into build/, captions and questions the sample images, shows full and compressed answers side by
# side, asks a server the same, and ends with what to try next. A second run skips what is done and needs no
# network.
#   samples/demo.sh [--jobs N]
set -u -o pipefail
cd "$(dirname "$0")/.." || exit 1

BUILD=build
LOG=$BUILD/demo.log
IMAGES=samples/images
FULL=none
COMPRESSED=vl-cache:bytes=20%
SMALLEST=fovea:bytes=20%
JOBS=$(nproc)
SERVER=

case "${1-}" in
    "") ;;
    --jobs) JOBS=${2:?"--jobs needs a number"} ;;
    *) sed -n '2,6s/^# \{0,1\}//p' "$0"; exit 2 ;;
esac

stop_server()
{
    if [ -n "$SERVER" ]; then
        kill -TERM "$SERVER" 2> /dev/null
        wait "$SERVER" || echo "  fovead ended with status $?"
        SERVER=
    fi
}
trap stop_server EXIT

section()
{
    if [ -t 1 ]; then printf '\n\033[1m%s\033[0m\n' "$*"; else printf '\n%s\n' "$*"; fi
}

die()
{
    printf '\n%s\n' "$*" >&2
    exit 1
}

# waiting PID TEXT: shows the text with running seconds (and the build's last count) until PID ends
waiting()
{
    local start=$SECONDS count
    while kill -0 "$1" 2> /dev/null; do
        if [ -t 1 ]; then
            count=$(grep -a -o '^\[[0-9]*/[0-9]*\]' "$LOG" 2> /dev/null | tail -n 1)
            printf '\r  %s %s %d s ' "$2" "$count" $((SECONDS - start))
        elif [ $(((SECONDS - start) % 15)) -eq 14 ]; then
            printf '  %s: %d s\n' "$2" $((SECONDS - start))
        fi
        sleep 1
    done
    [ ! -t 1 ] || printf '\r\033[K'
    wait "$1"
}

install_packages()
{
    section "1/5  Debian packages"
    mkdir -p "$BUILD"
    : > "$LOG"
    tests/packages.sh build >> "$LOG" 2>&1 &
    if ! waiting $! "installing, this takes a minute or two"; then
        cat "$LOG"
        die "The packages above could not be installed."
    fi
    if [ -s "$LOG" ]; then sed 's/^/  /' "$LOG"; else echo "  all there"; fi
}

build()
{
    section "2/5  build"
    local start=$SECONDS
    if [ ! -f $BUILD/build.ninja ]; then
        cmake -S . -B $BUILD -G Ninja -DCMAKE_BUILD_TYPE=Release -DFOVEA_TESTS=OFF >> "$LOG" 2>&1 ||
            { tail -n 20 "$LOG"; die "cmake failed; all of it: $LOG"; }
    fi
    ninja -C $BUILD -j "$JOBS" fovea-caption fovea-vqa fovea-eval fovead >> "$LOG" 2>&1 &
    if ! waiting $! "compiling"; then
        grep -a -A 12 -E 'error|FAILED' "$LOG" | head -n 40
        die "The build failed; all of it: $LOG"
    fi
    echo "  built in $((SECONDS - start)) s: $BUILD/samples/fovea-caption, fovea-vqa, fovea-eval, $BUILD/serve/fovead"
}

# the answer and a number in one of the samples' lines of JSON on stdin
answer() { sed -n 's/^{"text":" *\(\([^"\\]\|\\.\)*\)".*/\1/p'; }
number() { sed -n "s/.*\"$1\":\([0-9]*\).*/\1/p"; }

# A thousands separator makes bytes readable.
digits() { sed -e ':a' -e 's/\([0-9]\)\([0-9]\{3\}\)\($\|,\)/\1,\2\3/' -e 'ta'; }

# show RECIPE PROGRAM ARGUMENTS...: one row, realised bytes and the answer
show()
{
    local recipe=$1 json text realised full
    shift
    json=$("$@" --recipe "$recipe" --json 2>> "$LOG") || { tail -n 3 "$LOG"; die "$* failed"; }
    text=$(answer <<< "$json")
    realised=$(number realised_bytes <<< "$json")
    full=$(number full_bytes <<< "$json")
    printf '    %-32s %11s bytes %4d%%  %s\n' "$recipe" "$(digits <<< "$realised")" \
        $(((100 * realised + full / 2) / full)) "$text"
}

captions()
{
    section "3/5  captions, everything kept"
    $BUILD/samples/fovea-caption $IMAGES/kites.png $IMAGES/many.png $IMAGES/wide.jpg \
        $IMAGES/turned.jpg $IMAGES/shapes.png 2>> "$LOG" | sed 's/^/  /' ||
        { tail -n 3 "$LOG"; die "fovea-caption failed"; }
}

# compare TITLE PROGRAM ARGUMENTS...
compare()
{
    printf '  %s\n' "$1"
    shift
    for recipe in $FULL "$COMPRESSED" "$SMALLEST"; do
        show "$recipe" "$@"
    done
}

side_by_side()
{
    section "4/5  the same answers, full and compressed: KV bytes really held for the prompt"
    compare "kites.png: Describe the image." $BUILD/samples/fovea-caption $IMAGES/kites.png
    compare "signs.png: Read all signs." \
        $BUILD/samples/fovea-vqa --image $IMAGES/signs.png --question "Read all signs."
    compare "page-gray.png: Read line two." \
        $BUILD/samples/fovea-vqa --image $IMAGES/page-gray.png --question "Read line two."
    compare "kites.png and many.png: In image 2, how many bananas are there?" $BUILD/samples/fovea-vqa \
        --image $IMAGES/kites.png --image $IMAGES/many.png \
        --question "In image 2, how many bananas are there?"
}

over_grpc()
{
    section "5/5  the same over gRPC"
    local out=$BUILD/fovead.log address=
    $BUILD/serve/fovead --listen 127.0.0.1:0 --model samples/model --kv-bytes 64MiB > "$out" 2>&1 &
    SERVER=$!
    for _ in $(seq 100); do
        address=$(sed -n 's/.*listening on //p' "$out" | head -n 1)
        [ -z "$address" ] || break
        kill -0 $SERVER 2> /dev/null || break
        sleep 0.1
    done
    [ -n "$address" ] || { tail -n 5 "$out"; die "fovead did not start"; }
    echo "  fovead listens on $address"
    printf '  %s\n' "turned.jpg: What number is on the sign?"
    for recipe in $FULL "$COMPRESSED"; do
        show "$recipe" $BUILD/samples/fovea-vqa --server "$address" --image $IMAGES/turned.jpg \
            --question "What number is on the sign?"
    done
    stop_server
    echo "  fovead has stopped"
}

install_packages
build
captions
side_by_side
over_grpc

section "To try next"
cat << END
  $BUILD/samples/fovea-vqa --image $IMAGES/many.png --question "How many laptops are there?" --ledger
  $BUILD/samples/fovea-caption --plan --recipe vl-cache:keep=0.1,vision=int4 $IMAGES/kites.png
  $BUILD/samples/fovea-eval samples/sets/tiny/one.next.jsonl --mode next --recipes "random:keep=0.1; vl-cache:keep=0.1"

  The model is small (10 M parameters) and has only seen drawn scenes: README.md says how to bring your own.
END
