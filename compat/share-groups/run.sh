#!/usr/bin/env bash
# Share groups (KIP-932) through the official Java client: KafkaShareConsumer and Admin, driven by scenarios of our own.
. "$(dirname "$0")/../lib/suite.sh"
suite_args "$@"; need java; need mvn
version=${KAFKA_CLIENTS_VERSION:-4.4.0}
dir=$SUITE_CACHE/share-groups-$version
stamp=$(cat "$SUITE_DIR/pom.xml" $(find "$SUITE_DIR/src" -type f | sort) | cksum | cut -d' ' -f1)
if [ "$(cat "$dir/stamp" 2>/dev/null)" != "$stamp" ]; then
  mkdir -p "$dir"; rm -rf "$dir/classes"
  mvn -q -B -f "$SUITE_DIR/pom.xml" -Dkafka.version="$version" -Doutput.directory="$dir" compile \
    dependency:copy-dependencies -DoutputDirectory="$dir/libs" >"$dir/build.log" 2>&1 || { tail -30 "$dir/build.log" >&2; die "Maven could not build the scenarios"; }
  echo "$stamp" >"$dir/stamp"
fi
echo "version $version"
only=${FILTER:-.}
[ -z "$SHORT" ] || only='accept|release|reject|session|offsets'
exec java -XX:TieredStopAtLevel=1 -XX:+UseSerialGC -Xmx512m -cp "$dir/classes:$dir/libs/*" share.Main "$BROKER" "$only"
