import java.util.TreeMap;
import org.apache.kafka.common.config.ConfigDef;
import org.apache.kafka.coordinator.group.GroupConfig;
import org.apache.kafka.server.config.AbstractKafkaConfig;
import org.apache.kafka.server.config.DynamicBrokerConfig;
import org.apache.kafka.server.config.ServerTopicConfigSynonyms;
import org.apache.kafka.storage.internals.log.LogConfig;

/**
 * Prints the settings of a Kafka release, one a line: kind, name, type, default, update mode (brokers) or fallback (topics),
 * limits.
 * Made kafka-settings.tsv:
 *
 *   javac -cp "$KAFKA_CLASS_PATH" -d out DumpSettings.java && java -cp "$KAFKA_CLASS_PATH:out" DumpSettings > kafka-settings.tsv
 */
public class DumpSettings {
    public static void main(String[] arguments) {
        var modes = DynamicBrokerConfig.dynamicConfigUpdateModes();
        print("broker", AbstractKafkaConfig.CONFIG_DEF, name -> modes.getOrDefault(name, "read-only"));
        var fallbacks = ServerTopicConfigSynonyms.TOPIC_CONFIG_SYNONYMS;
        print("topic", LogConfig.configDefCopy(), name -> fallbacks.getOrDefault(name, "-"));
        print("group", GroupConfig.CONFIG_DEF, name -> "-");
    }

    private static void print(String kind, ConfigDef definitions, java.util.function.UnaryOperator<String> last) {
        for (var key : new TreeMap<>(definitions.configKeys()).values()) {
            if (key.internalConfig) continue;
            String value = key.hasDefault() ? ConfigDef.convertToString(key.defaultValue, key.type) : null;
            System.out.println(String.join("\t", kind, key.name, key.type.name(), 
                value == null ? "<none>" : value, last.apply(key.name),
                String.valueOf(key.validator)));
        }
    }
}
