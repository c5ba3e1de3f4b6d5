import java.io.PrintWriter;
import java.nio.ByteBuffer;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.Base64;
import java.util.HexFormat;
import java.util.List;
import java.util.Random;
import java.util.StringJoiner;
import org.apache.kafka.common.compress.Compression;
import org.apache.kafka.common.header.Header;
import org.apache.kafka.common.header.internals.RecordHeader;
import org.apache.kafka.common.record.CompressionType;
import org.apache.kafka.common.record.ControlRecordType;
import org.apache.kafka.common.record.DefaultRecordBatch;
import org.apache.kafka.common.record.EndTransactionMarker;
import org.apache.kafka.common.record.MemoryRecords;
import org.apache.kafka.common.record.MemoryRecordsBuilder;
import org.apache.kafka.common.record.MutableRecordBatch;
import org.apache.kafka.common.record.Record;
import org.apache.kafka.common.record.RecordBatch;
import org.apache.kafka.common.record.TimestampType;

/**
 * Lets the official client build record sets and read them again, and prints bytes and what it reads as lines of JSON. Arguments: output
 * file, seed.
 */
public final class GenerateRecordVectors {
  private static final long NOW = 1_700_000_000_000L;
  private static final long[] TIMES = {
    0, -1, 1, NOW, NOW + 1, NOW - 5_000_000_000L, (1L << 53) - 1, 1L << 53, (1L << 53) + 1, Long.MAX_VALUE / 2,
  };

  private final Random random;
  private final PrintWriter out;

  private GenerateRecordVectors(long seed, PrintWriter out) {
    this.random = new Random(seed);
    this.out = out;
  }

  public static void main(String[] args) throws Exception {
    try (PrintWriter out = new PrintWriter(args[0], StandardCharsets.UTF_8)) {
      new GenerateRecordVectors(Long.parseLong(args[1]), out).run();
    }
  }

  private void run() {
    for (byte magic = 0; magic <= 2; magic++) {
      for (CompressionType type : CompressionType.values()) {
        if (type == CompressionType.ZSTD && magic < 2) continue;
        for (int count : new int[] {1, 2, 7, 60}) {
          print("records", magic, type, set(magic, type, TimestampType.CREATE_TIME, random.nextInt(1_000_000), count, 0, 1));
        }
        // Offsets with gaps, as compaction leaves them, and beyond 32 and 53 bits.
        print("records", magic, type, set(magic, type, TimestampType.CREATE_TIME, 5_000_000_000L, 6, 3, 1));
        print("records", magic, type, set(magic, type, TimestampType.CREATE_TIME, (1L << 53) + 11, 3, 1, 1));
        if (magic >= 1) print("records", magic, type, set(magic, type, TimestampType.LOG_APPEND_TIME, 17, 5, 0, 1));
        // Several batches in one set.
        print("records", magic, type, set(magic, type, TimestampType.CREATE_TIME, 100, 4, 0, 3));
      }
    }
    for (CompressionType type : CompressionType.values()) {
      print("records", (byte) 2, type, producer(type, false));
      print("records", (byte) 2, type, producer(type, true));
      print("records", (byte) 2, type, large(type));
      print("records", (byte) 2, type, times(type));
    }
    print("records", (byte) 2, CompressionType.NONE, empty());
    print("records", (byte) 2, CompressionType.NONE, deleteHorizon());
    for (ControlRecordType control : new ControlRecordType[] {ControlRecordType.ABORT, ControlRecordType.COMMIT}) {
      print("endTxnMarker", (byte) 2, CompressionType.NONE, MemoryRecords.withEndTransactionMarker(
        random.nextInt(1000), NOW + random.nextInt(1000), 4, 1L << 40, (short) 7, new EndTransactionMarker(control, random.nextInt(50))).buffer());
    }
  }

