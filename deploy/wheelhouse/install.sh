#!/bin/sh
# Install from this wheelhouse: nothing is fetched, nothing is compiled; all it needs is Python 3.11+ and the base system.
#
#   sh install.sh                        the custodian's machine, as root: /opt/stimset, the user 'stimset', units, 'custodian' in the path
#   sh install.sh --prefix DIR           only an environment in DIR, as anybody: DIR/bin/custodian, or DIR/bin/consumer
#   sh install.sh --sum HEX              first hold SHA256SUMS itself against what you were told
#
# Run it again with a newer wheelhouse to upgrade: what stands in /etc/stimset and in the home is never touched.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
prefix='' sum=''

fail() {
  echo "error: $1" >&2
  exit 1
}

while [ $# -gt 0 ]; do
  [ $# -ge 2 ] || fail "$1 needs a value; usage: sh install.sh [--prefix DIR] [--sum HEX]"
  case $1 in
  --prefix) prefix=$2 ;;
  --sum) sum=$2 ;;
  *) fail "unknown option $1; usage: sh install.sh [--prefix DIR] [--sum HEX]" ;;
  esac
  shift 2
done

# 1. The files are those that were built.
cd "$here"
[ -z "$sum" ] || [ "$(sha256sum SHA256SUMS | cut -d' ' -f1)" = "$sum" ] || fail "SHA256SUMS is not the one whose sum you were told"
sha256sum --check --strict --quiet SHA256SUMS >&2 || fail "the wheelhouse was damaged or changed on its way; copy it again"
[ "$(find . -type f ! -name SHA256SUMS | wc -l)" -eq "$(wc -l <SHA256SUMS)" ] || fail "the wheelhouse holds files that SHA256SUMS does not name"
side=$(cat SIDE)

# 2. A Python that the wheels are made for.
python=${PYTHON:-python3}
"$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || fail "Python 3.11 or later is needed: apt-get install python3"
system=no
if [ -z "$prefix" ]; then
  [ "$(id -u)" -eq 0 ] || fail "run it as root, or give --prefix DIR"
  system=yes prefix=/opt/stimset
fi

# 3. The environment; the old one comes back if that fails. pip runs from its own wheel and is not installed.
umask 022
mkdir -p "$(dirname "$prefix")"
if [ -e "$prefix" ] && [ ! -f "$prefix/pyvenv.cfg" ] && [ -n "$(ls -A "$prefix")" ]; then
  fail "$prefix exists and is no environment of ours; choose another --prefix"
fi
rm -rf "$prefix.old"
[ ! -e "$prefix" ] || mv "$prefix" "$prefix.old"
undo() {
  rm -rf "$prefix"
  [ ! -e "$prefix.old" ] || mv "$prefix.old" "$prefix"
}
trap 'undo; exit 1' EXIT INT TERM
"$python" -m venv --without-pip "$prefix"
set -- wheels/pip-*.whl
PYTHONPATH=$here/$1 "$prefix/bin/python" -m pip --isolated --disable-pip-version-check --no-cache-dir --quiet install \
  --no-index --find-links wheels -c constraints.txt -r requirements.txt >&2 ||
  fail "the wheels don't fit $("$python" --version) on $(uname -m); build the wheelhouse there, or with --python"
mkdir -p "$prefix/share"
cp HANDBOOK.md LICENSE verify-release.sh SHA256SUMS "$prefix/share/"
"$prefix/bin/$side" --help >/dev/null || fail "what was installed does not start"
trap - EXIT INT TERM
rm -rf "$prefix.old"
echo "installed: $prefix/bin/$side"
[ "$system" = yes ] || exit 0

# 4. The command, in everybody's path.
if [ "$side" = consumer ]; then
  ln -sf "$prefix/bin/consumer" /usr/local/bin/consumer
  exit 0
fi
install -D -m 0755 systemd/custodian.sh /usr/local/bin/custodian

# 5. A user of its own, folders, settings, and two passphrases that nobody has to think up.
install -D -m 0644 systemd/stimset.sysusers /etc/sysusers.d/stimset.conf
install -D -m 0644 systemd/stimset.tmpfiles /etc/tmpfiles.d/stimset.conf
if command -v systemd-sysusers >/dev/null; then
  systemd-sysusers stimset.conf
  systemd-tmpfiles --create stimset.conf
else
  fail "systemd is needed for the daemon; without it use --prefix DIR, or the containers"
fi
for secret in passphrase backup-passphrase; do
  file=/etc/stimset/$secret
  [ -e "$file" ] || (umask 077 && head -c 24 /dev/urandom | base64 >"$file")
  chown root:stimset "$file"
  chmod 0640 "$file"
done

# 6. The units: started by whoever has made a home.
for unit in systemd/*.service systemd/*.timer systemd/*.path; do
  install -D -m 0644 "$unit" "/etc/systemd/system/${unit#systemd/}"
done
systemctl daemon-reload 2>/dev/null || echo "note: systemd does not run here; the units are in /etc/systemd/system" >&2
echo "next: custodian init --name NAME --hostname HOST --address 0.0.0.0:7443; $prefix/share/HANDBOOK.md says the rest"
