#!/usr/bin/env bash
# Apache Kafka's own @ClusterTest classes (test jars on Maven Central), each test on a fresh broker of its own: the class that starts Kafka
# inside the JVM is replaced by one that starts BROKER_CMD (src/). A test that needs several brokers, objects of the JVM, SSL or a
# controller listener is aborted, which counts as skipped.
#   run.sh HOST:PORT [CLASS]      the address is not used
# Environment: BROKER_CMD, a command that starts one broker as $PROPS says.
. "$(dirname "$0")/../lib/suite.sh"
suite_args "$@"; need java; need mvn
version=4.3.0
dir=$SUITE_CACHE/clustertests-$version
stamp=$(cat "$SUITE_DIR/pom.xml" $(find "$SUITE_DIR/src" -type f | sort) | cksum | cut -d' ' -f1)
if [ "$(cat "$dir/stamp" 2>/dev/null)" != "$stamp" ]; then
  mkdir -p "$dir"; rm -rf "$dir/classes"
  mvn -q -B -f "$SUITE_DIR/pom.xml" -Doutput.directory="$dir" compile dependency:copy-dependencies -DoutputDirectory="$dir/libs" \
    >"$dir/build.log" 2>&1 || { tail -30 "$dir/build.log" >&2; die "Maven could not build the tests' runner"; }
  echo "$stamp" >"$dir/stamp"
fi
echo "version $version"
export ODRADEK_MAIN=${ODRADEK_MAIN:-$SUITE_DIR/../../dist/main.js}
export BROKER_CMD=${BROKER_CMD:-"exec '$SUITE_DIR/broker.sh'"}
classes=${FILTER:-$(grep -v '^#' "$SUITE_DIR/classes${SHORT:+-short}.txt")}
tmp=$(mktemp -d); trap 'rm -rf "$tmp"' EXIT
nice -n "$SUITE_NICE" java -XX:TieredStopAtLevel=1 -XX:+UseSerialGC -Xmx700m -Djava.io.tmpdir="$tmp" \
  -Dlog4j2.configurationFile="$SUITE_DIR/log4j2.xml" -cp "$dir/classes:$dir/libs/*" \
  org.junit.platform.console.ConsoleLauncher execute --config junit.jupiter.extensions.autodetection.enabled=true \
  $(printf -- ' -c %s' $classes) --details=testfeed --disable-ansi-colors --disable-banner 2>&1 | tee "$RESULT.log" |
  # A test runs once for each form of cluster it asks for; a name that is seen twice has passed if all did.
  sed -nE -u 's/^JUnit Jupiter > ([A-Za-z0-9]+) > ([A-Za-z0-9]+)\(.*\) > .* :: (SUCCESSFUL|FAILED|ABORTED)$/\3 \1.\2/p' |
  sed -u 's/^SUCCESSFUL/pass/; s/^FAILED/fail/; s/^ABORTED/skip/' || true
