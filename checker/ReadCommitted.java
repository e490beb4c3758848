import java.io.BufferedOutputStream;
import java.io.ByteArrayOutputStream;
import java.io.IOException;
import java.io.OutputStream;
import java.io.PrintStream;
import java.nio.charset.StandardCharsets;
import java.time.Duration;
import java.util.ArrayList;
import java.util.Base64;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Properties;
import java.util.concurrent.atomic.AtomicBoolean;
import org.apache.kafka.clients.consumer.ConsumerConfig;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.consumer.ConsumerRecords;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.common.PartitionInfo;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.errors.WakeupException;
import org.apache.kafka.common.header.Header;
import org.apache.kafka.common.serialization.ByteArrayDeserializer;

/**
 * Kafka's own consumer as a read_committed witness. No group, nothing committed.
 *
 * <p>Arguments: {@code until-end|follow bootstrap [--topic name] [--start topic partition offset] [--property name value]}.
 * Prints one JSON line per partition and poll; record bytes are concatenated and base64-coded, keys and values are given
 * by their lengths (-1 is null). {@code until-end} stops at the last stable offsets of its start and then prints
 * {@code {"done":true}}; {@code follow} prints {@code {"ready":true}} once it reads, and stops when stdin closes.
 */
public final class ReadCommitted {
  private static final int POLL_RECORDS_MAX = 5000;
  private static final Duration POLL = Duration.ofMillis(200);

  private final List<String> topics = new ArrayList<>();
  private final Map<TopicPartition, Long> starts = new HashMap<>();
  private final Properties properties = new Properties();
  private final AtomicBoolean stopping = new AtomicBoolean();
  private final OutputStream out;

  private ReadCommitted(OutputStream out) {
    this.out = out;
  }

  public static void main(String[] args) throws Exception {
    OutputStream out = new BufferedOutputStream(System.out, 1 << 20);
    // Whatever a logger prints must not get between the lines.
    System.setOut(new PrintStream(System.err, true));
    ReadCommitted reader = new ReadCommitted(out);
    reader.configure(args);
    reader.run(args[0].equals("follow"));
  }

  private void configure(String[] args) {
    properties.put(ConsumerConfig.BOOTSTRAP_SERVERS_CONFIG, args[1]);
    properties.put(ConsumerConfig.ISOLATION_LEVEL_CONFIG, "read_committed");
    properties.put(ConsumerConfig.CHECK_CRCS_CONFIG, "true");
    properties.put(ConsumerConfig.ENABLE_AUTO_COMMIT_CONFIG, "false");
    properties.put(ConsumerConfig.AUTO_OFFSET_RESET_CONFIG, "none");
    properties.put(ConsumerConfig.ALLOW_AUTO_CREATE_TOPICS_CONFIG, "false");
    properties.put(ConsumerConfig.MAX_POLL_RECORDS_CONFIG, String.valueOf(POLL_RECORDS_MAX));
    properties.put(ConsumerConfig.CLIENT_ID_CONFIG, "millrace-checker-java");
    for (int i = 2; i < args.length; ) {
      switch (args[i]) {
        case "--topic":
          topics.add(args[i + 1]);
          i += 2;
          break;
        case "--start":
          starts.put(new TopicPartition(args[i + 1], Integer.parseInt(args[i + 2])), Long.parseLong(args[i + 3]));
          i += 4;
          break;
        case "--property":
          properties.put(args[i + 1], args[i + 2]);
          i += 3;
          break;
        default:
          throw new IllegalArgumentException("unknown argument " + args[i]);
      }
    }
  }

  private void run(boolean follow) throws IOException {
    ByteArrayDeserializer bytes = new ByteArrayDeserializer();
    try (KafkaConsumer<byte[], byte[]> consumer = new KafkaConsumer<>(properties, bytes, bytes)) {
      stopWhenStdinCloses(consumer);
      List<TopicPartition> partitions = partitions(consumer);
      consumer.assign(partitions);
      Map<TopicPartition, Long> beginnings = consumer.beginningOffsets(partitions);
      for (TopicPartition partition : partitions) {
        consumer.seek(partition, Math.max(beginnings.get(partition), starts.getOrDefault(partition, 0L)));
      }
      if (follow) {
        follow(consumer);
      } else {
        untilEnd(consumer, consumer.endOffsets(partitions));
      }
    } catch (WakeupException stopped) {
      if (!stopping.get()) throw stopped;
    }
  }

