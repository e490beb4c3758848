import com.fasterxml.jackson.databind.node.ObjectNode;
import java.io.IOException;
import java.io.Writer;
import java.time.Duration;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.HashSet;
import java.util.List;
import java.util.Map;
import java.util.Properties;
import java.util.Set;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.consumer.ConsumerRecords;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.common.PartitionInfo;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.header.Header;
import org.apache.kafka.common.serialization.ByteArrayDeserializer;

/**
 * consume --bootstrap B --topics a,b [--isolation read_committed|read_uncommitted] (--until-end | --follow).
 *
 * All partitions from the beginning, in no group. With --until-end, the end is what the isolation level shows when it
 * starts (the last stable offset for read_committed), and the last line is {"end":{"topic-0":offset}}.
 */
final class ProbeConsume {
  private final KafkaConsumer<byte[], byte[]> consumer;
  private final JavaProbe.Lines lines;
  private volatile boolean stopped;

  private ProbeConsume(KafkaConsumer<byte[], byte[]> consumer, JavaProbe.Lines lines) {
    this.consumer = consumer;
    this.lines = lines;
  }

  static void run(JavaProbe.Arguments arguments, JavaProbe.Lines lines) throws Exception {
    Properties properties = arguments.client(
        "isolation.level", arguments.value("--isolation", "read_committed"),
        "check.crcs", "true",
        "auto.offset.reset", "earliest",
        "enable.auto.commit", "false",
        "allow.auto.create.topics", "false");
    ByteArrayDeserializer plain = new ByteArrayDeserializer();
    try (KafkaConsumer<byte[], byte[]> consumer = new KafkaConsumer<>(properties, plain, plain)) {
      ProbeConsume probe = new ProbeConsume(consumer, lines);
      probe.stopWithStdin();
      List<TopicPartition> partitions = probe.assign(arguments.list("--topics"));
      if (arguments.has("--follow")) probe.follow();
      else probe.untilEnd(partitions);
    }
  }

  private void stopWithStdin() {
    Thread watcher = new Thread(() -> {
      lines.drain();
      stopped = true;
    }, "stdin");
    watcher.setDaemon(true);
    watcher.start();
  }

  private List<TopicPartition> assign(List<String> topics) {
    List<TopicPartition> partitions = new ArrayList<>();
    for (String topic : topics) {
      List<PartitionInfo> found = consumer.partitionsFor(topic);
      if (found == null || found.isEmpty()) throw new IllegalArgumentException("no such topic: " + topic);
      for (PartitionInfo each : found) partitions.add(new TopicPartition(topic, each.partition()));
    }
    consumer.assign(partitions);
    consumer.seekToBeginning(partitions);
    return partitions;
  }

  private void follow() throws IOException {
    lines.write(JavaProbe.JSON.createObjectNode().put("following", true));
    lines.flush();
    while (!stopped) {
      ConsumerRecords<byte[], byte[]> polled = consumer.poll(Duration.ofMillis(50));
      if (polled.isEmpty()) continue;
      long at = System.currentTimeMillis();
      for (ConsumerRecord<byte[], byte[]> record : polled) write(record, at);
      lines.flush();
    }
  }

  private void untilEnd(List<TopicPartition> partitions) throws IOException {
    Map<TopicPartition, Long> end = new HashMap<>(consumer.endOffsets(partitions));
    Map<TopicPartition, Long> beginning = consumer.beginningOffsets(partitions);
    Set<TopicPartition> open = new HashSet<>(partitions);
    open.removeIf(each -> beginning.get(each) >= end.get(each));
    while (!open.isEmpty() && !stopped) {
      consumer.pause(partitions.stream().filter(each -> !open.contains(each)).toList());
      ConsumerRecords<byte[], byte[]> polled = consumer.poll(Duration.ofMillis(200));
      long at = System.currentTimeMillis();
      for (ConsumerRecord<byte[], byte[]> record : polled) {
        if (record.offset() < end.get(new TopicPartition(record.topic(), record.partition()))) write(record, at);
      }
      open.removeIf(each -> consumer.position(each) >= end.get(each));
    }
    if (stopped) return;
    ObjectNode line = JavaProbe.JSON.createObjectNode();
    ObjectNode offsets = line.putObject("end");
    for (TopicPartition each : partitions) offsets.put(each.toString(), end.get(each));
    lines.write(line);
  }

  /** By hand, not by Jackson's tree: this is the one hot path here. Only header names need escaping. */
  private void write(ConsumerRecord<byte[], byte[]> record, long at) throws IOException {
    Writer out = lines.out;
    out.write("{\"t\":\"" + record.topic() + "\",\"p\":" + record.partition() + ",\"o\":" + record.offset());
    out.write(",\"ts\":" + record.timestamp() + ",\"k\":");
    writeBytes(record.key());
    out.write(",\"v\":");
    writeBytes(record.value());
    out.write(",\"h\":[");
    String separator = "";
    for (Header header : record.headers()) {
      out.write(separator + "[" + JavaProbe.JSON.writeValueAsString(header.key()) + ",");
      writeBytes(header.value());
      out.write("]");
      separator = ",";
    }
    out.write("],\"at\":" + at + "}\n");
  }

  private void writeBytes(byte[] bytes) throws IOException {
    lines.out.write(bytes == null ? "null" : "\"" + JavaProbe.encode(bytes) + "\"");
  }
}
