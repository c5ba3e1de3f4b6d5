package share;

import static share.Harness.*;

import org.apache.kafka.clients.admin.*;
import org.apache.kafka.clients.consumer.*;
import org.apache.kafka.clients.producer.*;
import org.apache.kafka.common.*;
import org.apache.kafka.common.errors.*;

import java.time.Duration;
import java.util.*;
import java.util.concurrent.*;
import java.util.concurrent.atomic.*;
import java.util.stream.*;

/** Share groups against a Kafka-compatible broker. Arguments: HOST:PORT [NAME-REGEX]. */
public final class Main {
  public static void main(String[] args) {
    broker = args[0];
    if (args.length > 1) only = args[1];
    delivery();
    members();
    transactions();
    admins();
    System.exit(0);
  }

  static void delivery() {
    scenario("implicit mode: what is polled is accepted with the next poll", 60, () -> {
      String t = topic(1), g = group();
      sendN(t, 0, 20);
      try (var c = share(g, t)) { eq(20, drain(c, 20, 20).size()); eq(List.of(), poll(c, 1)); }
      send(t, 0, "later");
      try (var c = share(g, t)) { eq(List.of("later"), drain(c, 1, 20)); }
    });
    scenario("explicit mode: accept, release, reject", 60, () -> {
      String t = topic(1), g = group();
      send(t, 0, "a", "b", "c");
      try (var c = explicit(g, t)) {
        List<ConsumerRecord<String, String>> first = new ArrayList<>();
        while (first.size() < 3) {
          List<ConsumerRecord<String, String>> some = poll(c, 20);
          check(!some.isEmpty(), "three records come, got " + first.size());
          for (var r : some) {
            eq(1, count(r));
            c.acknowledge(r, r.value().equals("a") ? AcknowledgeType.ACCEPT : r.value().equals("b") ? AcknowledgeType.RELEASE : AcknowledgeType.REJECT);
            first.add(r);
          }
          if (first.size() < 3) c.commitSync();
        }
        Map<TopicIdPartition, Optional<KafkaException>> done = c.commitSync();
        check(done.values().stream().allMatch(Optional::isEmpty), done);
        List<ConsumerRecord<String, String>> again = poll(c, 20);
        eq(List.of("b"), values(again));
        eq(2, count(again.get(0)));
        eq(1L, again.get(0).offset());
        c.acknowledge(again.get(0));
        c.commitSync();
        eq(List.of(), poll(c, 1));
      }
    });
    scenario("explicit mode: a record that is not acknowledged stops the next poll", 60, () -> {
      String t = topic(1), g = group();
      send(t, 0, "a");
      try (var c = explicit(g, t)) {
        var first = poll(c, 20);
        fails(IllegalStateException.class, () -> c.poll(Duration.ofMillis(100)));
        c.acknowledge(first.get(0));
        c.commitSync();
      }
    });
    scenario("release: the delivery count grows to the limit, then the record is gone", 90, () -> {
      String t = topic(1), g = group("share.delivery.count.limit", "3");
      send(t, 0, "poison", "good");
      List<Integer> counts = new ArrayList<>();
      Set<String> good = new HashSet<>();
      try (var c = explicit(g, t)) {
        long end = System.currentTimeMillis() + 20_000;
        while (System.currentTimeMillis() < end && (counts.size() < 3 || good.isEmpty())) {
          for (var r : poll(c, 3)) {
            if (r.value().equals("poison")) { counts.add(count(r)); c.acknowledge(r, AcknowledgeType.RELEASE); }
            else { good.add(r.value()); c.acknowledge(r); }
          }
          c.commitSync();
        }
        eq(List.of(1, 2, 3), counts);
        eq(Set.of("good"), good);
        eq(List.of(), poll(c, 2));
      }
    });
    scenario("lock: what is not acknowledged in time comes again, with a higher count", 90, () -> {
      String t = topic(1), g = group("share.record.lock.duration.ms", "15000");
      send(t, 0, "slow");
      try (var a = explicit(g, t); var b = explicit(g, t)) {
        var first = poll(a, 20);
        eq(List.of("slow"), values(first));
        eq(Optional.of(15000), a.acquisitionLockTimeoutMs());
        long from = System.currentTimeMillis();
        var second = poll(b, 30);
        long waited = System.currentTimeMillis() - from;
        eq(List.of("slow"), values(second));
        eq(2, count(second.get(0)));
        check(waited > 10_000 && waited < 22_000, "waited " + waited);
        a.acknowledge(first.get(0));
        var late = a.commitSync();
        check(late.values().stream().anyMatch(o -> o.orElse(null) instanceof InvalidRecordStateException), late);
        b.acknowledge(second.get(0));
        check(b.commitSync().values().stream().allMatch(Optional::isEmpty), "in time");
      }
    });
    scenario("renew: a longer lock keeps the record from others", 90, () -> {
      String t = topic(1), g = group("share.record.lock.duration.ms", "15000");
      send(t, 0, "long");
      try (var a = explicit(g, t); var b = explicit(g, t)) {
        var first = poll(a, 20);
        for (int i = 0; i < 3; i++) {
          Thread.sleep(8000);
          a.acknowledge(first.get(0), AcknowledgeType.RENEW);
          var renewed = a.commitSync();
          check(renewed.values().stream().allMatch(Optional::isEmpty), renewed);
          a.poll(Duration.ofMillis(100));
        }
        eq(List.of(), poll(b, 1));
        a.acknowledge(first.get(0));
        check(a.commitSync().values().stream().allMatch(Optional::isEmpty), "accepted");
        eq(List.of(), poll(b, 2));
      }
    });
    scenario("session: closing gives back what was not acknowledged, and counts the delivery", 60, () -> {
      String t = topic(1), g = group();
      send(t, 0, "a", "b");
      try (var c = explicit(g, t)) { check(!poll(c, 20).isEmpty(), "first"); }
      try (var c = explicit(g, t)) {
        var l = poll(c, 20);
        eq("a", l.get(0).value());
        eq(2, count(l.get(0)));
        for (var r : l) c.acknowledge(r);
        c.commitSync();
      }
    });
    scenario("compression, big batches and headers arrive whole", 60, () -> {
      for (String codec : List.of("gzip", "lz4", "snappy", "zstd")) {
        String t = topic(1), g = group();
        try (var p = producer("compression.type", codec, "linger.ms", 20)) { for (int i = 0; i < 300; i++) p.send(new ProducerRecord<>(t, 0, "k" + i, "v" + i)); }
        try (var c = share(g, t)) {
          List<String> got = drain(c, 300, 20);
          eq(IntStream.range(0, 300).mapToObj(i -> "v" + i).toList(), got);
        }
      }
    });
    scenario("acquire mode record_limit: no more than max.poll.records at once", 60, () -> {
      String t = topic(1), g = group();
      sendN(t, 0, 100);
      try (var c = share(g, t, "max.poll.records", 7, "share.acquire.mode", "record_limit")) {
        Set<String> got = new TreeSet<>();
        long end = System.currentTimeMillis() + 30_000;
        while (got.size() < 100 && System.currentTimeMillis() < end) {
          List<String> some = values(poll(c, 5));
          check(some.size() <= 7, "at most 7, got " + some.size());
          got.addAll(some);
        }
        eq(100, got.size());
      }
    });
    scenario("records in flight: the limit of a partition holds back what is new", 60, () -> {
      String t = topic(1), g = group("share.partition.max.record.locks", "100");
      try (var p = producer("batch.size", 0)) { for (int i = 0; i < 150; i++) p.send(new ProducerRecord<>(t, 0, "k", "v" + i)).get(); }
      try (var a = explicit(g, t); var b = share(g, t)) {
        List<ConsumerRecord<String, String>> held = poll(a, 20);
        check(held.size() == 100, "100 records are handed out, got " + held.size());
        eq(List.of(), poll(b, 2));
        for (var r : held) a.acknowledge(r);
        a.commitSync();
        eq(50, drain(b, 50, 20).size());
      }
    });
    scenario("start: latest gives what comes after, by_duration what is younger", 60, () -> {
      String t = topic(1), latest = name("g"), young = name("g");
      groupConfig(young, "share.auto.offset.reset", "by_duration:PT10M");
      try (var p = producer()) {
        p.send(new ProducerRecord<>(t, 0, System.currentTimeMillis() - 3_600_000, "k", "old")).get();
        p.send(new ProducerRecord<>(t, 0, System.currentTimeMillis(), "k", "fresh")).get();
      }
      try (var c = share(young, t)) { eq(List.of("fresh"), drain(c, 1, 20)); }
      try (var c = share(latest, t)) {
        List<String> got = List.of();
        // Where it starts is fixed at the first fetch, whenever that is.
        for (int i = 0; i < 30 && got.isEmpty(); i++) { send(t, 0, "new"); got = drain(c, 1, 1); }
        eq(Set.of("new"), new HashSet<>(got));
      }
    });
    scenario("deleted records are passed over", 60, () -> {
      String t = topic(1), g = group();
      sendN(t, 0, 20);
      try (var c = share(g, t); Admin a = admin()) {
        get(a.deleteRecords(Map.of(new TopicPartition(t, 0), RecordsToDelete.beforeOffset(15))).all());
        eq(List.of("v15", "v16", "v17", "v18", "v19"), drain(c, 5, 20));
      }
    });
  }

