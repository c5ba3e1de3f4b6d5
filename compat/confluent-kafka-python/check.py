import threading
import time

from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaException, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, ConfigResource, NewPartitions, NewTopic, OffsetSpec, ResourceType
from scenarios import ADDRESS, SHORT, restart_broker, scenario, unique, until

admin = AdminClient({"bootstrap.servers": ADDRESS})


def create(partitions=1, **config):
    topic = unique("ckp")
    admin.create_topics([NewTopic(topic, partitions, 1, config={k.replace("_", "."): v for k, v in config.items()})])[topic].result(20)
    return topic


def produce(topic, messages, **config):
    """Sends (key, value, headers, partition) tuples; returns the delivered messages."""
    delivered, errors = [], []

    def report(error, message):
        (errors if error else delivered).append(error or message)

    producer = Producer({"bootstrap.servers": ADDRESS, **{k.replace("_", "."): v for k, v in config.items()}})
    for key, value, headers, partition in messages:
        while True:
            try:
                producer.produce(topic, value, key, partition=partition, headers=headers, on_delivery=report)
                break
            except BufferError:
                producer.poll(0.1)
        producer.poll(0)
    assert producer.flush(30) == 0, "not everything was delivered"
    if errors:
        raise KafkaException(errors[0])
    return delivered


def consumer(group=None, **config):
    # In the consumer protocol (KIP-848) these are settings of the broker.
    timing = {} if config.get("group_protocol") == "consumer" else {"session.timeout.ms": 10000, "heartbeat.interval.ms": 500}
    return Consumer({
        "bootstrap.servers": ADDRESS, "group.id": group or unique("g"), "auto.offset.reset": "earliest",
        "fetch.wait.max.ms": 100, **timing, **{k.replace("_", "."): v for k, v in config.items()}})


def read(topic, count, seconds=30, partitions=(0,)):
    c = consumer()
    c.assign([TopicPartition(topic, p, OFFSET_BEGINNING) for p in partitions])
    seen = []
    deadline = time.monotonic() + seconds
    while len(seen) < count and time.monotonic() < deadline:
        for message in c.consume(500, 0.2):
            assert message.error() is None, message.error()
            seen.append(message)
    c.close()
    assert len(seen) == count, f"wanted {count} records, got {len(seen)}"
    return seen


def auto_create():
    topic = unique("auto")
    produce(topic, [(None, b"first", None, -1)])
    assert admin.list_topics(topic, 10).topics[topic].error is None


def content():
    topic = create()
    produce(topic, [(b"k", b"v", [("a", b"1"), ("a", b"2"), ("n", None)], 0), (None, None, None, 0), (b"", b"\x00\xff", None, 0)])
    first, second, third = read(topic, 3)
    assert (first.key(), first.value(), first.headers()) == (b"k", b"v", [("a", b"1"), ("a", b"2"), ("n", None)])
    assert (second.key(), second.value()) == (None, None)
    assert (third.key(), third.value()) == (b"", b"\x00\xff")


def codec(name):
    def body():
        topic = create()
        values = [f"{i} {'a' * 50}".encode() for i in range(1000)]
        produce(topic, [(None, v, None, 0) for v in values], compression_type=name, linger_ms=100)
        assert [m.value() for m in read(topic, 1000)] == values
    return body


def acks(level):
    def body():
        topic = create()
        produce(topic, [(None, b"x", None, 0)], acks=level)
        assert len(read(topic, 1)) == 1
    return body


def idempotent():
    topic = create()
    total = 5000 if SHORT else 50000
    produce(topic, [(None, b"%d" % i, None, 0) for i in range(total)], enable_idempotence=True, batch_num_messages=100)
    assert [int(m.value()) for m in read(topic, total, 60)] == list(range(total))


def group_shares(**how):
    def body():
        topic, group = create(6), unique("g")
        total = 3000 if SHORT else 30000
        stop, seen, members = threading.Event(), [], []

        class Member(threading.Thread):
            def __init__(self):
                super().__init__(daemon=True)
                self.consumer = consumer(group, **how)
                self.leave, self.owned = threading.Event(), 0
                self.consumer.subscribe([topic])
                self.start()

            def run(self):
                while not (stop.is_set() or self.leave.is_set()):
                    for message in self.consumer.consume(500, 0.1):
                        if message.error() is None:
                            seen.append((message.key(), int(message.value())))
                    self.owned = len(self.consumer.assignment())
                self.consumer.close()
                self.owned = 0

        try:
            members.extend([Member(), Member()])
            until(40, "three partitions each", lambda: [m.owned for m in members] == [3, 3])
            produce(topic, [(b"k%d" % (i % 61), b"%d" % i, None, -1) for i in range(total)], enable_idempotence=True)
            until(60, "all read", lambda: len(seen) >= total)
            assert len(seen) == total and len(set(seen)) == total
            last = {}
            for key, value in seen:
                assert last.get(key, -1) < value, "order within a key"
                last[key] = value
            members[1].leave.set()
            until(40, "the first has all six", lambda: members[0].owned == 6)
        finally:
            stop.set()
            for m in members:
                m.join(20)
    return body


