package compaction;

import java.net.URI;
import java.net.http.*;
import java.time.Duration;
import java.util.*;
import java.util.concurrent.*;
import org.apache.kafka.clients.admin.*;
import org.apache.kafka.clients.consumer.*;
import org.apache.kafka.clients.producer.*;
import org.apache.kafka.common.*;
import org.apache.kafka.common.config.ConfigResource;
import org.apache.kafka.common.errors.PolicyViolationException;
import org.apache.kafka.common.serialization.*;

/** What a client sees of log compaction. Arguments: HOST:PORT [NAME-REGEX [CONTROL-URL]]. Prints `pass NAME` or `fail NAME`. */
public final class Main {
  interface Body { void run() throws Exception; }

  static String broker, only = ".", control = "";
  static final String RUN = Long.toString(System.currentTimeMillis(), 36);
  static int topics = 0, nudges = 0;

  public static void main(String[] args) throws Exception {
    broker = args[0];
    if (args.length > 1) only = args[1];
    if (args.length > 2) control = args[2];
    for (String codec : List.of("none", "gzip", "snappy", "lz4", "zstd"))
      scenario("the newest of each key stays at its offset, " + codec, () -> newest(codec));
    scenario("tombstones hide their key at once and go after delete.retention.ms", Main::tombstones);
    scenario("tombstones stay until delete.retention.ms", Main::tombstonesStay);
    scenario("a record without a key is refused", Main::keyless);
    scenario("a policy that is changed later counts from then on", Main::policyChange);
    scenario("records younger than min.compaction.lag.ms stay", Main::lag);
    scenario("a low dirty ratio with max.compaction.lag.ms", Main::maxLag);
    scenario("compact and delete together", Main::compactDelete);
    scenario("DeleteRecords on a compacted topic", Main::deleteRecords);
    scenario("aborted transactions go, committed ones stay", Main::transactions);
    if (!control.isEmpty()) scenario("a killed broker has the same records", Main::restart);
    System.exit(0);
  }

  static void scenario(String name, Body body) {
    if (!name.matches(".*(" + only + ").*")) return;
    long start = System.currentTimeMillis();
    try {
      CompletableFuture.runAsync(() -> { try { body.run(); } catch (Throwable e) { throw new CompletionException(e); } }).get(120, TimeUnit.SECONDS);
      System.out.println("pass " + name);
    } catch (Throwable e) {
      System.out.println("fail " + name);
      Throwable cause = e.getCause() == null ? e : e.getCause();
      System.err.println("     " + name + ": " + cause);
      for (StackTraceElement at : cause.getStackTrace()) if (at.getClassName().startsWith("compaction.")) System.err.println("       at " + at);
    }
    System.err.printf("     %s: %.1f s%n", name, (System.currentTimeMillis() - start) / 1000.0);
  }

  // ----- scenarios

  /** Several batches of few keys; the survivors are the last of each key, with value, timestamp, headers and offset as they were. */
  static void newest(String codec) throws Exception {
    String topic = topic("segment.ms", "300", "min.cleanable.dirty.ratio", "0.01");
    Map<String, ProducerRecord<String, String>> last = new HashMap<>();
    Map<String, Long> offsets = new HashMap<>();
    Random random = new Random(1);
    try (var producer = producer("compression.type", codec, "linger.ms", "20", "batch.size", "4000")) {
      for (int round = 0; round < 2; round++) {
        List<Future<RecordMetadata>> sent = new ArrayList<>();
        List<ProducerRecord<String, String>> records = new ArrayList<>();
        for (int i = 0; i < 400; i++) {
          var record = new ProducerRecord<>(topic, 0, (Long) null, "k" + random.nextInt(50), "v" + round + "-" + i + "x".repeat(random.nextInt(200)));
          record.headers().add("h", new byte[] {(byte) i});
          records.add(record);
          sent.add(producer.send(record));
        }
        for (int i = 0; i < sent.size(); i++) {
          last.put(records.get(i).key(), records.get(i));
          offsets.put(records.get(i).key(), sent.get(i).get().offset());
        }
      }
      settle(topic, producer, "only the newest", all -> data(all).size() == last.size());
    }
    var all = read(topic, 0);
    ordered(all);
    int checked = 0;
    for (var record : data(all)) {
      eq(offsets.get(record.key()), record.offset());
      eq(last.get(record.key()).value(), record.value());
      eq(1, record.headers().toArray().length);
      // A fetch from inside a gap begins with the next record.
      if (record.offset() > 0 && checked++ < 8) check(read(topic, record.offset() - 1).get(0).offset() >= record.offset() - 1, "gap before " + record.offset());
    }
    eq(0L, offsetOf(topic, OffsetSpec.earliest()));
    eq(800L + nudgesOf(all), offsetOf(topic, OffsetSpec.latest()));
  }

