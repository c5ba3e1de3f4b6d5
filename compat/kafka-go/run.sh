#!/usr/bin/env bash
# segmentio/kafka-go's own tests (packages kafka, sasl, topics) against a running broker, each in a process of its own.
#   run.sh BROKER_HOST:PORT [filter]      filter: a go test -run pattern
# The tests have their broker written into them (localhost:9092); the copy that is run here has the given one instead, and for SASL
# the listener SASL_PORT (PORT+2).
# Environment: KAFKA_GO_VERSION, SASL_PORT, TIMEOUT (seconds a test, 240), KAFKA_VERSION (what the broker claims to be, 4.1.0).
. "$(dirname "$0")/../lib/suite.sh"
suite_args "$@"; need go
version=${KAFKA_GO_VERSION:-v0.4.51}
echo "version $version"
# tests of the main package that pass without any broker: left out unless OFFLINE= (empty) or a filter is given
offline_names="
  TestACLOperationTypeMarshal TestACLPermissionTypeMarshal TestApiVersionsFormat TestBatchQueue
  TestCRC32Balancer TestCommitLoopImmediateFlushOnGenerationEnd TestCommitOffsetsWithRetry
  TestConsumerGroupErrors TestCreateTopicsResponse TestDeleteTopicsResponseV1
  TestDescribeGroupsErrorHandling TestDescribeGroupsInvalidAssignments
  TestDescribeGroupsPartialMembersCleared TestDialerConnectTLSHonorsContext TestDiscardN
  TestEmptyToNullableLeavesStringsIntact TestEmptyToNullableReturnsNil TestError TestErrorCannotConnect
  TestErrorCannotConnectGroupSubscription TestExtractTopics TestFindCoordinatorResponseV0
  TestFindMembersByTopic TestFindMembersByTopicSortsByMemberID TestGenerationExitsOnPartitionChange
  TestGenerationStartsFunctionAfterClosed TestGroupAssignment TestGroupAssignmentReadsFromZeroSize
  TestHashBalancer TestHeartbeatRequestV0 TestIssue477 TestIssue672 TestIssue806 TestJoinGroupResponse
  TestLeastBytes TestLeaveGroupResponseV0 TestListGroupsResponseV1 TestMakeBrokersAllPresent
  TestMakeBrokersOneMissing TestMakeCommit TestMarshalUnmarshal TestMemberMetadata TestMessageCRC32
  TestMessageFixtures TestMessageSetReader TestMessageSetReaderEmpty TestMessageSize TestMurmur2
  TestMurmur2Balancer TestNetworkAddress TestOffsetCommitResponseV2 TestOffsetFetchResponseV1
  TestOffsetStash TestPatternTypeMarshal TestProtocol TestRackAffinityGroupBalancer TestRangeAssignGroups
  TestRangeAssignGroupsUnbalanced TestReadMapStringInt32 TestReadNewBytes TestReadStringArray TestReadVarInt
  TestReadVarIntFailing TestReaderAssignTopicPartitions TestReaderLagWhenConsumerGroupsEnabled
  TestReaderOffsetWhenConsumerGroupsEnabled TestReaderPartitionWhenConsumerGroupsEnabled
  TestReaderReadLagReturnsZeroLagWhenConsumerGroupsEnabled TestReaderSetOffsetWhenConsumerGroupsEnabled
  TestReferenceHashBalancer TestRequiredAcks TestResourceTypeBroker TestResourceTypeMarshal TestRoundRobin
  TestRoundRobinAssignGroups TestSASLAuthenticateRequestV0 TestSASLAuthenticateResponseV0
  TestSASLHandshakeRequestV0 TestSASLHandshakeResponseV0 TestSaramaCompatibility TestSyncGroupResponseV0
  TestV1BatchOffsets TestValidateConsumerGroupConfig TestValidateReader TestValidateWriter
  TestVersionMarshalUnmarshal TestWriteOptimizations TestWriteVarInt
"
OFFLINE=${OFFLINE-$(echo $offline_names | tr ' ' '|')}
[ -z "$FILTER" ] || OFFLINE=
sasl=${SASL_PORT:-$((PORT + 2))}
src=$SUITE_CACHE/src/kafka-go-$version-run
# The copy is pointed at this broker; the one of the run before at another.
rm -rf "$src"
go_module github.com/segmentio/kafka-go "$version" "$src"
(cd "$src" && for f in ./*_test.go topics/*_test.go; do
    case $f in ./address_test.go|./example_*) continue ;; esac
    sed -i -e "s/\(localhost\|127\.0\.0\.1\):9092/$HOST:$PORT/g" \
           -e "s/TCP(\"localhost\")/TCP(\"$HOST:$PORT\")/" \
           -e "s/Host: \"localhost\", Port: 9092/Host: \"$HOST\", Port: $PORT/g" \
           -e "s/Host != \"localhost\"/Host != \"$HOST\"/" \
           -e "s/Port != 9092/Port != $PORT/; s/expected 9092/expected $PORT/" "$f"
  done
  sed -i "s/\(localhost\|127\.0\.0\.1\):9093/$HOST:$sasl/" conn_test.go writer_test.go sasl/sasl_test.go
  sed -i 's/"adminplain"/"admin"/; s/"adminscram[0-9]*"/"admin"/g; s/"admin-secret-[0-9]*"/"admin-secret"/' \
    writer_test.go sasl/sasl_test.go)
# TestDialerResolver counts on the default port
[ "$PORT" = 9092 ] || OFFLINE="TestDialerResolver${OFFLINE:+|$OFFLINE}"
# unset, KAFKA_VERSION makes half of the tests return at once, as passed
export KAFKA_SKIP_NETTEST=1 KAFKA_VERSION=${KAFKA_VERSION:-4.1.0}
: >"$RESULT.all.json"
packages=". ./sasl ./topics"
[ -z "$SHORT" ] || { packages=.; FILTER='^(TestClientCreateTopics|TestClientListOffsets|TestClientOffsetCommit|TestClientAlterClientQuotas|TestClientDescribeConfigs|TestClientProduceAndConsume|TestConsumerGroup|TestConn)$'; }
for package in $packages; do
  go_run_each all "$src" $package "${TIMEOUT:-240}" "${FILTER:-.}" "$OFFLINE"
done
go_summary "$RESULT.all.json"
