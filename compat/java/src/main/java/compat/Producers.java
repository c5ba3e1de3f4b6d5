package compat;

import static compat.Harness.*;

import org.apache.kafka.clients.admin.*;
import org.apache.kafka.clients.consumer.*;
import org.apache.kafka.clients.producer.*;
import org.apache.kafka.common.*;
import org.apache.kafka.common.config.ConfigResource;
import org.apache.kafka.common.errors.*;
import org.apache.kafka.common.header.Header;

import java.time.Duration;
import java.util.*;
import java.util.concurrent.*;

/** Producer scenarios: acks, idempotence, codecs, limits, timestamps. */
final class Producers {
  static void producers() {
    scenario("producer: acks=all gives consecutive offsets", 30, () -> {
      String t = topic(1);
      try (var p = producer("acks", "all")) { for (int i = 0; i < 10; i++) eq((long) i, p.send(new ProducerRecord<>(t, 0, "k", "v" + i)).get().offset()); }
    });
    scenario("producer: acks=0 gives offset -1, acks=1 an offset", 30, () -> {
      String t = topic(1);
      try (var p = producer("acks", "0", "enable.idempotence", false)) { eq(-1L, p.send(new ProducerRecord<>(t, "v")).get().offset()); }
      try (var p = producer("acks", "1", "enable.idempotence", false)) { check(p.send(new ProducerRecord<>(t, "v")).get().offset() >= 0, "offset"); }
      eq(2, readAll(t, 0, "read_uncommitted", 2).size());
    });
    scenario("producer: idempotent, 2000 records in order without loss", 60, () -> {
      String t = topic(1);
      try (var p = producer("enable.idempotence", true, "max.in.flight.requests.per.connection", 5, "batch.size", 200)) {
        List<Future<RecordMetadata>> fs = new ArrayList<>();
        for (int i = 0; i < 2000; i++) fs.add(p.send(new ProducerRecord<>(t, 0, null, "" + i)));
        for (int i = 0; i < 2000; i++) eq((long) i, fs.get(i).get().offset());
      }
      List<String> l = readAll(t, 0, "read_uncommitted", 2000);
      for (int i = 0; i < 2000; i++) eq("" + i, l.get(i));
    });
    for (String codec : List.of("none", "gzip", "snappy", "lz4", "zstd"))
      scenario("producer: compression " + codec + " with keys, headers, nulls", 30, () -> {
        String t = topic(1);
        try (var p = producer("compression.type", codec, "linger.ms", 50)) {
          for (int i = 0; i < 500; i++) {
            ProducerRecord<String, String> r = new ProducerRecord<>(t, 0, i % 7 == 0 ? null : "key" + i, i % 11 == 0 ? null : "value value value " + i);
            r.headers().add("h", ("x" + i).getBytes()).add("h", null).add("e", new byte[0]);
            p.send(r);
          }
        }
        try (var c = consumer(null)) {
          TopicPartition tp = new TopicPartition(t, 0);
          c.assign(List.of(tp));
          int n = 0;
          long end = System.currentTimeMillis() + 10000;
          while (n < 500 && System.currentTimeMillis() < end) for (var r : c.poll(T1)) {
            eq((long) n, r.offset());
            eq(n % 7 == 0 ? null : "key" + n, r.key());
            eq(n % 11 == 0 ? null : "value value value " + n, r.value());
            Header[] h = r.headers().toArray();
            eq(3, h.length); eq("x" + n, new String(h[0].value())); eq(null, h[1].value()); eq(0, h[2].value().length);
            n++;
          }
          eq(500, n);
          c.seek(tp, 333);
          eq("value value value 333", drain(c, 1, 5).get(0));
        }
      });
    scenario("producer: a record over max.message.bytes fails with RecordTooLargeException", 30, () -> {
      String t = topic(1, "max.message.bytes", "2000");
      try (var p = producer()) {
        fails(RecordTooLargeException.class, () -> p.send(new ProducerRecord<>(t, "x".repeat(5000))).get());
        p.send(new ProducerRecord<>(t, "ok")).get();
      }
    });
    scenario("producer: partitionsFor, unknown topic times out", 30, () -> {
      String t = topic(3);
      try (var p = producer("max.block.ms", 3000)) {
        eq(3, p.partitionsFor(t).size());
        fails(org.apache.kafka.common.errors.TimeoutException.class, () -> p.send(new ProducerRecord<>(t, 9, "k", "v")).get());
      }
    });
    scenario("producer: CreateTime is kept, LogAppendTime replaces it", 30, () -> {
      String t = topic(1), l = topic(1, "message.timestamp.type", "LogAppendTime");
      try (var p = producer()) {
        eq(1_600_000_000_000L, p.send(new ProducerRecord<>(t, 0, 1_600_000_000_000L, "k", "v")).get().timestamp());
        check(p.send(new ProducerRecord<>(l, 0, 1_600_000_000_000L, "k", "v")).get().timestamp() > 1_700_000_000_000L, "append time");
      }
      try (var c = consumer(null)) {
        c.assign(List.of(new TopicPartition(l, 0)));
        ConsumerRecord<String, String> r = null;
        long end = System.currentTimeMillis() + 10000;
        while (r == null && System.currentTimeMillis() < end) for (var x : c.poll(T1)) r = x;
        eq(org.apache.kafka.common.record.TimestampType.LOG_APPEND_TIME, r.timestampType());
      }
    });
    scenario("producer: a compacted topic refuses a record without a key", 30, () -> {
      String t = topic(1, "cleanup.policy", "compact");
      try (var p = producer()) { fails(InvalidRecordException.class, () -> p.send(new ProducerRecord<>(t, "nokey")).get()); }
    });
  }
}
