#!/bin/sh
# Writes the Python stubs into shared/src/stimset/v1; with --check only compares, and fails where they differ.
# The interpreter is $PYTHON, else the project's .venv, else python3; it needs the package grpcio-tools.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
root=$(dirname "$here")
python=${PYTHON:-"$root/.venv/bin/python"}
[ -x "$python" ] || python=python3

generate() {
    "$python" -m grpc_tools.protoc -I "$here" --python_out="$1" --grpc_python_out="$1" --pyi_out="$1" "$here"/stimset/v1/*.proto
}

case "${1:-}" in
"")
    generate "$root/shared/src"
    ;;
--check)
    fresh=$(mktemp -d)
    trap 'rm -rf "$fresh"' EXIT
    generate "$fresh"
    for file in "$fresh"/stimset/v1/*; do
        diff -u "$root/shared/src/stimset/v1/$(basename "$file")" "$file" || {
            echo "stubs differ from the .proto files; run protos/generate.sh" >&2
            exit 1
        }
    done
    ;;
*)
    echo "usage: protos/generate.sh [--check]" >&2
    exit 2
    ;;
esac
