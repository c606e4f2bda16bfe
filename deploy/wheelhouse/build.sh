#!/bin/sh
# Build a wheelhouse: every wheel that one side needs, tested versions, an installer and checksums, for a machine without network.
#
#   deploy/wheelhouse/build.sh [--side custodian|consumer] [--python 3.13] [--extras hsm,postgres] [--out dist/wheelhouse]
#
# --side consumer is the small form: pull and verify. --python names the target's Python where it is not the builder's; all that is needed
# must then exist as wheels. Machine and libc are the builder's: build on what you install on, or on something older.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
tree=$(cd "$here/../.." && pwd)
side=custodian target='' extras='' out=$tree/dist/wheelhouse
python=${PYTHON:-python3}

fail() {
  echo "error: $1" >&2
  exit 1
}

while [ $# -gt 0 ]; do
  [ $# -ge 2 ] || fail "$1 needs a value"
  case $1 in
  --side) side=$2 ;;
  --python) target=$2 ;;
  --extras) extras=$2 ;;
  --out) out=$2 ;;
  *) fail "unknown option $1" ;;
  esac
  shift 2
done
case $side in
custodian) packages="shared custodian" ;;
consumer) packages="shared consumer" ;;
*) fail "--side is custodian or consumer, not '$side'" ;;
esac
"$python" -m pip --version >/dev/null 2>&1 || fail "'$python' has no pip; name another: PYTHON=.venv/bin/python $0"

case $out in /*) ;; *) out=$PWD/$out ;; esac
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
rm -rf "$out"
mkdir -p "$out/wheels" "$out/systemd"

# Copies: building leaves files beside the sources.
for package in $packages; do
  mkdir "$work/$package"
  (cd "$tree/$package" && tar cf - --exclude build --exclude '*.egg-info' --exclude __pycache__ .) | tar xf - -C "$work/$package"
done
pip() {
  "$python" -m pip --disable-pip-version-check --quiet "$@"
}
for package in $packages; do
  pip wheel --no-deps --wheel-dir "$out/wheels" "$work/$package"
done

# Every requirement is met by the constraints, ours by what was just built. The installer runs pip from its own wheel.
version=$(sed -n 's/^version = "\(.*\)"$/\1/p' "$tree/shared/pyproject.toml")
grep -v '^#' "$tree/constraints.txt" >"$out/constraints.txt"
root=stimset-$side
[ -z "$extras" ] || case $side in
custodian) root="$root[$(echo "$extras" | tr ',' '\n' | grep -vx hsm | paste -sd, -)]" ;;
consumer) root="$root[$extras]" ;;
esac
shared=stimset
case ,$extras, in *,hsm,*) shared='stimset[hsm]' ;; esac
printf '%s\n' "$shared==$version" "${root%\[\]}==$version" >"$out/requirements.txt"
set -- download --dest "$out/wheels" --find-links "$out/wheels" -c "$out/constraints.txt" -r "$out/requirements.txt" pip
[ -z "$target" ] || set -- "$@" --python-version "$target" --only-binary=:all:
pip "$@"
# What came as a source archive is built here, since the target has no compiler.
for archive in "$out"/wheels/*.tar.gz "$out"/wheels/*.zip; do
  [ -f "$archive" ] || continue
  pip wheel --no-deps --wheel-dir "$out/wheels" "$archive"
  rm "$archive"
done

cp "$here/install.sh" "$out/"
cp "$tree/LICENSE" "$out/"
cp "$tree/deploy/README.md" "$out/HANDBOOK.md"
cp "$tree/deploy/verify-release.sh" "$out/"
if [ "$side" = custodian ]; then
  cp -r "$tree/deploy/systemd/." "$out/systemd/"
else
  rmdir "$out/systemd"
fi
echo "$side" >"$out/SIDE"
(cd "$out" && find . -type f ! -name SHA256SUMS | LC_ALL=C sort | xargs sha256sum >SHA256SUMS)
echo "$out: $(find "$out/wheels" -name '*.whl' | wc -l) wheels, $(du -sm "$out" | cut -f1) MB, for the $side"
echo "SHA-256 of SHA256SUMS, to be told apart from the medium: $(sha256sum "$out/SHA256SUMS" | cut -d' ' -f1)"
