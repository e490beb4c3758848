import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.node.ArrayNode;
import com.fasterxml.jackson.databind.node.ObjectNode;
import java.io.IOException;
import java.nio.ByteBuffer;
import java.util.ArrayList;
import java.util.List;
import org.apache.kafka.common.compress.Compression;
import org.apache.kafka.common.header.Header;
import org.apache.kafka.common.header.internals.RecordHeader;
import org.apache.kafka.common.record.TimestampType;
import org.apache.kafka.common.record.internal.ControlRecordType;
import org.apache.kafka.common.record.internal.EndTransactionMarker;
import org.apache.kafka.common.record.internal.MemoryRecords;
import org.apache.kafka.common.record.internal.MemoryRecordsBuilder;
import org.apache.kafka.common.record.internal.MutableRecordBatch;
import org.apache.kafka.common.record.internal.Record;
import org.apache.kafka.common.record.internal.RecordBatch;
import org.apache.kafka.common.utils.BufferSupplier;
import org.apache.kafka.common.utils.ByteBufferOutputStream;
import org.apache.kafka.common.utils.CloseableIterator;
import org.apache.kafka.common.utils.Utils;

/** decode-batches and encode-batches: record batches by the very classes that broker and Java client use. */
final class ProbeCodec {
  private ProbeCodec() {}

  /** {"b":base64 of batches} to {"batches":[…],"trailing":bytes that are not a whole batch}, or {"error","class"}. */
  static void decode(JavaProbe.Lines lines) throws IOException {
    for (JsonNode line = lines.read(); line != null; line = lines.read()) {
      lines.write(decodeOne(JavaProbe.bytes(line.get("b"))));
      lines.flush();
    }
  }

  private static ObjectNode decodeOne(byte[] bytes) {
    try {
      ObjectNode answer = JavaProbe.JSON.createObjectNode();
      ArrayNode batches = answer.putArray("batches");
      int read = 0;
      for (MutableRecordBatch batch : MemoryRecords.readableRecords(ByteBuffer.wrap(bytes)).batches()) {
        batches.add(describe(batch));
        read += batch.sizeInBytes();
      }
      return answer.put("trailing", bytes.length - read);
    } catch (Exception error) {
      return JavaProbe.errorLine(error);
    }
  }

  private static ObjectNode describe(RecordBatch batch) {
    ObjectNode node = JavaProbe.JSON.createObjectNode();
    node.put("valid", batch.isValid());
    node.put("magic", batch.magic()).put("size", batch.sizeInBytes());
    node.put("baseOffset", batch.baseOffset()).put("lastOffset", batch.lastOffset());
    node.put("pid", batch.producerId()).put("epoch", batch.producerEpoch());
    node.put("baseSequence", batch.baseSequence()).put("lastSequence", batch.lastSequence());
    node.put("transactional", batch.isTransactional()).put("control", batch.isControlBatch());
    node.put("compression", batch.compressionType().name).put("timestampType", batch.timestampType().name);
    node.put("maxTimestamp", batch.maxTimestamp()).put("leaderEpoch", batch.partitionLeaderEpoch());
    if (!batch.isValid()) return node;
    ArrayNode records = JavaProbe.JSON.createArrayNode();
    try (CloseableIterator<Record> iterator = batch.streamingIterator(BufferSupplier.NO_CACHING)) {
      while (iterator.hasNext()) records.add(describe(iterator.next(), batch.isControlBatch()));
      node.set("records", records);
    } catch (Exception error) {
      node.setAll(JavaProbe.errorLine(error));
    }
    return node;
  }

  private static ObjectNode describe(Record record, boolean control) {
    ObjectNode node = JavaProbe.JSON.createObjectNode();
    node.put("o", record.offset()).put("ts", record.timestamp()).put("seq", record.sequence());
    node.put("k", JavaProbe.encode(Utils.toNullableArray(record.key())));
    node.put("v", JavaProbe.encode(Utils.toNullableArray(record.value())));
    ArrayNode headers = node.putArray("h");
    for (Header header : record.headers()) headers.addArray().add(header.key()).add(JavaProbe.encode(header.value()));
    if (!control) return node;
    ControlRecordType type = ControlRecordType.parse(record.key());
    node.put("controlType", type.name());
    if (type == ControlRecordType.COMMIT || type == ControlRecordType.ABORT) {
      node.put("coordinatorEpoch", EndTransactionMarker.deserialize(record).coordinatorEpoch());
    }
    return node;
  }