  static void tombstones() throws Exception {
    String topic = topic("segment.ms", "300", "min.cleanable.dirty.ratio", "0.01", "delete.retention.ms", "1000");
    try (var producer = producer()) {
      for (int i = 0; i < 20; i++) producer.send(new ProducerRecord<>(topic, 0, "k" + i, "v"));
      for (int i = 0; i < 10; i++) producer.send(new ProducerRecord<>(topic, 0, "k" + i, null));
      producer.flush();
      settle(topic, producer, "no tombstone", all -> data(all).size() == 10);
    }
    for (var record : data(read(topic, 0))) eq("v", record.value());
  }

  static void tombstonesStay() throws Exception {
    String topic = topic("segment.ms", "300", "min.cleanable.dirty.ratio", "0.01", "delete.retention.ms", "3600000");
    try (var producer = producer()) {
      for (int i = 0; i < 10; i++) producer.send(new ProducerRecord<>(topic, 0, "k" + i, "v"));
      for (int i = 0; i < 10; i++) producer.send(new ProducerRecord<>(topic, 0, "k" + i, null));
      producer.flush();
      settle(topic, producer, "values gone", all -> data(all).size() == 10);
      for (int more = 0; more < 5; more++) nudge(topic, producer);
      var kept = data(read(topic, 0));
      eq(10, kept.size());
      for (var record : kept) eq(null, record.value());
    }
  }

  static void keyless() throws Exception {
    String topic = topic();
    try (var producer = producer("linger.ms", "100")) {
      var good = producer.send(new ProducerRecord<>(topic, 0, "k", "v"));
      var bad = producer.send(new ProducerRecord<>(topic, 0, null, "v"));
      producer.flush();
      String badMessage = refusal(bad);
      eq("Compacted topic cannot accept message without key in topic partition " + topic + "-0", badMessage.replaceFirst(".*message='([^']*)'.*", "$1"));
      // The whole batch is refused, and the client says of the others that they fail for it.
      try { good.get(); throw new AssertionError("it was taken"); } catch (ExecutionException e) {
        check(e.getCause().getMessage().contains("was part of a batch"), e.getCause());
      }
      producer.send(new ProducerRecord<>(topic, 0, "", "empty key")).get();
    }
    eq(1, read(topic, 0).size());
  }

  static String refusal(Future<RecordMetadata> sent) throws Exception {
    try { sent.get(); } catch (ExecutionException e) {
      check(e.getCause() instanceof InvalidRecordException, e.getCause());
      return e.getCause().getMessage();
    }
    throw new AssertionError("it was taken");
  }

  static void policyChange() throws Exception {
    String topic = topic("cleanup.policy", "delete", "segment.ms", "300", "min.cleanable.dirty.ratio", "0.01");
    try (var producer = producer()) {
      for (int i = 0; i < 10; i++) { producer.send(new ProducerRecord<>(topic, 0, null, "keyless")); producer.send(new ProducerRecord<>(topic, 0, "k", "v" + i)); }
      producer.flush();
      Thread.sleep(1500);
      nudge(topic, producer);
      eq(20, data(read(topic, 0)).size());
      alter(topic, "cleanup.policy", "compact");
      settle(topic, producer, "one of the key, none without", all -> data(all).size() == 1);
      eq("v9", data(read(topic, 0)).get(0).value());
      refusal(producer.send(new ProducerRecord<>(topic, 0, null, "keyless")));
      alter(topic, "cleanup.policy", "delete");
      producer.send(new ProducerRecord<>(topic, 0, null, "keyless")).get();
      producer.send(new ProducerRecord<>(topic, 0, "k", "again")).get();
      Thread.sleep(1500);
      nudge(topic, producer);
      eq(3, data(read(topic, 0)).size());
    }
  }

  static void lag() throws Exception {
    String topic = topic("segment.ms", "300", "min.cleanable.dirty.ratio", "0.01", "min.compaction.lag.ms", "6000");
    try (var producer = producer()) {
      long start = System.currentTimeMillis();
      for (int i = 0; i < 10; i++) producer.send(new ProducerRecord<>(topic, 0, "k", "v" + i)).get();
      while (System.currentTimeMillis() - start < 4000) { nudge(topic, producer); eq(10, data(read(topic, 0)).size()); }
      settle(topic, producer, "the newest", all -> data(all).size() == 1);
      check(System.currentTimeMillis() - start > 6000, "cleaned too early");
    }
  }

  static void maxLag() throws Exception {
    String topic = topic("segment.ms", "3600000", "min.cleanable.dirty.ratio", "1", "max.compaction.lag.ms", "2000");
    try (var producer = producer()) {
      for (int i = 0; i < 10; i++) producer.send(new ProducerRecord<>(topic, 0, "k", "v" + i)).get();
      settle(topic, producer, "the newest", all -> data(all).size() == 1);
    }
  }

