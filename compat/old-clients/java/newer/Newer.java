import java.util.Arrays;
import java.util.Collections;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Properties;
import java.util.UUID;
import org.apache.kafka.clients.admin.AdminClient;
import org.apache.kafka.clients.admin.NewTopic;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.clients.consumer.OffsetAndMetadata;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.common.TopicPartition;

/** What came with 0.11 and 1.0: idempotence, transactions, headers, the admin client; compiled with 1.1. */
public class Newer extends Basic {
    public static void main(String[] args) {
        broker = args[0];
        label = args[1];
        final String topic = "newer-java-" + UUID.randomUUID();
        check("makes, lists and deletes topics", () -> {
            Properties settings = new Properties();
            settings.put("bootstrap.servers", broker);
            AdminClient admin = AdminClient.create(settings);
            admin.createTopics(Arrays.asList(new NewTopic(topic, 2, (short) 1), new NewTopic(topic + "-gone", 1, (short) 1))).all().get();
            expect(admin.listTopics().names().get().contains(topic), "listed");
            admin.deleteTopics(Collections.singletonList(topic + "-gone")).all().get();
            expect(!admin.listTopics().names().get().contains(topic + "-gone"), "deleted");
            expect(admin.describeCluster().nodes().get().size() == 1, "nodes");
            admin.close();
        });
        check("writes idempotently, with headers", () -> {
            KafkaProducer<String, String> producer = new KafkaProducer<String, String>(settings("enable.idempotence", "true", "acks", "all"));
            for (int n = 0; n < 20; n++) {
                ProducerRecord<String, String> record = new ProducerRecord<String, String>(topic, 0, "k", "v" + n);
                record.headers().add("h", new byte[] {(byte) n});
                producer.send(record).get();
            }
            producer.close();
            KafkaConsumer<String, String> consumer = new KafkaConsumer<String, String>(settings("group.id", "h-" + topic));
            consumer.assign(Collections.singletonList(new TopicPartition(topic, 0)));
            consumer.seekToBeginning(Collections.singletonList(new TopicPartition(topic, 0)));
            ConsumerRecord<String, String> first = null;
            long endMs = System.currentTimeMillis() + 30000;
            while (first == null && System.currentTimeMillis() < endMs) for (ConsumerRecord<String, String> record : poll(consumer)) if (first == null) first = record;
            expect(first != null && first.headers().lastHeader("h").value()[0] == 0, "header");
            consumer.close();
        });
        check("commits and aborts transactions, with offsets", () -> {
            final TopicPartition partition = new TopicPartition(topic, 1);
            KafkaProducer<String, String> producer = new KafkaProducer<String, String>(settings("transactional.id", "t-" + topic));
            producer.initTransactions();
            for (String outcome : new String[] {"abort", "commit", "abort"}) {
                producer.beginTransaction();
                for (int n = 0; n < 5; n++) producer.send(new ProducerRecord<String, String>(topic, 1, "k", outcome + n));
                if (outcome.equals("commit")) {
                    Map<TopicPartition, OffsetAndMetadata> offsets = new HashMap<TopicPartition, OffsetAndMetadata>();
                    offsets.put(partition, new OffsetAndMetadata(3));
                    // The form with a group's metadata came in 2.5, and this one went in 4.0.
                    try {
                        KafkaProducer.class.getMethod("sendOffsetsToTransaction", Map.class, String.class).invoke(producer, offsets, "tx-" + topic);
                    } catch (NoSuchMethodException gone) {
                        Class<?> metadata = Class.forName("org.apache.kafka.clients.consumer.ConsumerGroupMetadata");
                        KafkaProducer.class.getMethod("sendOffsetsToTransaction", Map.class, metadata).invoke(producer, offsets, metadata.getConstructor(String.class).newInstance("tx-" + topic));
                    }
                    producer.commitTransaction();
                } else producer.abortTransaction();
            }
            producer.close();
            KafkaConsumer<String, String> consumer = new KafkaConsumer<String, String>(settings("group.id", "tx-" + topic, "isolation.level", "read_committed", "enable.auto.commit", "false"));
            consumer.assign(Collections.singletonList(partition));
            expect(consumer.position(partition) == 3, "committed offset");
            consumer.seekToBeginning(Collections.singletonList(partition));
            List<String> values = read(consumer, 5);
            expect(values.equals(Arrays.asList("commit0", "commit1", "commit2", "commit3", "commit4")), "read " + values);
            consumer.close();
        });
    }
}