  /** `batches` times `count` records from `first` on, each offset up to `gap` further than the one before. */
  private ByteBuffer set(byte magic, CompressionType type, TimestampType timestampType, long first, int count, int gap, int batches) {
    ByteBuffer buffer = ByteBuffer.allocate(1 << 20);
    long offset = first;
    for (int batch = 0; batch < batches; batch++) {
      MemoryRecordsBuilder builder = MemoryRecords.builder(buffer, magic, Compression.of(type).build(), timestampType, offset, NOW + batch);
      for (int index = 0; index < count; index++) {
        long timestamp = magic == 0 ? RecordBatch.NO_TIMESTAMP : NOW - 500 + random.nextInt(1000);
        builder.appendWithOffset(offset, timestamp, bytes(30), bytes(200), magic == 2 ? headers() : new Header[0]);
        offset += 1 + (gap == 0 ? 0 : random.nextInt(gap + 1));
      }
      builder.close();
      buffer = builder.buffer();
    }
    return flipped(buffer);
  }

  private ByteBuffer producer(CompressionType type, boolean transactional) {
    ByteBuffer buffer = ByteBuffer.allocate(1 << 16);
    MemoryRecordsBuilder builder = MemoryRecords.builder(buffer, (byte) 2, Compression.of(type).build(), TimestampType.CREATE_TIME, 9,
      RecordBatch.NO_TIMESTAMP, (1L << 53) + 1, (short) 32767, Integer.MAX_VALUE - 1, transactional, 12);
    for (int index = 0; index < 4; index++) builder.appendWithOffset(9 + index, NOW + index, bytes(9), bytes(9), headers());
    builder.close();
    return flipped(builder.buffer());
  }

  /** Above the block sizes of the codecs: 32 KiB for snappy, 64 KiB for lz4, 128 KiB for zstd. */
  private ByteBuffer large(CompressionType type) {
    ByteBuffer buffer = ByteBuffer.allocate(1 << 20);
    MemoryRecordsBuilder builder = MemoryRecords.builder(buffer, (byte) 2, Compression.of(type).build(), TimestampType.CREATE_TIME, 0);
    StringBuilder text = new StringBuilder();
    while (text.length() < 100_000) text.append("line ").append(random.nextInt(9)).append('\n');
    for (int index = 0; index < 2; index++) {
      builder.appendWithOffset(index, NOW, null, text.toString().getBytes(StandardCharsets.UTF_8), new Header[0]);
    }
    builder.close();
    return flipped(builder.buffer());
  }

  /** Timestamps of every size, so that deltas take from one to ten bytes. */
  private ByteBuffer times(CompressionType type) {
    ByteBuffer buffer = ByteBuffer.allocate(1 << 16);
    MemoryRecordsBuilder builder = MemoryRecords.builder(buffer, (byte) 2, Compression.of(type).build(), TimestampType.CREATE_TIME, 0);
    for (int index = 0; index < TIMES.length; index++) builder.appendWithOffset(index, TIMES[index], null, bytes(5), new Header[0]);
    builder.close();
    return flipped(builder.buffer());
  }

  /** What compaction leaves of a batch whose records are all gone. */
  private ByteBuffer empty() {
    ByteBuffer buffer = ByteBuffer.allocate(DefaultRecordBatch.RECORD_BATCH_OVERHEAD);
    DefaultRecordBatch.writeEmptyHeader(buffer, (byte) 2, 77, (short) 3, 5, 1000, 1009, 2, TimestampType.CREATE_TIME, NOW, false, false);
    return flipped(buffer);
  }

  /** A batch that compaction gave a delete horizon: the base timestamp is that time. */
  private ByteBuffer deleteHorizon() {
    ByteBuffer buffer = ByteBuffer.allocate(1 << 16);
    MemoryRecordsBuilder builder = new MemoryRecordsBuilder(new org.apache.kafka.common.utils.ByteBufferOutputStream(buffer), (byte) 2,
      Compression.NONE, TimestampType.CREATE_TIME, 50, RecordBatch.NO_TIMESTAMP, RecordBatch.NO_PRODUCER_ID, RecordBatch.NO_PRODUCER_EPOCH,
      RecordBatch.NO_SEQUENCE, false, false, 3, 1 << 16, NOW + 86_400_000L);
    for (int index = 0; index < 3; index++) builder.appendWithOffset(50 + index, NOW + index, bytes(9), null, new Header[0]);
    builder.close();
    return flipped(builder.buffer());
  }

