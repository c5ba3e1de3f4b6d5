#!/usr/bin/env bash
# Apache Kafka's own command-line tools (Maven Central), one process a check, as an operator would call them.
#   run.sh HOST:PORT [NAME-PATTERN]
# Some checks stand on earlier ones: a pattern runs those alone that need nothing else.
. "$(dirname "$0")/../lib/suite.sh"
suite_args "$@"; need java; need mvn
version=${KAFKA_TOOLS_VERSION:-4.3.0}
dir=$SUITE_CACHE/kafka-tools-$version
stamp=$(cksum <"$SUITE_DIR/pom.xml" | cut -d' ' -f1)
if [ "$(cat "$dir/stamp" 2>/dev/null)" != "$stamp" ]; then
  mkdir -p "$dir"; rm -rf "$dir/libs"
  mvn -q -B -f "$SUITE_DIR/pom.xml" -Dkafka.version="$version" dependency:copy-dependencies -DoutputDirectory="$dir/libs" \
    >"$dir/build.log" 2>&1 || { tail -30 "$dir/build.log" >&2; die "Maven could not fetch the tools"; }
  echo "$stamp" >"$dir/stamp"
fi
echo "version $version"
set +euo pipefail
CP="$dir/libs/*" B=$BROKER ONLY=${FILTER:-.}
JAVA_ARGS="-XX:TieredStopAtLevel=1 -XX:+UseSerialGC -Xmx512m -Xshare:auto -Dlog4j2.configurationFile=$SUITE_DIR/log4j2.xml"
# Most of a tool's time is the loading of its classes: they are archived once.
if [ ! -f "$dir/tools.jsa" ]; then
  java $JAVA_ARGS -XX:ArchiveClassesAtExit="$dir/tools.jsa" -cp "$CP" org.apache.kafka.tools.TopicCommand --bootstrap-server "$B" --list >/dev/null 2>&1
fi
[ ! -f "$dir/tools.jsa" ] || JAVA_ARGS="$JAVA_ARGS -XX:SharedArchiveFile=$dir/tools.jsa"
# What CI runs: each tool that operators use most, once, and what client quotas and client metrics need.
[ -z "$SHORT" ] || ONLY='^(Topic create|Topic describe: part.*|Config topic alter|Config client quota .*|ClientMetrics (alter|list)|ConsoleProducer gzip|ConsoleConsumer reads gzip|ConsoleConsumer group .classic.|GetOffsetShell latest|LogDirs describe|ConsumerGroups (--describe offsets|reset --to-earliest|--delete)|DeleteRecords|ProducerPerformance)$'
R=$(date +%s)$RANDOM; W=$(mktemp -d); trap 'rm -rf "$W"' EXIT
T=org.apache.kafka.tools; BS="--bootstrap-server $B"
j() { nice -n "$SUITE_NICE" timeout "${TO:-60}" java $JAVA_ARGS -cp "$CP" "$@" 2>&1; }              # CLASS ARG...
topic() { j $T.TopicCommand $BS "$@"; }
groups() { j $T.consumer.group.ConsumerGroupCommand $BS "$@"; }
sgroups() { j $T.consumer.group.ShareGroupCommand $BS "$@"; }
config() { j kafka.admin.ConfigCommand $BS "$@"; }
offsets() { j $T.GetOffsetShell $BS "$@"; }
produce() { j $T.ConsoleProducer $BS "$@"; }
consume() { j $T.consumer.ConsoleConsumer $BS --timeout-ms 15000 "$@" | grep -v -e 'Processed a total' -e 'consumer rebalance protocol' -e TimeoutException -e '^ERROR' -e '^	at '; }
# what only later checks of the long form need
long() { [ -n "$SHORT" ] || "$@"; }
# t NAME PATTERN COMMAND... : the output has a line that matches PATTERN (extended); "!PATTERN": has no such line; "RC=n": exit status n
t() {
  local name=$1 want=$2 out rc good; shift 2
  [[ $name =~ $ONLY ]] || return 0
  out=$("$@"); rc=$?
  case $want in
    RC=*) [ "$rc" == "${want#RC=}" ] && good=1 || good= ;;
    !*) grep -qE -- "${want#!}" <<<"$out" && good= || good=1 ;;
    *) grep -qE -- "$want" <<<"$out" && good=1 || good= ;;
  esac
  if [ "$good" ]; then echo "pass $name"; return; fi
  echo "fail $name"
  { echo "fail $name (status $rc), wanted: $want"; head -c 1500 <<<"$out" | sed 's/^/     | /'; } >&2
}
A=tools-a-$R G=tools-g-$R

