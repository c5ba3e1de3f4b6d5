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

/** Scenarios of a consumer without a group. */
final class Consumers {
  static void consumers() {
    scenario("consumer: assign, seek, position, beginning and end offsets", 30, () -> {
      String t = topic(2);
      sendN(t, 0, 20);
      TopicPartition a = new TopicPartition(t, 0), b = new TopicPartition(t, 1);
      try (var c = consumer(null)) {
        c.assign(List.of(a, b));
        eq(Map.of(a, 0L, b, 0L), c.beginningOffsets(List.of(a, b)));
        eq(Map.of(a, 20L, b, 0L), c.endOffsets(List.of(a, b)));
        c.seek(a, 15);
        eq(List.of("v15", "v16", "v17", "v18", "v19"), drain(c, 5, 10));
        eq(20L, c.position(a));
        c.seekToBeginning(List.of(a));
        eq("v0", drain(c, 1, 10).get(0));
        c.seekToEnd(List.of(a));
        eq(20L, c.position(a));
        eq(List.of(), drain(c, 1, 1));
      }
    });
    scenario("consumer: offsetsForTimes", 30, () -> {
      String t = topic(1);
      TopicPartition tp = new TopicPartition(t, 0);
      try (var p = producer()) { for (int i = 0; i < 10; i++) p.send(new ProducerRecord<>(t, 0, 1_700_000_000_000L + i * 1000, "k", "v" + i)).get(); }
      try (var c = consumer(null)) {
        eq(4L, c.offsetsForTimes(Map.of(tp, 1_700_000_003_500L)).get(tp).offset());
        eq(1_700_000_004_000L, c.offsetsForTimes(Map.of(tp, 1_700_000_003_500L)).get(tp).timestamp());
        eq(0L, c.offsetsForTimes(Map.of(tp, 0L)).get(tp).offset());
        eq(null, c.offsetsForTimes(Map.of(tp, 1_800_000_000_000L)).get(tp));
      }
    });
    scenario("consumer: auto.offset.reset none, latest, by_duration", 40, () -> {
      String t = topic(1);
      TopicPartition tp = new TopicPartition(t, 0);
      try (var p = producer()) {
        p.send(new ProducerRecord<>(t, 0, System.currentTimeMillis() - 3_600_000, "k", "old")).get();
        p.send(new ProducerRecord<>(t, 0, System.currentTimeMillis(), "k", "fresh")).get();
      }
      try (var c = consumer(null, "auto.offset.reset", "none")) { c.assign(List.of(tp)); fails(NoOffsetForPartitionException.class, () -> c.poll(Duration.ofSeconds(5))); }
      try (var c = consumer(null, "auto.offset.reset", "latest")) { c.assign(List.of(tp)); eq(List.of(), drain(c, 1, 1)); eq(2L, c.position(tp)); }
      try (var c = consumer(null, "auto.offset.reset", "by_duration:PT10M")) { c.assign(List.of(tp)); eq(List.of("fresh"), drain(c, 1, 10)); }
    });
    scenario("consumer: an offset out of range resets or throws", 30, () -> {
      String t = topic(1);
      TopicPartition tp = new TopicPartition(t, 0);
      sendN(t, 0, 3);
      try (var c = consumer(null)) { c.assign(List.of(tp)); c.seek(tp, 1000); eq("v0", drain(c, 1, 10).get(0)); }
      try (var c = consumer(null, "auto.offset.reset", "none")) { c.assign(List.of(tp)); c.seek(tp, 1000); fails(org.apache.kafka.clients.consumer.OffsetOutOfRangeException.class, () -> { for (int i = 0; i < 20; i++) c.poll(T1); return null; }); }
    });
    scenario("consumer: pause, resume, max.poll.records, currentLag", 30, () -> {
      String t = topic(2);
      sendN(t, 0, 10); sendN(t, 1, 10);
      TopicPartition a = new TopicPartition(t, 0), b = new TopicPartition(t, 1);
      try (var c = consumer(null, "max.poll.records", 3)) {
        c.assign(List.of(a, b)); c.pause(List.of(b));
        int n = 0;
        long end = System.currentTimeMillis() + 5000;
        while (n < 10 && System.currentTimeMillis() < end) { var rs = c.poll(T1); check(rs.count() <= 3, "max.poll.records"); for (var r : rs) { eq(0, r.partition()); n++; } }
        eq(10, n);
        eq(0L, c.currentLag(a).getAsLong());
        c.resume(List.of(b));
        eq(10, drain(c, 10, 10).size());
      }
    });
    scenario("consumer: listTopics, partitionsFor", 30, () -> {
      String t = topic(4);
      try (var c = consumer(null)) { eq(4, c.partitionsFor(t).size()); check(c.listTopics().containsKey(t), "listed"); }
    });
    scenario("consumer: fetch.min.bytes and fetch.max.wait.ms delay an empty fetch", 30, () -> {
      String t = topic(1);
      sendN(t, 0, 1);
      try (var c = consumer(null, "fetch.min.bytes", 1_000_000, "fetch.max.wait.ms", 2000)) {
        c.assign(List.of(new TopicPartition(t, 0)));
        long t0 = System.currentTimeMillis();
        eq(1, drain(c, 1, 15).size());
        check(System.currentTimeMillis() - t0 >= 1500, "waited " + (System.currentTimeMillis() - t0));
      }
    });
    scenario("consumer: a 900 KB record through a small fetch size", 30, () -> {
      String t = topic(1);
      String big = "x".repeat(900_000);
      send(t, 0, "a"); try (var p = producer()) { p.send(new ProducerRecord<>(t, 0, "k", big)).get(); } send(t, 0, "z");
      try (var c = consumer(null, "max.partition.fetch.bytes", 1000, "fetch.max.bytes", 1000)) { c.assign(List.of(new TopicPartition(t, 0))); eq(List.of("a", big, "z"), drain(c, 3, 15)); }
    });
  }
}
