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

/** Scenarios of one group protocol. */
final class Groups {
  /** KIP-848's rolling change of a live group from one protocol to the other and back, while records keep coming. */
  static void migration() {
    for (String s : List.of("CooperativeStickyAssignor", "RangeAssignor"))
      scenario("group migration: rolls to the consumer protocol and back (" + s + ")", 150, () -> {
        String t = topic(6), g = name("g");
        Object[] classic = {"group.protocol", "classic", "partition.assignment.strategy", "org.apache.kafka.clients.consumer." + s, "heartbeat.interval.ms", 500};
        Object[] modern = {"group.protocol", "consumer"};
        Queue<String> read = new ConcurrentLinkedQueue<>();
        int[] sent = {0};
        List<Member> members = new ArrayList<>();
        Body settle = () -> {
          until(40, "all six, each once: " + members.stream().map(m -> m.owned.toString()).toList(), () -> {
            List<TopicPartition> all = members.stream().flatMap(m -> m.owned.stream()).toList();
            return all.size() == 6 && Set.copyOf(all).size() == 6 && members.stream().noneMatch(m -> m.owned.isEmpty());
          });
          sendN(t, null, 30);
          sent[0] += 30;
          until(20, "every record", () -> read.size() + members.stream().mapToInt(m -> m.got.size()).sum() >= sent[0]);
        };
        java.util.function.Consumer<Object[]> add = kv -> members.add(new Member(consumer(g, kv), t));
        java.util.function.IntConsumer drop = i -> { Member m = members.remove(i); try { m.close(); } catch (InterruptedException e) { throw new RuntimeException(e); } read.addAll(m.got); };
        try (Admin a = admin()) {
          add.accept(classic); add.accept(classic); settle.run();
          add.accept(modern); settle.run();
          eq(GroupType.CONSUMER, get(a.describeConsumerGroups(List.of(g)).describedGroups().get(g)).type());
          drop.accept(0); add.accept(modern); settle.run();
          drop.accept(0); settle.run();
          add.accept(classic); settle.run();
          drop.accept(0); drop.accept(0); settle.run();
          eq(GroupType.CLASSIC, get(a.describeConsumerGroups(List.of(g)).describedGroups().get(g)).type());
          // Going back, the classic members' generation is no longer the group's: they cannot commit, and read a few again. So it is in Kafka.
          check(read.size() + members.stream().mapToInt(m -> m.got.size()).sum() >= sent[0], "nothing is lost");
        } finally {
          for (Member m : members) m.close();
        }
      });
  }

