"""What old kafka-python can do: kafka_python.py HOST:PORT LABEL [API-VERSION]. With an API version no ApiVersions is sent."""
import sys
import traceback
import uuid

try:
    import kafka.vendor.six  # noqa: F401
except Exception:
    pass
try:
    import kafka.vendor.six.moves  # noqa: F401
except Exception:
    # What old releases carry of six does not load on Python 3.12; the package of that name does the same.
    import six

    for name in [name for name in sys.modules if name == "kafka" or name.startswith("kafka.")]:
        del sys.modules[name]
    sys.modules["kafka.vendor.six"] = six
    sys.modules["kafka.vendor.six.moves"] = six.moves

from kafka import KafkaConsumer, KafkaProducer, TopicPartition  # noqa: E402

broker, label = sys.argv[1], sys.argv[2]
common = {"bootstrap_servers": broker}
if len(sys.argv) > 3:
    common["api_version"] = tuple(int(part) for part in sys.argv[3].split("."))
topic = "old-python-" + str(uuid.uuid4())


def check(name, run):
    try:
        run()
        print(f"pass kafka-python {label}: {name}", flush=True)
    except Exception:
        print(f"fail kafka-python {label}: {name}", flush=True)
        traceback.print_exc()


def produce(name, count, **settings):
    producer = KafkaProducer(**common, **settings)
    sent = [producer.send(name, key=b"k", value=b"v%d" % n, partition=0) for n in range(count)]
    producer.flush(30)
    assert [future.get(30).offset for future in sent] == list(range(count))
    producer.close()


def read(consumer, count):
    values = []
    for _ in range(60):
        for records in consumer.poll(timeout_ms=500).values():
            values += [record.value for record in records]
        if len(values) >= count:
            break
    return values


def round_trip(name, **settings):
    produce(name, 20, **settings)
    consumer = KafkaConsumer(**common, group_id=None, auto_offset_reset="earliest")
    consumer.assign([TopicPartition(name, 0)])
    consumer.seek_to_beginning()
    assert read(consumer, 20) == [b"v%d" % n for n in range(20)]
    consumer.close()


def group():
    settings = {"group_id": "g-" + topic, "enable_auto_commit": False, "auto_offset_reset": "earliest", "max_poll_records": 5}
    first = KafkaConsumer(topic, **common, **settings)
    assert read(first, 5)[:5] == [b"v%d" % n for n in range(5)]
    first.commit()
    first.close()
    second = KafkaConsumer(topic, **common, **settings)
    assert read(second, 5)[0] == b"v5"
    second.close()


def offsets():
    consumer = KafkaConsumer(**common)
    partition = TopicPartition(topic, 0)
    assert consumer.beginning_offsets([partition])[partition] == 0
    assert consumer.end_offsets([partition])[partition] == 20
    if common.get("api_version", (9,)) >= (0, 10, 1):
        assert consumer.offsets_for_times({partition: 1})[partition].offset == 0
    consumer.close()


check("writes and reads", lambda: round_trip(topic, acks="all"))
check("writes and reads gzip", lambda: round_trip(topic + "-gzip", acks=1, compression_type="gzip", linger_ms=20))
check("joins a group, commits, and goes on where it was", group)
check("finds offsets", offsets)
