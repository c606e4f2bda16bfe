#!/usr/bin/env bash
# Verify a release with nothing of ours: openssl (1.1.1 or later), jq, and the base system's tools.
#
#   deploy/verify-release.sh FOLDER ROOT_JSON FINGERPRINT
#
# FINGERPRINT is the SHA-256 of root.json, as the custodian told it on another channel. Checked are, in this order: the root
# against the fingerprint, the signatures of the root's role "targets" over the envelope's payload, statement.json against that
# payload, expiry, the exact set of files, and each file's size and SHA-256. What the shards hold is for 'consumer verify'.
#
# Exit codes are those of 'consumer verify': 0 holds, 3 no usable root or tool, 4 malformed, 5 signature, 6 changed,
# 7 expired, 15 unknown signer, 16 missing file, 17 extra file, 18 truncated file, 19 all holds, but two people overrode the gate
# (ACCEPT_OVERRIDE=1 takes it all the same).
set -euo pipefail
export LC_ALL=C

refuse() {
  printf 'refused: %s\n' "$2" >&2
  exit "$1"
}

sha256() {
  openssl dgst -sha256 "$1" | sed 's/.*= *//'
}

size() {
  wc -c <"$1" | tr -d ' '
}

bytes_of_hex() {
  # shellcheck disable=SC2059 # the format is the data: \x escapes of checked hex digits
  printf "$(sed 's/../\\x&/g' <<<"$1")"
}

[ $# -eq 3 ] || refuse 2 "usage: $0 FOLDER ROOT_JSON FINGERPRINT"
folder=$1 root=$2 fingerprint=$(tr -d ': ' <<<"$3" | tr 'A-F' 'a-f')
for tool in openssl jq; do
  command -v "$tool" >/dev/null || refuse 3 "$tool is needed"
done
[ -f "$root" ] || refuse 3 "there is no root $root"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# 1. The root is the pinned one.
[ "$(sha256 "$root")" = "$fingerprint" ] || refuse 6 "the root is not the one whose fingerprint was given"

# 2. The signatures, over the payload as received. The bytes are decoded, not yet read.
for name in provenance.dsse.json statement.json; do
  [ ! -L "$folder/$name" ] || refuse 17 "$name is a link"
  [ -f "$folder/$name" ] || refuse 16 "$name is missing"
done
envelope=$folder/provenance.dsse.json
[ "$(size "$envelope")" -le 8388608 ] || refuse 4 "the envelope is longer than 8 MiB"
jq -e '(keys == ["payload", "payloadType", "signatures"]) and .payloadType == "application/vnd.in-toto+json"
  and (.signatures | length >= 1 and length <= 16 and all(keys == ["keyid", "sig"]))
  and ([.signatures[].keyid] | length == (unique | length))' "$envelope" >/dev/null 2>&1 ||
  refuse 4 "the envelope is malformed"
jq -cjS '.signatures |= sort_by(.keyid)' "$envelope" | cmp -s - "$envelope" || refuse 4 "the envelope is not in canonical form"
jq -rj .payload "$envelope" | openssl base64 -d -A >"$work/payload" 2>/dev/null || refuse 4 "the payload is not base64"
jq -rj .payload "$envelope" >"$work/payload.b64"
openssl base64 -A -in "$work/payload" | cmp -s - "$work/payload.b64" || refuse 4 "the payload is not canonical base64"
{
  printf 'DSSEv1 28 application/vnd.in-toto+json %d ' "$(size "$work/payload")"
  cat "$work/payload"
} >"$work/pae"

# OpenSSL does ML-DSA-65 from 3.5 on. With an earlier one the signatures must be there, and a line at the end says so.
mldsa_works=no
openssl list -signature-algorithms 2>/dev/null | grep -qi 'ML-DSA-65' && mldsa_works=yes
signed=0 seen=" " unchecked=0
while read -r keyid algorithm; do
  jq -rj --arg keyid "$keyid" '.signed.keys[$keyid].keyval.public' "$root" >"$work/public"
  case $algorithm in
  ed25519)
    public=$(cat "$work/public")
    [[ $public =~ ^[0-9a-f]{64}$ ]] || refuse 4 "the root holds a malformed key"
    bytes_of_hex "$public" >"$work/raw"
    # 302a300506032b6570032100 is the header of every Ed25519 key in DER.
    bytes_of_hex "302a300506032b6570032100$public" >"$work/key.der"
    ;;
  ml-dsa-65/1)
    sed -e '/^-----/d' "$work/public" | tr -d '\n' | openssl base64 -d -A >"$work/key.der" 2>/dev/null
    [ "$(size "$work/key.der")" -eq 1974 ] || refuse 4 "the root holds a malformed key"
    tail -c 1952 "$work/key.der" >"$work/raw"
    ;;
  *) refuse 4 "the root names a key of another kind than Ed25519 or ML-DSA-65" ;;
  esac
  [ "$(sha256 "$work/raw")" = "$keyid" ] || refuse 4 "a key id of the root is not the SHA-256 of its key"
  signature=$(jq -rj --arg keyid "$keyid" '.signatures[] | select(.keyid == $keyid).sig' "$envelope")
  [ -n "$signature" ] || continue
  printf '%s' "$signature" | openssl base64 -d -A >"$work/signature" 2>/dev/null || refuse 4 "a signature is not base64"
  [ "$(openssl base64 -A -in "$work/signature")" = "$signature" ] || refuse 4 "a signature is not canonical base64"
  if [ "$algorithm" = ml-dsa-65/1 ] && [ "$mldsa_works" = no ]; then
    [ "$(size "$work/signature")" -eq 3309 ] || refuse 5 "the signature of key $keyid does not hold"
    unchecked=$((unchecked + 1))
  else
    # A file, not stdin: -rawin has to know the length.
    openssl pkeyutl -verify -pubin -keyform DER -inkey "$work/key.der" -rawin -in "$work/pae" \
      -sigfile "$work/signature" >/dev/null 2>&1 || refuse 5 "the signature of key $keyid does not hold"
  fi
  # A key's id is the digest of its bytes, so one public key can't count twice.
  [[ $seen == *" $keyid "* ]] || signed=$((signed + 1))
  seen="$seen$keyid "