  static void compactDelete() throws Exception {
    String topic = topic("cleanup.policy", "compact,delete", "segment.ms", "300", "min.cleanable.dirty.ratio", "0.01", "retention.ms", "5000");
    try (var producer = producer()) {
      for (int i = 0; i < 20; i++) producer.send(new ProducerRecord<>(topic, 0, "k" + i % 2, "v" + i)).get();
      settle(topic, producer, "compacted", all -> data(all).size() == 2);
      // Kafka's age is that of the youngest record in a file, and cleaning joins files: nothing new may come now.
      for (long end = System.currentTimeMillis() + 45_000; !read(topic, 0).isEmpty(); Thread.sleep(300)) check(System.currentTimeMillis() < end, "still there");
      check(offsetOf(topic, OffsetSpec.earliest()) >= 20, "the start has moved");
    }
  }

  static void deleteRecords() throws Exception {
    String only = topic();
    try (Admin admin = Admin.create(props())) {
      admin.deleteRecords(Map.of(new TopicPartition(only, 0), RecordsToDelete.beforeOffset(0))).all().get();
      throw new AssertionError("taken on a topic that is only compacted");
    } catch (ExecutionException e) { check(e.getCause() instanceof PolicyViolationException, e.getCause()); }
    String topic = topic("cleanup.policy", "compact,delete", "segment.ms", "300", "min.cleanable.dirty.ratio", "0.01");
    TopicPartition partition = new TopicPartition(topic, 0);
    try (var producer = producer(); Admin admin = Admin.create(props())) {
      for (int i = 0; i < 20; i++) producer.send(new ProducerRecord<>(topic, 0, "k" + i % 5, "v" + i)).get();
      settle(topic, producer, "compacted", all -> data(all).size() == 5);
      // 15 to 19 are left; 10 lies in the gap.
      for (long before : new long[] {10, 17}) {
        eq(before, admin.deleteRecords(Map.of(partition, RecordsToDelete.beforeOffset(before))).lowWatermarks().get(partition).get().lowWatermark());
        eq(before, offsetOf(topic, OffsetSpec.earliest()));
      }
      eq(3, data(read(topic, 17)).size());
      try (var consumer = consumer("auto.offset.reset", "none")) {
        consumer.assign(List.of(partition));
        consumer.seek(partition, 16);
        try { consumer.poll(Duration.ofSeconds(10)); throw new AssertionError("no OffsetOutOfRange"); } catch (OffsetOutOfRangeException expected) { }
      }
    }
  }

  static void transactions() throws Exception {
    String topic = topic("segment.ms", "300", "min.cleanable.dirty.ratio", "0.01", "delete.retention.ms", "1000");
    try (var producer = producer(); var transactional = producer("transactional.id", "t-" + RUN)) {
      transactional.initTransactions();
      for (int i = 0; i < 12; i++) {
        transactional.beginTransaction();
        for (int j = 0; j < 3; j++) transactional.send(new ProducerRecord<>(topic, 0, "k" + j, (i % 2 == 0 ? "yes" : "no") + i));
        transactional.flush();
        if (i % 2 == 0) transactional.commitTransaction(); else transactional.abortTransaction();
      }
      // Uncommitted reading shows that aborted records are really gone.
      settle(topic, producer, "newest of what was committed", all -> data(all).size() == 3);
      for (var record : data(read(topic, 0))) eq("yes10", record.value());
      for (var record : data(read(topic, 0, "isolation.level", "read_committed"))) eq("yes10", record.value());
      Thread.sleep(1500);
      settle(topic, producer, "markers aged", all -> data(all).size() == 3);
      eq(3, data(read(topic, 0, "isolation.level", "read_committed")).size());
      transactional.beginTransaction();
      transactional.send(new ProducerRecord<>(topic, 0, "k0", "open"));
      transactional.flush();
      for (int more = 0; more < 4; more++) nudge(topic, producer);
      eq(4, data(read(topic, 0)).size());
      eq(3, data(read(topic, 0, "isolation.level", "read_committed")).size());
      transactional.abortTransaction();
      settle(topic, producer, "aborted", all -> data(all).size() == 3);
      eq(3, data(read(topic, 0, "isolation.level", "read_committed")).size());
    }
  }

  static void restart() throws Exception {
    String topic = topic("segment.ms", "300", "min.cleanable.dirty.ratio", "0.01");
    try (var producer = producer()) {
      for (int i = 0; i < 500; i++) producer.send(new ProducerRecord<>(topic, 0, "k" + i % 50, "v" + i));
      producer.flush();
      settle(topic, producer, "compacted", all -> data(all).size() == 50);
    }
    var before = keyMap(data(read(topic, 0)));
    var answer = HttpClient.newHttpClient().send(HttpRequest.newBuilder(URI.create(control + "/restart")).POST(HttpRequest.BodyPublishers.noBody()).build(), HttpResponse.BodyHandlers.ofString());
    eq(200, answer.statusCode());
    eq(before, keyMap(data(read(topic, 0))));
    try (var producer = producer()) {
      for (int i = 0; i < 50; i++) producer.send(new ProducerRecord<>(topic, 0, "k" + i, "after"));
      producer.flush();
      settle(topic, producer, "compacted again", all -> data(all).stream().allMatch(each -> each.value().equals("after")));
      eq(50, data(read(topic, 0)).size());
    }
  }

