#!/usr/bin/env bash
# kafkajs, driven as its documentation shows, with snappy, lz4 and zstd codecs registered.
. "$(dirname "$0")/../lib/suite.sh"
suite_args "$@"; need node; need npm
version=${KAFKAJS_VERSION:-2.2.4}
dir=$SUITE_CACHE/npm-kafkajs-$version
if [ ! -f "$dir/.ready" ]; then
  mkdir -p "$dir"
  (cd "$dir" && echo '{"private":true,"type":"module"}' >package.json &&
    npm install --no-audit --no-fund "kafkajs@$version" snappy@7.4.3 lz4-napi@2.10.0 @toondepauw/node-zstd@2.0.0) >&2
  touch "$dir/.ready"
fi
echo "version $version"
cp "$SUITE_DIR/scenarios.mjs" "$dir/scenarios.mjs"; mkdir -p "$dir/lib"; cp "$SUITE_DIR/../lib/scenarios.mjs" "$dir/lib/scenarios.mjs"
cd "$dir" && exec node scenarios.mjs "$BROKER"
