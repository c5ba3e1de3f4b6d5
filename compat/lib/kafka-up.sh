#!/usr/bin/env bash
# Starts one Apache Kafka node (KRaft, broker + controller in one process) as a
# reference peer for tests. Everything comes from Maven Central.
#
#   kafka-up.sh VERSION PORT DATADIR [key=value ...]     start and wait until ready; prints the pid
#   kafka-up.sh --down DATADIR                           stop the one started on DATADIR
#   kafka-up.sh --run VERSION CLASS [args ...]           run a class of that version's class path
#                                                        (org.apache.kafka.tools.TopicCommand, ...)
#
# Listeners:  PORT    PLAINTEXT
#             PORT+1  controller (internal)
#             PORT+2  SASL_PLAINTEXT: PLAIN, SCRAM-SHA-256, SCRAM-SHA-512
#                     users admin/admin-secret and alice/alice-secret
# Each key=value goes at the end of server.properties and so wins over what is above it.
# The node is formatted on first use of DATADIR; delete DATADIR for a fresh cluster.
#
# Environment:
#   KAFKA_HOST          address to bind and to advertise         (127.0.0.1)
#   KAFKA_NODE_ID       node id                                  (1)
#   KAFKA_HEAP          heap                                     (1g)
#   KAFKA_NICE          niceness of the server                   (0)
#   KAFKA_WAIT          seconds to wait until it is ready        (90)
#   KAFKA_REQUEST_LOG   1: write one line per request handled to DATADIR/logs/requests.log:
#                       "api_key api_version API_NAME client-software client-id"
#   COMPAT_CACHE        where class paths are kept   (${XDG_CACHE_HOME:-$HOME/.cache}/odradek-compat)
set -euo pipefail

die() { echo "kafka-up: $*" >&2; exit 1; }
usage() { sed -n '2,/^set -euo/p' "$0" | sed '/^set -euo/d; s/^# \{0,1\}//' >&2; exit 2; }

cache=${COMPAT_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/odradek-compat}

# pom_for VERSION LOG4J|"" TOOLS : the few lines Maven needs to find the class path; TOOLS empty leaves the tools out
pom_for() {
  local binding="" tools=""
  [ -z "$3" ] || tools="<dependency><groupId>org.apache.kafka</groupId><artifactId>kafka-tools</artifactId><version>$1</version></dependency>"
  [ -z "$2" ] || binding="<dependency><groupId>org.apache.logging.log4j</groupId><artifactId>log4j-slf4j-impl</artifactId><version>$2</version></dependency>"
  cat <<XML
<project xmlns="http://maven.apache.org/POM/4.0.0">
  <modelVersion>4.0.0</modelVersion>
  <groupId>local</groupId><artifactId>kafka-peer</artifactId><version>1</version>
  <dependencies>
    <dependency><groupId>org.apache.kafka</groupId><artifactId>kafka_2.13</artifactId><version>$1</version></dependency>
    $tools
    $binding
  </dependencies>
</project>
XML
}

# classpath_of VERSION : prints it; asks Maven only the first time
classpath_of() {
  local v=$1 dir=$cache/kafka-$1 log4j
  if [ ! -s "$dir/classpath" ]; then
    command -v mvn >/dev/null || die "mvn is not on the PATH"
    mkdir -p "$dir"
    local tools=yes
    pom_for "$v" "" $tools >"$dir/pom.xml"
    if ! mvn -q -B -f "$dir/pom.xml" dependency:build-classpath -Dmdep.outputFile="$dir/first" >"$dir/mvn.log" 2>&1; then
      tools="" # a new release may be published without its tools for a while: the broker alone will do
      pom_for "$v" "" "$tools" >"$dir/pom.xml"
      mvn -q -B -f "$dir/pom.xml" dependency:build-classpath -Dmdep.outputFile="$dir/first" >"$dir/mvn.log" 2>&1 ||
        { tail -20 "$dir/mvn.log" >&2; die "Maven could not resolve Kafka $v"; }
    fi
    # The slf4j binding is not among the published dependencies: take the one of log4j-core's version.
    log4j=$(tr ':' '\n' <"$dir/first" | sed -n 's#.*/log4j-core-\(.*\)\.jar$#\1#p' | head -n 1)
    pom_for "$v" "${log4j:-2.24.3}" "$tools" >"$dir/pom.xml"
    mvn -q -B -f "$dir/pom.xml" dependency:build-classpath -Dmdep.outputFile="$dir/second" >>"$dir/mvn.log" 2>&1 ||
      { tail -20 "$dir/mvn.log" >&2; die "Maven could not resolve Kafka $v with log4j ${log4j:-2.24.3}"; }
    mv "$dir/second" "$dir/classpath"; rm -f "$dir/first"
  fi
  cat "$dir/classpath"
}

