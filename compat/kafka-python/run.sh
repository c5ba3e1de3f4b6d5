#!/usr/bin/env bash
# kafka-python's integration tests (from its PyPI sdist) against a running broker.
#   kafka-python.sh BROKER_HOST:PORT [filter]      filter: a pytest -k expression
# The sdist leaves out one module the fixtures import (test/service.py, which starts brokers);
# a stand-in for brokers that already run is written in its place.
# Its SASL and SSL tests start brokers of their own and are left out.
# Peer: num.partitions=4 group.min.session.timeout.ms=1000
# Environment: KAFKA_PYTHON_VERSION, BROKER_ID (a live broker's id, 1), KAFKA_VERSION (what the broker claims to be, 4.1.0), TIMEOUT.
. "$(dirname "$0")/../lib/suite.sh"
suite_args "$@"; need python3
version=${KAFKA_PYTHON_VERSION:-3.0.12}
echo "version $version"
broker_id=${BROKER_ID:-1}
src=$SUITE_CACHE/src/kafka-python-$version
py_venv kafka-python pytest pytest-mock pytest-timeout py crc32c lz4 python-snappy zstandard
py_sdist kafka-python "$version" "$src"
if [ ! -f "$src/test/service.py" ]; then
  touch "$src/test/__init__.py"
  cat >"$src/test/service.py" <<'PY'
"""Stand-in: only brokers that already run."""


class ExternalService:
    def __init__(self, host, port):
        self.host, self.port = host, port

    def open(self):
        pass

    close = dump_logs = stop = open

    def wait_for(self, pattern, timeout=30):
        return True


class SpawnedService:
    def __init__(self, *args, **kwargs):
        raise RuntimeError("this copy runs against an existing broker only")
PY
fi
# KAFKA_ROOT only has to be a directory
# one test places partitions on broker 0
sed -i "s/NewPartitions(new_total, \[\[[0-9]*\], \[[0-9]*\]\])/NewPartitions(new_total, [[$broker_id], [$broker_id]])/" \
  "$src/test/integration/test_admin_integration.py"
export KAFKA_URI=kafka://$BROKER KAFKA_VERSION=${KAFKA_VERSION:-4.1.0} KAFKA_ROOT=$src
[ -z "$SHORT" ] || FILTER="test_group or test_create_delete_topics or test_kafka_consumer or test_end_to_end or test_delete_records"
py_run "$src" --timeout=90 --timeout-method=signal ${FILTER:+-k "$FILTER"} \
  --ignore=test/integration/test_ssl_integration.py --ignore=test/integration/test_sasl_integration.py test/integration
