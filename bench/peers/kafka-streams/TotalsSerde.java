import java.nio.ByteBuffer;
import org.apache.kafka.common.serialization.Deserializer;
import org.apache.kafka.common.serialization.Serde;
import org.apache.kafka.common.serialization.Serializer;

/** Totals in the store and in its changelog: three longs. */
final class TotalsSerde implements Serde<Totals> {
  @Override
  public Serializer<Totals> serializer() {
    return (topic, totals) ->
        totals == null
            ? null
            : ByteBuffer.allocate(3 * Long.BYTES)
                .putLong(totals.count)
                .putLong(totals.sum)
                .putLong(totals.max)
                .array();
  }

  @Override
  public Deserializer<Totals> deserializer() {
    return (topic, bytes) -> {
      if (bytes == null) return null;
      ByteBuffer from = ByteBuffer.wrap(bytes);
      return new Totals(from.getLong(), from.getLong(), from.getLong());
    };
  }
}
