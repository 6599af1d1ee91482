#!/bin/sh
# Puts OHIF's files into the folder $1, out of the package that its project publishes. Its dependencies are built in,
# so that nothing else is installed, and nothing of the package is run.
set -eu

VERSION=3.13.2
SHA256=b189d3963bfc58e9394a9db8c7be75d07beb029ec211dbb126d47b62969dd3f1

folder=$1
if [ -f "$folder/index.html" ]; then exit 0; fi
command -v npm >/dev/null 2>&1 || { echo "OHIF comes by npm, which is not installed (Debian: apt-get install npm)" >&2; exit 1; }

mkdir -p "$folder"
beside=$(mktemp -d "$folder.XXXXXX")
trap 'rm -rf "$beside"' EXIT
echo "fetching OHIF $VERSION, 48 MB"
npm pack --silent --ignore-scripts --pack-destination "$beside" "@ohif/app@$VERSION" >/dev/null
echo "$SHA256  $beside/ohif-app-$VERSION.tgz" | sha256sum --check --quiet
tar -xzf "$beside/ohif-app-$VERSION.tgz" -C "$beside" package/dist
rmdir "$folder"
mv "$beside/package/dist" "$folder"
