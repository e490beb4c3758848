import com.fasterxml.jackson.annotation.JsonPropertyOrder;

/** What W4 writes. */
@JsonPropertyOrder({"bidder", "count", "sum", "max"})
public final class BidderTotals {
  public final String bidder;
  public final long count;
  public final long sum;
  public final long max;

  public BidderTotals(String bidder, Totals totals) {
    this.bidder = bidder;
    count = totals.count;
    sum = totals.sum;
    max = totals.max;
  }
}
