import com.fasterxml.jackson.annotation.JsonPropertyOrder;

/** A record's value in the order of its fields. */
@JsonPropertyOrder({"auction", "bidder", "price", "channel", "url", "dateTime", "extra"})
public class Bid {
  public long auction;
  public long bidder;
  public long price;
  public String channel;
  public String url;
  public long dateTime;
  public String extra;
}