  /**
   * {"records":[{"k","v","ts","h","o"?}],"baseOffset"?,"compression"?,"level"?,"pid"?,"epoch"?,"sequence"?,
   * "transactional"?,"logAppendTime"?,"leaderEpoch"?}, or {"control":"commit"|"abort","ts"?,"coordinatorEpoch"?,…};
   * several at once as {"all":[…]}. Answers {"b":base64}, or {"error","class"}.
   */
  static void encode(JavaProbe.Lines lines) throws IOException {
    for (JsonNode line = lines.read(); line != null; line = lines.read()) {
      lines.write(encodeOne(line));
      lines.flush();
    }
  }

  private static ObjectNode encodeOne(JsonNode request) {
    try {
      ByteBufferOutputStream out = new ByteBufferOutputStream(4096);
      Iterable<JsonNode> all = request.has("all") ? request.get("all") : List.of(request);
      for (JsonNode each : all) out.write((each.hasNonNull("control") ? marker(each) : batch(each)).buffer());
      ByteBuffer written = out.buffer();
      written.flip();
      return JavaProbe.JSON.createObjectNode().put("b", JavaProbe.encode(Utils.toArray(written)));
    } catch (Exception error) {
      return JavaProbe.errorLine(error);
    }
  }

  private static MemoryRecords marker(JsonNode request) {
    ControlRecordType type = ControlRecordType.valueOf(request.get("control").textValue().toUpperCase());
    EndTransactionMarker marker = new EndTransactionMarker(type, request.path("coordinatorEpoch").asInt(0));
    long baseOffset = request.path("baseOffset").asLong(0);
    long timestamp = request.path("ts").asLong(0);
    int leaderEpoch = request.path("leaderEpoch").asInt(-1);
    long pid = request.path("pid").asLong(-1);
    short epoch = (short) request.path("epoch").asInt(-1);
    return MemoryRecords.withEndTransactionMarker(baseOffset, timestamp, leaderEpoch, pid, epoch, marker);
  }

  private static MemoryRecords batch(JsonNode request) {
    long baseOffset = request.path("baseOffset").asLong(0);
    boolean appendTime = request.hasNonNull("logAppendTime");
    MemoryRecordsBuilder builder = MemoryRecords.builder(
        ByteBuffer.allocate(4096),
        RecordBatch.MAGIC_VALUE_V2,
        compression(request),
        appendTime ? TimestampType.LOG_APPEND_TIME : TimestampType.CREATE_TIME,
        baseOffset,
        request.path("logAppendTime").asLong(RecordBatch.NO_TIMESTAMP),
        request.path("pid").asLong(RecordBatch.NO_PRODUCER_ID),
        (short) request.path("epoch").asInt(RecordBatch.NO_PRODUCER_EPOCH),
        request.path("sequence").asInt(RecordBatch.NO_SEQUENCE),
        request.path("transactional").asBoolean(false),
        request.path("leaderEpoch").asInt(RecordBatch.NO_PARTITION_LEADER_EPOCH));
    long offset = baseOffset;
    for (JsonNode record : request.get("records")) {
      offset = record.path("o").asLong(offset);
      byte[] key = JavaProbe.bytes(record.get("k"));
      byte[] value = JavaProbe.bytes(record.get("v"));
      builder.appendWithOffset(offset, record.path("ts").asLong(0), key, value, headers(record));
      offset++;
    }
    return builder.build();
  }

  private static Header[] headers(JsonNode record) {
    List<Header> headers = new ArrayList<>();
    for (JsonNode header : record.path("h")) {
      headers.add(new RecordHeader(header.get(0).textValue(), JavaProbe.bytes(header.get(1))));
    }
    return headers.toArray(new Header[0]);
  }

  private static Compression compression(JsonNode request) {
    String name = request.path("compression").asText("none");
    if (!request.hasNonNull("level")) return Compression.of(name).build();
    int level = request.get("level").intValue();
    return switch (name) {
      case "gzip" -> Compression.gzip().level(level).build();
      case "lz4" -> Compression.lz4().level(level).build();
      case "zstd" -> Compression.zstd().level(level).build();
      default -> throw new IllegalArgumentException("compression " + name + " has no level");
    };
  }
}
