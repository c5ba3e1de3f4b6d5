#!/usr/bin/env bash
# Old and new releases of clients, from their registries, against one broker; no-kafka, Sarama and kafka-python with a given version
# never ask which versions are served.
#   run.sh HOST:PORT [PATTERN]     PATTERN: which clients, of "java 0.10.2.2", "kafka-python 1.4.7", "kafkajs 1.16.0" ...
. "$(dirname "$0")/../lib/suite.sh"
suite_args "$@"
only=${FILTER:-.}
[ -z "$SHORT" ] || only='^(java (0.10.2.2|2.8.2)|kafka-python 1.4.7|kafkajs 1.16.0|no-kafka 3.4.3)$'
dir=$SUITE_CACHE/old-clients
mkdir -p "$dir"
wanted() { [[ $1 =~ $only ]]; }
run() { nice -n "$SUITE_NICE" timeout 180 "$@" || true; }
echo "version releases of 2017 to 2026"

# java VERSION : jars into the cache, once
java_jars() {
  [ -f "$dir/java-$1/.ready" ] && return 0
  mvn -q -B -f "$SUITE_DIR/java/pom.xml" -Dkafka.version="$1" dependency:copy-dependencies -DoutputDirectory="$dir/java-$1" >"$dir/mvn.log" 2>&1 ||
    { tail -5 "$dir/mvn.log" >&2; return 1; }
  touch "$dir/java-$1/.ready"
}
for v in 0.10.2.2 1.1.1 2.8.2 3.9.1 4.3.0 4.4.0; do
  wanted "java $v" || continue
  need java; need mvn
  java_jars "$v" && java_jars 0.10.2.2 && java_jars 1.1.1 || continue
  if [ ! -f "$dir/classes/Newer.class" ] || [ "$SUITE_DIR/java/basic/Basic.java" -nt "$dir/classes/Newer.class" ] || [ "$SUITE_DIR/java/newer/Newer.java" -nt "$dir/classes/Newer.class" ]; then
    mkdir -p "$dir/classes"
    javac -nowarn -d "$dir/classes" -cp "$dir/java-0.10.2.2/*" "$SUITE_DIR/java/basic/Basic.java" 2>&1 >&2
    javac -nowarn -d "$dir/classes" -cp "$dir/classes:$dir/java-1.1.1/*" "$SUITE_DIR/java/newer/Newer.java" 2>&1 >&2
  fi
  jvm="java -XX:TieredStopAtLevel=1 -XX:+UseSerialGC -Xmx256m -Dorg.slf4j.simpleLogger.defaultLogLevel=error -cp $dir/classes:$dir/java-$v/*"
  run $jvm Basic "$BROKER" "$v"
  [ "$v" = 0.10.2.2 ] || run $jvm Newer "$BROKER" "$v"
done

for v in 1.4.7 2.0.2; do
  wanted "kafka-python $v" || continue
  need python3
  py_venv "old-kafka-python-$v" "kafka-python==$v" six
  run "$PY" "$SUITE_DIR/python/kafka_python.py" "$BROKER" "$v"
  # As for Kafka 0.9 and 0.10: what to speak is said, not asked.
  run "$PY" "$SUITE_DIR/python/kafka_python.py" "$BROKER" "$v as 0.9" 0.9
  run "$PY" "$SUITE_DIR/python/kafka_python.py" "$BROKER" "$v as 0.10" 0.10
done

# npm_client NAME VERSION : a folder with that package installed
npm_client() {
  local at=$dir/npm-$1-$2
  [ -d "$at/node_modules/$1" ] || { mkdir -p "$at"; (cd "$at" && echo '{"private":true}' >package.json && npm install --no-audit --no-fund --ignore-scripts "$1@$2") >&2 || return 1; }
  echo "$at"
}
for v in 1.7.0 1.16.0; do
  wanted "kafkajs $v" || continue
  need npm
  at=$(npm_client kafkajs "$v") && (cd "$at" && run node "$SUITE_DIR/node/kafkajs.mjs" "$BROKER" "$v")
done
if wanted "no-kafka 3.4.3"; then
  need npm
  at=$(npm_client no-kafka 3.4.3) && (cd "$at" && run node "$SUITE_DIR/node/no-kafka.mjs" "$BROKER" 3.4.3)
fi

if wanted "sarama 1.24.1"; then
  need go
  at=$dir/sarama-1.24.1
  if [ ! -x "$at/main" ] || [ "$SUITE_DIR/sarama/main.go" -nt "$at/main" ]; then
    mkdir -p "$at"; cp "$SUITE_DIR/sarama/main.go" "$at/"
    (cd "$at" && printf 'module oldsarama\n\ngo 1.18\n\nrequire github.com/Shopify/sarama v1.24.1\n' >go.mod && GOFLAGS=-mod=mod go build -o main .) >&2 || true
  fi
  for v in 0.9.0.1 0.10.2.0 2.3.0; do [ ! -x "$at/main" ] || run "$at/main" "$BROKER" "1.24.1 as $v" "$v"; done
fi
