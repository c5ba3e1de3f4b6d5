import java.lang.reflect.Method;
import java.util.ArrayList;
import java.util.Collections;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Properties;
import java.util.UUID;
import java.util.concurrent.Future;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.consumer.ConsumerRecords;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.clients.producer.RecordMetadata;
import org.apache.kafka.common.TopicPartition;

/** What every Java client since 0.10 can do, in calls that all of them have; compiled with the oldest, run with each. */
public class Basic {
    static String broker;
    static String label;

    interface Check { void run() throws Exception; }

    static void check(String name, Check check) {
        try {
            check.run();
            System.out.println("pass java " + label + ": " + name);
        } catch (Throwable error) {
            System.out.println("fail java " + label + ": " + name);
            error.printStackTrace();
        }
    }

    static Properties settings(String... more) {
        Properties settings = new Properties();
        settings.put("bootstrap.servers", broker);
        settings.put("key.serializer", "org.apache.kafka.common.serialization.StringSerializer");
        settings.put("value.serializer", "org.apache.kafka.common.serialization.StringSerializer");
        settings.put("key.deserializer", "org.apache.kafka.common.serialization.StringDeserializer");
        settings.put("value.deserializer", "org.apache.kafka.common.serialization.StringDeserializer");
        for (int at = 0; at < more.length; at += 2) settings.put(more[at], more[at + 1]);
        return settings;
    }

    /** poll(Duration) came in 2.0, and poll(long) went in 4.0. */
    @SuppressWarnings("unchecked")
    static ConsumerRecords<String, String> poll(KafkaConsumer<String, String> consumer) throws Exception {
        try {
            Method newer = KafkaConsumer.class.getMethod("poll", java.time.Duration.class);
            return (ConsumerRecords<String, String>) newer.invoke(consumer, java.time.Duration.ofMillis(200));
        } catch (NoSuchMethodException old) {
            Method older = KafkaConsumer.class.getMethod("poll", long.class);
            return (ConsumerRecords<String, String>) older.invoke(consumer, 200L);
        }
    }

    static List<String> read(KafkaConsumer<String, String> consumer, int count) throws Exception {
        List<String> values = new ArrayList<String>();
        long endMs = System.currentTimeMillis() + 30000;
        while (values.size() < count && System.currentTimeMillis() < endMs) {
            for (ConsumerRecord<String, String> record : poll(consumer)) values.add(record.value());
        }
        return values;
    }

    static void produce(String topic, int from, int to, String... more) throws Exception {
        KafkaProducer<String, String> producer = new KafkaProducer<String, String>(settings(more));
        List<Future<RecordMetadata>> sent = new ArrayList<Future<RecordMetadata>>();
        for (int n = from; n < to; n++) sent.add(producer.send(new ProducerRecord<String, String>(topic, 0, "k" + n, "v" + n)));
        for (int n = from; n < to; n++) expect(sent.get(n - from).get().offset() == n, "offset of " + n);
        producer.close();
    }

    static void expect(boolean holds, String what) {
        if (!holds) throw new AssertionError(what);
    }

    public static void main(String[] args) {
        broker = args[0];
        label = args[1];
        final String topic = "old-java-" + UUID.randomUUID();
        final TopicPartition partition = new TopicPartition(topic, 0);
        check("produces with acks=all and finds the partitions", () -> {
            produce(topic, 0, 10, "acks", "all");
            KafkaProducer<String, String> producer = new KafkaProducer<String, String>(settings());
            expect(producer.partitionsFor(topic).size() >= 1, "partitions");
            producer.close();
        });
        check("reads what it wrote, from the beginning and from an offset", () -> {
            KafkaConsumer<String, String> consumer = new KafkaConsumer<String, String>(settings("group.id", "g-" + topic, "enable.auto.commit", "false"));
            consumer.assign(Collections.singletonList(partition));
            consumer.seekToBeginning(Collections.singletonList(partition));
            List<String> values = read(consumer, 10);
            expect(values.size() == 10 && values.get(9).equals("v9"), "read " + values);
            consumer.seek(partition, 7);
            expect(read(consumer, 3).get(0).equals("v7"), "after seek");
            expect(consumer.position(partition) == 10, "position");
            consumer.close();
        });
        final String[] codecs = {"gzip", "snappy", "lz4"};
        for (final String codec : codecs) {
            check("writes and reads " + codec, () -> {
                String packed = topic + "-" + codec;
                produce(packed, 0, 100, "compression.type", codec, "linger.ms", "50", "acks", "1");
                KafkaConsumer<String, String> consumer = new KafkaConsumer<String, String>(settings("group.id", "g-" + packed, "enable.auto.commit", "false"));
                consumer.assign(Collections.singletonList(new TopicPartition(packed, 0)));
                consumer.seekToBeginning(Collections.singletonList(new TopicPartition(packed, 0)));
                expect(read(consumer, 100).size() == 100, "records");
                consumer.close();
            });
        }
        check("joins a group, commits, and goes on where it was", () -> {
            String group = "members-" + topic;
            String[] member = {"group.id", group, "enable.auto.commit", "false", "auto.offset.reset", "earliest", "max.poll.records", "5"};
            KafkaConsumer<String, String> first = new KafkaConsumer<String, String>(settings(member));
            first.subscribe(Collections.singletonList(topic));
            List<String> values = read(first, 5);
            expect(values.size() == 5, "first " + values);
            first.commitSync();
            first.close();
            KafkaConsumer<String, String> second = new KafkaConsumer<String, String>(settings(member));
            second.subscribe(Collections.singletonList(topic));
            expect(read(second, 5).get(0).equals("v5"), "second");
            second.close();
        });
        check("finds offsets by time, the first and the last", () -> {
            KafkaConsumer<String, String> consumer = new KafkaConsumer<String, String>(settings("group.id", "t-" + topic));
            Map<TopicPartition, Long> times = new HashMap<TopicPartition, Long>();
            times.put(partition, 1L);
            expect(consumer.offsetsForTimes(times).get(partition).offset() == 0, "by time");
            expect(consumer.beginningOffsets(Collections.singletonList(partition)).get(partition) == 0, "first");
            expect(consumer.endOffsets(Collections.singletonList(partition)).get(partition) == 10, "last");
            expect(consumer.listTopics().containsKey(topic), "topics");
            consumer.close();
        });
    }
}
