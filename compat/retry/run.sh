#!/usr/bin/env bash
# Retries and dead letters from unchanged clients, in plain client code: kafkajs, confluent-kafka-python, the official Java client, franz-go.
. "$(dirname "$0")/../lib/suite.sh"
suite_args "$@"; need node; need npm; need python3
echo "version kafkajs ${KAFKAJS_VERSION:=2.2.4}, confluent-kafka-python ${CONFLUENT_KAFKA_PYTHON_VERSION:=2.16.1}, kafka-clients ${KAFKA_CLIENTS_VERSION:=4.4.0}, franz-go ${FRANZ_GO_VERSION:=v1.22.2}"

[ -z "$SHORT" ] || FILTER='kafkajs|python'
wanted() { [ -z "$FILTER" ] || [[ $1 =~ $FILTER ]]; }

if wanted kafkajs; then
  dir=$SUITE_CACHE/npm-retry-kafkajs-$KAFKAJS_VERSION
  if [ ! -f "$dir/.ready" ]; then
    mkdir -p "$dir"
    (cd "$dir" && echo '{"private":true,"type":"module"}' >package.json && npm install --no-audit --no-fund "kafkajs@$KAFKAJS_VERSION") >&2
    touch "$dir/.ready"
  fi
  mkdir -p "$dir/lib"; cp "$SUITE_DIR/retry.mjs" "$dir/retry.mjs"; cp "$SUITE_DIR/../lib/scenarios.mjs" "$dir/lib/scenarios.mjs"
  (cd "$dir" && KAFKAJS_NO_PARTITIONER_WARNING=1 node retry.mjs "$BROKER") || true
fi

if wanted python; then
  py_venv confluent-kafka "confluent-kafka==$CONFLUENT_KAFKA_PYTHON_VERSION"
  PYTHONPATH=$SUITE_DIR/../lib "$PY" "$SUITE_DIR/retry.py" "$BROKER" || true
fi

if wanted java; then
  need java; need mvn
  libs=$SUITE_CACHE/retry-java-$KAFKA_CLIENTS_VERSION
  if [ ! -f "$libs/.ready" ]; then
    mkdir -p "$libs"
    mvn -q -B -f "$SUITE_DIR/pom.xml" -Dkafka.version="$KAFKA_CLIENTS_VERSION" dependency:copy-dependencies \
      -DoutputDirectory="$libs" >"$libs/build.log" 2>&1 || { tail -30 "$libs/build.log" >&2; die "Maven could not resolve the client"; }
    touch "$libs/.ready"
  fi
  java -XX:TieredStopAtLevel=1 -XX:+UseSerialGC -Xmx256m -cp "$libs/*" "$SUITE_DIR/Retry.java" "$BROKER" || true
fi

if wanted franz-go; then
  need go
  src=$SUITE_CACHE/retry-franz-go-$FRANZ_GO_VERSION
  mkdir -p "$src"; cp "$SUITE_DIR/franz/main.go" "$src/main.go"
  [ -f "$src/go.mod" ] || printf 'module retry\n\ngo 1.23\n\nrequire github.com/twmb/franz-go %s\n' "$FRANZ_GO_VERSION" >"$src/go.mod"
  (cd "$src" && GOFLAGS=-mod=mod go build -o retry . >build.log 2>&1) || { tail -20 "$src/build.log" >&2; die "Go could not build the scenarios"; }
  "$src/retry" "$BROKER" || true
fi
