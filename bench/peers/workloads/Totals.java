/** The state of one key in W2 and W4. */
public final class Totals {
  public long count;
  public long sum;
  public long max;

  public Totals() {}

  public Totals(long count, long sum, long max) {
    this.count = count;
    this.sum = sum;
    this.max = max;
  }

  public Totals with(long price) {
    return new Totals(count + 1, sum + price, Math.max(max, price));
  }
}
