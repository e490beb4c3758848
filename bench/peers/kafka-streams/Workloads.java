import java.util.Map;
import org.apache.kafka.common.serialization.Serde;
import org.apache.kafka.common.serialization.Serdes;
import org.apache.kafka.common.utils.Bytes;
import org.apache.kafka.streams.KeyValue;
import org.apache.kafka.streams.StreamsBuilder;
import org.apache.kafka.streams.Topology;
import org.apache.kafka.streams.kstream.Consumed;
import org.apache.kafka.streams.kstream.Grouped;
import org.apache.kafka.streams.kstream.KGroupedStream;
import org.apache.kafka.streams.kstream.KTable;
import org.apache.kafka.streams.kstream.Materialized;
import org.apache.kafka.streams.kstream.Produced;
import org.apache.kafka.streams.state.KeyValueStore;

/**
 * The workloads in Kafka Streams' own language. State is where the settings say and goes to a changelog topic, as Kafka
 * Streams does it by default; its serde is three longs.
 */
final class Workloads {
  private static final Serde<byte[]> BYTES = Serdes.ByteArray();
  private static final Serde<String> STRING = Serdes.String();
  private static final Serde<Long> LONG = Serdes.Long();

  private Workloads() {}

  static Topology topology(Arguments given) {
    StreamsBuilder builder = new StreamsBuilder();
    switch (given.scenario) {
      case "W0" -> passthrough(builder, given);
      case "W1" -> jsonMap(builder, given);
      case "W2", "W3" -> totalsByRecordKey(builder, given);
      case "W4" -> totalsByBidder(builder, given);
      default -> throw new IllegalArgumentException("workload " + given.scenario);
    }
    return builder.build();
  }

  private static void passthrough(StreamsBuilder builder, Arguments given) {
    builder.stream(given.input, Consumed.with(BYTES, BYTES)).to(given.output, Produced.with(BYTES, BYTES));
  }

  private static void jsonMap(StreamsBuilder builder, Arguments given) {
    builder.stream(given.input, Consumed.with(BYTES, JsonSerde.of(Bid.class)))
        .mapValues(BidWithFee::of)
        .to(given.output, Produced.with(BYTES, JsonSerde.of(BidWithFee.class)));
  }

  private static void totalsByRecordKey(StreamsBuilder builder, Arguments given) {
    KGroupedStream<String, Long> prices =
        builder.stream(given.input, Consumed.with(STRING, JsonSerde.of(Offer.class)))
            .mapValues(offer -> offer.price)
            .groupByKey(Grouped.with(STRING, LONG));
    totals(prices)
        .toStream()
        .mapValues(AuctionTotals::new)
        .to(given.output, Produced.with(STRING, JsonSerde.of(AuctionTotals.class)));
  }

  /** The key changes: Kafka Streams puts a repartition topic in between. Only the price goes through it. */
  private static void totalsByBidder(StreamsBuilder builder, Arguments given) {
    KGroupedStream<String, Long> prices =
        builder.stream(given.input, Consumed.with(STRING, JsonSerde.of(Offer.class)))
            .map((auction, offer) -> KeyValue.pair(Long.toString(offer.bidder), offer.price))
            .groupByKey(Grouped.with("bidder", STRING, LONG));
    totals(prices)
        .toStream()
        .mapValues(BidderTotals::new)
        .to(given.output, Produced.with(STRING, JsonSerde.of(BidderTotals.class)));
  }

  private static KTable<String, Totals> totals(KGroupedStream<String, Long> prices) {
    Materialized<String, Totals, KeyValueStore<Bytes, byte[]>> kept =
        Materialized.<String, Totals, KeyValueStore<Bytes, byte[]>>as("totals")
            .withKeySerde(STRING)
            .withValueSerde(new TotalsSerde())
            .withLoggingEnabled(Map.of());
    return prices.aggregate(Totals::new, (key, price, totals) -> totals.with(price), kept);
  }
}
