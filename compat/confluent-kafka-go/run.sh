#!/usr/bin/env bash
# confluent-kafka-go's integration and transaction tests (librdkafka, which the module ships as a
# static library; needs a C compiler) against a running broker.
#   confluent-kafka-go.sh BROKER_HOST:PORT [filter]    filter: the name of a test of its suite, as a
#                                                      pattern (TestAdminClient_.*, TestConsumer.*)
# The copy that is run has a go.mod of its own and a stand-in for the docker-compose library, which
# the tests need only to start brokers themselves.
# Environment: CONFLUENT_KAFKA_GO_VERSION, SASL_PORT (PORT+2; user alice as kafka-up.sh makes it, who is no super user),
# GROUP_PROTOCOL=consumer (KIP-848 groups in place of classic ones), TIMEOUT (all tests, 9m).
. "$(dirname "$0")/../lib/suite.sh"
suite_args "$@"; need go; need cc
version=${CONFLUENT_KAFKA_GO_VERSION:-v2.11.1}
echo "version $version"
src=$SUITE_CACHE/src/confluent-kafka-go-$version
go_module github.com/confluentinc/confluent-kafka-go/v2 "$version" "$src"
if [ ! -f "$src/.pointed" ]; then
  rm -rf "$src/schemaregistry" "$src/go.sum"
  mkdir -p "$src/.compose"
  printf 'module github.com/testcontainers/testcontainers-go/modules/compose\n\ngo 1.21\n' >"$src/.compose/go.mod"
  cat >"$src/.compose/compose.go" <<'GO'
// Package compose is a stand-in: nothing is started, the broker runs already.
package compose

type Result struct{ Error error }
type Command struct{}
type LocalDockerCompose struct{}

func NewLocalDockerCompose([]string, string) *LocalDockerCompose     { return &LocalDockerCompose{} }
func (*LocalDockerCompose) Down() Result                             { return Result{} }
func (*LocalDockerCompose) WithCommand([]string) Command             { return Command{} }
func (Command) Invoke() Result                                       { return Result{} }
GO
  cat >"$src/go.mod" <<'MOD'
module github.com/confluentinc/confluent-kafka-go/v2

go 1.21

require (
	github.com/stretchr/testify v1.9.0
	github.com/testcontainers/testcontainers-go/modules/compose v0.0.0
)

replace github.com/testcontainers/testcontainers-go/modules/compose => ./.compose
MOD
  touch "$src/.pointed"
fi
cat >"$src/kafka/testconf.json" <<JSON
{"Brokers": "$BROKER", "BrokersSasl": "$HOST:${SASL_PORT:-$((PORT + 2))}", "SaslUsername": "alice",
 "SaslPassword": "alice-secret", "SaslMechanism": "PLAIN", "TopicName": "confluent-kafka-go-test",
 "GroupID": "confluent-kafka-go-group", "PerfMsgCount": 1000, "PerfMsgSize": 100,
 "Config": ["api.version.request=true"]}
JSON
[ -z "${GROUP_PROTOCOL:-}" ] || export TEST_CONSUMER_GROUP_PROTOCOL=$GROUP_PROTOCOL
[ -z "$SHORT" ] || FILTER='Test(AdminTopics|AdminConfig|ConsumerPollRebalance|ProducerFuncDR|ProducerConsumerHeaders|ConsumerCommitted|ConsumerSeekPartitions)'
tests='^(TestIntegration|TestTransactional.*)$'; [ -z "$FILTER" ] || tests='^TestIntegration$'
go_run integration "$src" "$tests" -count=1 -timeout "${TIMEOUT:-9m}" ./kafka ${FILTER:+-args "-testify.m=$FILTER"}
go_summary "$RESULT.integration.json"