  static void members() {
    scenario("members: several share one partition, each record goes to one of them", 90, () -> {
      String t = topic(1), g = group();
      Map<String, AtomicInteger> got = new ConcurrentHashMap<>();
      AtomicInteger[] per = {new AtomicInteger(), new AtomicInteger(), new AtomicInteger()};
      AtomicBoolean stop = new AtomicBoolean();
      List<Thread> threads = new ArrayList<>();
      for (AtomicInteger mine : per) {
        Thread th = new Thread(() -> {
          try (var c = share(g, t, "max.poll.records", 10)) {
            while (!stop.get()) for (var r : c.poll(Duration.ofMillis(200))) { got.computeIfAbsent(r.value(), k -> new AtomicInteger()).incrementAndGet(); mine.incrementAndGet(); }
            c.commitSync();
          }
        });
        th.start();
        threads.add(th);
      }
      try (Admin a = admin()) { until(20, "three members have the partition", () -> get(a.describeShareGroups(List.of(g)).all()).get(g).members().stream().filter(x -> x.assignment().topicPartitions().size() == 1).count() == 3); }
      try (var p = producer("batch.size", 200)) { for (int i = 0; i < 1000; i++) { p.send(new ProducerRecord<>(t, 0, "k", "v" + i)); if (i % 20 == 0) Thread.sleep(10); } }
      until(30, "all 1000 come", () -> got.size() == 1000);
      stop.set(true);
      for (Thread th : threads) th.join(15000);
      check(got.values().stream().allMatch(n -> n.get() == 1), "each once");
      check(Arrays.stream(per).allMatch(n -> n.get() > 0), "each member has some: " + Arrays.toString(per));
    });
    scenario("members: many partitions, groups do not disturb one another", 60, () -> {
      String t = topic(6), g = group(), h = group();
      sendN(t, null, 600);
      try (var a = share(g, t); var b = share(h, t)) {
        eq(600, new HashSet<>(drain(a, 600, 30)).size());
        eq(600, new HashSet<>(drain(b, 600, 30)).size());
      }
    });
    scenario("members: a topic that comes later is taken up", 60, () -> {
      String t = name("t"), g = group();
      try (var c = share(g, t, "allow.auto.create.topics", false)) {
        eq(List.of(), poll(c, 2));
        try (Admin a = admin()) { get(a.createTopics(List.of(new NewTopic(t, 2, (short) 1))).all()); }
        send(t, 1, "x");
        eq(List.of("x"), drain(c, 1, 40));
      }
    });
    scenario("members: a member that is gone frees what it held", 60, () -> {
      String t = topic(1), g = group();
      send(t, 0, "a");
      var lost = explicit(g, t);
      eq(List.of("a"), values(poll(lost, 20)));
      try (var c = share(g, t)) {
        eq(List.of(), poll(c, 1));
        lost.close(Duration.ZERO);
        eq(List.of("a"), drain(c, 1, 20));
      }
    });
  }