  private static ByteBuffer flipped(ByteBuffer buffer) {
    ByteBuffer copy = buffer.duplicate();
    copy.flip();
    return copy;
  }

  /** Null, empty or up to `most` bytes, letters for the most part. */
  private byte[] bytes(int most) {
    int kind = random.nextInt(6);
    if (kind == 0) return null;
    if (kind == 1) return new byte[0];
    byte[] bytes = new byte[1 + random.nextInt(most)];
    if (kind == 2) random.nextBytes(bytes);
    else for (int at = 0; at < bytes.length; at++) bytes[at] = (byte) ('a' + random.nextInt(kind == 3 ? 3 : 26));
    return bytes;
  }

  private Header[] headers() {
    String[] keys = {"", "h", "trace-id", "ключ", "鍵"};
    Header[] headers = new Header[random.nextInt(4)];
    for (int at = 0; at < headers.length; at++) headers[at] = new RecordHeader(keys[random.nextInt(keys.length)], bytes(12));
    return headers;
  }

  private void print(String what, byte magic, CompressionType type, ByteBuffer buffer) {
    byte[] bytes = new byte[buffer.remaining()];
    buffer.duplicate().get(bytes);
    StringJoiner batches = new StringJoiner(",");
    for (MutableRecordBatch batch : MemoryRecords.readableRecords(ByteBuffer.wrap(bytes)).batches()) batches.add(json(batch));
    out.println("{\"what\":\"" + what + "\",\"magic\":" + magic + ",\"codec\":\"" + type.name + "\",\"batches\":[" + batches + "],\"hex\":\""
      + HexFormat.of().formatHex(bytes) + "\"}");
  }

  private static String json(RecordBatch batch) {
    batch.ensureValid();
    StringJoiner records = new StringJoiner(",");
    List<Record> list = new ArrayList<>();
    batch.forEach(list::add);
    for (Record record : list) {
      StringJoiner headers = new StringJoiner(",");
      for (Header header : record.headers()) headers.add("[\"" + header.key() + "\"," + base64(header.value()) + "]");
      records.add("{\"offset\":\"" + record.offset() + "\",\"timestamp\":\"" + record.timestamp() + "\",\"key\":" + base64(record.key())
        + ",\"value\":" + base64(record.value()) + ",\"headers\":[" + headers + "]}");
    }
    boolean v2 = batch.magic() >= 2;
    return "{\"baseOffset\":\"" + batch.baseOffset() + "\",\"lastOffset\":\"" + batch.lastOffset() + "\",\"sizeInBytes\":" + batch.sizeInBytes()
      + ",\"maxTimestamp\":\"" + batch.maxTimestamp() + "\",\"timestampType\":\"" + batch.timestampType() + "\",\"producerId\":\""
      + batch.producerId() + "\",\"producerEpoch\":" + batch.producerEpoch() + ",\"baseSequence\":" + batch.baseSequence()
      + ",\"transactional\":" + batch.isTransactional() + ",\"control\":" + batch.isControlBatch() + ",\"leaderEpoch\":"
      + batch.partitionLeaderEpoch() + ",\"crc\":" + (v2 ? "\"" + batch.checksum() + "\"" : "null") + ",\"records\":[" + records + "]}";
  }

  private static String base64(ByteBuffer buffer) {
    if (buffer == null) return "null";
    byte[] bytes = new byte[buffer.remaining()];
    buffer.duplicate().get(bytes);
    return base64(bytes);
  }

  private static String base64(byte[] bytes) {
    return bytes == null ? "null" : "\"" + Base64.getEncoder().encodeToString(bytes) + "\"";
  }
}
