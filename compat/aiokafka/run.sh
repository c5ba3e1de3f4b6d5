#!/usr/bin/env bash
# aiokafka, driven by scenarios of our own.
. "$(dirname "$0")/../lib/suite.sh"
suite_args "$@"; need python3
version=${AIOKAFKA_VERSION:-0.14.0}
py_venv aiokafka "aiokafka==$version" cramjam
echo "version $version"
PYTHONPATH=$SUITE_DIR/../lib exec "$PY" "$SUITE_DIR/check.py" "$BROKER"
