#!/bin/sh
# Installs the real peers of the interoperability tests where that is possible without asking: on Debian, as root.
# Elsewhere it says what is missing; those tests are skipped then. $1 non-empty: missing peers are an error.
set -u

missing=""
command -v Orthanc >/dev/null 2>&1 || missing="$missing orthanc"
command -v getscu >/dev/null 2>&1 && command -v dcmqrscp >/dev/null 2>&1 || missing="$missing dcmtk"
command -v curl >/dev/null 2>&1 || missing="$missing curl"
command -v chromium >/dev/null 2>&1 || missing="$missing chromium"
command -v node >/dev/null 2>&1 || missing="$missing nodejs"
command -v npm >/dev/null 2>&1 || missing="$missing npm"

# What the browser and the JavaScript clients of the tests are made of, at the versions of the lock file.
packages() {
    here=$(dirname "$0")
    [ -d "$here/viewer/node_modules/playwright-core" ] ||
        npm ci --prefix "$here/viewer" --ignore-scripts --no-audit --no-fund --silent || return 1
    sh "$here/../../etc/viewers/ohif/install.sh" "$here/../../var/viewer"
}

finish() {
    packages && exit 0
    echo "The packages of npm could not be had; the tests with browsers are skipped." >&2
    [ -z "${1:-}" ]
    exit
}

[ -n "$missing" ] || finish "${1:-}"

if [ -f /etc/debian_version ] && [ "$(id -u)" = 0 ]; then
    echo "installing$missing"
    export DEBIAN_FRONTEND=noninteractive
    # shellcheck disable=SC2086
    { apt-get update -q && apt-get install -qy --no-install-recommends $missing; } >/dev/null && finish "${1:-}"
    echo "apt-get could not install$missing" >&2
fi

echo "The tests against real peers need$missing: apt-get install$missing (or your system's packages). They are skipped." >&2
[ -z "${1:-}" ]
