import com.fasterxml.jackson.annotation.JsonPropertyOrder;

/** What W2 writes. */
@JsonPropertyOrder({"auction", "count", "sum", "max"})
public final class AuctionTotals {
  public final String auction;
  public final long count;
  public final long sum;
  public final long max;

  public AuctionTotals(String auction, Totals totals) {
    this.auction = auction;
    count = totals.count;
    sum = totals.sum;
    max = totals.max;
  }
}