def static_member(**how):
    topic, group = create(2), unique("g")
    def session():
        c = consumer(group, group_instance_id="one", **how)
        c.subscribe([topic])
        until(30, "an assignment", lambda: (c.poll(0.1), len(c.assignment()) == 2)[1])
        member = c.memberid()
        c.close()
        return member
    session()
    session()
    if how:
        return  # A static member that is away makes the group `Reconciling`, a state that this client does not know.
    described = admin.describe_consumer_groups([group])[group].result(20)
    assert described.state.name in ("STABLE", "EMPTY", "PREPARING_REBALANCING"), described.state


def group_survives():
    """Members, their epochs and their offsets are there again after the broker was killed."""
    topic, group = create(4), unique("g")
    c = consumer(group, group_protocol="consumer", enable_auto_commit=False)
    c.subscribe([topic])
    until(40, "an assignment", lambda: (c.poll(0.1), len(c.assignment()) == 4)[1])
    produce(topic, [(None, b"%d" % i, None, i % 4) for i in range(40)])
    seen = []
    read_on = lambda: seen.extend(m.value() for m in c.consume(100, 0.2) if m.error() is None)
    until(30, "forty read", lambda: (read_on(), len(seen) >= 40)[1])
    c.commit(asynchronous=False)
    restart_broker()
    produce(topic, [(None, b"%d" % i, None, i % 4) for i in range(40, 80)])
    until(60, "eighty read", lambda: (read_on(), len(seen) >= 80)[1])
    c.commit(asynchronous=False)
    c.close()
    assert sorted(int(v) for v in seen) == list(range(80)), seen
    described = admin.describe_consumer_groups([group])[group].result(20)
    assert described.state.name == "EMPTY", described.state


def topics_by_pattern():
    prefix = unique("pattern")
    first = f"{prefix}-a"
    admin.create_topics([NewTopic(first, 1, 1)])[first].result(20)
    c = consumer(group_protocol="consumer")
    c.subscribe([f"^{prefix}-[ab]$"])
    until(40, "the first topic", lambda: (c.poll(0.1), len(c.assignment()) == 1)[1])
    second = f"{prefix}-b"
    admin.create_topics([NewTopic(second, 1, 1), ])[second].result(20)
    until(60, "the second topic", lambda: (c.poll(0.1), len(c.assignment()) == 2)[1])
    c.close()


def commits_survive():
    topic, group = create(), unique("g")
    produce(topic, [(None, b"%d" % i, None, 0) for i in range(10)])
    c = consumer(group, enable_auto_commit=False)
    c.commit(offsets=[TopicPartition(topic, 0, 7, "note")], asynchronous=False)
    c.close()
    restart_broker()
    c = consumer(group)
    committed, = c.committed([TopicPartition(topic, 0)], timeout=30)
    assert (committed.offset, committed.metadata) == (7, "note"), committed
    c.subscribe([topic])
    seen = []
    until(30, "three read", lambda: (seen.extend(m.value() for m in c.consume(10, 0.2) if m.error() is None), len(seen) >= 3)[1])
    c.close()
    assert seen == [b"7", b"8", b"9"], seen


def offsets_for_times():
    topic = create()
    c = consumer()
    producer = Producer({"bootstrap.servers": ADDRESS})
    for i in range(3):
        producer.produce(topic, b"%d" % i, partition=0, timestamp=1700000000000 + i * 1000)
        producer.flush(10)
    found, = c.offsets_for_times([TopicPartition(topic, 0, 1700000001000)], timeout=20)
    assert found.offset == 1, found
    assert c.get_watermark_offsets(TopicPartition(topic, 0), timeout=20) == (0, 3)
    c.close()


def too_large():
    topic = create(max_message_bytes="1000")
    try:
        produce(topic, [(None, bytes(5000), None, 0)])
    except KafkaException as error:
        assert error.args[0].name() == "MSG_SIZE_TOO_LARGE", error
    else:
        raise AssertionError("a batch over max.message.bytes was taken")


