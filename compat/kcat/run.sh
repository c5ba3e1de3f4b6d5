#!/usr/bin/env bash
# kcat (Debian's package) through its modes: -L, -P, -C, -Q, -G. Every check compares exact output.
set -u
. "$(dirname "$0")/../lib/suite.sh"
set +e
suite_args "$@"
B=$BROKER
if ! command -v kcat >/dev/null; then
  (apt-get install -y kcat || { apt-get update && apt-get install -y kcat; }) >&2 || die "kcat is not here and apt-get cannot install it"
fi
KCAT=${KCAT:-kcat}
RUN=${RUN_ID:-$(date +%s)$RANDOM}
echo "version $($KCAT -V 2>&1 | sed -n 's/^Version \([0-9.]*\).*librdkafka \([0-9.]*\).*/\1 (librdkafka \2)/p')"
TMP=$(mktemp -d) || exit 2
trap 'rm -rf "$TMP"' EXIT
k() { timeout 60 "$KCAT" -b "$B" "$@" 2>"$TMP/err"; }            # any mode
c() { k -C -q -m 20 "$@"; }                                       # consume
p() { k -P -m 20 "$@"; }                                          # produce
ok() { # ok NAME EXPECTED ACTUAL
  if [ "$2" == "$3" ]; then echo "pass $1"
  else echo "fail $1"; { printf '     expected: %s\n' "$(head -c 400 <<<"$2" | tr '\n' '|')"; printf '     actual:   %s\n' "$(head -c 400 <<<"$3" | tr '\n' '|')"; [ -s "$TMP/err" ] && printf '     stderr:   %s\n' "$(head -c 400 "$TMP/err" | tr '\n' '|')"; } >&2; fi
}
like() { # like NAME REGEX ACTUAL
  if grep -qE -- "$2" <<<"$3"; then echo "pass $1"
  else echo "fail $1"; { printf '     wanted /%s/ in: %s\n' "$2" "$(head -c 600 <<<"$3" | tr '\n' '|')"; [ -s "$TMP/err" ] && printf '     stderr:   %s\n' "$(head -c 400 "$TMP/err" | tr '\n' '|')"; } >&2; fi
}
T() { echo "kcat-$1-$RUN"; }

# --- metadata (-L): ApiVersions, Metadata
like "L lists brokers" '^ +[0-9]+ brokers:' "$(k -L)"
like "L names the controller" 'broker [0-9]+ at .*:[0-9]+ \(controller\)' "$(k -L)"
t=$(T auto)
ok "P auto-creates a topic" 0 "$(echo first | p -t "$t" -p 0 >/dev/null; echo $?)"
like "L -t shows one topic" "topic \"$t\" with [0-9]+ partitions:" "$(k -L -t "$t")"
like "L -t shows leader, replicas, isrs" 'partition 0, leader [0-9]+, replicas: [0-9]+, isrs: [0-9]+' "$(k -L -t "$t")"
like "L -J is JSON with the topic" "\"topic\":\"$t\",\"partitions\":\[\{\"partition\":0,\"leader\":[0-9]+" "$(k -L -J -t "$t")"
like "L of an unknown topic reports an error" '(Unknown topic or partition|Leader not available|topic ".*" with)' "$(k -L -t "$(T unknown)" -X allow.auto.create.topics=false)"

# --- produce/consume basics
t=$(T basic)
printf 'a\nb\nc\n' | p -t "$t" -p 0
ok "C -e reads to the end of the partition" $'a\nb\nc' "$(c -t "$t" -p 0 -o beginning -e)"
ok "C -c limits the count" $'a\nb' "$(c -t "$t" -p 0 -o beginning -c 2)"
ok "C -o absolute offset" $'b\nc' "$(c -t "$t" -p 0 -o 1 -e)"
ok "C -o -1 (relative to the end)" 'c' "$(c -t "$t" -p 0 -o -1 -e)"
ok "C -o end -e reads nothing" '' "$(c -t "$t" -p 0 -o end -e)"
ok "C beyond the end with auto.offset.reset=earliest starts over" 'a' "$(c -t "$t" -p 0 -o 99 -c 1 -X topic.auto.offset.reset=earliest)"
ok "C beyond the end with auto.offset.reset=error fails" 1 "$(c -t "$t" -p 0 -o 99 -c 1 -X topic.auto.offset.reset=error >/dev/null; echo $?)"
like "C of a partition that does not exist fails" 'artition' "$(c -t "$t" -p 77 -o beginning -e; cat "$TMP/err")"
ok "C -f %t %p %o %S" "$t 0 0 1;$t 0 1 1;$t 0 2 1;" "$(c -t "$t" -p 0 -o beginning -e -f '%t %p %o %S;')"
like "C -v reports reaching the end" 'Reached end of topic .* \[0\] at offset 3' "$(k -C -m 20 -t "$t" -p 0 -o beginning -e >/dev/null; cat "$TMP/err")"

