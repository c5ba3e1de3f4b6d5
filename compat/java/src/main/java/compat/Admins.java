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

/** Scenarios of the Admin client. */
final class Admins {
  static void admins() {
    scenario("admin: topics: create, describe, list, add partitions, delete by name and id", 60, () -> {
      try (Admin a = admin()) {
        String t = name("adm");
        CreateTopicsResult r = a.createTopics(List.of(new NewTopic(t, 2, (short) 1).configs(Map.of("retention.ms", "1000"))));
        get(r.all());
        Uuid id = get(r.topicId(t));
        eq(2, get(r.numPartitions(t))); eq("1000", get(r.config(t)).get("retention.ms").value());
        fails(TopicExistsException.class, () -> get(a.createTopics(List.of(new NewTopic(t, 2, (short) 1))).all()));
        fails(InvalidReplicationFactorException.class, () -> get(a.createTopics(List.of(new NewTopic(name("x"), 1, (short) 9))).all()));
        fails(InvalidTopicException.class, () -> get(a.createTopics(List.of(new NewTopic("no spaces", 1, (short) 1))).all()));
        fails(InvalidConfigurationException.class, () -> get(a.createTopics(List.of(new NewTopic(name("x"), 1, (short) 1).configs(Map.of("nope", "1")))).all()));
        fails(InvalidPartitionsException.class, () -> get(a.createTopics(List.of(new NewTopic(name("x"), 0, (short) 1))).all()));
        get(a.createTopics(List.of(new NewTopic(t + "-dry", 1, (short) 1)), new CreateTopicsOptions().validateOnly(true)).all());
        until(10, "listed", () -> get(a.listTopics().names()).contains(t));
        check(!get(a.listTopics().names()).contains(t + "-dry"), "validateOnly");
        check(get(a.listTopics(new ListTopicsOptions().listInternal(true)).names()).stream().anyMatch(x -> x.startsWith("__")), "internal");
        eq(id, get(a.describeTopics(List.of(t)).allTopicNames()).get(t).topicId());
        eq(t, get(a.describeTopics(TopicCollection.ofTopicIds(List.of(id))).allTopicIds()).get(id).name());
        get(a.createPartitions(Map.of(t, NewPartitions.increaseTo(4))).all());
        fails(InvalidPartitionsException.class, () -> get(a.createPartitions(Map.of(t, NewPartitions.increaseTo(3))).all()));
        until(10, "4", () -> get(a.describeTopics(List.of(t)).allTopicNames()).get(t).partitions().size() == 4);
        get(a.deleteTopics(TopicCollection.ofTopicIds(List.of(id))).all());
        fails(UnknownTopicOrPartitionException.class, () -> get(a.describeTopics(List.of(t)).allTopicNames()));
        fails(UnknownTopicOrPartitionException.class, () -> get(a.deleteTopics(List.of(t)).all()));
        String t2 = name("adm"); get(a.createTopics(List.of(new NewTopic(t2, Map.of(0, List.of(get(a.describeCluster().controller()).id()))))).all()); get(a.deleteTopics(List.of(t2)).all());
      }
    });
    scenario("admin: configs: describe, incremental SET, DELETE, APPEND, SUBTRACT; sources, synonyms, types", 60, () -> {
      String t = topic(1);
      ConfigResource r = new ConfigResource(ConfigResource.Type.TOPIC, t);
      try (Admin a = admin()) {
        var op = new Object() { void go(String k, String v, AlterConfigOp.OpType o) throws Exception { get(a.incrementalAlterConfigs(Map.of(r, List.of(new AlterConfigOp(new ConfigEntry(k, v), o)))).all()); }
          ConfigEntry read(String k) throws Exception { return get(a.describeConfigs(List.of(r), new DescribeConfigsOptions().includeSynonyms(true).includeDocumentation(true)).all()).get(r).get(k); } };
        op.go("retention.ms", "5000", AlterConfigOp.OpType.SET);
        until(5, "set", () -> op.read("retention.ms").value().equals("5000"));
        eq(ConfigEntry.ConfigSource.DYNAMIC_TOPIC_CONFIG, op.read("retention.ms").source()); eq(ConfigEntry.ConfigType.LONG, op.read("retention.ms").type());
        op.go("cleanup.policy", "compact", AlterConfigOp.OpType.APPEND);
        until(5, "append", () -> op.read("cleanup.policy").value().equals("delete,compact"));
        op.go("cleanup.policy", "delete", AlterConfigOp.OpType.SUBTRACT);
        until(5, "subtract", () -> op.read("cleanup.policy").value().equals("compact"));
        op.go("retention.ms", "", AlterConfigOp.OpType.DELETE);
        until(5, "delete", () -> op.read("retention.ms").source() != ConfigEntry.ConfigSource.DYNAMIC_TOPIC_CONFIG);
        fails(InvalidConfigurationException.class, () -> { op.go("retention.ms", "abc", AlterConfigOp.OpType.SET); return null; });
        int id = get(a.describeCluster().nodes()).iterator().next().id();
        check(get(a.describeConfigs(List.of(new ConfigResource(ConfigResource.Type.BROKER, "" + id))).all()).values().iterator().next().entries().size() > 20, "broker configs");
        check(get(a.describeConfigs(List.of(new ConfigResource(ConfigResource.Type.BROKER_LOGGER, "" + id))).all()).values().iterator().next().entries().size() > 0, "loggers");
        fails(UnknownTopicOrPartitionException.class, () -> get(a.describeConfigs(List.of(new ConfigResource(ConfigResource.Type.TOPIC, name("none")))).all()));
        check(get(a.listConfigResources(Set.of(ConfigResource.Type.TOPIC), new ListConfigResourcesOptions()).all()).contains(r), "listConfigResources");
      }
    });
    scenario("admin: listOffsets for every spec, deleteRecords", 60, () -> {
      String t = topic(1);
      TopicPartition tp = new TopicPartition(t, 0);
      try (var p = producer()) { long[] ts = {1000, 9000, 3000}; for (long x : ts) p.send(new ProducerRecord<>(t, 0, 1_700_000_000_000L + x, "k", "v")).get(); }
      try (Admin a = admin()) {
        eq(0L, get(a.listOffsets(Map.of(tp, OffsetSpec.earliest())).all()).get(tp).offset());
        eq(3L, get(a.listOffsets(Map.of(tp, OffsetSpec.latest())).all()).get(tp).offset());
        eq(1L, get(a.listOffsets(Map.of(tp, OffsetSpec.maxTimestamp())).all()).get(tp).offset());
        eq(1L, get(a.listOffsets(Map.of(tp, OffsetSpec.forTimestamp(1_700_000_002_000L))).all()).get(tp).offset());
        eq(0L, get(a.listOffsets(Map.of(tp, OffsetSpec.earliestLocal())).all()).get(tp).offset());
        get(a.listOffsets(Map.of(tp, OffsetSpec.latestTiered())).all());
        eq(2L, get(a.deleteRecords(Map.of(tp, RecordsToDelete.beforeOffset(2))).lowWatermarks().get(tp)).lowWatermark());
        eq(2L, get(a.listOffsets(Map.of(tp, OffsetSpec.earliest())).all()).get(tp).offset());
        fails(org.apache.kafka.common.errors.OffsetOutOfRangeException.class, () -> get(a.deleteRecords(Map.of(tp, RecordsToDelete.beforeOffset(50))).all()));
      }
    });
    scenario("admin: consumer group offsets: alter, list, delete; delete groups", 60, () -> {
      String t = topic(2), g = name("g");
      TopicPartition p0 = new TopicPartition(t, 0), p1 = new TopicPartition(t, 1);
      try (Admin a = admin()) {
        get(a.alterConsumerGroupOffsets(g, Map.of(p0, new OffsetAndMetadata(7, Optional.of(0), "m"), p1, new OffsetAndMetadata(9))).all());
        var o = get(a.listConsumerGroupOffsets(g).partitionsToOffsetAndMetadata());
        eq(7L, o.get(p0).offset()); eq("m", o.get(p0).metadata()); eq(9L, o.get(p1).offset());
        get(a.deleteConsumerGroupOffsets(g, Set.of(p0)).all());
        eq(Set.of(p1), get(a.listConsumerGroupOffsets(g).partitionsToOffsetAndMetadata()).keySet());
        check(get(a.listConsumerGroups().all()).stream().anyMatch(x -> x.groupId().equals(g)), "listed");
        eq(GroupState.EMPTY, get(a.describeConsumerGroups(List.of(g)).all()).get(g).groupState());
        get(a.deleteConsumerGroups(List.of(g)).all());
        fails(GroupIdNotFoundException.class, () -> get(a.deleteConsumerGroups(List.of(g)).all()));
        fails(GroupIdNotFoundException.class, () -> get(a.describeConsumerGroups(List.of(g)).all()));
      }
    });
    scenario("admin: log dirs: describeLogDirs, describeReplicaLogDirs, alterReplicaLogDirs", 30, () -> {
      String t = topic(1);
      sendN(t, 0, 10);
      try (Admin a = admin()) {
        int id = get(a.describeCluster().nodes()).iterator().next().id();
        var dirs = get(a.describeLogDirs(List.of(id)).allDescriptions()).get(id);
        check(dirs.values().stream().anyMatch(d -> d.replicaInfos().containsKey(new TopicPartition(t, 0)) && d.replicaInfos().get(new TopicPartition(t, 0)).size() > 0), "size");
        TopicPartitionReplica r = new TopicPartitionReplica(t, 0, id);
        String dir = get(a.describeReplicaLogDirs(List.of(r)).all()).get(r).getCurrentReplicaLogDir();
        check(dirs.containsKey(dir), dir);
        get(a.alterReplicaLogDirs(Map.of(r, dir)).all());
        fails(LogDirNotFoundException.class, () -> get(a.alterReplicaLogDirs(Map.of(r, "/no/such/dir")).all()));
      }
    });
  }
}
