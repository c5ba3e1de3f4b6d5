"""Retries and dead letters from confluent-kafka-python (librdkafka), in plain client code."""
import time

from confluent_kafka import Consumer, Producer, TopicPartition
from scenarios import ADDRESS, scenario, unique, until

BASE = {"bootstrap.servers": ADDRESS}


def send(topic, value, key=None, headers=None):
    errors = []
    producer = Producer({**BASE, "allow.auto.create.topics": True})
    producer.produce(topic, value, key, headers=headers, on_delivery=lambda error, _: errors.append(error))
    assert producer.flush(20) == 0
    assert errors == [None], errors


# ---- the recipe: what an application writes

def retry_later(producer, group, message, error, **more):
    """The message comes again to the group later: its place, and nothing of it, goes to the group's retry topic."""
    place = f"{message.topic()}/{message.partition()}/{message.offset()}"
    producer.produce(f"retry.{group}", None, message.key(), headers={"rmq-origin": place, "rmq-error": str(error), **more})


def consume_with_retries(group, topics, process, until_done, seconds=30):
    consumer = Consumer({**BASE, "group.id": group, "auto.offset.reset": "earliest", "enable.auto.commit": False,
                         "allow.auto.create.topics": True, "topic.metadata.refresh.interval.ms": 500})
    producer = Producer({**BASE, "acks": "all", "enable.idempotence": True, "linger.ms": 0})
    consumer.subscribe([*topics, f"retry.{group}"])
    deadline = time.monotonic() + seconds
    while not until_done():
        assert time.monotonic() < deadline, f"not within {seconds} s"
        message = consumer.poll(0.2)
        if message is None or message.error():
            continue
        try:
            process(message)
        except ValueError as error:
            retry_later(producer, group, message, error)
            assert producer.flush(20) == 0
        consumer.commit(message, asynchronous=False)
    consumer.close()

# ---- until here


def headers_of(message):
    return {name: value.decode() for name, value in message.headers() or []}


def failing(times):
    seen = []

    def process(message):
        seen.append((time.time(), message.value(), headers_of(message)))
        if len(seen) <= times:
            raise ValueError(f"failure {len(seen)}")
    return seen, process


def succeeds():
    group, topic = unique("g"), unique("orders")
    send(topic, "v", "k", {"own": "x"})
    seen, process = failing(2)
    consume_with_retries(group, [topic], process, lambda: len(seen) == 3)
    assert [value for _, value, _ in seen] == [b"v"] * 3
    assert [headers.get("rmq-reconsume-times") for _, _, headers in seen] == [None, "1", "2"]
    assert seen[2][2]["rmq-retry-topic"] == topic and seen[2][2]["rmq-error"] == "failure 2" and seen[2][2]["own"] == "x"
    assert seen[1][0] - seen[0][0] >= 0.2 and seen[2][0] - seen[1][0] >= 0.4, "a retry came early"


def read_one(topic, seconds=20):
    consumer = Consumer({**BASE, "group.id": unique("reader"), "auto.offset.reset": "earliest", "topic.metadata.refresh.interval.ms": 500})
    consumer.subscribe([topic])
    got = []

    def came():
        message = consumer.poll(0.2)
        if message and not message.error():
            got.append(message)
        return got

    until(seconds, f"a message in {topic}", came)
    consumer.close()
    return got[0]


def exhausted():
    group, topic = unique("g"), unique("orders")
    send(topic, "v", "k")
    seen, process = failing(100)
    consume_with_retries(group, [topic], process, lambda: len(seen) == 4)
    letter = read_one(f"dlq.{group}")
    said = headers_of(letter)
    assert letter.value() == b"v" and letter.key() == b"k"
    assert said["rmq-dlq-reason"] == "exhausted" and said["__dlq.errors.delivery.count"] == "4", said
    assert said["__dlq.errors.topic"] == topic and said["rmq-error"] == "failure 4", said


def transaction():
    group, topic = unique("g"), unique("orders")
    send(topic, "v")
    consumer = Consumer({**BASE, "group.id": group, "auto.offset.reset": "earliest", "enable.auto.commit": False})
    consumer.subscribe([topic])
    got = []

    def came():
        message = consumer.poll(0.2)
        if message and not message.error():
            got.append(message)
        return got

    until(20, "the message", came)
    producer = Producer({**BASE, "transactional.id": unique("tx")})
    producer.init_transactions(20)
    place = [TopicPartition(topic, 0)]
    for commit in [False, True]:
        producer.begin_transaction()
        retry_later(producer, group, got[0], "later")
        producer.send_offsets_to_transaction([TopicPartition(topic, 0, 1)], consumer.consumer_group_metadata(), 20)
        producer.commit_transaction(20) if commit else producer.abort_transaction(20)
        offset = consumer.committed(place, 20)[0].offset
        assert offset == (1 if commit else -1001), offset
        if not commit:
            time.sleep(0.5)
    assert headers_of(read_one(f"retry.{group}"))["rmq-reconsume-times"] == "1"
    consumer.close()


scenario("python: fails twice, then succeeds", succeeds)
scenario("python: fails always, ends in the dead letters", exhausted)
scenario("python: failure and offset are handed over in one transaction", transaction)