# --- cluster
t "BrokerApiVersions: core" 'Produce\(0\): 0? ?(0|[0-9]+) to 1[0-9]' j $T.BrokerApiVersionsCommand $BS
long j $T.BrokerApiVersionsCommand $BS >"$W/api"
t "BrokerApiVersions: nothing the client needs is missing" '![^a-zA-Z](Produce|Fetch|ListOffsets|Metadata|OffsetCommit|OffsetFetch|FindCoordinator|JoinGroup|Heartbeat|LeaveGroup|SyncGroup|DescribeGroups|ListGroups|ApiVersions|CreateTopics|DeleteTopics|DeleteRecords|InitProducerId|OffsetForLeaderEpoch|AddPartitionsToTxn|AddOffsetsToTxn|EndTxn|TxnOffsetCommit|DescribeConfigs|DeleteGroups|IncrementalAlterConfigs|OffsetDelete|DescribeCluster)\([0-9]+\): UNSUPPORTED' cat "$W/api"
t "BrokerApiVersions: new consumer protocol" 'ConsumerGroupHeartbeat\(68\): 0' cat "$W/api"
t "BrokerApiVersions: share groups" 'ShareFetch\(78\): [0-9]' cat "$W/api"
t "BrokerApiVersions: streams groups" 'StreamsGroupHeartbeat\(88\): [0-9]' cat "$W/api"
t "ClusterTool cluster-id" '^Cluster ID: .+' j $T.ClusterTool cluster-id $BS
t "ClusterTool list-endpoints" "^[0-9]+ +[^ ]+ +[0-9]+" j $T.ClusterTool list-endpoints $BS
t "FeatureCommand describe metadata.version" 'Feature: metadata.version.*FinalizedVersionLevel: ' j $T.FeatureCommand $BS describe
t "FeatureCommand describe group.version 1" 'Feature: group.version.*FinalizedVersionLevel: 1' j $T.FeatureCommand $BS describe
t "FeatureCommand describe share.version 1" 'Feature: share.version.*FinalizedVersionLevel: 1' j $T.FeatureCommand $BS describe
t "MetadataQuorum --status" '^LeaderId: +[0-9]+' j $T.MetadataQuorumCommand $BS describe --status
t "MetadataQuorum --replication" 'Leader' j $T.MetadataQuorumCommand $BS describe --replication
long topic --delete --topic newtopic >/dev/null   # the tool creates this one itself
t "ClientCompatibilityTest" 'RC=0' j $T.ClientCompatibilityTest --topic tools-compat-$R --bootstrap-server "$B" --offsets-for-times-supported true --cluster-id-supported true --expect-record-too-large-exception false --num-cluster-nodes 1 --create-topics-supported true --describe-acls-supported true --describe-configs-supported true --idempotent-producer-supported true

