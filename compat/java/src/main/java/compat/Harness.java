package compat;

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
  static final Duration T1 = Duration.ofMillis(300);


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
    double s = (System.currentTimeMillis() - t0) / 1000.0;
    if (err == null) System.out.println("pass " + name);
    else {
      System.out.println("fail " + name);
      System.err.printf("     %s (%.1f s): %s%n", name, s, err);
      for (StackTraceElement e : err.getStackTrace()) if (e.getClassName().startsWith("compat.")) { System.err.println("       at " + e); }
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

  static String name(String p) { return "java-" + p + "-" + RUN + "-" + SEQ.incrementAndGet(); }
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
  static KafkaProducer<String, String> producer(Object... kv) { return new KafkaProducer<>(props(kv), new StringSerializer(), new StringSerializer()); }
  static KafkaConsumer<String, String> consumer(String group, Object... kv) {
    Properties p = props(kv);
    if (group != null) p.put("group.id", group);
    p.putIfAbsent("auto.offset.reset", "earliest");
    return new KafkaConsumer<>(p, new StringDeserializer(), new StringDeserializer());
  }
  static void groupConfig(String group, String... kv) throws Exception {
    List<AlterConfigOp> ops = new ArrayList<>();
    for (int i = 0; i < kv.length; i += 2) ops.add(new AlterConfigOp(new ConfigEntry(kv[i], kv[i + 1]), AlterConfigOp.OpType.SET));
    try (Admin a = admin()) { get(a.incrementalAlterConfigs(Map.of(new ConfigResource(ConfigResource.Type.GROUP, group), ops)).all()); }
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
  static List<String> drain(Consumer<String, String> c, int n, int seconds) {
    List<String> out = new ArrayList<>();
    long end = System.currentTimeMillis() + seconds * 1000L;
    while (out.size() < n && System.currentTimeMillis() < end) for (ConsumerRecord<String, String> r : c.poll(T1)) out.add(r.value());
    return out;
  }
  static List<String> readAll(String t, int p, String isolation, int n) {
    try (KafkaConsumer<String, String> c = consumer(null, "isolation.level", isolation)) {
      c.assign(List.of(new TopicPartition(t, p)));
      c.seekToBeginning(c.assignment());
      List<String> l = new ArrayList<>(drain(c, n, 10));
      for (ConsumerRecord<String, String> r : c.poll(T1)) l.add(r.value());
      return l;
    }
  }
  /** A consumer with its own thread that remembers what it was assigned. */
  static class Member implements AutoCloseable {
    final Consumer<String, String> c;
    final Set<TopicPartition> owned = ConcurrentHashMap.newKeySet();
    final Queue<String> got = new ConcurrentLinkedQueue<>();
    final AtomicInteger assigned = new AtomicInteger(), revoked = new AtomicInteger();
    final List<Integer> revokedSizes = new CopyOnWriteArrayList<>();
    volatile Throwable error;
    volatile boolean stop;
    final Thread t;
    Member(Consumer<String, String> c, Object sub) {
      this.c = c;
      ConsumerRebalanceListener l = new ConsumerRebalanceListener() {
        public void onPartitionsRevoked(Collection<TopicPartition> ps) { revoked.incrementAndGet(); revokedSizes.add(ps.size()); owned.removeAll(ps); }
        public void onPartitionsAssigned(Collection<TopicPartition> ps) { assigned.incrementAndGet(); owned.addAll(ps); }
        public void onPartitionsLost(Collection<TopicPartition> ps) { owned.removeAll(ps); }
      };
      if (sub instanceof SubscriptionPattern p) c.subscribe(p, l); else c.subscribe(List.of((String) sub), l);
      t = new Thread(() -> {
        try { while (!stop) for (ConsumerRecord<String, String> r : c.poll(Duration.ofMillis(100))) got.add(r.value()); }
        catch (Throwable e) { error = e; }
        finally { c.close(org.apache.kafka.clients.consumer.CloseOptions.timeout(Duration.ofSeconds(5))); }
      });
      t.setDaemon(true);
      t.start();
    }
    public void close() throws InterruptedException { stop = true; t.join(15000); }
  }
}
