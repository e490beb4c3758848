import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import com.fasterxml.jackson.databind.node.ObjectNode;
import java.io.BufferedReader;
import java.io.BufferedWriter;
import java.io.IOException;
import java.io.InputStreamReader;
import java.io.OutputStreamWriter;
import java.io.PrintStream;
import java.io.Writer;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.Base64;
import java.util.List;
import java.util.Properties;

/**
 * Kafka's own Java client as an independent witness: `java -cp libs/*:classes JavaProbe <verb> …`.
 *
 * Talks NDJSON on stdin and stdout, bytes as base64; one verb per process. Every verb ends when stdin closes, so that no
 * probe outlives the process that asked. A failure that ends the probe is a last line {"error":…,"class":…} and exit 1.
 * connectors/kafka/testing/java-probe.ts wraps it.
 */
public final class JavaProbe {
  static final ObjectMapper JSON = new ObjectMapper();

  private JavaProbe() {}

  public static void main(String[] args) throws Exception {
    // The protocol owns stdout; whatever a library prints there by itself (log4j's default does) goes to stderr.
    PrintStream stdout = System.out;
    System.setOut(System.err);
    Lines lines = new Lines(stdout);
    try {
      Arguments arguments = new Arguments(args);
      switch (arguments.verb) {
        case "consume" -> ProbeConsume.run(arguments, lines);
        case "produce" -> ProbeProduce.run(arguments, lines);
        case "decode-batches" -> ProbeCodec.decode(lines);
        case "encode-batches" -> ProbeCodec.encode(lines);
        case "facts" -> ProbeFacts.run(lines);
        case "admin" -> ProbeAdmin.run(arguments, lines);
        default -> throw new IllegalArgumentException("unknown verb: " + arguments.verb);
      }
      lines.flush();
      System.exit(0);
    } catch (Throwable error) {
      lines.write(errorLine(error));
      lines.flush();
      System.exit(1);
    }
  }

  /** The error under the wrappers of futures, with its class, which is what callers tell errors apart by. */
  static ObjectNode errorLine(Throwable error) {
    Throwable cause = error;
    while (cause instanceof java.util.concurrent.ExecutionException && cause.getCause() != null) cause = cause.getCause();
    ObjectNode line = JSON.createObjectNode();
    line.put("error", String.valueOf(cause.getMessage()));
    line.put("class", cause.getClass().getSimpleName());
    if (cause.getCause() != null) line.put("cause", String.valueOf(cause.getCause()));
    return line;
  }

  static String encode(byte[] bytes) {
    return bytes == null ? null : Base64.getEncoder().encodeToString(bytes);
  }

  static byte[] bytes(JsonNode node) {
    return node == null || node.isNull() ? null : Base64.getDecoder().decode(node.textValue());
  }

  /** `--name value` pairs behind the verb; `--config k=v` may be repeated; names without value are flags. */
  static final class Arguments {
    private static final List<String> FLAGS = List.of("--until-end", "--follow");
    final String verb;
    private final List<String> flags = new ArrayList<>();
    private final Properties values = new Properties();
    private final Properties config = new Properties();

    Arguments(String[] args) {
      if (args.length == 0) throw new IllegalArgumentException("no verb");
      verb = args[0];
      for (int at = 1; at < args.length; at++) {
        String name = args[at];
        if (FLAGS.contains(name)) {
          flags.add(name);
          continue;
        }
        if (at + 1 == args.length) throw new IllegalArgumentException(name + " needs a value");
        String value = args[++at];
        if (!name.equals("--config")) {
          values.setProperty(name, value);
          continue;
        }
        int equals = value.indexOf('=');
        if (equals < 1) throw new IllegalArgumentException("--config needs key=value, not " + value);
        config.setProperty(value.substring(0, equals), value.substring(equals + 1));
      }
    }

    boolean has(String flag) {
      return flags.contains(flag);
    }

    String value(String name, String otherwise) {
      return values.getProperty(name, otherwise);
    }

    List<String> list(String name) {
      return Arrays.stream(required(name).split(",")).filter(each -> !each.isEmpty()).toList();
    }

    String required(String name) {
      String value = values.getProperty(name);
      if (value == null) throw new IllegalArgumentException(verb + " needs " + name);
      return value;
    }

    /** Client properties: the bootstrap servers, then `defaults` (key, value, …), then every --config. */
    Properties client(String... defaults) {
      Properties properties = new Properties();
      properties.setProperty("bootstrap.servers", required("--bootstrap"));
      for (int at = 0; at < defaults.length; at += 2) properties.setProperty(defaults[at], defaults[at + 1]);
      properties.putAll(config);
      return properties;
    }
  }

  /** NDJSON both ways. Written by one thread only. */
  static final class Lines {
    private final BufferedReader in = new BufferedReader(new InputStreamReader(System.in, StandardCharsets.UTF_8), 1 << 16);
    final Writer out;

    Lines(PrintStream stdout) {
      out = new BufferedWriter(new OutputStreamWriter(stdout, StandardCharsets.UTF_8), 1 << 16);
    }

    /** The next line, or null when stdin has closed. */
    JsonNode read() throws IOException {
      String line = in.readLine();
      return line == null ? null : JSON.readTree(line);
    }

    /** Reads until stdin closes; for verbs that expect nothing more from it. */
    void drain() {
      try {
        while (in.readLine() != null) {}
      } catch (IOException closed) {
        // The same as the end of stdin: whoever asked is gone.
      }
    }

    void write(JsonNode line) throws IOException {
      out.write(JSON.writeValueAsString(line));
      out.write('\n');
    }

    void flush() throws IOException {
      out.flush();
    }
  }
}
