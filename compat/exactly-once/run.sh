#!/usr/bin/env bash
# Apache Kafka's own exactly-once tests, from Maven Central: TransactionalMessageCopier and StreamsSmokeTest, while the broker is killed.
. "$(dirname "$0")/../lib/suite.sh"
suite_args "$@"; need java; need mvn; need python3
dir=$SUITE_CACHE/exactly-once
stamp=$(cksum <"$SUITE_DIR/pom.xml")
if [ "$(cat "$dir/stamp" 2>/dev/null)" != "$stamp" ]; then
  rm -rf "$dir"; mkdir -p "$dir"
  mvn -q -B -f "$SUITE_DIR/pom.xml" dependency:copy-dependencies -DoutputDirectory="$dir/libs" >"$dir/build.log" 2>&1 ||
    { tail -30 "$dir/build.log" >&2; die "Maven could not resolve Kafka's tools"; }
  echo "$stamp" >"$dir/stamp"
fi
echo "version 4.3.0"
exec python3 "$SUITE_DIR/exactly_once.py" "$BROKER" "$dir/libs" "$dir/work" ${SHORT:+--short} ${FILTER:+--only "$FILTER"}