# --- topics
t "Topic create" "Created topic $A" topic --create --topic $A --partitions 3 --replication-factor 1 --config retention.ms=3600000
t "Topic create again fails" "already exists" topic --create --topic $A
t "Topic create --if-not-exists" 'RC=0' topic --create --topic $A --if-not-exists
t "Topic create with too many replicas fails" 'InvalidReplicationFactor|larger than available' topic --create --topic $A-rf --replication-factor 9
t "Topic create with a bad name fails" 'InvalidTopic|illegal|invalid' topic --create --topic 'bad name!'
t "Topic list" "^$A\$" topic --list
t "Topic describe: partitions and configs" "Topic: $A.*TopicId: .{22}.*PartitionCount: 3.*ReplicationFactor: 1.*Configs:.*retention.ms=3600000" topic --describe --topic $A
t "Topic describe: leader, replicas, isr" 'Partition: 2.*Leader: ([0-9]+).*Replicas: \1.*Isr: \1' topic --describe --topic $A
LEADER=$(long topic --describe --topic $A | sed -n 's/.*Leader: \([0-9]*\).*/\1/p' | head -1); LEADER=${LEADER:-1}
TID=$(long topic --describe --topic $A | sed -n 's/.*TopicId: \([^	 ]*\).*/\1/p' | head -1)
t "Topic describe by id" "Topic: $A" topic --describe --topic-id "$TID"
t "Topic add partitions" 'RC=0' topic --alter --topic $A --partitions 5
t "Topic add partitions shows" 'PartitionCount: 5' topic --describe --topic $A
t "Topic fewer partitions fails" 'InvalidPartitions|would not be an increase' topic --alter --topic $A --partitions 2
t "Topic replica assignment" "Created topic $A-ra" topic --create --topic $A-ra --replica-assignment "$LEADER,$LEADER"
t "Topic under-replicated is empty" '!Topic:' topic --describe --under-replicated-partitions
t "Topic overrides" "Topic: $A.*retention.ms" topic --describe --topics-with-overrides
t "Topic delete" 'RC=0' topic --delete --topic $A-ra
t "Topic deleted is gone" "!^$A-ra\$" topic --list
t "Topic describe of an unknown one fails" 'does not exist as expected' topic --describe --topic $A-none

# --- configs
t "Config topic alter" 'Completed updating config for topic' config --alter --entity-type topics --entity-name $A --add-config 'max.message.bytes=123456,cleanup.policy=[compact,delete]'
t "Config topic describe" 'max.message.bytes=123456' config --describe --entity-type topics --entity-name $A
t "Config topic list value" 'cleanup.policy=compact,delete' config --describe --entity-type topics --entity-name $A
t "Config topic describe --all has defaults" 'segment.bytes=1073741824' config --describe --all --entity-type topics --entity-name $A
t "Config topic delete" 'Completed updating' config --alter --entity-type topics --entity-name $A --delete-config max.message.bytes,cleanup.policy
t "Config topic deleted is gone" '!max.message.bytes=123456' config --describe --entity-type topics --entity-name $A
t "Config topic unknown key fails" 'Unknown topic config|InvalidConfig' config --alter --entity-type topics --entity-name $A --add-config no.such.config=1
t "Config topic bad value fails" 'Invalid value' config --alter --entity-type topics --entity-name $A --add-config retention.ms=abc
t "Config broker describe --all" 'log.retention.hours=|log.retention.ms=|num.partitions=' config --describe --all --entity-type brokers --entity-name "$LEADER"
t "Config broker dynamic alter" 'Completed updating config for broker' config --alter --entity-type brokers --entity-name "$LEADER" --add-config log.cleaner.backoff.ms=15001
t "Config broker dynamic shows" 'log.cleaner.backoff.ms=15001' config --describe --entity-type brokers --entity-name "$LEADER"
t "Config broker dynamic delete" 'Completed' config --alter --entity-type brokers --entity-name "$LEADER" --delete-config log.cleaner.backoff.ms
t "Config broker default alter" 'Completed updating default config' config --alter --entity-type brokers --entity-default --add-config log.cleaner.backoff.ms=15002
t "Config broker default delete" 'Completed' config --alter --entity-type brokers --entity-default --delete-config log.cleaner.backoff.ms
t "Config broker loggers describe" '=(INFO|DEBUG|ERROR|WARN|TRACE|OFF|FATAL)' config --describe --entity-type broker-loggers --entity-name "$LEADER"
t "Config client quota alter" 'Completed' config --alter --entity-type clients --entity-name cq-$R --add-config producer_byte_rate=1048576
t "Config client quota describe" 'producer_byte_rate=1048576' config --describe --entity-type clients --entity-name cq-$R
t "Config client quota delete" 'Completed' config --alter --entity-type clients --entity-name cq-$R --delete-config producer_byte_rate
t "Config SCRAM user alter" 'Completed' config --alter --entity-type users --entity-name u-$R --add-config 'SCRAM-SHA-256=[iterations=4096,password=p]'
t "Config SCRAM user describe" 'SCRAM-SHA-256=iterations=4096' config --describe --entity-type users --entity-name u-$R
t "Config group alter" 'Completed' config --alter --entity-type groups --entity-name $G-cfg --add-config share.auto.offset.reset=earliest,consumer.session.timeout.ms=46000
t "Config group describe" 'share.auto.offset.reset=earliest' config --describe --entity-type groups --entity-name $G-cfg
t "ClientMetrics alter" 'RC=0' j $T.ClientMetricsCommand $BS --alter --name cm-$R --metrics org.apache.kafka.producer. --interval 5000
t "ClientMetrics list" "^cm-$R" j $T.ClientMetricsCommand $BS --list
t "ClientMetrics describe" 'interval.ms=5000' j $T.ClientMetricsCommand $BS --describe --name cm-$R
t "ClientMetrics delete" 'RC=0' j $T.ClientMetricsCommand $BS --delete --name cm-$R

