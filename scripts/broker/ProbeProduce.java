import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.node.ObjectNode;
import java.io.IOException;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Properties;
import java.util.concurrent.atomic.AtomicReference;
import org.apache.kafka.clients.consumer.ConsumerGroupMetadata;
import org.apache.kafka.clients.consumer.OffsetAndMetadata;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.header.Header;
import org.apache.kafka.common.header.internals.RecordHeader;
import org.apache.kafka.common.serialization.ByteArraySerializer;

/**
 * produce --bootstrap B [--compression none|gzip|snappy|lz4|zstd] [--transactional-id X].
 *
 * Reads records {"t","p"?,"k","v","ts"?,"h"?} and control lines {"txn":"begin"|"commit"|"abort"}, {"flush":true},
 * {"offsets":{"group":G,"list":[{"t","p","o"}]}} (into the open transaction). Each control line is answered by
 * {"ok":…,"sent":n}; the end of stdin by {"done":n}. A transaction still open at the end is aborted by the producer.
 */
final class ProbeProduce {
  private final KafkaProducer<byte[], byte[]> producer;
  private final JavaProbe.Lines lines;
  private final AtomicReference<Exception> failure = new AtomicReference<>();
  private long sent;

  private ProbeProduce(KafkaProducer<byte[], byte[]> producer, JavaProbe.Lines lines) {
    this.producer = producer;
    this.lines = lines;
  }

  static void run(JavaProbe.Arguments arguments, JavaProbe.Lines lines) throws Exception {
    String transactionalId = arguments.value("--transactional-id", null);
    Properties properties = arguments.client(
        "compression.type", arguments.value("--compression", "none"), "acks", "all", "linger.ms", "5");
    if (transactionalId != null) properties.putIfAbsent("transactional.id", transactionalId);
    ByteArraySerializer plain = new ByteArraySerializer();
    try (KafkaProducer<byte[], byte[]> producer = new KafkaProducer<>(properties, plain, plain)) {
      ProbeProduce probe = new ProbeProduce(producer, lines);
      if (transactionalId != null) producer.initTransactions();
      for (JsonNode line = lines.read(); line != null; line = lines.read()) probe.take(line);
      if (transactionalId == null) probe.flush();
      lines.write(JavaProbe.JSON.createObjectNode().put("done", probe.sent));
    }
  }

  private void take(JsonNode line) throws Exception {
    if (line.has("t")) send(line);
    else if (line.has("txn")) answer(transaction(line.get("txn").textValue()));
    else if (line.has("offsets")) answer(offsets(line.get("offsets")));
    else if (line.has("flush")) answer(flush());
    else throw new IllegalArgumentException("not a record and not a control line: " + line);
  }

  private void send(JsonNode line) {
    List<Header> headers = new ArrayList<>();
    for (JsonNode header : line.path("h")) {
      headers.add(new RecordHeader(header.get(0).textValue(), JavaProbe.bytes(header.get(1))));
    }
    Integer partition = line.hasNonNull("p") ? line.get("p").intValue() : null;
    Long timestamp = line.hasNonNull("ts") ? line.get("ts").longValue() : null;
    byte[] key = JavaProbe.bytes(line.get("k"));
    byte[] value = JavaProbe.bytes(line.get("v"));
    ProducerRecord<byte[], byte[]> record =
        new ProducerRecord<>(line.get("t").textValue(), partition, timestamp, key, value, headers);
    producer.send(record, (metadata, error) -> {
      if (error != null) failure.compareAndSet(null, error);
    });
    sent++;
  }

  private String transaction(String verb) throws Exception {
    switch (verb) {
      case "begin" -> producer.beginTransaction();
      case "commit" -> producer.commitTransaction();
      case "abort" -> {
        producer.abortTransaction();
        failure.set(null); // Records that had not left yet were failed by this very abort; that is no failure.
      }
      default -> throw new IllegalArgumentException("unknown transaction verb: " + verb);
    }
    return verb;
  }

  @SuppressWarnings("removal") // No other public way makes the metadata of a group one is not a member of.
  private String offsets(JsonNode request) {
    Map<TopicPartition, OffsetAndMetadata> offsets = new HashMap<>();
    for (JsonNode each : request.get("list")) {
      TopicPartition partition = new TopicPartition(each.get("t").textValue(), each.get("p").intValue());
      offsets.put(partition, new OffsetAndMetadata(each.get("o").longValue()));
    }
    producer.sendOffsetsToTransaction(offsets, new ConsumerGroupMetadata(request.get("group").textValue()));
    return "offsets";
  }

  private String flush() throws Exception {
    producer.flush();
    Exception failed = failure.get();
    if (failed != null) throw failed;
    return "flush";
  }

  private void answer(String what) throws IOException {
    ObjectNode line = JavaProbe.JSON.createObjectNode();
    lines.write(line.put("ok", what).put("sent", sent));
    lines.flush();
  }
}
