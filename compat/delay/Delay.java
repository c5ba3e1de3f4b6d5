import java.time.Duration;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Properties;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.Future;
import org.apache.kafka.clients.admin.Admin;
import org.apache.kafka.clients.admin.AlterConfigOp;
import org.apache.kafka.clients.admin.ConfigEntry;
import org.apache.kafka.clients.admin.NewTopic;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.clients.producer.RecordMetadata;
import org.apache.kafka.common.InvalidRecordException;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.config.ConfigResource;

import org.apache.kafka.common.serialization.StringDeserializer;
import org.apache.kafka.common.serialization.StringSerializer;

/** Delayed records from the official Java client. Argument: HOST:PORT. */
public final class Delay {
  static String broker;
  static int names;

  interface Body { void run() throws Exception; }

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

  static String create(Map<String, String> settings) throws Exception {
    String name = "delay-java-" + Long.toString(System.currentTimeMillis(), 36) + "-" + names++;
    try (Admin admin = Admin.create(with())) {
      admin.createTopics(List.of(new NewTopic(name, 1, (short) 1).configs(settings))).all().get();
    }
    return name;
  }

  static KafkaProducer<String, String> producer(String... more) {
    return new KafkaProducer<>(with(more), new StringSerializer(), new StringSerializer());
  }

  static ProducerRecord<String, String> record(String topic, String key, String value, String... headers) {
    ProducerRecord<String, String> record = new ProducerRecord<>(topic, key, value);
    for (int at = 0; at < headers.length; at += 2) record.headers().add(headers[at], headers[at + 1].getBytes());
    return record;
  }

  static Throwable errorOf(Future<RecordMetadata> sent) throws Exception {
    try {
      sent.get();
      return null;
    } catch (ExecutionException error) {
      return error.getCause();
    }
  }

  /** The first `count` records, each with the time at which it came. */
  static Map<ConsumerRecord<String, String>, Long> receive(String topic, int count) {
    Map<ConsumerRecord<String, String>, Long> got = new java.util.LinkedHashMap<>();
    try (var consumer = new KafkaConsumer<>(with("auto.offset.reset", "earliest"), new StringDeserializer(), new StringDeserializer())) {
      consumer.assign(List.of(new TopicPartition(topic, 0)));
      long until = System.currentTimeMillis() + 20_000;
      while (got.size() < count && System.currentTimeMillis() < until) {
        for (var record : consumer.poll(Duration.ofMillis(200))) got.put(record, System.currentTimeMillis());
      }
    }
    check(got.size() == count, got.size() + " records came, not " + count);
    return got;
  }

  static void inTime() throws Exception {
    String topic = create(Map.of("rmq.message.type", "DELAY"));
    for (String codec : List.of("none", "gzip", "snappy", "lz4", "zstd")) {
      try (var producer = producer("compression.type", codec, "linger.ms", "50")) {
        List<Future<RecordMetadata>> sent = new ArrayList<>();
        long now = System.currentTimeMillis();
        sent.add(producer.send(record(topic, "k", codec + " level", "rmq-delay-level", "1")));
        sent.add(producer.send(record(topic, "k", codec + " delay", "rmq-delay-ms", "600", "own", "x")));
        sent.add(producer.send(record(topic, "k", codec + " time", "rmq-deliver-at-ms", String.valueOf(now + 3000))));
        sent.add(producer.send(record(topic, "k", codec + " now")));
        for (var one : sent) check(!one.get().hasOffset(), "a batch with delayed records has no offset yet");
      }
    }
    var got = receive(topic, 20);
    long offset = 0;
    for (var entry : got.entrySet()) {
      var record = entry.getKey();
      check(record.offset() == offset++, "offsets follow each other");
      var due = record.headers().lastHeader("rmq-due-ms");
      if (record.value().endsWith(" now")) {
        check(due == null, "nothing is told of what was not delayed");
        continue;
      }
      check(entry.getValue() >= Long.parseLong(new String(due.value())), record.value() + " came early");
      check(record.headers().lastHeader("rmq-delay-ms") == null, "control headers are consumed");
    }
  }

