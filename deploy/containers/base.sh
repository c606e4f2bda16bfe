#!/bin/sh
# A base image without a registry: a Debian root file system with Python and nothing to build with, as localhost/stimset-base.
#
#   deploy/containers/base.sh [SUITE] [MIRROR]     needs mmdebstrap and buildah; MIRROR may be the hospital's own
set -eu
suite=${1:-bookworm} mirror=${2:-}
image=localhost/stimset-base:$suite
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
# Essential packages and Python: no package manager that fetches, no compiler, no pip.
mmdebstrap --quiet --variant=essential --include=python3,ca-certificates,tzdata,netbase \
  --dpkgopt='path-exclude=/usr/share/man/*' --dpkgopt='path-exclude=/usr/share/locale/*' --dpkgopt='path-exclude=/usr/share/doc/*' \
  "$suite" "$work/root.tar" ${mirror:+"$mirror"}
container=$(buildah from scratch)
buildah add --quiet "$container" "$work/root.tar" / >/dev/null
buildah config --env PATH=/usr/local/bin:/usr/bin:/bin --cmd python3 "$container"
buildah commit --quiet --rm "$container" "$image" >/dev/null
echo "$image"