  /** The parent holds our stdin open; when it goes, or closes it, nobody wants the rest. */
  private void stopWhenStdinCloses(KafkaConsumer<byte[], byte[]> consumer) {
    Thread watcher =
        new Thread(
            () -> {
              try {
                while (System.in.read() >= 0) {
                  // Nothing is ever said on stdin.
                }
              } catch (IOException closed) {
                // The same as its end.
              }
              stopping.set(true);
              consumer.wakeup();
            });
    watcher.setDaemon(true);
    watcher.start();
  }

  private List<TopicPartition> partitions(KafkaConsumer<byte[], byte[]> consumer) {
    List<TopicPartition> partitions = new ArrayList<>();
    for (String topic : topics) {
      List<PartitionInfo> infos = consumer.partitionsFor(topic);
      if (infos.isEmpty()) throw new IllegalStateException("no topic " + topic);
      for (PartitionInfo info : infos) partitions.add(new TopicPartition(topic, info.partition()));
    }
    return partitions;
  }

  private void follow(KafkaConsumer<byte[], byte[]> consumer) throws IOException {
    line("{\"ready\":true}");
    out.flush();
    while (!stopping.get()) print(consumer.poll(POLL));
  }

  private void untilEnd(KafkaConsumer<byte[], byte[]> consumer, Map<TopicPartition, Long> ends) throws IOException {
    while (!reached(consumer, ends)) {
      if (stopping.get()) return;
      print(consumer.poll(POLL));
    }
    line("{\"done\":true}");
    out.flush();
  }

  private static boolean reached(KafkaConsumer<byte[], byte[]> consumer, Map<TopicPartition, Long> ends) {
    for (Map.Entry<TopicPartition, Long> end : ends.entrySet()) {
      if (consumer.position(end.getKey()) < end.getValue()) return false;
    }
    return true;
  }

  private void print(ConsumerRecords<byte[], byte[]> records) throws IOException {
    if (records.isEmpty()) return;
    long at = System.currentTimeMillis();
    for (TopicPartition partition : records.partitions()) line(chunk(partition, records.records(partition), at));
    out.flush();
  }

  private void line(String text) throws IOException {
    out.write(text.getBytes(StandardCharsets.US_ASCII));
    out.write('\n');
  }

  private static String chunk(TopicPartition partition, List<ConsumerRecord<byte[], byte[]>> records, long at) {
    StringBuilder offsets = new StringBuilder();
    StringBuilder timestamps = new StringBuilder();
    StringBuilder keys = new StringBuilder();
    StringBuilder values = new StringBuilder();
    StringBuilder headers = new StringBuilder();
    ByteArrayOutputStream bytes = new ByteArrayOutputStream(records.size() * 256);
    for (int i = 0; i < records.size(); i++) {
      ConsumerRecord<byte[], byte[]> record = records.get(i);
      String comma = i == 0 ? "" : ",";
      offsets.append(comma).append(record.offset());
      timestamps.append(comma).append(record.timestamp());
      keys.append(comma).append(append(bytes, record.key()));
      values.append(comma).append(append(bytes, record.value()));
      String own = headers(record);
      if (own.isEmpty()) continue;
      headers.append(headers.length() == 0 ? "" : ",").append('"').append(i).append("\":[").append(own).append(']');
    }
    return "{\"topic\":" + quote(partition.topic()) + ",\"partition\":" + partition.partition() + ",\"at\":" + at
        + ",\"offsets\":[" + offsets + "],\"timestamps\":[" + timestamps + "],\"keys\":[" + keys + "],\"values\":["
        + values + "],\"headers\":{" + headers + "},\"bytes\":\"" + base64(bytes.toByteArray()) + "\"}";
  }

  private static int append(ByteArrayOutputStream bytes, byte[] part) {
    if (part == null) return -1;
    bytes.writeBytes(part);
    return part.length;
  }

  private static String headers(ConsumerRecord<byte[], byte[]> record) {
    StringBuilder text = new StringBuilder();
    for (Header header : record.headers()) {
      String value = header.value() == null ? "null" : "\"" + base64(header.value()) + "\"";
      text.append(text.length() == 0 ? "" : ",").append('[').append(quote(header.key())).append(',').append(value).append(']');
    }
    return text.toString();
  }

  private static String base64(byte[] bytes) {
    return Base64.getEncoder().encodeToString(bytes);
  }

  private static String quote(String text) {
    StringBuilder quoted = new StringBuilder("\"");
    for (int i = 0; i < text.length(); i++) {
      char letter = text.charAt(i);
      boolean plain = letter >= ' ' && letter < 127 && letter != '"' && letter != '\\';
      quoted.append(plain ? String.valueOf(letter) : String.format("\\u%04x", (int) letter));
    }
    return quoted.append('"').toString();
  }
}