  // ----- tools

  /** Appends what closes segments until `done` holds of what can be read. */
  static void settle(String topic, KafkaProducer<String, String> producer, String what, java.util.function.Predicate<List<ConsumerRecord<String, String>>> done) throws Exception {
    List<ConsumerRecord<String, String>> all = List.of();
    for (long end = System.currentTimeMillis() + 45_000; System.currentTimeMillis() < end; ) {
      nudge(topic, producer);
      all = read(topic, 0);
      ordered(all);
      if (done.test(all)) return;
    }
    throw new AssertionError(what + ": still " + data(all).size() + " records");
  }

  /** Kafka closes a segment when something is appended segment.ms after its first record. */
  static void nudge(String topic, KafkaProducer<String, String> producer) throws Exception {
    Thread.sleep(400);
    producer.send(new ProducerRecord<>(topic, 0, "nudge-" + nudges++, "")).get();
  }

  static List<ConsumerRecord<String, String>> read(String topic, long from, String... more) {
    TopicPartition partition = new TopicPartition(topic, 0);
    List<ConsumerRecord<String, String>> all = new ArrayList<>();
    try (var consumer = consumer(more)) {
      consumer.assign(List.of(partition));
      long end = consumer.endOffsets(List.of(partition)).get(partition);
      consumer.seek(partition, Math.max(from, consumer.beginningOffsets(List.of(partition)).get(partition)));
      while (consumer.position(partition) < end) consumer.poll(Duration.ofMillis(200)).forEach(all::add);
    }
    return all;
  }

  static List<ConsumerRecord<String, String>> data(List<ConsumerRecord<String, String>> all) {
    return all.stream().filter(each -> each.key() == null || !each.key().startsWith("nudge-")).toList();
  }
  static long nudgesOf(List<ConsumerRecord<String, String>> all) { return all.size() - data(all).size(); }
  static Map<String, String> keyMap(List<ConsumerRecord<String, String>> all) {
    Map<String, String> map = new TreeMap<>();
    for (var each : all) map.put(each.key(), each.offset() + "=" + each.value());
    return map;
  }
  static void ordered(List<ConsumerRecord<String, String>> all) {
    for (int i = 1; i < all.size(); i++) check(all.get(i).offset() > all.get(i - 1).offset(), "order at " + all.get(i).offset());
  }
  static void check(boolean holds, Object what) { if (!holds) throw new AssertionError(String.valueOf(what)); }
  static void eq(Object want, Object got) { if (!Objects.equals(want, got)) throw new AssertionError("wanted " + want + ", got " + got); }

  static Properties props(String... more) {
    Properties props = new Properties();
    props.put("bootstrap.servers", broker);
    for (int i = 0; i < more.length; i += 2) props.put(more[i], more[i + 1]);
    return props;
  }
  static KafkaProducer<String, String> producer(String... more) { return new KafkaProducer<>(props(more), new StringSerializer(), new StringSerializer()); }
  static KafkaConsumer<String, String> consumer(String... more) { return new KafkaConsumer<>(props(more), new StringDeserializer(), new StringDeserializer()); }

  static String topic(String... config) throws Exception {
    String name = "compaction-" + RUN + "-" + topics++;
    Map<String, String> configs = new HashMap<>(Map.of("cleanup.policy", "compact"));
    for (int i = 0; i < config.length; i += 2) configs.put(config[i], config[i + 1]);
    try (Admin admin = Admin.create(props())) { admin.createTopics(List.of(new NewTopic(name, 1, (short) 1).configs(configs))).all().get(); }
    return name;
  }
  static void alter(String topic, String name, String value) throws Exception {
    try (Admin admin = Admin.create(props())) {
      var resource = new ConfigResource(ConfigResource.Type.TOPIC, topic);
      admin.incrementalAlterConfigs(Map.of(resource, List.of(new AlterConfigOp(new ConfigEntry(name, value), AlterConfigOp.OpType.SET)))).all().get();
    }
    Thread.sleep(300);
  }
  static long offsetOf(String topic, OffsetSpec spec) throws Exception {
    TopicPartition partition = new TopicPartition(topic, 0);
    try (Admin admin = Admin.create(props())) { return admin.listOffsets(Map.of(partition, spec)).partitionResult(partition).get().offset(); }
  }
}
