import com.fasterxml.jackson.core.JsonParser;
import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import com.fasterxml.jackson.databind.node.ArrayNode;
import com.fasterxml.jackson.databind.node.JsonNodeFactory;
import com.fasterxml.jackson.databind.node.LongNode;
import com.fasterxml.jackson.databind.node.ObjectNode;
import com.fasterxml.jackson.databind.node.TextNode;
import java.io.InputStream;
import java.io.PrintWriter;
import java.lang.reflect.InvocationTargetException;
import java.lang.reflect.Method;
import java.nio.ByteBuffer;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Collection;
import java.util.HashMap;
import java.util.HashSet;
import java.util.HexFormat;
import java.util.List;
import java.util.Map;
import java.util.Random;
import java.util.Set;
import org.apache.kafka.common.Uuid;
import org.apache.kafka.common.errors.RetriableException;
import org.apache.kafka.common.protocol.ByteBufferAccessor;
import org.apache.kafka.common.protocol.Errors;
import org.apache.kafka.common.protocol.Message;
import org.apache.kafka.common.protocol.ObjectSerializationCache;

/**
 * Fills every message of a list with values in every version, lets the official client write it and prints value and bytes as a line
 * of JSON. Arguments: file of message names, output file, seed, file of a former run whose message-versions are left out (or -),
 * and a file for the error codes (or -).
 */
public final class GenerateVectors {
  private static final ObjectMapper MAPPER = new ObjectMapper().enable(JsonParser.Feature.ALLOW_COMMENTS);
  private static final long[] EDGES = {
    0, 1, -1, 127, 128, 255, 256, Integer.MAX_VALUE, Integer.MIN_VALUE, 1L << 32, -(1L << 32), (1L << 53) - 1, 1L << 53,
    (1L << 53) + 1, -((1L << 53) - 1), -(1L << 53), -(1L << 53) - 1, Long.MAX_VALUE, Long.MIN_VALUE,
  };
  private static final String[] LETTERS = {"a", "b", "z", "0", "-", ".", "_", "é", "統", "😀", "\u0000", "\u007f", "\u0080", "\uffff"};
  private static final String[] DATA_PACKAGES = {
    "org.apache.kafka.common.message.",
    "org.apache.kafka.coordinator.group.generated.",
    "org.apache.kafka.coordinator.transaction.generated.",
    "org.apache.kafka.coordinator.share.generated.",
    "org.apache.kafka.common.metadata.",
  };

  private enum Style { SMALLEST, ONE, RANDOM }

  private final Random random;

  private GenerateVectors(long seed) {
    this.random = new Random(seed);
  }

  public static void main(String[] arguments) throws Exception {
    List<String> names = Files.readAllLines(Path.of(arguments[0]));
    Set<String> done = new HashSet<>();
    if (!arguments[3].equals("-")) {
      for (String line : Files.readAllLines(Path.of(arguments[3]))) {
        JsonNode vector = MAPPER.readTree(line);
        done.add(vector.get("message").asText() + " " + vector.get("version").asInt());
      }
    }
    if (!arguments[4].equals("-")) writeErrors(Path.of(arguments[4]));
    try (PrintWriter out = new PrintWriter(arguments[1], StandardCharsets.UTF_8)) {
      for (String name : names) new GenerateVectors(Long.parseLong(arguments[2]) + name.hashCode()).message(name, done, out);
    }
  }

  private static void writeErrors(Path path) throws Exception {
    ArrayNode list = JsonNodeFactory.instance.arrayNode();
    for (Errors error : Errors.values()) {
      ObjectNode node = list.addObject();
      node.put("code", error.code());
      node.put("name", error.name());
      node.put("retriable", error.exception() instanceof RetriableException);
    }
    Files.writeString(path, MAPPER.writeValueAsString(list) + "\n");
  }

