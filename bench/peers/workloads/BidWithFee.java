import com.fasterxml.jackson.annotation.JsonPropertyOrder;

/** What W1 makes of a bid: the same fields and one more. */
@JsonPropertyOrder({"auction", "bidder", "price", "channel", "url", "dateTime", "extra", "fee"})
public final class BidWithFee extends Bid {
  public long fee;

  public static BidWithFee of(Bid bid) {
    BidWithFee made = new BidWithFee();
    made.auction = bid.auction;
    made.bidder = bid.bidder;
    made.price = bid.price;
    made.channel = bid.channel;
    made.url = bid.url;
    made.dateTime = bid.dateTime;
    made.extra = bid.extra;
    made.fee = Math.round(bid.price / 40.0);
    return made;
  }
}