# --- console clients
printf 'k1:v1\nk2:v2\nk3:v3\n' >"$W/kv"
t "ConsoleProducer keys" 'RC=0' eval 'produce --topic $A --reader-property parse.key=true --reader-property key.separator=: <"$W/kv"'
t "ConsoleConsumer from the beginning" 'v1.*v2.*v3' eval 'consume --topic $A --from-beginning --max-messages 3 | sort | paste -sd" "'
t "ConsoleConsumer prints keys, partition, offset, timestamp" 'CreateTime:[0-9]{13}.*Partition:[0-9].*Offset:0.*k2.*v2' eval 'consume --topic $A --from-beginning --max-messages 3 --formatter-property print.key=true --formatter-property print.partition=true --formatter-property print.offset=true --formatter-property print.timestamp=true'
t "ConsoleProducer headers, sync, acks" 'RC=0' eval 'echo "h1:x,h2:y	hv" | produce --topic $A-h --sync --request-required-acks all --reader-property parse.headers=true'
t "ConsoleConsumer prints headers" 'h1:x,h2:y.*hv' eval 'consume --topic $A-h --from-beginning --max-messages 1 --formatter-property print.headers=true'
for z in gzip snappy lz4 zstd; do
  t "ConsoleProducer $z" 'RC=0' eval "seq 1 100 | produce --topic $A-$z --compression-codec $z"
  t "ConsoleConsumer reads $z" '^100 5050$' eval "consume --topic $A-$z --from-beginning --max-messages 100 | awk '{n++;s+=\$1} END{print n,s}'"
done
t "ConsoleConsumer --partition --offset" '^91$' eval 'P=$(offsets --topic $A-zstd | sort -t: -k3 -n | tail -1 | cut -d: -f2); consume --topic $A-zstd --partition $P --offset 90 --max-messages 1'
t "ConsoleConsumer --include pattern" '^4$' eval 'consume --include "$A(-h)?" --from-beginning --max-messages 4 | wc -l'
t "ConsoleConsumer group (classic)" '^100$' eval 'consume --topic $A-gzip --from-beginning --max-messages 100 --group $G | wc -l'
t "ConsoleConsumer group (consumer protocol)" '^100$' eval 'consume --topic $A-lz4 --from-beginning --max-messages 100 --group $G-new --command-property group.protocol=consumer | wc -l'