  static void refused() throws Exception {
    String normal = create(Map.of("rmq.message.type", "NORMAL"));
    String delay = create(Map.of("rmq.message.type", "DELAY"));
    Map<ProducerRecord<String, String>, String> cases = new HashMap<>();
    cases.put(record(normal, "k", "v", "rmq-delay-ms", "5"), "rmq.message.type must be DELAY or MIXED");
    cases.put(record(delay, "k", "v", "rmq-delay-ms", "1e309"), "Header rmq-delay-ms must be milliseconds");
    cases.put(record(delay, "k", "v", "rmq-delay-ms", "999999999999"), "rmq.delay.max.ms=259200000");
    for (var one : cases.entrySet()) {
      try (var producer = producer()) {
        Throwable error = errorOf(producer.send(one.getKey()));
        check(error instanceof InvalidRecordException, "refused with " + error);
        check(error.getMessage().contains(one.getValue()), "the message is " + error.getMessage());
        // The producer goes on after it, idempotent as it is.
        producer.send(record(delay, "k", "after")).get();
      }
    }
  }

  static void operations() throws Exception {
    String topic = create(Map.of("rmq.message.type", "DELAY"));
    try (var producer = producer()) {
      for (String id : List.of("a", "b", "c")) {
        producer.send(record(topic, "k", id, "rmq-delay-ms", "60000", "rmq-message-id", id)).get();
      }
      String op = "delay.op." + topic;
      producer.send(record(op, "a", null)).get();
      producer.send(record(op, "b", "", "rmq-delay-action", "deliver")).get();
      producer.send(record(op, "c", "", "rmq-delay-action", "reschedule", "rmq-delay-ms", "400")).get();
      var values = receive(topic, 2).keySet().stream().map(ConsumerRecord::value).toList();
      check(values.equals(List.of("b", "c")), "delivered were " + values);
      Map<String, String> cases = Map.of("a", "already cancelled", "b", "already delivered", "never", "not found");
      for (var one : cases.entrySet()) {
        String action = one.getKey().equals("a") ? "deliver" : "cancel";
        Throwable error = errorOf(producer.send(record(op, one.getKey(), "", "rmq-delay-action", action)));
        check(error instanceof InvalidRecordException, "refused with " + error);
        check(error.getMessage().contains(one.getValue()), "the message is " + error.getMessage());
      }
      producer.send(record(op, "a", null)).get();
    }
  }

  static void settings() throws Exception {
    String topic = create(Map.of());
    ConfigResource resource = new ConfigResource(ConfigResource.Type.TOPIC, topic);
    try (Admin admin = Admin.create(with()); var producer = producer()) {
      var op = new AlterConfigOp(new ConfigEntry("rmq.message.type", "MIXED"), AlterConfigOp.OpType.SET);
      admin.incrementalAlterConfigs(Map.of(resource, List.of(op))).all().get();
      var shown = admin.describeConfigs(List.of(resource)).all().get().get(resource);
      check(shown.get("rmq.message.type").value().equals("MIXED"), "the type is shown");
      check(shown.get("rmq.delay.max.ms").value().equals("259200000"), "the longest delay is shown");
      check(!producer.send(record(topic, "k", "v", "rmq-delay-ms", "10")).get().hasOffset(), "it is delayed now");
      check(admin.listTopics().names().get().stream().noneMatch(name -> name.startsWith("__rmq")), "hidden queues are hidden");
      receive(topic, 1);
    }
  }

