package share;

import org.apache.kafka.clients.admin.*;
import org.apache.kafka.clients.consumer.*;
import org.apache.kafka.clients.producer.*;
import org.apache.kafka.common.*;
import org.apache.kafka.common.config.ConfigResource;
import org.apache.kafka.common.serialization.*;

import java.time.Duration;
import java.util.*;
import java.util.concurrent.*;
import java.util.concurrent.atomic.*;

/** What the scenarios share: each prints `pass NAME` or `fail NAME`, and why to standard error. */
final class Harness {
  interface Body { void run() throws Exception; }

  static String broker, only = ".";
  static final String RUN = Long.toString(System.currentTimeMillis(), 36);
  static final AtomicInteger SEQ = new AtomicInteger();

  static void scenario(String name, int seconds, Body body) {
    if (!name.matches(".*(" + only + ").*")) return;
    ExecutorService ex = Executors.newSingleThreadExecutor(r -> { Thread t = new Thread(r); t.setDaemon(true); return t; });
    long t0 = System.currentTimeMillis();
    Throwable err = null;
    try {
      ex.submit(() -> { body.run(); return null; }).get(seconds, TimeUnit.SECONDS);
    } catch (ExecutionException e) {
      err = e.getCause();
    } catch (Throwable e) {
      err = e;
    }
    ex.shutdownNow();
    if (err == null) System.out.println("pass " + name);
    else {
      System.out.println("fail " + name);
      System.err.printf("     %s (%.1f s): %s%n", name, (System.currentTimeMillis() - t0) / 1000.0, err);
      for (StackTraceElement e : err.getStackTrace()) if (e.getClassName().startsWith("share.")) { System.err.println("       at " + e); }
      for (Throwable c = err.getCause(); c != null; c = c.getCause()) System.err.println("       cause " + c);
    }
    System.out.flush();
  }

  static void check(boolean cond, Object what) { if (!cond) throw new AssertionError(String.valueOf(what)); }
  static void eq(Object want, Object got) { if (!Objects.equals(want, got)) throw new AssertionError("wanted " + want + ", got " + got); }
  static <T extends Throwable> T fails(Class<T> type, Callable<?> c) {
    try { c.call(); } catch (Throwable e) {
      for (Throwable x = e; x != null; x = x.getCause()) if (type.isInstance(x)) return type.cast(x);
      throw new AssertionError("wanted " + type.getSimpleName() + ", got " + e, e);
    }
    throw new AssertionError("wanted " + type.getSimpleName() + ", got no exception");
  }
  static void until(int seconds, String what, Callable<Boolean> c) throws Exception {
    long end = System.currentTimeMillis() + seconds * 1000L;
    Throwable last = null;
    while (System.currentTimeMillis() < end) {
      try { if (c.call()) return; } catch (ExecutionException | KafkaException e) { last = e; }
      Thread.sleep(100);
    }
    throw new AssertionError("not within " + seconds + " s: " + what, last);
  }

  static String name(String p) { return "share-" + p + "-" + RUN + "-" + SEQ.incrementAndGet(); }
  static Properties props(Object... kv) {
    Properties p = new Properties();
    p.put("bootstrap.servers", broker);
    for (int i = 0; i < kv.length; i += 2) p.put(kv[i], String.valueOf(kv[i + 1]));
    return p;
  }
  static Admin admin() { return Admin.create(props("client.id", "scenario-admin")); }
  static <T> T get(KafkaFuture<T> f) throws Exception { return f.get(30, TimeUnit.SECONDS); }
  static String topic(int partitions, String... config) throws Exception {
    String t = name("t");
    Map<String, String> c = new HashMap<>();
    for (int i = 0; i < config.length; i += 2) c.put(config[i], config[i + 1]);
    try (Admin a = admin()) { get(a.createTopics(List.of(new NewTopic(t, partitions, (short) 1).configs(c))).all()); }
    return t;
  }
  /** A group that starts with the first record. */
  static String group(String... kv) throws Exception {
    String g = name("g");
    List<String> all = new ArrayList<>(List.of("share.auto.offset.reset", "earliest"));
    all.addAll(List.of(kv));
    groupConfig(g, all.toArray(new String[0]));
    return g;
  }
  static void groupConfig(String group, String... kv) throws Exception {
    List<AlterConfigOp> ops = new ArrayList<>();
    for (int i = 0; i < kv.length; i += 2) ops.add(new AlterConfigOp(new ConfigEntry(kv[i], kv[i + 1]), AlterConfigOp.OpType.SET));
    try (Admin a = admin()) { get(a.incrementalAlterConfigs(Map.of(new ConfigResource(ConfigResource.Type.GROUP, group), ops)).all()); }
  }
  static KafkaProducer<String, String> producer(Object... kv) { return new KafkaProducer<>(props(kv), new StringSerializer(), new StringSerializer()); }
  static KafkaShareConsumer<String, String> share(String group, String topic, Object... kv) {
    Properties p = props(kv);
    p.put("group.id", group);
    KafkaShareConsumer<String, String> c = new KafkaShareConsumer<>(p, new StringDeserializer(), new StringDeserializer());
    c.subscribe(List.of(topic));
    return c;
  }
  static KafkaShareConsumer<String, String> explicit(String group, String topic, Object... kv) {
    Object[] all = Arrays.copyOf(kv, kv.length + 2);
    all[kv.length] = "share.acknowledgement.mode";
    all[kv.length + 1] = "explicit";
    return share(group, topic, all);
  }
  static void send(String t, int p, String... values) throws Exception {
    try (KafkaProducer<String, String> pr = producer()) { for (String v : values) pr.send(new ProducerRecord<>(t, p, v, v)).get(); }
  }
  static void sendN(String t, Integer p, int n) throws Exception {
    try (KafkaProducer<String, String> pr = producer("linger.ms", 5)) {
      List<Future<RecordMetadata>> fs = new ArrayList<>();
      for (int i = 0; i < n; i++) fs.add(pr.send(new ProducerRecord<>(t, p, "k" + i, "v" + i)));
      for (Future<RecordMetadata> f : fs) f.get();
    }
  }
  /** The records of the first poll that gives any. */
  static List<ConsumerRecord<String, String>> poll(KafkaShareConsumer<String, String> c, int seconds) {
    long end = System.currentTimeMillis() + seconds * 1000L;
    while (System.currentTimeMillis() < end) {
      List<ConsumerRecord<String, String>> l = new ArrayList<>();
      c.poll(Duration.ofMillis(500)).forEach(l::add);
      if (!l.isEmpty()) return l;
    }
    return List.of();
  }
  /** Accepts at least n, in implicit mode. */
  static List<String> drain(KafkaShareConsumer<String, String> c, int n, int seconds) {
    List<String> out = new ArrayList<>();
    long end = System.currentTimeMillis() + seconds * 1000L;
    while (out.size() < n && System.currentTimeMillis() < end) for (ConsumerRecord<String, String> r : c.poll(Duration.ofMillis(300))) out.add(r.value());
    c.commitSync();
    return out;
  }
  static List<String> values(List<ConsumerRecord<String, String>> l) { return l.stream().map(ConsumerRecord::value).toList(); }
  static int count(ConsumerRecord<String, String> r) { return r.deliveryCount().orElse((short) -1); }
}