# --- offsets, records, logs
t "GetOffsetShell latest" "^$A-gzip:[0-9]+:100$" offsets --topic $A-gzip
t "GetOffsetShell earliest" "^$A-gzip:[0-9]+:0$" offsets --topic $A-gzip --time -2
t "GetOffsetShell max timestamp" "^$A-gzip:[0-9]+:[0-9]+$" offsets --topic $A-gzip --time -3
t "GetOffsetShell earliest local" "^$A-gzip:[0-9]+:0$" offsets --topic $A-gzip --time -4
t "GetOffsetShell --topic-partitions" "^$A-gzip:0:" offsets --topic-partitions "$A-gzip:0-1"
GP=$(offsets --topic $A-gzip | sort -t: -k3 -n | tail -1 | cut -d: -f2)
echo "{\"partitions\":[{\"topic\":\"$A-gzip\",\"partition\":${GP:-0},\"offset\":40}],\"version\":1}" >"$W/del"
t "DeleteRecords" 'low_watermark: 40' j $T.DeleteRecordsCommand $BS --offset-json-file "$W/del"
t "DeleteRecords moves the earliest offset" ":40$" offsets --topic $A-gzip --time -2
t "DeleteRecords beyond the end fails" 'OffsetOutOfRange' eval 'sed -i s/40/4000/ "$W/del"; j $T.DeleteRecordsCommand $BS --offset-json-file "$W/del"'
t "LogDirs describe" "\"partition\":\"$A-gzip-[0-9]+\",\"size\":[1-9][0-9]*,\"offsetLag\":0" j $T.LogDirsCommand $BS --describe --topic-list $A-gzip
t "LeaderElection preferred" 'RC=0' j $T.LeaderElectionCommand $BS --election-type preferred --all-topic-partitions
t "ReplicaVerification" 'max lag is 0 for partition|verification process is started' eval 'TO=15 j $T.ReplicaVerificationTool --broker-list $B --topics-include $A-gzip --report-interval-ms 1000'
echo "{\"topics\":[{\"topic\":\"$A\"}],\"version\":1}" >"$W/mv"
t "Reassign --generate" 'Proposed partition reassignment configuration' j $T.reassign.ReassignPartitionsCommand $BS --generate --topics-to-move-json-file "$W/mv" --broker-list "$LEADER"
echo "{\"version\":1,\"partitions\":[{\"topic\":\"$A\",\"partition\":0,\"replicas\":[$LEADER]}]}" >"$W/re"
t "Reassign --execute" 'Successfully started partition reassignment' j $T.reassign.ReassignPartitionsCommand $BS --execute --reassignment-json-file "$W/re"
t "Reassign --verify" "Reassignment of partition $A-0 is (completed|no longer active)" j $T.reassign.ReassignPartitionsCommand $BS --verify --reassignment-json-file "$W/re"
t "Reassign --list" 'No partition reassignments found' j $T.reassign.ReassignPartitionsCommand $BS --list