  static void groups(String proto) {
    boolean modern = proto.equals("consumer");
    String pre = proto + " group: ";
    scenario(pre + "commitSync, commitAsync, committed, resume", 60, () -> {
      String t = topic(1), g = name("g");
      TopicPartition tp = new TopicPartition(t, 0);
      sendN(t, 0, 10);
      try (var c = consumer(g, "group.protocol", proto, "enable.auto.commit", false, "max.poll.records", 4)) {
        c.subscribe(List.of(t));
        eq(4, drain(c, 4, 20).size());
        c.commitSync(Map.of(tp, new OffsetAndMetadata(2, Optional.empty(), "note")));
        eq("note", c.committed(Set.of(tp)).get(tp).metadata());
        CompletableFuture<Long> f = new CompletableFuture<>();
        c.commitAsync(Map.of(tp, new OffsetAndMetadata(3)), (o, e) -> { if (e != null) f.completeExceptionally(e); else f.complete(o.get(tp).offset()); });
        long end = System.currentTimeMillis() + 5000;
        while (!f.isDone() && System.currentTimeMillis() < end) c.poll(T1);
        eq(3L, f.get(1, TimeUnit.SECONDS));
      }
      try (var c = consumer(g, "group.protocol", proto)) { c.subscribe(List.of(t)); eq("v3", drain(c, 1, 20).get(0)); }
    });
    scenario(pre + "auto commit on close", 60, () -> {
      String t = topic(1), g = name("g");
      sendN(t, 0, 5);
      try (var c = consumer(g, "group.protocol", proto)) { c.subscribe(List.of(t)); eq(5, drain(c, 5, 20).size()); }
      try (Admin a = admin()) { eq(5L, get(a.listConsumerGroupOffsets(g).partitionsToOffsetAndMetadata()).get(new TopicPartition(t, 0)).offset()); }
    });
    for (String s : modern ? List.of("uniform", "range") : List.of("RangeAssignor", "RoundRobinAssignor", "StickyAssignor", "CooperativeStickyAssignor"))
      scenario(pre + "two members share 6 partitions, one leaves (" + s + ")", 90, () -> {
        String t = topic(6), g = name("g");
        Object[] kv = modern ? new Object[] {"group.protocol", proto, "group.remote.assignor", s} : new Object[] {"group.protocol", proto, "partition.assignment.strategy", "org.apache.kafka.clients.consumer." + s, "heartbeat.interval.ms", 500};
        try (Member a = new Member(consumer(g, kv), t)) {
          until(20, "first has 6", () -> a.owned.size() == 6);
          try (Member b = new Member(consumer(g, kv), t)) {
            until(30, "3 + 3, is " + a.owned + b.owned, () -> a.owned.size() == 3 && b.owned.size() == 3);
            if (s.startsWith("Coop") || modern) eq(3, a.revokedSizes.stream().mapToInt(i -> i).sum());
            sendN(t, null, 60);
            until(15, "60 records", () -> a.got.size() + b.got.size() == 60);
            check(!a.got.isEmpty() && !b.got.isEmpty(), "both read");
          }
          until(30, "first has 6 again", () -> a.owned.size() == 6);
        }
      });
    scenario(pre + "static member comes back without a rebalance of the other", 90, () -> {
      String t = topic(4), g = name("g");
      Object[] base = modern ? new Object[] {"group.protocol", proto} : new Object[] {"group.protocol", proto, "session.timeout.ms", 20000, "heartbeat.interval.ms", 500};
      java.util.function.Function<String, KafkaConsumer<String, String>> mk = id -> { Object[] kv = Arrays.copyOf(base, base.length + 2); kv[base.length] = "group.instance.id"; kv[base.length + 1] = id; return consumer(g, kv); };
      try (Member a = new Member(mk.apply("one"), t)) {
        Member b = new Member(mk.apply("two"), t);
        until(30, "2 + 2", () -> a.owned.size() == 2 && b.owned.size() == 2);
        Set<TopicPartition> mine = Set.copyOf(a.owned), its = Set.copyOf(b.owned);
        int before = a.revoked.get();
        b.close();
        Thread.sleep(1500);
        try (Member b2 = new Member(mk.apply("two"), t)) {
          until(30, "same partitions back", () -> b2.owned.equals(its));
          eq(mine, Set.copyOf(a.owned));
          eq(before, a.revoked.get());
        }
      }
    });
    scenario(pre + "a second member with the same instance id is fenced or refused", 60, () -> {
      String t = topic(2), g = name("g");
      try (Member a = new Member(consumer(g, "group.protocol", proto, "group.instance.id", "dup"), t)) {
        until(20, "first", () -> a.owned.size() == 2);
        try (Member b = new Member(consumer(g, "group.protocol", proto, "group.instance.id", "dup"), t)) {
          if (modern) until(20, "UnreleasedInstanceId", () -> b.error instanceof UnreleasedInstanceIdException);
          else until(20, "FencedInstanceId", () -> a.error instanceof FencedInstanceIdException);
        }
      }
    });
    scenario(pre + "a new topic matching a pattern is picked up", 90, () -> {
      String base = name("pat"), g = name("g");
      try (Admin a = admin()) { get(a.createTopics(List.of(new NewTopic(base + "-1", 2, (short) 1))).all()); }
      KafkaConsumer<String, String> c = consumer(g, "group.protocol", proto, "metadata.max.age.ms", 1000);
      Member m;
      if (modern) m = new Member(c, new SubscriptionPattern(base + "-[0-9]"));
      else {
        Set<TopicPartition> owned = ConcurrentHashMap.newKeySet();
        c.subscribe(java.util.regex.Pattern.compile(base + "-[0-9]"), new ConsumerRebalanceListener() { public void onPartitionsRevoked(Collection<TopicPartition> p) { owned.removeAll(p); } public void onPartitionsAssigned(Collection<TopicPartition> p) { owned.addAll(p); } });
        long end = System.currentTimeMillis() + 20000;
        while (owned.size() < 2 && System.currentTimeMillis() < end) c.poll(T1);
        eq(2, owned.size());
        try (Admin a = admin()) { get(a.createTopics(List.of(new NewTopic(base + "-2", 3, (short) 1))).all()); }
        end = System.currentTimeMillis() + 30000;
        while (owned.size() < 5 && System.currentTimeMillis() < end) c.poll(T1);
        eq(5, owned.size());
        c.close();
        return;
      }
      try (m) {
        until(20, "2 partitions", () -> m.owned.size() == 2);
        try (Admin a = admin()) { get(a.createTopics(List.of(new NewTopic(base + "-2", 3, (short) 1))).all()); }
        until(40, "5 partitions", () -> m.owned.size() == 5);
      }
    });
    scenario(pre + "added partitions are assigned", 60, () -> {
      String t = topic(2), g = name("g");
      try (Member m = new Member(consumer(g, "group.protocol", proto, "metadata.max.age.ms", 1000), t); Admin a = admin()) {
        until(20, "2", () -> m.owned.size() == 2);
        get(a.createPartitions(Map.of(t, NewPartitions.increaseTo(5))).all());
        until(30, "5", () -> m.owned.size() == 5);
      }
    });
    scenario(pre + "a dead member's partitions move after the session timeout", 90, () -> {
      String t = topic(2), g = name("g");
      if (modern) groupConfig(g, "consumer.session.timeout.ms", "45000");
      Object[] kv = modern ? new Object[] {"group.protocol", proto, "max.poll.interval.ms", 6000} : new Object[] {"group.protocol", proto, "session.timeout.ms", 6000, "heartbeat.interval.ms", 500, "max.poll.interval.ms", 6000};
      try (var dead = consumer(g, kv)) {
        dead.subscribe(List.of(t));
        long end = System.currentTimeMillis() + 20000;
        while (dead.assignment().size() < 2 && System.currentTimeMillis() < end) dead.poll(T1);
        eq(2, dead.assignment().size());
        try (Member b = new Member(consumer(g, kv), t)) { until(40, "second gets everything", () -> b.owned.size() == 2); }
      }
    });
    scenario(pre + "described with members, assignment and state", 60, () -> {
      String t = topic(3), g = name("g");
      try (Member m = new Member(consumer(g, "group.protocol", proto, "client.id", "who"), t); Admin a = admin()) {
        until(20, "3", () -> m.owned.size() == 3);
        ConsumerGroupDescription d = get(a.describeConsumerGroups(List.of(g)).describedGroups().get(g));
        eq(modern ? GroupType.CONSUMER : GroupType.CLASSIC, d.type());
        eq(GroupState.STABLE, d.groupState());
        eq(1, d.members().size());
        MemberDescription md = d.members().iterator().next();
        eq("who", md.clientId()); eq(m.owned, md.assignment().topicPartitions());
        check(get(a.listGroups(ListGroupsOptions.forConsumerGroups()).all()).stream().anyMatch(x -> x.groupId().equals(g)), "listed");
        if (!modern) { eq("consumer", get(a.describeClassicGroups(List.of(g)).describedGroups().get(g)).protocol()); }
        get(a.removeMembersFromConsumerGroup(g, new RemoveMembersFromConsumerGroupOptions()).all());
        until(20, "member comes back", () -> m.owned.size() == 3 || m.error != null);
      } catch (ExecutionException e) { if (!modern) throw e; /* removing dynamic members of the new protocol is not supported by every version */ }
    });
  }
}