  private void message(String name, Set<String> done, PrintWriter out) throws Exception {
    JsonNode definition = definition(name);
    if (definition == null || definition.get("validVersions").asText().equals("none")) return;
    Class<?> type = dataClass(name);
    short[] range = range(definition.get("validVersions").asText());
    // Only a request says that its API's last version is not stable.
    JsonNode request = name.endsWith("Response") ? definition(name.replaceAll("Response$", "Request")) : definition;
    boolean unstable = request != null && request.path("latestVersionUnstable").asBoolean();
    // A last version that was not stable in an old release promised nothing.
    int last = unstable && !done.isEmpty() ? range[1] - 1 : range[1];
    Map<String, JsonNode> structs = new HashMap<>();
    for (JsonNode struct : definition.path("commonStructs")) structs.put(struct.get("name").asText(), struct.get("fields"));
    for (short version = range[0]; version <= last; version++) {
      if (done.contains(name + " " + version)) continue;
      boolean flexible = in(definition.path("flexibleVersions").asText("none"), version);
      Set<String> lines = new HashSet<>();
      for (Style style : Style.values()) {
        Message message = (Message) type.getDeclaredConstructor().newInstance();
        fill(message, type, definition.get("fields"), structs, version, style);
        ObjectSerializationCache cache = new ObjectSerializationCache();
        ByteBuffer buffer = ByteBuffer.allocate(message.size(cache, version));
        message.write(new ByteBufferAccessor(buffer), cache, version);
        if (buffer.hasRemaining()) throw new IllegalStateException(name + " v" + version + " is shorter than it said");
        ObjectNode line = JsonNodeFactory.instance.objectNode();
        line.put("message", name);
        String kind = definition.get("type").asText();
        if (kind.equals("request") || kind.equals("response")) line.put("apiKey", definition.get("apiKey").asInt());
        line.put("type", kind.equals("request") || kind.equals("response") ? kind : "data");
        line.put("version", version);
        line.put("flexible", flexible);
        line.set("value", longsAsText(toJson(message, type, version)));
        line.put("hex", HexFormat.of().formatHex(buffer.array()));
        String text = MAPPER.writeValueAsString(line);
        if (lines.add(text)) out.print(text + "\n");
      }
    }
  }

  private static JsonNode definition(String name) throws Exception {
    for (String folder : new String[] {"common/message/", "common/metadata/"}) {
      try (InputStream in = GenerateVectors.class.getClassLoader().getResourceAsStream(folder + name + ".json")) {
        if (in != null) return MAPPER.readTree(in);
      }
    }
    return null;
  }

  private static Class<?> dataClass(String name) throws ClassNotFoundException {
    for (String prefix : DATA_PACKAGES) {
      for (String suffix : new String[] {"Data", ""}) {
        try {
          Class<?> type = Class.forName(prefix + name + suffix);
          if (Message.class.isAssignableFrom(type)) return type;
        } catch (ClassNotFoundException error) {
          // The next place.
        }
      }
    }
    throw new ClassNotFoundException(name);
  }

  private static JsonNode toJson(Object message, Class<?> type, short version) throws Exception {
    Class<?> converter = Class.forName(type.getName() + "JsonConverter");
    return (JsonNode) converter.getMethod("write", type, short.class).invoke(null, message, version);
  }

  /** Kafka's converter makes every int64, and nothing else of ours, a long node. */
  private static JsonNode longsAsText(JsonNode node) {
    if (node instanceof LongNode) return new TextNode(node.asText());
    if (node instanceof ArrayNode array) {
      for (int i = 0; i < array.size(); i++) array.set(i, longsAsText(array.get(i)));
    } else if (node instanceof ObjectNode object) {
      List<String> names = new ArrayList<>();
      object.fieldNames().forEachRemaining(names::add);
      for (String name : names) object.set(name, longsAsText(object.get(name)));
    }
    return node;
  }

  private void fill(Object target, Class<?> root, JsonNode fields, Map<String, JsonNode> structs, short version, Style style)
      throws Exception {
    for (JsonNode field : fields) {
      String tagged = field.path("taggedVersions").asText("none");
      if (!in(field.path("versions").asText(tagged), version)) continue;
      boolean isTagged = in(tagged, version);
      // A tagged field at its default is not there at all.
      if (isTagged && (style == Style.SMALLEST || random.nextInt(3) == 0)) continue;
      String name = field.get("name").asText();
      Method setter = setter(target.getClass(), name);
      boolean nullable = in(field.path("nullableVersions").asText("none"), version);
      boolean isNull = nullable && (style == Style.SMALLEST || (style == Style.RANDOM && random.nextInt(3) == 0));
      Object value = isNull ? null : value(field.get("type").asText(), field, setter.getParameterTypes()[0], root, structs, version, style);
      setter.invoke(target, value);
    }
  }