# --- groups
t "Groups list" "^$G +Classic +consumer" j $T.GroupsCommand $BS --list
t "Groups list --group-type consumer" "^$G-new +Consumer +consumer" j $T.GroupsCommand $BS --list --group-type consumer
t "ConsumerGroups --list" "^$G\$" groups --list
t "ConsumerGroups --list --state" "^$G +Empty" groups --list --state
t "ConsumerGroups --list --type" "^$G-new +Consumer" groups --list --type
t "ConsumerGroups --describe offsets" "$G +$A-gzip +[0-9]+ +100 +100 +0 " groups --describe --group $G
t "ConsumerGroups --describe new protocol" "$G-new +$A-lz4 +[0-9]+ +100 +100 +0 " groups --describe --group $G-new
t "ConsumerGroups --describe --state" "$G .*Empty +0" groups --describe --group $G --state
t "ConsumerGroups reset --dry-run" "$G +$A-gzip +[0-9]+ +40" groups --reset-offsets --group $G --topic $A-gzip --to-earliest --dry-run
t "ConsumerGroups reset --to-earliest" "$A-gzip +[0-9]+ +40" groups --reset-offsets --group $G --topic $A-gzip --to-earliest --execute
t "ConsumerGroups reset --shift-by" "$A-gzip +$GP +50" groups --reset-offsets --group $G --topic $A-gzip:$GP --shift-by 10 --execute
t "ConsumerGroups reset --to-offset" "$A-gzip +$GP +60" groups --reset-offsets --group $G --topic $A-gzip:$GP --to-offset 60 --execute
t "ConsumerGroups reset --to-datetime" "$A-gzip +$GP +40" groups --reset-offsets --group $G --topic $A-gzip:$GP --to-datetime 2020-01-01T00:00:00.000 --execute
t "ConsumerGroups reset --to-latest, all topics" "$A-gzip +$GP +100" groups --reset-offsets --group $G --all-topics --to-latest --execute
t "ConsumerGroups reset --export" "$A-gzip,?.*$GP,100" eval 'groups --reset-offsets --group $G --topic $A-gzip --to-current --export --dry-run'
t "ConsumerGroups --delete-offsets" 'Successful' groups --delete-offsets --group $G --topic $A-gzip
t "ConsumerGroups --delete" 'Deletion of requested consumer groups.*was successful' groups --delete --group $G
t "ConsumerGroups --delete of an unknown one fails" 'GroupIdNotFound|does not exist' groups --delete --group $G-none
members() {
  (TO=45 j $T.VerifiableConsumer $BS --topic $A-lz4 --group-id $G-live --session-timeout 10000 >"$W/live" &)
  (TO=45 j $T.VerifiableConsumer $BS --topic $A-lz4 --group-id $G-liven --group-protocol consumer >"$W/liven" &)
  for n in $(seq 1 30); do sleep 1; grep -q partitions_assigned "$W/live" && grep -q partitions_assigned "$W/liven" && break; done
}
long members
t "ConsumerGroups --describe --members" "$G-live .*-[0-9a-f]{8}-.* [1-9]" groups --describe --group $G-live --members
t "ConsumerGroups --describe --members --verbose (consumer protocol)" "$G-liven .*-?[0-9a-zA-Z_-]{22}.*$A-lz4" groups --describe --group $G-liven --members --verbose
t "ConsumerGroups --describe --state Stable" "$G-live .*Stable +1" groups --describe --group $G-live --state
t "ConsumerGroups --delete of a live one fails" 'GroupNotEmpty|not empty' groups --delete --group $G-live
t "ConsumerGroups reset of a live one fails" 'inactive|Stable' groups --reset-offsets --group $G-live --topic $A-lz4 --to-earliest --execute

# --- verifiable clients, performance tools
t "VerifiableProducer" '"name":"tool_data".*"acked":500|"acked":500' j $T.VerifiableProducer $BS --topic $A-v --max-messages 500
t "VerifiableConsumer classic" '"name":"offsets_committed".*"success":true' eval 'TO=40 j $T.VerifiableConsumer $BS --topic $A-v --group-id $G-v --max-messages 500'
t "VerifiableConsumer consumer protocol" '"name":"offsets_committed".*"success":true' eval 'TO=40 j $T.VerifiableConsumer $BS --topic $A-v --group-id $G-vn --group-protocol consumer --max-messages 500'
TO=120; t "ProducerPerformance" '^20000 records sent, .*records/sec' j $T.ProducerPerformance $BS --topic $A-perf --num-records 20000 --record-size 100 --throughput -1
t "ProducerPerformance transactional" '^5000 records sent' j $T.ProducerPerformance $BS --topic $A-perftx --num-records 5000 --record-size 100 --throughput -1 --transactional-id perf-$R --transaction-duration-ms 100
t "ConsumerPerformance" ', 2[0-9]{4}, ' j $T.ConsumerPerformance $BS --topic $A-perf --num-records 20000
t "EndToEndLatency" 'Avg latency: .* ms' j $T.EndToEndLatency "$B" $A-e2e 200 all 100
t "TransactionalMessageCopier" '"consumed":500|"remaining":0' j $T.TransactionalMessageCopier --broker-list "$B" --input-topic $A-v --input-partition 0 --output-topic $A-vc --transactional-id tmc-$R --consumer-group $G-tmc --transaction-size 50 --max-messages 500
t "ConsoleConsumer read_committed" '^5000$' eval 'consume --topic $A-perftx --from-beginning --max-messages 5000 --isolation-level read_committed | wc -l'