# --- keys, headers, null, delimiters, timestamps, JSON
t=$(T keys)
printf 'k1:v1\nk2:v2\n:empty\n' | p -t "$t" -p 0 -K :
ok "P/C -K splits keys and prints them" $'k1:v1\nk2:v2\n:empty' "$(c -t "$t" -p 0 -o beginning -e -K :)"
echo fixed | p -t "$t" -p 0 -k KK
ok "P -k fixed key; C -f %k %K" 'KK 2 fixed' "$(c -t "$t" -p 0 -o 3 -e -f '%k %K %s')"
t=$(T headers)
echo hv | p -t "$t" -p 0 -H a=1 -H b=two -H a=3 -H c
ok "P -H and C -f %h: order, duplicates, null value" 'a=1,b=two,a=3,c=NULL' "$(c -t "$t" -p 0 -o beginning -e -f '%h')"
like "C -J shows headers in order" '"headers":\["a","1","b","two","a","3","c",null\]' "$(c -t "$t" -p 0 -o beginning -e -J)"
like "C -J has topic, partition, offset, tstype, ts, broker" "^\{\"topic\":\"$t\",\"partition\":0,\"offset\":0,\"tstype\":\"create\",\"ts\":[0-9]{13},\"broker\":[0-9]+,.*\"key\":null,\"payload\":\"hv\"\}$" "$(c -t "$t" -p 0 -o beginning -e -J)"
t=$(T null)
printf 'k:\n:\n' | p -t "$t" -p 0 -K : -Z
ok "P -Z sends nulls; C -Z prints NULL; lengths are -1" 'k 1 NULL -1;NULL -1 NULL -1;' "$(c -t "$t" -p 0 -o beginning -e -Z -f '%k %K %s %S;')"
t=$(T delim)
printf 'one;two;three' | p -t "$t" -p 0 -D ';'
ok "P -D input delimiter" $'one\ntwo\nthree' "$(c -t "$t" -p 0 -o beginning -e)"
ok "C -D output delimiter" 'one|two|three|' "$(c -t "$t" -p 0 -o beginning -e -D '|')"
t=$(T file)
head -c 200000 /dev/urandom | base64 -w0 >"$TMP/big"; printf 'l1\nl2\n' >"$TMP/lines"
p -t "$t" -p 0 "$TMP/big"
ok "P whole file as one 260 KB message" "$(cksum <"$TMP/big")" "$(c -t "$t" -p 0 -o beginning -e -D '' | cksum)"
p -t "$t" -p 0 -l "$TMP/lines"
ok "P -l file line by line" $'l1\nl2' "$(c -t "$t" -p 0 -o 1 -e)"
head -c 3000 /dev/urandom >"$TMP/bin"
p -t "$t" -p 0 "$TMP/bin"
ok "binary payload is unchanged" "$(cksum <"$TMP/bin")" "$(c -t "$t" -p 0 -o 3 -e -D '' | cksum)"
ok "C -f %R length prefix" '00000bb8' "$(c -t "$t" -p 0 -o 3 -e -f '%R' | od -An -tx1 | tr -d ' \n')"
ok "P -T copies the input to stdout" 'xy' "$(printf 'x\ny\n' | p -t "$t" -p 0 -T)"
t=$(T pack)
printf '\x00\x00\x00\x2a\x01' >"$TMP/pack"; p -t "$t" -p 0 "$TMP/pack"
ok "C -s value=>iB unpacks" '421' "$(c -t "$t" -p 0 -o beginning -e -s value='>iB' | tr -d ' ')"

