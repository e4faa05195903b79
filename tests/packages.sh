#!/bin/bash
# Installs the Debian packages of tests/packages.txt that are missing; does nothing when none is.
#   tests/packages.sh SECTION...     sections: build, test, all (headings `[name]` in packages.txt)
# Called by tests/run.sh and samples/demo.sh.
set -u
LIST=$(dirname "$0")/packages.txt

wanted()
{
    awk -v sections=" $* " '/^\[/ { gsub(/[][]/, ""); on = index(sections, " " $1 " "); next }
        on && !/^#/ && NF { print $1 }' "$LIST"
}

if ! command -v dpkg-query > /dev/null; then
    echo "not a Debian system: the packages of $LIST have to be there already"
    exit 0
fi
missing=""
for package in $(wanted "$@"); do
    status=$(dpkg-query -W -f='${db:Status-Status}' "$package" 2> /dev/null)
    [ "$status" = installed ] || missing+=" $package"
done
[ -n "$missing" ] || exit 0

echo "installing:$missing"
sudo=""
if [ "$(id -u)" -ne 0 ]; then
    command -v sudo > /dev/null || { echo "root or sudo is needed for that"; exit 1; }
    sudo=sudo
fi
export DEBIAN_FRONTEND=noninteractive
log=$(mktemp)
# the lists may be stale or absent: they are fetched only when the install alone does not get through
if ! $sudo apt-get install -y -q --no-install-recommends $missing < /dev/null > "$log" 2>&1 &&
    ! { $sudo apt-get update -q < /dev/null > "$log" 2>&1 &&
        $sudo apt-get install -y -q --no-install-recommends $missing < /dev/null > "$log" 2>&1; }; then
    tail -n 20 "$log"
    echo "could not install:$missing"
    rm -f "$log"
    exit 1
fi
rm -f "$log"
