#!/bin/sh
# The custodian's commands, as the service's user and in its home: what root calls leaves nothing that the daemon can't read.
set -eu
: "${CUSTODIAN_HOME:=/var/lib/stimset/home}"
: "${CUSTODIAN_PASSPHRASE_FILE:=/etc/stimset/passphrase}"
: "${CUSTODIAN_BACKUP_PASSPHRASE_FILE:=/etc/stimset/backup-passphrase}"
export CUSTODIAN_HOME CUSTODIAN_PASSPHRASE_FILE CUSTODIAN_BACKUP_PASSPHRASE_FILE OMP_NUM_THREADS=1
umask 077
if [ "$(id -u)" -eq 0 ]; then
  # Where that user can't go, a relative path would name nothing: files come and go by /srv/stimset.
  runuser -u stimset -- test -x . || cd /srv/stimset
  exec runuser -u stimset -- /opt/stimset/bin/custodian "$@"
fi
exec /opt/stimset/bin/custodian "$@"