  private static Method setter(Class<?> type, String name) {
    String wanted = "set" + Character.toUpperCase(name.charAt(0)) + name.substring(1);
    for (Method method : type.getMethods()) {
      if (method.getName().equals(wanted) && method.getParameterCount() == 1) return method;
    }
    throw new IllegalStateException(type + " has no " + wanted);
  }

  @SuppressWarnings("unchecked")
  private Object value(
      String type, JsonNode field, Class<?> javaType, Class<?> root, Map<String, JsonNode> structs, short version, Style style)
      throws Exception {
    if (type.startsWith("[]")) {
      Collection<Object> list =
          List.class == javaType || Collection.class == javaType
              ? new ArrayList<>()
              : (Collection<Object>) javaType.getDeclaredConstructor().newInstance();
      int count = style == Style.SMALLEST ? 0 : style == Style.ONE ? 1 : random.nextInt(40) == 0 ? 130 : random.nextInt(4);
      String element = type.substring(2);
      if (count > 4 && Character.isUpperCase(element.charAt(0))) count = 3;
      for (int i = 0; i < count; i++) list.add(value(element, field, null, root, structs, version, style));
      return list;
    }
    boolean smallest = style == Style.SMALLEST;
    switch (type) {
      case "bool":
        return !smallest && random.nextBoolean();
      case "int8":
        return (byte) number(smallest);
      case "int16":
        return (short) number(smallest);
      case "uint16":
        return (int) (number(smallest) & 0xffff);
      case "int32":
        return (int) number(smallest);
      case "uint32":
        return number(smallest) & 0xffffffffL;
      case "int64":
        return number(smallest);
      case "float64":
        return smallest ? 0.0 : random.nextInt(4) == 0 ? -0.5 : random.nextGaussian() * 1e9;
      case "string":
        return smallest ? "" : text();
      case "bytes": {
        byte[] bytes = new byte[smallest ? 0 : random.nextInt(10) == 0 ? 200 : random.nextInt(12)];
        random.nextBytes(bytes);
        return javaType == ByteBuffer.class ? ByteBuffer.wrap(bytes) : bytes;
      }
      case "records":
        return emptyRecords();
      case "uuid":
        return smallest ? Uuid.ZERO_UUID : new Uuid(random.nextLong(), random.nextLong());
      default: {
        Class<?> structType = Class.forName(root.getName() + "$" + type);
        Object struct = structType.getDeclaredConstructor().newInstance();
        JsonNode fields = field.has("fields") ? field.get("fields") : structs.get(type);
        fill(struct, root, fields, structs, version, style);
        return struct;
      }
    }
  }

  /** The class moved between the releases. */
  private static Object emptyRecords() throws Exception {
    for (String place : new String[] {"internal.", ""}) {
      try {
        return Class.forName("org.apache.kafka.common.record." + place + "MemoryRecords").getField("EMPTY").get(null);
      } catch (ClassNotFoundException error) {
        // The other one.
      }
    }
    throw new ClassNotFoundException("MemoryRecords");
  }

  private long number(boolean smallest) {
    if (smallest) return 0;
    return random.nextInt(3) == 0 ? EDGES[random.nextInt(EDGES.length)] : random.nextLong();
  }

  private String text() {
    int length = random.nextInt(30) == 0 ? 150 : random.nextInt(12);
    StringBuilder text = new StringBuilder();
    for (int i = 0; i < length; i++) {
      boolean plain = random.nextInt(4) != 0;
      text.append(plain ? String.valueOf((char) ('a' + random.nextInt(26))) : LETTERS[random.nextInt(LETTERS.length)]);
    }
    return text.toString();
  }

  private static short[] range(String text) {
    if (text.endsWith("+")) return new short[] {Short.parseShort(text.substring(0, text.length() - 1)), Short.MAX_VALUE};
    String[] parts = text.split("-");
    return new short[] {Short.parseShort(parts[0]), Short.parseShort(parts[parts.length - 1])};
  }

  private static boolean in(String versions, short version) {
    if (versions.equals("none")) return false;
    short[] range = range(versions);
    return version >= range[0] && version <= range[1];
  }
}
