"""An idempotent producer on librdkafka for the crash test: numbers its records, goes on through every restart of the broker, and
tells on its output what it sent and what was acknowledged. Stops when its input ends; exits when all is acknowledged.

    librdkafka-producer.py BROKER TOPIC PARTITION NAME RECORDS_PER_SECOND
"""
import os
import sys
import threading
import time

from confluent_kafka import Producer

broker, topic, partition, name, rate = sys.argv[1:]
stopping = threading.Event()


def wait_for_end():
    while os.read(0, 100):
        pass
    stopping.set()


def value(number):
    size = 20000 if number % 97 == 0 else 64 + (number * 7919) % 300
    text = f"{topic}-{partition}|{name}|{number};".encode()
    return (text * (size // len(text) + 1))[:size]


def delivered(number):
    def tell(error, message):
        if error is None:
            print(f"acked {number} {message.offset()}", flush=True)
        else:
            print(f"failed {number} {error}", flush=True)

    return tell


producer = Producer(
    {
        "bootstrap.servers": broker,
        "enable.idempotence": True,
        "linger.ms": 2,
        "reconnect.backoff.ms": 20,
        "reconnect.backoff.max.ms": 100,
        "retry.backoff.ms": 20,
        "message.timeout.ms": 0,
        "socket.timeout.ms": 10000,
        "topic.metadata.refresh.interval.ms": 10000,
        "log_level": 0,
    }
)
threading.Thread(target=wait_for_end, daemon=True).start()
number = 0
while not stopping.is_set():
    if len(producer) < 200:
        print(f"sent {number}", flush=True)
        producer.produce(topic, value(number), name.encode(), int(partition), on_delivery=delivered(number))
        number += 1
    producer.poll(1 / float(rate))
producer.flush(30)
print("done", flush=True)
