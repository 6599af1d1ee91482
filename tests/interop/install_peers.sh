#!/bin/sh
# Installs the real peers of the interoperability tests where that is possible without asking: on Debian, as root.
# Elsewhere it says what is missing; those tests are skipped then. $1 non-empty: missing peers are an error.
set -u

missing=""
command -v Orthanc >/dev/null 2>&1 || missing="$missing orthanc"
command -v getscu >/dev/null 2>&1 && command -v dcmqrscp >/dev/null 2>&1 || missing="$missing dcmtk"
[ -n "$missing" ] || exit 0

if [ -f /etc/debian_version ] && [ "$(id -u)" = 0 ]; then
    echo "installing$missing"
    export DEBIAN_FRONTEND=noninteractive
    # shellcheck disable=SC2086
    { apt-get update -q && apt-get install -qy --no-install-recommends $missing; } >/dev/null && exit 0
    echo "apt-get could not install$missing" >&2
fi

echo "The tests against real peers need$missing: apt-get install$missing (or your system's packages). They are skipped." >&2
[ -z "${1:-}" ]