# --- codecs, message versions, acks, idempotence
for z in gzip snappy lz4 zstd; do
  t=$(T "z-$z")
  seq 1 500 | sed 's/$/ aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa/' | p -t "$t" -p 0 -z "$z" -X linger.ms=200
  ok "P -z $z round trip, 500 messages" "500 $(seq 1 500 | sed 's/$/ aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa/' | cksum)" "$(c -t "$t" -p 0 -o beginning -e >"$TMP/o"; echo "$(wc -l <"$TMP/o") $(cksum <"$TMP/o")")"
  ok "offset inside a $z batch" '251 aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa' "$(c -t "$t" -p 0 -o 250 -c 1)"
done
for a in 0 1 -1; do
  t=$(T "acks$a")
  echo "acks $a" | p -t "$t" -p 0 -X topic.acks="$a" -X linger.ms=1
  ok "P acks=$a" "acks $a" "$(c -t "$t" -p 0 -o beginning -c 1)"
done
t=$(T idem)
seq 1 2000 | p -t "$t" -p 0 -X enable.idempotence=true -X batch.num.messages=50
ok "P enable.idempotence=true keeps order without loss" "$(seq 1 2000 | cksum)" "$(c -t "$t" -p 0 -o beginning -e | cksum)"
t=$(T large)
head -c 5000000 /dev/zero | tr '\0' x >"$TMP/large"
like "P of a 5 MB message is refused by the broker (MESSAGE_TOO_LARGE)" 'Message size too large' "$(p -t "$t" -p 0 -X message.max.bytes=8000000 "$TMP/large" >/dev/null; cat "$TMP/err")"
ok "P of 3000 messages, default partitioner, C of all partitions" 3000 "$(seq 1 3000 | p -t "$t" >/dev/null; c -t "$t" -o beginning -e | wc -l)"
ok "the same key always goes to the same partition" 1 "$(for i in 1 2 3 4; do echo $i | p -t "$t" -k samekey; done; c -t "$t" -o beginning -e -f '%k %p\n' | grep '^samekey' | sort -u | wc -l)"
like "P -p -1 spreads without keys" '^([2-9]|[1-9][0-9]+)$' "$(t2=$(T rnd); seq 1 400 | p -t "$t2" -p -1 -X sticky.partitioning.linger.ms=0; c -t "$t2" -o beginning -e -f '%p\n' | sort -u | wc -l)"

# --- transactions
t=$(T txn)
printf 't1\nt2\n' | p -t "$t" -p 0 -X transactional.id="tx-$RUN"
ok "P transactional.id commits" $'t1\nt2' "$(c -t "$t" -p 0 -o beginning -e -X isolation.level=read_committed)"
ok "the commit marker takes an offset" '3' "$(k -Q -t "$t:0:-1" | sed 's/.*offset //')"
(printf 'lost\n'; sleep 4) | timeout -s INT 2 "$KCAT" -b "$B" -P -t "$t" -p 0 -X transactional.id="tx2-$RUN" -X linger.ms=1 2>/dev/null
sleep 1
ok "P transaction interrupted: aborted records are hidden from read_committed" $'t1\nt2' "$(c -t "$t" -p 0 -o beginning -e -X isolation.level=read_committed)"
echo t3 | p -t "$t" -p 0 -X transactional.id="tx-$RUN"
ok "second transaction with the same id" 't3' "$(c -t "$t" -p 0 -o beginning -e -X isolation.level=read_committed | tail -1)"