  static void levels() throws Exception {
    String topic = create(Map.of("rmq.message.type", "DELAY"));
    int[] seconds = {1, 5, 10, 30, 60, 120, 180, 240, 300, 360, 420, 480, 540, 600, 1200, 1800, 3600, 7200};
    Map<String, Long> delays = new java.util.LinkedHashMap<>();
    try (var producer = producer("linger.ms", "50"); var operator = producer("linger.ms", "50")) {
      List<Future<RecordMetadata>> sent = new ArrayList<>();
      for (int level = 1; level <= 19; level++) {
        String id = "level " + level;
        delays.put(id, seconds[Math.min(level, 18) - 1] * 1000L);
        sent.add(producer.send(record(topic, "k", id, "rmq-delay-level", "" + level, "rmq-message-id", id)));
      }
      delays.put("level first", 3_600_000L);
      sent.add(producer.send(record(topic, "k", "level first", "rmq-deliver-at-ms", "1", "rmq-delay-ms", "5",
          "rmq-delay-level", "17", "rmq-message-id", "level first")));
      delays.put("delay before time", 3_000_000L);
      sent.add(producer.send(record(topic, "k", "delay before time", "rmq-deliver-at-ms", "1",
          "rmq-delay-ms", "3000000", "rmq-message-id", "delay before time")));
      sent.add(producer.send(record(topic, "k", "past", "rmq-deliver-at-ms", "1")));
      sent.add(producer.send(record(topic, "k", "no delay", "rmq-delay-ms", "0")));
      for (var one : sent) one.get();
      var first = receive(topic, 2).keySet().stream().map(ConsumerRecord::value).sorted().toList();
      check(first.equals(List.of("no delay", "past")), "delivered at once were " + first);
      List<Future<RecordMetadata>> asked = new ArrayList<>();
      for (String id : delays.keySet()) {
        // The first level may be due by itself.
        if (!id.equals("level 1")) asked.add(operator.send(record("delay.op." + topic, id, "", "rmq-delay-action", "deliver")));
      }
      for (var one : asked) one.get();
    }
    for (var got : receive(topic, delays.size() + 2).keySet()) {
      Long delay = delays.get(got.value());
      if (delay != null) check(time(got, "rmq-due-ms") - time(got, "rmq-stored-ms") == delay, "wrong delay of " + got.value());
    }
  }

  static long time(ConsumerRecord<String, String> record, String header) {
    return Long.parseLong(new String(record.headers().lastHeader(header).value()));
  }

  static void manyInABatch() throws Exception {
    String topic = create(Map.of("rmq.message.type", "DELAY"));
    long due = System.currentTimeMillis() + 3000;
    try (var producer = producer("linger.ms", "100", "batch.size", "1000000")) {
      List<Future<RecordMetadata>> sent = new ArrayList<>();
      for (int at = 0; at < 500; at++) {
        String value = at + " " + "x".repeat(at % 7 == 0 ? 3000 : 20);
        sent.add(producer.send(record(topic, "k", value, "rmq-deliver-at-ms", String.valueOf(due + at * 37 % 500))));
      }
      for (var one : sent) one.get();
    }
    long before = 0;
    java.util.Set<String> numbers = new java.util.HashSet<>();
    for (var got : receive(topic, 500).keySet()) {
      check(time(got, "rmq-due-ms") >= before, "in due order");
      before = time(got, "rmq-due-ms");
      numbers.add(got.value().split(" ")[0]);
    }
    check(numbers.size() == 500, numbers.size() + " different records");
  }

  static void wholeTopic() throws Exception {
    String topic = create(Map.of("rmq.message.type", "DELAY", "rmq.delay.default.ms", "500"));
    long before = System.currentTimeMillis();
    try (var producer = producer()) {
      producer.send(record(topic, "k", "v")).get();
    }
    check(receive(topic, 1).values().iterator().next() - before >= 500, "not early");
  }

  public static void main(String[] args) {
    broker = args[0];
    scenario("java: delays, levels and times, every codec, idempotent, never early", Delay::inTime);
    scenario("java: what a topic does not take is refused in words that name the setting", Delay::refused);
    scenario("java: cancel, deliver now and reschedule through the operation topic", Delay::operations);
    scenario("java: settings are altered and described, hidden queues are not listed", Delay::settings);
    scenario("java: the eighteen levels, what is above them, what counts first, what is past", Delay::levels);
    scenario("java: five hundred delays in one batch, small records and large ones", Delay::manyInABatch);
    scenario("java: the topic's default delays what has no headers", Delay::wholeTopic);
    System.exit(0);
  }
}
