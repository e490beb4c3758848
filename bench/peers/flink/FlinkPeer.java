import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Comparator;
import java.util.HashMap;
import java.util.Map;
import java.util.Optional;
import java.util.Properties;
import java.util.concurrent.TimeUnit;
import java.util.stream.Stream;
import org.apache.flink.api.common.JobStatus;
import org.apache.flink.configuration.CheckpointingOptions;
import org.apache.flink.configuration.Configuration;
import org.apache.flink.configuration.StateRecoveryOptions;
import org.apache.flink.core.execution.JobClient;
import org.apache.flink.core.execution.SavepointFormatType;
import org.apache.flink.streaming.api.environment.StreamExecutionEnvironment;

/**
 * One Flink job in a process of its own: the cluster is Flink's local one, in this JVM. Says {@code running} when the job
 * runs; ends in order, with a savepoint, on SIGTERM; killed and started again, it goes on from its newest checkpoint. Every
 * setting but names and addresses comes from the bench: those that begin with {@code consumer.} or {@code producer.} are the
 * Kafka clients', the others Flink's own.
 */
public final class FlinkPeer {
  private static final String CONSUMER = "consumer.";
  private static final String PRODUCER = "producer.";
  private static final long STATUS_EVERY_MS = 20;
  private static final long STOP_LIMIT_SECONDS = 30;

  private FlinkPeer() {}

  public static void main(String[] arguments) throws Exception {
    Arguments given = Arguments.parse(arguments);
    Ending ending = new Ending();
    Path store = Path.of(given.store);
    StreamExecutionEnvironment environment =
        StreamExecutionEnvironment.createLocalEnvironment(configuration(given, store));
    Topics topics = new Topics(given, clientProperties(given, CONSUMER), clientProperties(given, PRODUCER));
    Workloads.define(environment, given.scenario, topics);
    JobClient job = environment.executeAsync(given.pipeline);
    while (job.getJobStatus().get() != JobStatus.RUNNING) Thread.sleep(STATUS_EVERY_MS);
    job.getJobExecutionResult().exceptionally(FlinkPeer::fail);
    System.out.println("running");
    ending.await();
    job.stopWithSavepoint(false, store.resolve("savepoint").toUri().toString(), SavepointFormatType.NATIVE)
        .get(STOP_LIMIT_SECONDS, TimeUnit.SECONDS);
    System.exit(0);
  }

  private static <T> T fail(Throwable error) {
    error.printStackTrace();
    Runtime.getRuntime().halt(1);
    return null;
  }

  private static Configuration configuration(Arguments given, Path store) throws IOException {
    Map<String, String> own = new HashMap<>(given.settings);
    own.keySet().removeIf(name -> name.startsWith(CONSUMER) || name.startsWith(PRODUCER));
    Configuration configuration = Configuration.fromMap(own);
    Path checkpoints = store.resolve("checkpoints");
    configuration.set(CheckpointingOptions.CHECKPOINTS_DIRECTORY, checkpoints.toUri().toString());
    newest(checkpoints)
        .ifPresent(path -> configuration.set(StateRecoveryOptions.SAVEPOINT_PATH, path.toUri().toString()));
    return configuration;
  }

  /** A checkpoint is complete when it has its metadata: {@code <job>/chk-<number>/_metadata}. */
  private static Optional<Path> newest(Path checkpoints) throws IOException {
    if (!Files.exists(checkpoints)) return Optional.empty();
    try (Stream<Path> files = Files.walk(checkpoints, 3)) {
      return files
          .filter(file -> file.endsWith("_metadata"))
          .max(Comparator.comparingLong(file -> file.toFile().lastModified()))
          .map(Path::getParent);
    }
  }

  private static Properties clientProperties(Arguments given, String prefix) {
    Properties properties = new Properties();
    given.settings.forEach(
        (name, value) -> {
          if (name.startsWith(prefix)) properties.setProperty(name.substring(prefix.length()), value);
        });
    return properties;
  }
}
