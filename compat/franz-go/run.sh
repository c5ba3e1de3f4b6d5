#!/usr/bin/env bash
# franz-go's own client tests (package kgo of github.com/twmb/franz-go) against a running broker.
#   franz-go.sh BROKER_HOST:PORT [filter]      filter: a go test -run pattern
# The default pattern takes the tests that talk to a broker and leaves the unit tests out.
# Environment: FRANZ_GO_VERSION, RECORDS (records of the ETL chains), PARTS (most partitions a
# topic gets), TIMEOUT, and franz-go's own KGO_TEST_TLS, KGO_TEST_SCRAM, KGO_TEST_SCRAM_SEEDS, KGO_LOG_LEVEL.
# Its share group tests skip themselves below ShareFetch v2 / ShareAcknowledge v2 (Kafka 4.2).
. "$(dirname "$0")/../lib/suite.sh"
suite_args "$@"; need go
version=${FRANZ_GO_VERSION:-v1.22.2}
echo "version $version"
src=$SUITE_CACHE/src/franz-go-$version
go_module github.com/twmb/franz-go "$version" "$src"

if [ -z "$FILTER" ]; then
  # every test whose body, or a helper in its file, opens a client on the seed brokers
  names=$(cd "$src/pkg/kgo" && awk '
    /^func Test/ { match($0, /^func [A-Za-z0-9_]+/); fn = substr($0, 6, RLENGTH - 5) }
    /^func / && !/^func Test/ { fn = "" }
    /newTestClient\(|testClientOpts\(|getSeedBrokers\(|tmpTopic|tmpGroup|tmpShareGroup|testChainETL\(|adm\(\)/ { if (fn != "") print fn }
  ' ./*_test.go | sort -u | paste -sd'|')
  FILTER="^($names)\$"
fi

[ -z "$SHORT" ] || FILTER='^(TestPing|TestClient_Produce|TestConsumeRegex|TestGroupSimple|TestIssue325|TestIssue337|TestPauseIssue489|TestIssueProduceSyncManualPartitionNegativeDoesNotPanic)$' RECORDS=${RECORDS:-1000}

export KGO_SEEDS=$BROKER KGO_TEST_RF=${KGO_TEST_RF:-1} KGO_TEST_RECORDS=${RECORDS:-10000} \
  KGO_TEST_MAX_TOPIC_PARTS=${PARTS:-7} KGO_TEST_UNSAFE=1 KGO_LOG_LEVEL=${KGO_LOG_LEVEL:-none}
go_run kgo "$src" "$FILTER" -count=1 -timeout "${TIMEOUT:-9m}" ./pkg/kgo
go_summary "$RESULT.kgo.json"
