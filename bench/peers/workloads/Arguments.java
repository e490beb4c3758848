import com.fasterxml.jackson.annotation.JsonIgnoreProperties;
import com.fasterxml.jackson.databind.ObjectMapper;
import java.io.IOException;
import java.util.List;
import java.util.Map;

/** What the bench tells a peer: one JSON object, the only argument of its process. */
@JsonIgnoreProperties(ignoreUnknown = true)
public final class Arguments {
  /** The workload: W0, W1, W2, W3 (W2 with state on disk, by its settings) or W4. */
  public String scenario;

  public List<String> brokers;

  /** The name from which group, application and transactional ids derive: its own for every run. */
  public String pipeline;

  public String input;
  public String output;

  /** A folder of its own for local state and checkpoints. */
  public String store;

  /** The system's settings under its own names. */
  public Map<String, String> settings;

  public static Arguments parse(String[] arguments) throws IOException {
    if (arguments.length != 1) throw new IllegalArgumentException("one argument is expected: a JSON object");
    return new ObjectMapper().readValue(arguments[0], Arguments.class);
  }

  public String bootstrapServers() {
    return String.join(",", brokers);
  }
}