done < <(jq -r '.signed as $s | $s.roles.targets.keyids[] | "\(.) \($s.keys[.].scheme)"' "$root")
[ "$signed" -gt "$unchecked" ] || [ "$signed" -eq 0 ] || refuse 3 "only ML-DSA-65 has signed; OpenSSL 3.5 or later is needed"
[ "$signed" -gt 0 ] || refuse 15 "none of the root's keys has signed"
threshold=$(jq -r .signed.roles.targets.threshold "$root")
[ "$signed" -ge "$threshold" ] || refuse 5 "$signed of the root's keys signed, $threshold must"

# 3. statement.json is what was signed.
statement=$folder/statement.json
if ! cmp -s "$work/payload" "$statement"; then
  [ "$(size "$statement")" -ge "$(size "$work/payload")" ] || refuse 18 "statement.json is truncated"
  refuse 6 "statement.json is not what was signed"
fi
jq -e '._type == "https://in-toto.io/Statement/v1" and .predicateType == "urn:stimset:release:v1" and
  ((.predicate.gate.admitted == true and ([.predicate.gate.checks[].passed] | all)) or (.predicate.gate.override | type) == "object") and ([.subject[].name] | sort) == (.predicate.files | keys) and
  ([.subject[] | (.name | test("^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$")) and (.digest.sha256 | test("^[0-9a-f]{64}$"))] | all)' \
  "$work/payload" >/dev/null 2>&1 || refuse 4 "the statement is malformed"

# 4. Nothing has expired. Times of this form sort as text.
now=$(date -u +%Y-%m-%dT%H:%M:%SZ)
for expires in "$(jq -r .predicate.expires "$work/payload")" "$(jq -r .signed.expires "$root")"; do
  [[ $expires =~ ^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}Z$ ]] || refuse 4 "a time is malformed"
  [[ $now < $expires ]] || refuse 7 "valid until $expires"
done

# 5. The signed files and nothing else.
jq -r '.subject[].name, "statement.json", "provenance.dsse.json"' "$work/payload" | sort >"$work/expected"
find "$folder" -mindepth 1 -maxdepth 1 -printf '%P\n' | sort >"$work/found"
missing=$(comm -23 "$work/expected" "$work/found" | head -n 1)
extra=$(comm -13 "$work/expected" "$work/found" | head -n 1)
[ -z "$extra" ] || refuse 17 "'$extra' is there, but nobody signed it"
[ -z "$(find "$folder" -mindepth 1 ! -type f)" ] || refuse 17 "there is a link, a folder or a device"
[ -z "$missing" ] || refuse 16 "$missing is missing"

# 6. Every byte.
while read -r name expected length; do
  actual=$(size "$folder/$name")
  [ "$actual" -ge "$length" ] || refuse 18 "$name is truncated"
  [ "$actual" -eq "$length" ] && [ "$(sha256 "$folder/$name")" = "$expected" ] || refuse 6 "$name was changed"
done < <(jq -r '.predicate.files as $f | .subject[] | "\(.name) \(.digest.sha256) \($f[.name])"' "$work/payload")

# 7. Signed as it should be, but two people overrode the custodian's gate: refused unless the caller says otherwise.
if jq -e '.predicate.gate.override' "$work/payload" >/dev/null; then
  echo "OVERRIDDEN by $(jq -r '.predicate.gate.override.people | to_entries | map("\(.value) (\(.key))") | join(" and ")' "$work/payload")," \
    "failed: $(jq -r '.predicate.gate.override.failed | join(", ")' "$work/payload")" >&2
  [ "${ACCEPT_OVERRIDE:-}" = 1 ] || refuse 19 "the gate refused this set; ACCEPT_OVERRIDE=1 takes it all the same"
fi

printf 'verified: %s, signed by %d of the root'\''s keys, valid until %s\n' "$(jq -r .predicate.releaseId "$work/payload")" \
  "$signed" "$(jq -r .predicate.expires "$work/payload")"
[ "$(jq -r .predicate.simulated "$work/payload")" != true ] || printf 'the patients behind it are SIMULATED\n'
[ "$unchecked" -eq 0 ] || printf '%d ML-DSA-65 signature(s) not checked: OpenSSL 3.5 or later does\n' "$unchecked"