def admin_surface():
    topic = create(2, retention_ms="100000")
    admin.create_partitions([NewPartitions(topic, 4)])[topic].result(20)
    assert len(admin.list_topics(topic, 20).topics[topic].partitions) == 4
    resource = ConfigResource(ResourceType.TOPIC, topic)
    described = admin.describe_configs([resource])[resource].result(20)
    assert described["retention.ms"].value == "100000"
    assert described["max.message.bytes"].value == "1048588"
    produce(topic, [(None, b"%d" % i, None, 0) for i in range(3)])
    tp = TopicPartition(topic, 0)
    assert admin.list_offsets({tp: OffsetSpec.latest()})[tp].result(20).offset == 3
    tp.offset = 1
    assert admin.delete_records([tp])[tp].result(20).low_watermark == 1
    assert admin.list_offsets({tp: OffsetSpec.earliest()})[tp].result(20).offset == 1
    cluster = admin.describe_cluster().result(20)
    assert len(cluster.nodes) == 1 and cluster.controller.id == cluster.nodes[0].id
    admin.delete_topics([topic])[topic].result(20)
    assert topic not in admin.list_topics(timeout=20).topics


def transactions():
    source, target = create(), create(2)
    produce(source, [(None, b"%d" % i, None, 0) for i in range(3)])
    group = consumer()
    group.subscribe([source])
    until(30, "an assignment", lambda: group.poll(0.2) is not None or group.assignment())
    producer = Producer({"bootstrap.servers": ADDRESS, "transactional.id": unique("txn"), "transaction.timeout.ms": 20000})
    producer.init_transactions(20)
    producer.begin_transaction()
    producer.produce(target, b"never", partition=0)
    producer.send_offsets_to_transaction([TopicPartition(source, 0, 1)], group.consumer_group_metadata(), 20)
    producer.abort_transaction(20)
    producer.begin_transaction()
    producer.produce(target, b"a", partition=0)
    producer.produce(target, b"b", partition=1)
    producer.send_offsets_to_transaction([TopicPartition(source, 0, 2)], group.consumer_group_metadata(), 20)
    producer.commit_transaction(20)
    assert sorted(m.value() for m in read(target, 2, partitions=(0, 1))) == [b"a", b"b"]
    committed, = group.committed([TopicPartition(source, 0)], timeout=20)
    assert committed.offset == 2, committed
    group.close()


def fenced():
    topic = create()
    name = unique("txn")
    first, second = (Producer({"bootstrap.servers": ADDRESS, "transactional.id": name}) for _ in range(2))
    first.init_transactions(20)
    first.begin_transaction()
    first.produce(topic, b"never", partition=0)
    first.flush(20)
    second.init_transactions(20)
    second.begin_transaction()
    second.produce(topic, b"once", partition=0)
    second.commit_transaction(20)
    try:
        first.commit_transaction(20)
    except KafkaException as error:
        assert error.args[0].name() in ("_FENCED", "PRODUCER_FENCED", "INVALID_PRODUCER_EPOCH"), error
    else:
        raise AssertionError("a fenced producer committed")
    assert [m.value() for m in read(topic, 1)] == [b"once"]


scenario("auto-creates a topic on first produce", auto_create)
scenario("keys, nulls and headers come back as sent", content)
for name in ("gzip", "snappy", "lz4", "zstd"):
    scenario(f"codec {name}", codec(name))
for level in ("0", "1", "all"):
    scenario(f"acks {level}", acks(level))
scenario("idempotent producer keeps order over many batches", idempotent)
for strategy in ("range", "roundrobin", "cooperative-sticky"):
    scenario(f"two members share six partitions, one takes over ({strategy})", group_shares(partition_assignment_strategy=strategy))
for assignor in ("uniform",) if SHORT else ("uniform", "range"):
    how = {"group_protocol": "consumer", "group_remote_assignor": assignor}
    scenario(f"consumer protocol: two members share six partitions, one takes over ({assignor})", group_shares(**how))
scenario("consumer protocol: a group survives a killed broker", group_survives)
if not SHORT:
    scenario("consumer protocol: static member comes back", lambda: static_member(group_protocol="consumer"))
    scenario("consumer protocol: topics by pattern", topics_by_pattern)
scenario("static member comes back", static_member)
scenario("commits survive a killed broker, metadata too", commits_survive)
scenario("offsets by time and watermarks", offsets_for_times)
scenario("a batch larger than max.message.bytes is refused by name", too_large)
scenario("admin: topics, partitions, configs, offsets, records, cluster", admin_surface)
scenario("transactions: commit, abort, offsets with records", transactions)
scenario("transactions: the second of one id fences the first", fenced)