# --- offsets by time (-Q, -o s@, -o e@): ListOffsets
t=$(T time)
echo m1 | p -t "$t" -p 0; sleep 0.3; t0=$(date +%s%3N); sleep 0.3
echo m2 | p -t "$t" -p 0; sleep 0.3; t1=$(date +%s%3N); sleep 0.3
echo m3 | p -t "$t" -p 0
ok "Q earliest (-2)" "$t [0] offset 0" "$(k -Q -t "$t:0:-2")"
ok "Q latest (-1)" "$t [0] offset 3" "$(k -Q -t "$t:0:-1")"
ok "Q by timestamp" "$t [0] offset 1" "$(k -Q -t "$t:0:$t0")"
ok "Q by a future timestamp gives -1 (end)" "$t [0] offset -1" "$(k -Q -t "$t:0:$((t1+86400000))")"
ok "C -o s@timestamp" $'m2\nm3' "$(c -t "$t" -p 0 -o s@"$t0" -e)"
ok "C -o s@ -o e@ range" 'm2' "$(c -t "$t" -p 0 -o s@"$t0" -o e@"$t1")"
like "C -f %T prints the create time" '^[0-9]{13}$' "$(c -t "$t" -p 0 -o 0 -c 1 -f '%T')"
like "Q of an unknown topic fails" '(Unknown topic|Unknown partition|failed|Local)' "$(k -Q -m 5 -t "$(T nope):0:-1" -X allow.auto.create.topics=false; cat "$TMP/err")"

# --- group consumer (-G): FindCoordinator, JoinGroup, SyncGroup, Heartbeat, OffsetCommit, OffsetFetch, LeaveGroup
t=$(T group); g=kcat-g-$RUN
seq 1 10 | p -t "$t" -p 0
grp() { k -G "$1" -q -m 20 -X auto.offset.reset=earliest "${@:2}"; }
ok "G reads everything and exits at the end (-e)" "$(seq 1 10)" "$(grp "$g" -e "$t")"
seq 11 15 | p -t "$t" -p 0
ok "G resumes at the committed offset" "$(seq 11 15)" "$(grp "$g" -e "$t")"
ok "G -c 3 of another group" "$(seq 1 3)" "$(grp "$g-b" -c 3 "$t")"
ok "C -o stored uses the group's committed offset" "" "$(c -t "$t" -p 0 -o stored -X group.id="$g" -e)"
ok "G with a regex subscription" 15 "$(grp "$g-re" -e "^kcat-group-$RUN\$" | wc -l)"
t2=$(T group2); seq 21 23 | p -t "$t2" -p 0
ok "G with two topics" 18 "$(grp "$g-two" -e "$t" "$t2" | wc -l)"
for s in range roundrobin cooperative-sticky; do
  ok "G partition.assignment.strategy=$s" 15 "$(grp "$g-$s" -e -X partition.assignment.strategy=$s "$t" | wc -l)"
done
ok "G static member (group.instance.id) twice" "15 0" "$(a=$(grp "$g-st" -e -X group.instance.id=i1 "$t" | wc -l); b=$(grp "$g-st" -e -X group.instance.id=i1 "$t" | wc -l); echo "$a $b")"
t=$(T reb); k -L -t "$t" >/dev/null; seq 1 50 | p -t "$t" -p 0
timeout 25 "$KCAT" -b "$B" -G "$g-reb" -X auto.offset.reset=earliest "$t" >"$TMP/m1" 2>"$TMP/m1e" & m1=$!
sleep 5
timeout 15 "$KCAT" -b "$B" -G "$g-reb" -X auto.offset.reset=earliest "$t" >"$TMP/m2" 2>"$TMP/m2e" & m2=$!
sleep 9; kill -INT $m1 $m2 2>/dev/null; wait $m1 $m2 2>/dev/null
like "G second member triggers a rebalance of the first" '[2-9]' "$(grep -c 'Group .* rebalanced' "$TMP/m1e")"
like "G both members get partitions" 'assigned: .*\[[0-9]+\]' "$(grep 'assigned:' "$TMP/m2e")"
ok "G the group read every message once" 50 "$(cat "$TMP/m1" "$TMP/m2" | sort -n | uniq | wc -l)"
like "-X debug=protocol shows ApiVersions negotiation" 'ApiVersion' "$(k -L -d protocol -t "$t" >/dev/null; cat "$TMP/err")"
like "broker that is not there" '(Failed to acquire metadata|Connection refused|transport failure)' "$(timeout 20 "$KCAT" -b 127.0.0.1:1 -L -m 2 2>&1)"