down() {
  local pidfile=$1/kafka.pid pid n
  [ -s "$pidfile" ] || { echo "kafka-up: nothing to stop in $1" >&2; return 0; }
  pid=$(cat "$pidfile")
  if kill "$pid" 2>/dev/null; then
    for n in $(seq 1 150); do kill -0 "$pid" 2>/dev/null || break; sleep 0.2; done
    kill -0 "$pid" 2>/dev/null && kill -9 "$pid" || true
  fi
  rm -f "$pidfile"
}

case ${1:-} in
  --down) [ $# -eq 2 ] || usage; down "$2"; exit 0 ;;
  --run)  [ $# -ge 3 ] || usage
          v=$2; shift 2; cp=$(classpath_of "$v")
          exec java -Xmx256m -Dlog4j2.level=WARN -cp "$cp" "$@" ;;
  -*|"")  usage ;;
esac
[ $# -ge 3 ] || usage

version=$1 port=$2 dir=$3; shift 3
mkdir -p "$dir"; data=$(cd "$dir" && pwd)
host=${KAFKA_HOST:-127.0.0.1} node=${KAFKA_NODE_ID:-1}
controller=$((port + 1)) sasl=$((port + 2))
if [ -s "$data/kafka.pid" ] && kill -0 "$(cat "$data/kafka.pid")" 2>/dev/null; then
  die "already running on $data, pid $(cat "$data/kafka.pid")"
fi
cp=$(classpath_of "$version")
mkdir -p "$data/logs"

cat >"$data/server.properties" <<PROPS
process.roles=broker,controller
node.id=$node
controller.quorum.voters=$node@$host:$controller
listeners=PLAINTEXT://$host:$port,SASL_PLAINTEXT://$host:$sasl,CONTROLLER://$host:$controller
advertised.listeners=PLAINTEXT://$host:$port,SASL_PLAINTEXT://$host:$sasl
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,SASL_PLAINTEXT:SASL_PLAINTEXT,CONTROLLER:PLAINTEXT
inter.broker.listener.name=PLAINTEXT
controller.listener.names=CONTROLLER
sasl.enabled.mechanisms=PLAIN,SCRAM-SHA-256,SCRAM-SHA-512
listener.name.sasl_plaintext.plain.sasl.jaas.config=org.apache.kafka.common.security.plain.PlainLoginModule required user_admin="admin-secret" user_alice="alice-secret";
listener.name.sasl_plaintext.scram-sha-256.sasl.jaas.config=org.apache.kafka.common.security.scram.ScramLoginModule required;
listener.name.sasl_plaintext.scram-sha-512.sasl.jaas.config=org.apache.kafka.common.security.scram.ScramLoginModule required;
authorizer.class.name=org.apache.kafka.metadata.authorizer.StandardAuthorizer
super.users=User:ANONYMOUS;User:admin
allow.everyone.if.no.acl.found=true
delegation.token.secret.key=peer-token-key

log.dirs=$data/data
num.partitions=1
default.replication.factor=1
min.insync.replicas=1
auto.create.topics.enable=true
delete.topic.enable=true

offsets.topic.replication.factor=1
offsets.topic.num.partitions=10
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
transaction.state.log.num.partitions=10
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1
share.coordinator.state.topic.num.partitions=10

group.coordinator.rebalance.protocols=classic,consumer,share,streams
group.initial.rebalance.delay.ms=0
PROPS
for extra in "$@"; do printf '%s\n' "$extra" >>"$data/server.properties"; done

request_level=OFF; [ "${KAFKA_REQUEST_LOG:-0}" != 1 ] || request_level=DEBUG
cat >"$data/log4j2.xml" <<XML
<Configuration status="error">
  <Appenders>
    <File name="server" fileName="$data/logs/server.log"><PatternLayout pattern="%d %p %c{1} %m%n"/></File>
    <File name="requests" fileName="$data/logs/requests.log">
      <PatternLayout pattern="%replace{%m}{(?s)^.*?&quot;requestApiKey&quot;:(\d+),&quot;requestApiVersion&quot;:(\d+),.*?&quot;clientId&quot;:&quot;?([^,&quot;]*)&quot;?,.*?&quot;requestApiKeyName&quot;:&quot;([A-Z_0-9]+)&quot;.*&quot;softwareName&quot;:&quot;([^&quot;]*)&quot;.*\$}{\$1 \$2 \$4 \$5 \$3}%n"/>
    </File>
  </Appenders>
  <Loggers>
    <Logger name="kafka.request.logger" level="$request_level" additivity="false"><AppenderRef ref="requests"/></Logger>
    <Root level="INFO"><AppenderRef ref="server"/></Root>
  </Loggers>
</Configuration>
XML

if [ ! -f "$data/data/meta.properties" ]; then
  id=$(java -cp "$cp" -Dlog4j2.level=OFF kafka.tools.StorageTool random-uuid 2>/dev/null | tail -n 1)
  scram=()
  for user in admin alice; do for kind in 256 512; do
    scram+=(--add-scram "SCRAM-SHA-$kind=[name=$user,password=$user-secret]")
  done; done
  # share.version 1 turns share groups (KIP-932) on, streams.version 1 streams groups (KIP-1071)
  # where the version knows them; a version that knows neither is formatted without.
  formatted=0
  for features in "share.version=1 streams.version=1" "share.version=1" ""; do
    flags=(); for f in $features; do flags+=(--feature "$f"); done
    rm -rf "$data/data"
    if java -cp "$cp" -Dlog4j2.level=WARN kafka.tools.StorageTool format -t "$id" -c "$data/server.properties" \
        "${flags[@]}" "${scram[@]}" >"$data/logs/format.log" 2>&1; then formatted=1; break; fi
  done
  [ $formatted = 1 ] || { tail -20 "$data/logs/format.log" >&2; die "format failed"; }
fi

: >"$data/logs/stdout.log"
rm -f "$data/logs/server.log"
nice -n "${KAFKA_NICE:-0}" setsid nohup java "-Xmx${KAFKA_HEAP:-1g}" "-Xms${KAFKA_HEAP:-1g}" -XX:+UseG1GC -XX:MaxGCPauseMillis=20 \
  -Djava.awt.headless=true -Dlog4j2.configurationFile="$data/log4j2.xml" -cp "$cp" \
  kafka.Kafka "$data/server.properties" >>"$data/logs/stdout.log" 2>&1 </dev/null &
pid=$!
echo "$pid" >"$data/kafka.pid"

until_=$((SECONDS + ${KAFKA_WAIT:-90}))
until grep -q 'Kafka Server started' "$data/logs/server.log" 2>/dev/null &&
      (exec 3<>"/dev/tcp/$host/$port") 2>/dev/null; do
  kill -0 "$pid" 2>/dev/null ||
    { tail -20 "$data/logs/server.log" "$data/logs/stdout.log" >&2; rm -f "$data/kafka.pid"; die "the server ended"; }
  [ "$SECONDS" -lt "$until_" ] || { down "$data"; die "not ready in time; see $data/logs/server.log"; }
  sleep 0.2
done
echo "kafka-up: Kafka $version ready on $host:$port (SASL on $host:$sasl), pid $pid" >&2
echo "$pid"
