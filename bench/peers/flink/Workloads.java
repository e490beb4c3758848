import static java.nio.charset.StandardCharsets.UTF_8;

import org.apache.flink.api.common.eventtime.WatermarkStrategy;
import org.apache.flink.api.common.typeinfo.PrimitiveArrayTypeInfo;
import org.apache.flink.api.common.typeinfo.TypeInformation;
import org.apache.flink.api.common.typeinfo.Types;
import org.apache.flink.api.java.tuple.Tuple2;
import org.apache.flink.connector.kafka.source.KafkaSource;
import org.apache.flink.streaming.api.datastream.DataStream;
import org.apache.flink.streaming.api.environment.StreamExecutionEnvironment;

/** The workloads in Flink's own language. What crosses a keyBy is the key and the price, nothing else of the bid. */
final class Workloads {
  private static final TypeInformation<byte[]> BYTES = PrimitiveArrayTypeInfo.BYTE_PRIMITIVE_ARRAY_TYPE_INFO;
  private static final TypeInformation<Tuple2<String, Long>> PRICE_OF_KEY = Types.TUPLE(Types.STRING, Types.LONG);
  private static final TypeInformation<Tuple2<String, Totals>> TOTALS_OF_KEY =
      Types.TUPLE(Types.STRING, Types.POJO(Totals.class));

  private static final Json<Bid> BID = new Json<>(Bid.class);
  private static final Json<BidWithFee> BID_WITH_FEE = new Json<>(BidWithFee.class);
  private static final Json<Offer> OFFER = new Json<>(Offer.class);
  private static final Json<AuctionTotals> AUCTION_TOTALS = new Json<>(AuctionTotals.class);
  private static final Json<BidderTotals> BIDDER_TOTALS = new Json<>(BidderTotals.class);

  private Workloads() {}

  static void define(StreamExecutionEnvironment environment, String scenario, Topics topics) {
    switch (scenario) {
      case "W0" -> passthrough(environment, topics);
      case "W1" -> jsonMap(environment, topics);
      case "W2", "W3" -> totalsByRecordKey(environment, topics);
      case "W4" -> totalsByBidder(environment, topics);
      default -> throw new IllegalArgumentException("workload " + scenario);
    }
  }

  private static <T> DataStream<T> from(StreamExecutionEnvironment environment, KafkaSource<T> source) {
    return environment.fromSource(source, WatermarkStrategy.noWatermarks(), "input");
  }

  private static void passthrough(StreamExecutionEnvironment environment, Topics topics) {
    from(environment, topics.source(Types.TUPLE(BYTES, BYTES), Tuple2<byte[], byte[]>::new))
        .sinkTo(topics.sink(record -> record.f0, record -> record.f1));
  }

  private static void jsonMap(StreamExecutionEnvironment environment, Topics topics) {
    TypeInformation<Tuple2<byte[], Bid>> bids = Types.TUPLE(BYTES, Types.POJO(Bid.class));
    TypeInformation<Tuple2<byte[], BidWithFee>> bidsWithFee = Types.TUPLE(BYTES, Types.POJO(BidWithFee.class));
    from(environment, topics.source(bids, (key, value) -> new Tuple2<>(key, BID.parse(value))))
        .map(bid -> new Tuple2<>(bid.f0, BidWithFee.of(bid.f1)))
        .returns(bidsWithFee)
        .sinkTo(topics.sink(bid -> bid.f0, bid -> BID_WITH_FEE.write(bid.f1)));
  }

  private static void totalsByRecordKey(StreamExecutionEnvironment environment, Topics topics) {
    from(environment, topics.source(PRICE_OF_KEY, Workloads::priceOfAuction))
        .keyBy(price -> price.f0, Types.STRING)
        .map(new TotalsByKey())
        .returns(TOTALS_OF_KEY)
        .sinkTo(topics.sink(each -> each.f0.getBytes(UTF_8), Workloads::auctionTotals));
  }

  private static void totalsByBidder(StreamExecutionEnvironment environment, Topics topics) {
    from(environment, topics.source(PRICE_OF_KEY, Workloads::priceOfBidder))
        .keyBy(price -> price.f0, Types.STRING)
        .map(new TotalsByKey())
        .returns(TOTALS_OF_KEY)
        .sinkTo(topics.sink(each -> each.f0.getBytes(UTF_8), Workloads::bidderTotals));
  }

  private static Tuple2<String, Long> priceOfAuction(byte[] key, byte[] value) {
    return new Tuple2<>(new String(key, UTF_8), OFFER.parse(value).price);
  }

  private static Tuple2<String, Long> priceOfBidder(byte[] key, byte[] value) {
    Offer offer = OFFER.parse(value);
    return new Tuple2<>(Long.toString(offer.bidder), offer.price);
  }

  private static byte[] auctionTotals(Tuple2<String, Totals> each) {
    return AUCTION_TOTALS.write(new AuctionTotals(each.f0, each.f1));
  }

  private static byte[] bidderTotals(Tuple2<String, Totals> each) {
    return BIDDER_TOTALS.write(new BidderTotals(each.f0, each.f1));
  }
}
