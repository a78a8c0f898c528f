#!/bin/sh
# Every Livy call that HDInsight's (and Cloudera's) published pages show, as they show them, with
# curl over TLS; each answer is checked. Only these are put in:
#
#   calls.sh https://CLUSTER          where the gateway answers, without /livy
#   LIVY_USER, LIVY_PASSWORD          the cluster login (required)
#   LIVY_AS          the Livy user that the login is mapped to (default: LIVY_USER)
#   CACERT           the authority that signed the gateway's certificate (else the system's)
#   STORAGE          a directory that Livy may read, of the batches' files
#                    (default: wasb:///example/jars, HDInsight's)
#   BATCH_FILE       the file in it (default: SparkSimpleTest.jar), BATCH_CLASS its class
#   CODE, RESULT     a statement and its output (default: 1 + 1, 2), in pyspark
#   WAIT             how many seconds a session or batch may take (default: 300)
#
# The pages say `curl -k`; here the certificate is verified. Exit code 0: all as expected.
set -eu

cluster=${1:?write the address of the gateway, e.g. https://CLUSTER.example.org}
login="${LIVY_USER:?}:${LIVY_PASSWORD:?}"
livy_as=${LIVY_AS:-$LIVY_USER}
storage=${STORAGE:-wasb:///example/jars}
batch_file=$storage/${BATCH_FILE:-SparkSimpleTest.jar}
batch_class=${BATCH_CLASS:-com.microsoft.spark.test.SimpleFile}
code=${CODE:-1 + 1}
result=${RESULT:-2}
wait=${WAIT:-300}

work=$(mktemp -d)
session='' batch=''
clear_up() {
  for left in ${session:+sessions/$session} ${batch:+batches/$batch}; do
    curl -s ${CACERT:+--cacert "$CACERT"} --user "$login" -H 'X-Requested-By: admin' \
      -o /dev/null -X DELETE "$cluster/livy/$left" || true
  done
  rm -rf "$work"
}
trap clear_up EXIT
trap 'exit 130' INT TERM

fail() {
  printf 'NOT AS EXPECTED: %s\n' "$1" >&2
  cat "$work/head" "$work/body" >&2 2>/dev/null || true
  exit 1
}

# call STATUS METHOD PATH [curl's arguments]: one request; its answer is in $work.
call() {
  wanted=$1 method=$2 path=$3
  shift 3
  rm -f "$work/head" "$work/body"
  : >"$work/body"
  status=$(curl -sS ${CACERT:+--cacert "$CACERT"} --max-time 150 -D "$work/head" \
    -o "$work/body" -w '%{http_code}' -X "$method" "$@" "$cluster$path") ||
    fail "$method $path: curl could not"
  printf '%s %s %s\n' "$status" "$method" "$path"
  [ "$status" = "$wanted" ] || fail "$method $path: expected $wanted, got $status"
}

# as the pages do it: with the login, the JSON type, and X-Requested-By, which HDInsight's Livy wants
call_as_user() {
  call "$@" --user "$login" -H 'Content-Type: application/json' -H 'X-Requested-By: admin'
}

# has REGEX...: the body, blanks left out, matches each.
has() {
  for regex in "$@"; do
    tr -d ' \n' <"$work/body" | grep -Eq -- "$regex" || fail "the body has no $regex"
  done
}

in_json() { # one line as the inside of a JSON string
  printf '%s' "$1" | sed 's/\\/\\\\/g; s/"/\\"/g'
}

header_has() {
  tr -d '\r' <"$work/head" | grep -Eiq -- "$1" || fail "no header $1"
}

number() { # the first "KEY":NUMBER of the body
  tr -d ' \n' <"$work/body" | grep -Eo "\"$1\":[0-9]+" | head -n 1 | cut -d : -f 2
}

# wait_for PATH REGEX HOPELESS-REGEX: asks each second until the body matches.
wait_for() {
  deadline=$(($(date +%s) + wait))
  while :; do
    call_as_user 200 GET "$1"
    if tr -d ' \n' <"$work/body" | grep -Eq -- "$2"; then return; fi
    if tr -d ' \n' <"$work/body" | grep -Eq -- "$3"; then fail "$1 ended otherwise than $2"; fi
    [ "$(date +%s)" -lt "$deadline" ] || fail "$1 is not $2 after $wait s"
    sleep 1
  done
}

echo '== an anonymous probe, as the toolkits make it: the first challenge must be Basic'
call 401 GET /livy/sessions -H 'User-Agent: Mozilla/5.0'
first=$(tr -d '\r' <"$work/head" | grep -i '^WWW-Authenticate:' | head -n 1)
case $first in
  *[Bb]asic*) ;;
  *) fail "the first challenge is '$first'" ;;
