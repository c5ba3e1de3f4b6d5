#!/usr/bin/env bash
# Starts Odradek in the foreground as a test asks for it: the properties file $PROPS of ClusterConfig, on its port, with its data folder.
set -euo pipefail
get() { sed -n "s/^$1=//p" "$PROPS" | tail -1 | sed 's/\\\(.\)/\1/g'; }
port=$(get port) data=$(get log.dirs)
# Nothing that belongs to several brokers, to a controller or to Java classes.
grep -vE '^(#|port=|controller\.port=|log\.dirs=|metadata\.version=|feature\.|controller\.|.*\.class(es)?=|.*listener.*=|group\.coordinator\.rebalance\.protocols=)' "$PROPS" |
  sed 's/\\:/:/g;s/\\=/=/g;s/\\ / /g' >"$PROPS.odradek"
default() { grep -q "^$1=" "$PROPS.odradek" || echo "$1=$2" >>"$PROPS.odradek"; }
default group.initial.rebalance.delay.ms 0
default offsets.topic.num.partitions 5
default transaction.state.log.num.partitions 5
exec node "$ODRADEK_MAIN" --listen "localhost:$port" --advertise "localhost:$port" --data "$data" --config "$PROPS.odradek"
