import com.fasterxml.jackson.annotation.JsonIgnoreProperties;

/** The fields of a bid that W2 and W4 use: the parser skips the others without making strings of them. */
@JsonIgnoreProperties(ignoreUnknown = true)
public final class Offer {
  public long bidder;
  public long price;
}