  static void transactions() {
    scenario("transactions: read_uncommitted sees all, read_committed what was committed", 90, () -> {
      String t = topic(1), dirty = group(), clean = group("share.isolation.level", "read_committed");
      try (var p = producer("transactional.id", name("x"))) {
        p.initTransactions();
        p.beginTransaction();
        p.send(new ProducerRecord<>(t, 0, "k", "committed-1")).get();
        p.commitTransaction();
        p.beginTransaction();
        p.send(new ProducerRecord<>(t, 0, "k", "aborted")).get();
        p.abortTransaction();
        p.beginTransaction();
        p.send(new ProducerRecord<>(t, 0, "k", "committed-2")).get();
        try (var c = share(clean, t)) {
          List<String> first = drain(c, 1, 20);
          eq(List.of("committed-1"), first);
          eq(List.of(), poll(c, 2));
          p.commitTransaction();
          eq(List.of("committed-2"), drain(c, 1, 20));
        }
        try (var c = share(dirty, t)) { eq(List.of("committed-1", "aborted", "committed-2"), drain(c, 3, 20)); }
      }
    });
  }

  static void admins() {
    scenario("admin: share groups are listed, described and deleted", 60, () -> {
      String t = topic(3), g = group();
      try (Admin a = admin()) {
        try (KafkaShareConsumer<String, String> c = share(g, t, "client.id", "me")) {
          until(20, "three partitions are assigned", () -> { poll(c, 1); return get(a.describeShareGroups(List.of(g)).all()).get(g).members().stream().anyMatch(x -> x.assignment().topicPartitions().size() == 3); });
          var listed = get(a.listGroups(ListGroupsOptions.forShareGroups()).all()).stream().filter(l -> l.groupId().equals(g)).findFirst().orElseThrow();
          eq(Optional.of(GroupType.SHARE), listed.type());
          eq(Optional.of(GroupState.STABLE), listed.groupState());
          ShareGroupDescription d = get(a.describeShareGroups(List.of(g)).all()).get(g);
          eq(GroupState.STABLE, d.groupState());
          eq(1, d.members().size());
          ShareMemberDescription m = d.members().iterator().next();
          eq("me", m.clientId());
          eq(3, m.assignment().topicPartitions().size());
          fails(GroupNotEmptyException.class, () -> get(a.deleteShareGroups(List.of(g)).all()));
        }
        until(20, "the group is empty", () -> get(a.describeShareGroups(List.of(g)).all()).get(g).groupState() == GroupState.EMPTY);
        get(a.deleteShareGroups(List.of(g)).all());
        fails(GroupIdNotFoundException.class, () -> get(a.describeShareGroups(List.of(g)).all()));
      }
    });
    scenario("admin: offsets are shown with their lag, altered and deleted", 90, () -> {
      String t = topic(1), g = group();
      TopicPartition tp = new TopicPartition(t, 0);
      sendN(t, 0, 10);
      try (Admin a = admin()) {
        try (var c = share(g, t)) {
          eq(10, drain(c, 10, 20).size());
          fails(GroupNotEmptyException.class, () -> get(a.alterShareGroupOffsets(g, Map.of(tp, 3L)).all()));
        }
        until(20, "no lag", () -> lag(a, g, tp) == 0L);
        sendN(t, 0, 5);
        until(20, "a lag of 5", () -> lag(a, g, tp) == 5L);
        get(a.alterShareGroupOffsets(g, Map.of(tp, 3L)).all());
        eq(3L, offset(a, g, tp));
        try (var c = share(g, t)) { eq("v3", drain(c, 12, 20).get(0)); }
        until(20, "empty", () -> get(a.describeShareGroups(List.of(g)).all()).get(g).groupState() == GroupState.EMPTY);
        get(a.deleteShareGroupOffsets(g, Set.of(t)).all());
        check(get(a.listShareGroupOffsets(Map.of(g, new ListShareGroupOffsetsSpec())).partitionsToOffsetInfo(g)).get(tp) == null, "nothing is known of it");
        try (var c = share(g, t)) { eq("v0", drain(c, 15, 20).get(0)); }
      }
    });
    scenario("admin: settings of share groups are checked", 30, () -> {
      String g = name("g");
      fails(InvalidConfigurationException.class, () -> { groupConfig(g, "share.record.lock.duration.ms", "1"); return null; });
      fails(InvalidConfigurationException.class, () -> { groupConfig(g, "share.auto.offset.reset", "yesterday"); return null; });
      fails(InvalidConfigurationException.class, () -> { groupConfig(g, "share.isolation.level", "dirty"); return null; });
      groupConfig(g, "share.isolation.level", "read_committed", "share.delivery.count.limit", "7");
    });
    scenario("admin: a share group is no consumer group, nor the other way round", 60, () -> {
      String t = topic(1), g = group();
      send(t, 0, "a");
      try (var c = share(g, t)) {
        eq(1, drain(c, 1, 20).size());
        Properties p = props("group.id", g, "session.timeout.ms", 6000);
        try (var other = new KafkaConsumer<String, String>(p, new org.apache.kafka.common.serialization.StringDeserializer(), new org.apache.kafka.common.serialization.StringDeserializer())) {
          other.subscribe(List.of(t));
          fails(KafkaException.class, () -> { for (int i = 0; i < 20; i++) other.poll(Duration.ofMillis(300)); return null; });
        }
      }
    });
  }

  static long lag(Admin a, String g, TopicPartition tp) throws Exception {
    SharePartitionOffsetInfo info = get(a.listShareGroupOffsets(Map.of(g, new ListShareGroupOffsetsSpec())).partitionsToOffsetInfo(g)).get(tp);
    return info == null ? -1 : info.lag().orElse(-2L);
  }

  static long offset(Admin a, String g, TopicPartition tp) throws Exception {
    SharePartitionOffsetInfo info = get(a.listShareGroupOffsets(Map.of(g, new ListShareGroupOffsetsSpec())).partitionsToOffsetInfo(g)).get(tp);
    return info == null ? -1 : info.startOffset();
  }
}
