import org.apache.kafka.common.serialization.Serde;
import org.apache.kafka.common.serialization.Serdes;

/** JSON of a class as Kafka Streams takes it. */
final class JsonSerde {
  private JsonSerde() {}

  static <T> Serde<T> of(Class<T> type) {
    Json<T> json = new Json<>(type);
    return Serdes.serdeFrom(
        (topic, value) -> value == null ? null : json.write(value),
        (topic, bytes) -> bytes == null ? null : json.parse(bytes));
  }
}
