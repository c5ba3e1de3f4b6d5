"""Delayed records from confluent-kafka-python (librdkafka)."""
import time

from confluent_kafka import Consumer, KafkaError, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic
from scenarios import ADDRESS, restart_broker, scenario, unique, until

admin = AdminClient({"bootstrap.servers": ADDRESS})


def create(message_type="DELAY", **config):
    topic = unique("delay-py")
    settings = {"rmq.message.type": message_type, **{k.replace("_", "."): v for k, v in config.items()}}
    admin.create_topics([NewTopic(topic, 1, 1, config=settings)])[topic].result(20)
    return topic


def send(topic, messages, **config):
    """Sends (key, value, headers) tuples; returns (errors, offsets)."""
    errors, offsets = [], []

    def report(error, message):
        if error:
            errors.append(error)
        else:
            offsets.append(message.offset())

    producer = Producer({"bootstrap.servers": ADDRESS, "linger.ms": 50, **{k.replace("_", "."): v for k, v in config.items()}})
    for key, value, headers in messages:
        producer.produce(topic, value, key, headers=headers, on_delivery=report)
    assert producer.flush(30) == 0
    return errors, offsets


def receive(topic, count, seconds=20):
    """The first `count` messages with the time at which each came."""
    consumer = Consumer({"bootstrap.servers": ADDRESS, "group.id": unique("g"), "auto.offset.reset": "earliest"})
    consumer.assign([TopicPartition(topic, 0, 0)])
    got = []

    def all_there():
        message = consumer.poll(0.2)
        if message and not message.error():
            got.append((message, time.time() * 1000))
        return len(got) >= count

    until(seconds, f"{count} messages, of which {len(got)} came", all_there)
    consumer.close()
    return got


def in_time():
    topic = create()
    for codec in ["none", "gzip", "snappy", "lz4", "zstd"]:
        now = time.time() * 1000
        errors, _ = send(topic, [
            ("k", f"{codec} level", {"rmq-delay-level": "1"}),
            ("k", f"{codec} delay", {"rmq-delay-ms": "600", "own": "x"}),
            ("k", f"{codec} time", {"rmq-deliver-at-ms": str(int(now) + 3000)}),
            ("k", f"{codec} now", None),
        ], compression_type=codec, enable_idempotence=True)
        assert not errors, errors
    got = receive(topic, 20)
    assert sorted(m.value().decode().split()[1] for m, _ in got) == sorted(["level", "delay", "time", "now"] * 5)
    for message, at in got:
        headers = dict(message.headers() or [])
        if message.value().endswith(b"now"):
            assert headers == {}, headers
            continue
        assert at >= int(headers["rmq-due-ms"]), f"{message.value()} came {int(headers['rmq-due-ms']) - at} ms early"
        assert not any(name in headers for name in ["rmq-delay-level", "rmq-delay-ms", "rmq-deliver-at-ms"])
    offsets = [m.offset() for m, _ in got]
    assert offsets == list(range(20)), offsets


def refused():
    for message_type, headers in [("NORMAL", {"rmq-delay-ms": "5"}), ("DELAY", {"rmq-delay-ms": "-1"}), ("DELAY", {"rmq-delay-ms": "999999999999"})]:
        errors, offsets = send(create(message_type), [("k", "v", headers)])
        assert [error.code() for error in errors] == [KafkaError.INVALID_RECORD], (errors, offsets)


def operations():
    topic = create()
    errors, _ = send(topic, [("k", i, {"rmq-delay-ms": "60000", "rmq-message-id": i}) for i in ["a", "b", "c"]])
    assert not errors, errors
    act = lambda i, action, **more: send(f"delay.op.{topic}", [(i, "", {"rmq-delay-action": action, **more})])[0]
    assert act("a", "cancel") == []
    assert act("b", "deliver") == []
    assert act("c", "reschedule", **{"rmq-delay-ms": "400"}) == []
    assert [m.value() for m, _ in receive(topic, 2)] == [b"b", b"c"]
    for i, action in [("a", "deliver"), ("b", "cancel"), ("none", "cancel")]:
        assert [error.code() for error in act(i, action)] == [KafkaError.INVALID_RECORD], (i, action)


LEVELS = [1, 5, 10, 30, 60, 120, 180, 240, 300, 360, 420, 480, 540, 600, 1200, 1800, 3600, 7200]


def levels():
    topic = create()
    cases = [(f"level {at + 1}", s * 1000, {"rmq-delay-level": str(at + 1)}) for at, s in enumerate(LEVELS)]
    cases.append(("level 19", 7200000, {"rmq-delay-level": "19"}))
    cases.append(("level first", 3600000, {"rmq-deliver-at-ms": "1", "rmq-delay-ms": "5", "rmq-delay-level": "17"}))
    cases.append(("delay before time", 3000000, {"rmq-deliver-at-ms": "1", "rmq-delay-ms": "3000000"}))
    errors, _ = send(topic, [("k", i, {**headers, "rmq-message-id": i}) for i, _, headers in cases]
                     + [("k", "past", {"rmq-deliver-at-ms": "1"}), ("k", "no delay", {"rmq-delay-ms": "0"})])
    assert not errors, errors
    assert sorted(m.value() for m, _ in receive(topic, 2)) == [b"no delay", b"past"]
    errors, _ = send(f"delay.op.{topic}", [(i, "", {"rmq-delay-action": "deliver"}) for i, _, _ in cases[1:]])
    assert not errors, errors
    got = {m.value().decode(): dict(m.headers() or []) for m, _ in receive(topic, len(cases) + 2)}
    for i, delay, _ in cases:
        assert int(got[i]["rmq-due-ms"]) - int(got[i]["rmq-stored-ms"]) == delay, (i, got[i])


def survives():
    topic = create()
    due = int(time.time() * 1000) + 4000
    body = lambda i: f"{i} " + "x" * (3000 if i % 7 == 0 else 20)
    errors, _ = send(topic, [("k", body(i), {"rmq-deliver-at-ms": str(due + i * 37 % 500)}) for i in range(500)])
    assert not errors, errors
    restart_broker()
    got = receive(topic, 500, 40)
    assert sorted(int(m.value().split()[0]) for m, _ in got) == list(range(500))
    dues = [int(dict(m.headers())["rmq-due-ms"]) for m, _ in got]
    assert dues == sorted(dues)


def whole_topic():
    topic = create(rmq_delay_default_ms="500")
    now = time.time() * 1000
    assert not send(topic, [("k", "v", None)])[0]
    assert receive(topic, 1)[0][1] - now >= 500


scenario("python: delays, levels and times, every codec, idempotent, never early", in_time)
scenario("python: what a topic does not take is refused", refused)
scenario("python: cancel, deliver now and reschedule through the operation topic", operations)
scenario("python: the topic's default delays what has no headers", whole_topic)
scenario("python: the eighteen levels, what is above them, what counts first, what is past", levels)
scenario("python: five hundred delays in one batch, small records and large ones, survive kill -9", survives)
