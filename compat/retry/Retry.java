import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.Properties;
import java.util.Set;
import java.util.function.BooleanSupplier;
import org.apache.kafka.clients.admin.Admin;
import org.apache.kafka.clients.admin.NewTopic;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.clients.consumer.OffsetAndMetadata;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.Producer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.serialization.StringDeserializer;
import org.apache.kafka.common.serialization.StringSerializer;

/** Retries and dead letters from the official Java client, in plain client code. Argument: HOST:PORT. */
public final class Retry {
  static String broker;
  static int names;

  interface Body { void run() throws Exception; }

  interface Process { void accept(ConsumerRecord<String, String> record) throws Exception; }

  static void scenario(String name, Body body) {
    try {
      body.run();
      System.out.println("pass " + name);
    } catch (Throwable error) {
      System.out.println("fail " + name);
      error.printStackTrace();
    }
  }

  static void check(boolean holds, String what) {
    if (!holds) throw new AssertionError(what);
  }

  static Properties with(String... more) {
    Properties properties = new Properties();
    properties.put("bootstrap.servers", broker);
    for (int at = 0; at < more.length; at += 2) properties.put(more[at], more[at + 1]);
    return properties;
  }

  static KafkaProducer<String, String> producer(String... more) {
    return new KafkaProducer<>(with(more), new StringSerializer(), new StringSerializer());
  }

  static KafkaConsumer<String, String> consumer(String group) {
    return new KafkaConsumer<>(
        with("group.id", group, "auto.offset.reset", "earliest", "enable.auto.commit", "false", "metadata.max.age.ms", "500"),
        new StringDeserializer(), new StringDeserializer());
  }

  // ---- the recipe: what an application writes

  /** The record comes again to the group later: its place, and nothing of it, goes to the group's retry topic. */
  static void retryLater(Producer<String, String> producer, String group, ConsumerRecord<String, String> record, String error)
      throws Exception {
    var pointer = new ProducerRecord<String, String>("retry." + group, record.key(), null);
    pointer.headers().add("rmq-origin", (record.topic() + "/" + record.partition() + "/" + record.offset()).getBytes());
    pointer.headers().add("rmq-error", error.getBytes());
    producer.send(pointer).get();
  }

  static void consumeWithRetries(String group, String topic, Process process, BooleanSupplier done) throws Exception {
    long until = System.currentTimeMillis() + 30_000;
    try (var consumer = consumer(group); var producer = producer("acks", "all", "linger.ms", "0")) {
      consumer.subscribe(List.of(topic, "retry." + group));
      while (!done.getAsBoolean()) {
        check(System.currentTimeMillis() < until, "not within 30 s");
        for (var record : consumer.poll(Duration.ofMillis(200))) {
          try {
            process.accept(record);
          } catch (IllegalStateException error) {
            retryLater(producer, group, record, error.getMessage());
          }
          consumer.commitSync(Map.of(
              new TopicPartition(record.topic(), record.partition()), new OffsetAndMetadata(record.offset() + 1)));
        }
      }
    }
  }

  // ---- until here

  static String unique(String prefix) {
    return prefix + "-java-" + Long.toString(System.currentTimeMillis(), 36) + "-" + names++;
  }

  static String header(ConsumerRecord<String, String> record, String name) {
    var header = record.headers().lastHeader(name);
    return header == null ? null : new String(header.value());
  }

  record Seen(long at, ConsumerRecord<String, String> record) {}

  static String start(String group) throws Exception {
    String topic = unique("orders");
    try (var admin = Admin.create(with())) {
      admin.createTopics(Set.of(new NewTopic(topic, 1, (short) 1), new NewTopic("retry." + group, 1, (short) 1))).all().get();
    }
    try (var producer = producer()) {
      var record = new ProducerRecord<>(topic, "k", "v");
      record.headers().add("own", "x".getBytes());
      producer.send(record).get();
    }
    return topic;
  }

  static List<Seen> failing(String group, String topic, int times, int expected) throws Exception {
    List<Seen> seen = new ArrayList<>();
    consumeWithRetries(group, topic, record -> {
      seen.add(new Seen(System.currentTimeMillis(), record));
      if (seen.size() <= times) throw new IllegalStateException("failure " + seen.size());
    }, () -> seen.size() == expected);
    return seen;
  }

  static void succeeds() throws Exception {
    String group = unique("g"), topic = start(group);
    var seen = failing(group, topic, 2, 3);
    for (int at = 0; at < 3; at++) {
      check("v".equals(seen.get(at).record.value()), "the value as it was");
      check((at == 0 ? null : "" + at) == null || ("" + at).equals(header(seen.get(at).record, "rmq-reconsume-times")), "the count");
    }
    check(topic.equals(header(seen.get(2).record, "rmq-retry-topic")), "the first topic");
    check("x".equals(header(seen.get(2).record, "own")), "its own headers");
    check(seen.get(1).at - seen.get(0).at >= 200 && seen.get(2).at - seen.get(1).at >= 400, "a retry came early");
  }

  static ConsumerRecord<String, String> readOne(String topic) {
    long until = System.currentTimeMillis() + 20_000;
    try (var consumer = consumer(unique("reader"))) {
      consumer.subscribe(List.of(topic));
      while (System.currentTimeMillis() < until) {
        for (var record : consumer.poll(Duration.ofMillis(200))) return record;
      }
    }
    throw new AssertionError("nothing in " + topic);
  }

  static void exhausted() throws Exception {
    String group = unique("g"), topic = start(group);
    failing(group, topic, 100, 4);
    var letter = readOne("dlq." + group);
    check("v".equals(letter.value()) && "k".equals(letter.key()), "the record as it was");
    check("exhausted".equals(header(letter, "rmq-dlq-reason")), "the reason");
    check("4".equals(header(letter, "__dlq.errors.delivery.count")), "the deliveries");
    check(topic.equals(header(letter, "__dlq.errors.topic")) && "failure 4".equals(header(letter, "rmq-error")), "where and why");
  }

  static void transaction() throws Exception {
    String group = unique("g"), topic = start(group);
    try (var consumer = consumer(group); var producer = producer("transactional.id", unique("tx"))) {
      consumer.subscribe(List.of(topic));
      ConsumerRecord<String, String> got = null;
      for (int turn = 0; turn < 100 && got == null; turn++) {
        for (var record : consumer.poll(Duration.ofMillis(200))) got = record;
      }
      producer.initTransactions();
      var place = new TopicPartition(topic, 0);
      for (boolean commit : new boolean[] {false, true}) {
        producer.beginTransaction();
        retryLater(producer, group, got, "later");
        producer.sendOffsetsToTransaction(Map.of(place, new OffsetAndMetadata(1)), consumer.groupMetadata());
        if (commit) producer.commitTransaction();
        else producer.abortTransaction();
        var committed = consumer.committed(Set.of(place)).get(place);
        check(commit ? committed.offset() == 1 : committed == null, "the offset goes with the failure");
      }
    }
    check("1".equals(header(readOne("retry." + group), "rmq-reconsume-times")), "one retry");
  }

  public static void main(String[] args) {
    broker = args[0];
    scenario("java: fails twice, then succeeds", Retry::succeeds);
    scenario("java: fails always, ends in the dead letters", Retry::exhausted);
    scenario("java: failure and offset are handed over in one transaction", Retry::transaction);
  }
}
