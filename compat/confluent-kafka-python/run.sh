#!/usr/bin/env bash
# confluent-kafka-python (librdkafka from its wheel), driven by scenarios of our own.
. "$(dirname "$0")/../lib/suite.sh"
suite_args "$@"; need python3
version=${CONFLUENT_KAFKA_PYTHON_VERSION:-2.16.1}
py_venv confluent-kafka "confluent-kafka==$version"
echo "version $version"
PYTHONPATH=$SUITE_DIR/../lib exec "$PY" "$SUITE_DIR/check.py" "$BROKER"
