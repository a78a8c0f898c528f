#!/bin/sh
# curl in three habits: the password at once, the password when asked for it, a token.
set -eu

at_once() { curl -sS -f -u "$LIVY_USER:$LIVY_PASSWORD" "$@"; }
when_asked() { curl -sS -f --anyauth -u "$LIVY_USER:$LIVY_PASSWORD" "$@"; }
with_token() { curl -sS -f --retry 3 -H "Authorization: Bearer $TOKEN" "$@"; }

# until CALL PATH STATE: the state is the last one that a session, batch or statement comes to.
until_state() {
  tries=0
  while ! $1 "$GATEWAY/$2" | grep -Eq "\"state\" ?: ?\"$3\""; do
    tries=$((tries + 1))
    [ "$tries" -lt 300 ] || { echo "$2 is not $3" >&2; exit 1; }
    sleep 0.2
  done
}
id() { grep -Eo '"id" ?: ?[0-9]+' | head -n 1 | grep -Eo '[0-9]+'; }

for habit in at_once when_asked with_token; do
  session=$($habit -H 'Content-Type: application/json' -d '{"kind":"pyspark"}' "$GATEWAY/sessions" | id)
  until_state $habit "sessions/$session/state" idle
  statement=$($habit -H 'Content-Type: application/json' -H 'X-Requested-By: curl' \
    -d '{"code":"6 * 7"}' "$GATEWAY/sessions/$session/statements" | id)
  until_state $habit "sessions/$session/statements/$statement" available
  $habit "$GATEWAY/sessions/$session/statements/$statement" | grep -q '"text/plain" *: *"42"'
  echo content | $habit -F 'file=@-;filename=notes.txt' "$GATEWAY/sessions/$session/upload-file"
  $habit -X DELETE "$GATEWAY/sessions/$session" | grep -q '"msg":"deleted"'
  batch=$($habit -H 'Content-Type: application/json' -d "{\"file\":\"$BATCH_FILE\",\"args\":[\"7\"]}" \
    "$GATEWAY/batches" | id)
  until_state $habit "batches/$batch/state" success
  $habit "$GATEWAY/batches/$batch/log?from=0&size=100" | grep -q 'counted 7'
  $habit -X DELETE "$GATEWAY/batches/$batch" | grep -q '"msg":"deleted"'
done
echo '{"habits":3}'