# --- transactions
t "Transactions list" "^perf-$R[[:space:]].*CompleteCommit" j $T.TransactionsCommand $BS list
t "Transactions list --duration-filter" 'TransactionalId' j $T.TransactionsCommand $BS list --duration-filter 100000
t "Transactions describe" "perf-$R.*CompleteCommit" j $T.TransactionsCommand $BS describe --transactional-id perf-$R
t "Transactions describe-producers" '^[0-9]+[[:space:]]+[0-9]+[[:space:]]+-?[0-9]+' eval 'for p in 0 1 2 3; do j $T.TransactionsCommand $BS describe-producers --topic $A-perftx --partition $p; done'
t "Transactions find-hanging is empty" '!^[a-z].* [0-9]+ +[0-9]+' j $T.TransactionsCommand $BS find-hanging --broker-id "$LEADER"

# --- share groups
long config --alter --entity-type groups --entity-name $G-s --add-config share.auto.offset.reset=earliest >/dev/null
long config --alter --entity-type groups --entity-name $G-vs --add-config share.auto.offset.reset=earliest >/dev/null
long config --alter --entity-type groups --entity-name $G-ps --add-config share.auto.offset.reset=earliest >/dev/null
t "ConsoleShareConsumer" '^100$' eval 'j $T.consumer.ConsoleShareConsumer $BS --topic $A-lz4 --group $G-s --max-messages 100 --timeout-ms 20000 2>/dev/null | grep -cE "^[0-9]+$"'
t "VerifiableShareConsumer" 'offsets_acknowledged' eval 'TO=40 j $T.VerifiableShareConsumer $BS --topic $A-v --group-id $G-vs --max-messages 500 --acknowledgement-mode sync'
t "ShareConsumerPerformance" ', 2[0-9]{4}, |, [0-9.]+, 2[0-9]{4},' j $T.ShareConsumerPerformance $BS --topic $A-perf --group $G-ps --num-records 20000
t "ShareGroups --list" "^$G-s" sgroups --list
t "ShareGroups --describe offsets" "$G-s +$A-lz4 +[0-9]+" sgroups --describe --group $G-s
t "ShareGroups --describe --state" "$G-s .*Empty" sgroups --describe --group $G-s --state
t "ShareGroups --reset-offsets" "$A-lz4 +[0-9]+ +0" sgroups --reset-offsets --group $G-s --topic $A-lz4 --to-earliest --execute
t "ShareGroups --delete-offsets" 'Successful' sgroups --delete-offsets --group $G-s --topic $A-lz4
t "ShareGroups --delete" 'success' sgroups --delete --group $G-s
t "StreamsGroups --list" 'RC=0' j $T.streams.StreamsGroupCommand $BS --list
t "StreamsResetter" 'RC=0' eval 'echo x | produce --topic $A-sr >/dev/null; j $T.StreamsResetter $BS --application-id $G-sr --input-topics $A-sr'

# --- ACLs, tokens (need an authorizer; a broker without one answers SECURITY_DISABLED)
t "Acl add" 'Adding ACLs for resource' j $T.AclCommand $BS --add --allow-principal User:alice-$R --operation Read --operation Write --topic $A --force
t "Acl list" "principal=User:alice-$R, host=\*, operation=(READ|WRITE), permissionType=ALLOW" j $T.AclCommand $BS --list --topic $A
t "Acl add prefixed, consumer convenience" 'patternType=PREFIXED' j $T.AclCommand $BS --add --allow-principal User:bob-$R --consumer --topic $A --group $G --resource-pattern-type prefixed --force
t "Acl remove" 'RC=0' j $T.AclCommand $BS --remove --topic $A --force
t "Acl removed is gone" "!alice-$R" j $T.AclCommand $BS --list
long j $T.AclCommand $BS --remove --topic $A --group $G --resource-pattern-type prefixed --force >/dev/null
echo >"$W/empty"
t "DelegationToken over PLAINTEXT fails" 'DelegationTokenDisabled|UnsupportedByAuthentication|not allowed on PLAINTEXT|not enabled' j $T.DelegationTokenCommand $BS --command-config "$W/empty" --describe

# --- clean up
t "Topic delete by pattern" 'RC=0' topic --delete --topic "$A.*"

