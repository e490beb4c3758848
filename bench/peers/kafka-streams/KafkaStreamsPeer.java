import java.time.Duration;
import java.util.Properties;
import java.util.concurrent.atomic.AtomicBoolean;
import org.apache.kafka.streams.KafkaStreams;
import org.apache.kafka.streams.KafkaStreams.State;
import org.apache.kafka.streams.StreamsConfig;
import org.apache.kafka.streams.errors.StreamsUncaughtExceptionHandler.StreamThreadExceptionResponse;

/**
 * One Kafka Streams application in a process of its own. Says {@code running} when its thread has its partitions and reads;
 * ends in order on SIGTERM. Every setting but names and addresses comes from the bench.
 */
public final class KafkaStreamsPeer {
  private static final Duration CLOSE_LIMIT = Duration.ofSeconds(30);

  private KafkaStreamsPeer() {}

  public static void main(String[] arguments) throws Exception {
    Arguments given = Arguments.parse(arguments);
    Ending ending = new Ending();
    KafkaStreams streams = new KafkaStreams(Workloads.topology(given), properties(given));
    AtomicBoolean said = new AtomicBoolean();
    streams.setStateListener(
        (now, before) -> {
          if (now == State.RUNNING && said.compareAndSet(false, true)) System.out.println("running");
          if (now == State.ERROR) Runtime.getRuntime().halt(1);
        });
    streams.setUncaughtExceptionHandler(
        error -> {
          error.printStackTrace();
          return StreamThreadExceptionResponse.SHUTDOWN_CLIENT;
        });
    streams.start();
    ending.await();
    System.exit(streams.close(CLOSE_LIMIT) ? 0 : 1);
  }

  private static Properties properties(Arguments given) {
    Properties properties = new Properties();
    properties.putAll(given.settings);
    properties.put(StreamsConfig.APPLICATION_ID_CONFIG, given.pipeline);
    properties.put(StreamsConfig.BOOTSTRAP_SERVERS_CONFIG, given.bootstrapServers());
    properties.put(StreamsConfig.STATE_DIR_CONFIG, given.store);
    return properties;
  }
}
