package compat;

import static compat.Harness.*;

import org.apache.kafka.clients.admin.*;
import org.apache.kafka.clients.consumer.*;
import org.apache.kafka.clients.producer.*;
import org.apache.kafka.common.*;
import org.apache.kafka.common.errors.*;

import java.util.*;

/** Transactions: commit, abort, offsets with records, fencing, what operators see. */
final class Transactions {
  static void transactions() {
    scenario("transactions: commit and abort, read_committed and read_uncommitted", 60, () -> {
      String t = topic(1);
      try (var p = producer("transactional.id", name("txn"))) {
        p.initTransactions();
        p.beginTransaction(); p.send(new ProducerRecord<>(t, 0, null, "a")); p.commitTransaction();
        p.beginTransaction(); p.send(new ProducerRecord<>(t, 0, null, "never")).get(); p.abortTransaction();
        p.beginTransaction(); p.send(new ProducerRecord<>(t, 0, null, "b")); p.commitTransaction();
      }
      eq(List.of("a", "b"), readAll(t, 0, "read_committed", 2));
      eq(List.of("a", "never", "b"), readAll(t, 0, "read_uncommitted", 3));
    });
    scenario("transactions: an open one holds read_committed back, not read_uncommitted", 60, () -> {
      String t = topic(1);
      try (var p = producer("transactional.id", name("txn")); var plain = producer()) {
        p.initTransactions();
        p.beginTransaction();
        p.send(new ProducerRecord<>(t, 0, null, "open")).get();
        plain.send(new ProducerRecord<>(t, 0, null, "plain")).get();
        eq(2, readAll(t, 0, "read_uncommitted", 2).size());
        try (Admin admin = admin()) {
          var tp = new TopicPartition(t, 0);
          var stable = new ListOffsetsOptions(IsolationLevel.READ_COMMITTED);
          eq(0L, get(admin.listOffsets(Map.of(tp, OffsetSpec.latest()), stable).partitionResult(tp)).offset());
          eq(2L, get(admin.listOffsets(Map.of(tp, OffsetSpec.latest())).partitionResult(tp)).offset());
          var producers = get(admin.describeProducers(List.of(tp)).partitionResult(tp)).activeProducers();
          check(producers.stream().anyMatch(one -> one.currentTransactionStartOffset().orElse(-1) == 0), producers);
        }
        p.commitTransaction();
      }
      eq(List.of("open", "plain"), readAll(t, 0, "read_committed", 2));
    });
    scenario("transactions: offsets and records together, in a group", 60, () -> {
      String in = topic(1), out = topic(1), group = name("g");
      try (var p = producer()) { for (int i = 0; i < 3; i++) p.send(new ProducerRecord<>(in, 0, null, "" + i)).get(); }
      try (var c = consumer(group); var p = producer("transactional.id", name("txn"))) {
        c.subscribe(List.of(in));
        List<ConsumerRecord<String, String>> got = new ArrayList<>();
        until(30, "three records", () -> { for (var r : c.poll(T1)) got.add(r); return got.size() >= 3; });
        p.initTransactions();
        var tp = new TopicPartition(in, 0);
        p.beginTransaction();
        p.send(new ProducerRecord<>(out, 0, null, "never"));
        p.sendOffsetsToTransaction(Map.of(tp, new OffsetAndMetadata(3)), c.groupMetadata());
        p.abortTransaction();
        check(c.committed(Set.of(tp)).get(tp) == null, "offsets of an aborted transaction");
        p.beginTransaction();
        p.send(new ProducerRecord<>(out, 0, null, "done"));
        p.sendOffsetsToTransaction(Map.of(tp, new OffsetAndMetadata(2, "m")), c.groupMetadata());
        p.commitTransaction();
        eq(2L, c.committed(Set.of(tp)).get(tp).offset());
        p.beginTransaction();
        fails(CommitFailedException.class, () -> {
          p.sendOffsetsToTransaction(Map.of(tp, new OffsetAndMetadata(3)), new ConsumerGroupMetadata(group, 999, "nobody", Optional.empty()));
          return null;
        });
        p.abortTransaction();
      }
      eq(List.of("done"), readAll(out, 0, "read_committed", 1));
    });
    scenario("transactions: the second producer of an id fences the first", 60, () -> {
      String t = topic(1), id = name("txn");
      try (var first = producer("transactional.id", id); var second = producer("transactional.id", id)) {
        first.initTransactions();
        first.beginTransaction();
        first.send(new ProducerRecord<>(t, 0, null, "never")).get();
        second.initTransactions();
        second.beginTransaction(); second.send(new ProducerRecord<>(t, 0, null, "once")); second.commitTransaction();
        fails(KafkaException.class, () -> { first.send(new ProducerRecord<>(t, 0, null, "late")); first.commitTransaction(); return null; });
      }
      eq(List.of("once"), readAll(t, 0, "read_committed", 1));
    });
    scenario("transactions: timed out is aborted", 60, () -> {
      String t = topic(1);
      try (var p = producer("transactional.id", name("txn"), "transaction.timeout.ms", 1000)) {
        p.initTransactions();
        p.beginTransaction();
        p.send(new ProducerRecord<>(t, 0, null, "never")).get();
        try (Admin admin = admin()) {
          var tp = new TopicPartition(t, 0);
          until(30, "stable again", () -> get(admin.listOffsets(Map.of(tp, OffsetSpec.latest()),
              new ListOffsetsOptions(IsolationLevel.READ_COMMITTED)).partitionResult(tp)).offset() == 2L);
        }
      }
    });
    scenario("transactions: listed, described and aborted by an operator", 60, () -> {
      String t = topic(1), id = name("txn");
      try (var p = producer("transactional.id", id); Admin admin = admin()) {
        p.initTransactions();
        p.beginTransaction();
        p.send(new ProducerRecord<>(t, 0, null, "never")).get();
        check(get(admin.listTransactions().all()).stream().anyMatch(one -> one.transactionalId().equals(id)), "listed");
        var described = get(admin.describeTransactions(List.of(id)).description(id));
        eq(TransactionState.ONGOING, described.state());
        var tp = new TopicPartition(t, 0);
        eq(Set.of(tp), described.topicPartitions());
        get(admin.fenceProducers(List.of(id)).all());
        until(20, "aborted", () -> get(admin.listOffsets(Map.of(tp, OffsetSpec.latest()),
            new ListOffsetsOptions(IsolationLevel.READ_COMMITTED)).partitionResult(tp)).offset() == 2L);
        fails(KafkaException.class, () -> { p.commitTransaction(); return null; });
      }
    });
  }
}
