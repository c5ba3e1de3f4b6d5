#!/usr/bin/env bash
# Log compaction: Kafka's own LogCompactionTester, and scenarios of our own with the Java client.
. "$(dirname "$0")/../lib/suite.sh"
suite_args "$@"; need java; need mvn
version=3.9.1
dir=$SUITE_CACHE/compaction-$version
stamp=$(cat "$SUITE_DIR/pom.xml" $(find "$SUITE_DIR/src" -type f | sort) | cksum | cut -d' ' -f1)
if [ "$(cat "$dir/stamp" 2>/dev/null)" != "$stamp" ]; then
  mkdir -p "$dir"; rm -rf "$dir/classes"
  mvn -q -B -f "$SUITE_DIR/pom.xml" -Doutput.directory="$dir" compile \
    dependency:copy-dependencies -DoutputDirectory="$dir/libs" >"$dir/build.log" 2>&1 || { tail -30 "$dir/build.log" >&2; die "Maven could not build the scenarios"; }
  echo "$stamp" >"$dir/stamp"
fi
echo "version $version"
classes="$dir/classes:$dir/libs/*"
only=${FILTER:-.}
[ -z "$SHORT" ] || only='newest|tombstones|without a key|policy'

# tester NAME ARGS... : the tester keeps its files in the temporary folder and sorts them with sort(1)
tester() {
  local name="LogCompactionTester $1" tmp; shift
  [[ $name =~ $only ]] || [ "$only" = . ] || return 0
  tmp=$(mktemp -d)
  if java -Djava.io.tmpdir="$tmp" -XX:TieredStopAtLevel=1 -XX:+UseSerialGC -Xmx512m -cp "$classes" \
      kafka.tools.LogCompactionTester --bootstrap-server "$BROKER" "$@" >"$tmp/log" 2>&1 &&
      grep -q 'Data verification is completed' "$tmp/log"; then
    echo "pass $name"; grep -E 'rows of data|size|reduction|%' "$tmp/log" >&2 || true
  else
    echo "fail $name"; tail -20 "$tmp/log" >&2
  fi
  rm -rf "$tmp"
}

java -XX:TieredStopAtLevel=1 -XX:+UseSerialGC -Xmx512m -cp "$classes" compaction.Main "$BROKER" "$only" "${COMPAT_CONTROL:-}" || true
if [ -z "$SHORT" ]; then
  tester 'with 10 % deletes' --messages 100000 --duplicates 10 --percent-deletes 10 --topics 1 --sleep 8
  tester 'of three topics' --messages 80000 --duplicates 20 --percent-deletes 30 --topics 3 --sleep 8
fi
