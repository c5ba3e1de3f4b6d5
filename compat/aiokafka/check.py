import asyncio

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.errors import MessageSizeTooLargeError
from scenarios import ADDRESS, SHORT, report, restart_broker, unique


async def create(partitions=1, **config):
    topic = unique("aiok")
    client = AIOKafkaAdminClient(bootstrap_servers=ADDRESS)
    await client.start()
    try:
        await client.create_topics([NewTopic(topic, partitions, 1, topic_configs={k.replace("_", "."): v for k, v in config.items()})])
    finally:
        await client.close()
    return topic


async def produce(topic, messages, **options):
    producer = AIOKafkaProducer(bootstrap_servers=ADDRESS, **options)
    await producer.start()
    try:
        for waiting in [await producer.send(topic, **message) for message in messages]:
            await waiting
    finally:
        await producer.stop()


async def read(topic, count, **options):
    consumer = AIOKafkaConsumer(topic, bootstrap_servers=ADDRESS, auto_offset_reset="earliest", group_id=None, **options)
    await consumer.start()
    try:
        return [await asyncio.wait_for(consumer.getone(), 20) for _ in range(count)]
    finally:
        await consumer.stop()


async def until(seconds, what, condition):
    async def poll():
        while not condition():
            await asyncio.sleep(0.02)
    try:
        await asyncio.wait_for(poll(), seconds)
    except asyncio.TimeoutError:
        raise AssertionError(f"not within {seconds} s: {what}") from None


async def auto_create():
    topic = unique("auto")
    await produce(topic, [{"value": b"first"}])
    assert [m.value for m in await read(topic, 1)] == [b"first"]


async def content():
    topic = await create()
    await produce(topic, [{"key": b"k", "value": b"v", "headers": [("a", b"1"), ("a", b"2")]}, {"key": b"n", "value": None}, {"value": b""}])
    first, second, third = await read(topic, 3)
    assert (first.key, first.value, first.headers) == (b"k", b"v", (("a", b"1"), ("a", b"2")))
    assert (second.key, second.value) == (b"n", None)
    assert (third.key, third.value) == (None, b"")


def codec(name):
    async def body():
        topic = await create()
        values = [f"{i} {'a' * 50}".encode() for i in range(500)]
        await produce(topic, [{"value": v} for v in values], compression_type=name, linger_ms=50)
        assert [m.value for m in await read(topic, 500)] == values
    return body


def acks(level):
    async def body():
        topic = await create()
        await produce(topic, [{"value": b"x"}], acks=level)
        assert len(await read(topic, 1)) == 1
    return body


async def idempotent():
    topic = await create()
    total = 1000 if SHORT else 10000
    await produce(topic, [{"value": b"%d" % i} for i in range(total)], enable_idempotence=True, max_batch_size=2000)
    assert [int(m.value) for m in await read(topic, total)] == list(range(total))


async def group_shares():
    topic, group = await create(6), unique("g")
    total = 1000 if SHORT else 10000
    seen = []

    async def member():
        consumer = AIOKafkaConsumer(topic, bootstrap_servers=ADDRESS, group_id=group, auto_offset_reset="earliest", session_timeout_ms=10000, heartbeat_interval_ms=300, metadata_max_age_ms=5000)
        await consumer.start()

        async def run():
            async for message in consumer:
                seen.append(int(message.value))
        return consumer, asyncio.create_task(run())

    one, one_task = await member()
    two, two_task = await member()
    try:
        await until(40, "three partitions each", lambda: len(one.assignment()) == 3 and len(two.assignment()) == 3)
        await produce(topic, [{"key": b"k%d" % (i % 61), "value": b"%d" % i} for i in range(total)])
        await until(60, "all read", lambda: len(seen) >= total)
        assert sorted(seen) == list(range(total))
        two_task.cancel()
        await two.stop()
        await until(40, "the first has all six", lambda: len(one.assignment()) == 6)
    finally:
        one_task.cancel()
        await one.stop()


async def commits_survive():
    topic, group = await create(), unique("g")
    await produce(topic, [{"value": b"%d" % i} for i in range(10)])
    consumer = AIOKafkaConsumer(topic, bootstrap_servers=ADDRESS, group_id=group, auto_offset_reset="earliest", enable_auto_commit=False)
    await consumer.start()
    await asyncio.wait_for(consumer.getone(), 20)
    await consumer.commit({TopicPartition(topic, 0): (7, "note")})
    await consumer.stop()
    await asyncio.to_thread(restart_broker)
    consumer = AIOKafkaConsumer(topic, bootstrap_servers=ADDRESS, group_id=group, auto_offset_reset="earliest")
    await consumer.start()
    try:
        assert [(await asyncio.wait_for(consumer.getone(), 20)).value for _ in range(3)] == [b"7", b"8", b"9"]
    finally:
        await consumer.stop()


async def offsets():
    topic = await create()
    await produce(topic, [{"value": b"%d" % i, "timestamp_ms": 1700000000000 + i * 1000} for i in range(3)])
    consumer = AIOKafkaConsumer(topic, bootstrap_servers=ADDRESS, group_id=None)
    await consumer.start()
    try:
        tp = TopicPartition(topic, 0)
        assert (await consumer.offsets_for_times({tp: 1700000001000}))[tp].offset == 1
        assert (await consumer.beginning_offsets([tp]))[tp] == 0
        assert (await consumer.end_offsets([tp]))[tp] == 3
    finally:
        await consumer.stop()


async def too_large():
    topic = await create(max_message_bytes="1000")
    try:
        await produce(topic, [{"value": bytes(5000)}])
    except MessageSizeTooLargeError:
        return
    raise AssertionError("a batch over max.message.bytes was taken")


async def main():
    checks = [("auto-creates a topic on first produce", auto_create), ("keys, nulls and headers come back as sent", content)]
    checks += [(f"codec {name}", codec(name)) for name in ("gzip", "snappy", "lz4", "zstd")]
    checks += [(f"acks {level}", acks(level)) for level in (0, 1, "all")]
    checks += [
        ("idempotent producer keeps order over many batches", idempotent),
        ("two members share six partitions, one takes over", group_shares),
        ("commits survive a killed broker", commits_survive),
        ("offsets by time, first and last", offsets),
        ("a batch larger than max.message.bytes is refused by name", too_large),
    ]
    for name, body in checks:
        try:
            await asyncio.wait_for(body(), 120)
        except BaseException as error:  # a client may raise anything
            report(name, error)
        else:
            report(name)


asyncio.run(main())