esac

echo '== the six calls of interactive sessions'
call_as_user 201 POST /livy/sessions -d '{
  "kind": "pyspark", "proxyUser": "'"$livy_as"'",
  "jars": [], "pyFiles": [], "files": [], "archives": [],
  "driverMemory": "1G", "driverCores": 2,
  "executorMemory": "1G", "executorCores": 10, "numExecutors": 10 }'
session=$(number id)
has '"state":"(starting|idle)"' '"kind":"pyspark"' "\"proxyUser\":\"$livy_as\"" '"log":\['
header_has "^Location: /livy/sessions/$session\$"

wait_for "/livy/sessions/$session" '"state":"idle"' '"state":"(dead|error|killed)"'
has "\"id\":$session\\b"

call_as_user 200 GET "/livy/sessions/$session/statements"
has '"total_statements":0' '"statements":\[\]'

call_as_user 200 GET /livy/sessions
has '"from":0' '"total":[0-9]+' "\"id\":$session\\b"
call_as_user 200 GET '/livy/sessions?from=0&size=10'
has '"from":0' '"sessions":\['

call_as_user 201 POST "/livy/sessions/$session/statements" -d '{ "code": "'"$(in_json "$code")"'" }'
statement=$(number id)
header_has "^Location: /livy/sessions/$session/statements/$statement\$"
wait_for "/livy/sessions/$session/statements/$statement" '"state":"available"' '"state":"cancelled"'
has '"status":"ok"'
grep -qF -- "\"$(in_json "$result")\"" "$work/body" || fail "the output is not $result"

echo '== what the pages name beside the six'
call_as_user 200 GET "/livy/sessions/$session/state"
has "\"id\":$session\\b" '"state":"(idle|busy)"'
call_as_user 200 GET "/livy/sessions/$session/log?from=0&size=10"
has '"from":0' '"total":[0-9]+' '"log":\['
call_as_user 404 GET "/livy/sessions/$session/logs" # one page's slip: the answer says what is meant
has '/log\b'
call_as_user 200 GET "/livy/sessions/$session/statements"
has '"total_statements":1'
call_as_user 200 POST "/livy/sessions/$session/completion" \
  -d '{ "code": "spa", "kind": "pyspark", "cursor": 3 }'
has '"candidates":\['
call_as_user 200 POST "/livy/sessions/$session/statements/$statement/cancel"
has '"msg":"canceled"'

call_as_user 200 DELETE "/livy/sessions/$session"
has '^\{"msg":"deleted"\}$'
deleted=$session session=''
call_as_user 404 GET "/livy/sessions/$deleted"

echo '== batches, as in the walk-through'
call_as_user 200 GET /livy/batches
has '"from":0' '"total":[0-9]+' '"sessions":\['

call_as_user 201 POST /livy/batches \
  -d '{ "file":"'"$batch_file"'", "className":"'"$batch_class"'" }'
batch=$(number id)
has '"state":"(starting|running)"' "\"proxyUser\":\"$livy_as\""
header_has "^Location: /livy/batches/$batch\$"
call_as_user 200 GET /livy/batches
has "\"id\":$batch\\b"
wait_for "/livy/batches/$batch" '"state":"success"' '"state":"(dead|error|killed)"'
call_as_user 200 GET "/livy/batches/$batch/state"
has "\"id\":$batch\\b" '"state":"success"'
call_as_user 200 GET "/livy/batches/$batch/log?size=2147483647"
has '"log":\['
call_as_user 200 DELETE "/livy/batches/$batch"
has '^\{"msg":"deleted"\}$'
batch=''

# The same with the body in a file.
printf '{ "className":"%s", "file":"%s" }\n' "$batch_class" "$batch_file" >"$work/input.txt"
call_as_user 201 POST /livy/batches --data "@$work/input.txt"
batch=$(number id)
call_as_user 200 DELETE "/livy/batches/$batch"
has '^\{"msg":"deleted"\}$'
deleted=$batch batch=''
call_as_user 404 GET "/livy/batches/$deleted"

echo 'All answers were as expected.'
