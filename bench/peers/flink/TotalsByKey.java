import org.apache.flink.api.common.functions.OpenContext;
import org.apache.flink.api.common.functions.RichMapFunction;
import org.apache.flink.api.common.state.ValueState;
import org.apache.flink.api.common.state.ValueStateDescriptor;
import org.apache.flink.api.common.typeinfo.Types;
import org.apache.flink.api.java.tuple.Tuple2;

/** Keeps count, sum and maximum of each key's prices; a price in, the totals out. */
final class TotalsByKey extends RichMapFunction<Tuple2<String, Long>, Tuple2<String, Totals>> {
  private transient ValueState<Totals> state;

  @Override
  public void open(OpenContext context) {
    state = getRuntimeContext().getState(new ValueStateDescriptor<>("totals", Types.POJO(Totals.class)));
  }

  @Override
  public Tuple2<String, Totals> map(Tuple2<String, Long> price) throws Exception {
    Totals before = state.value();
    Totals totals = (before == null ? new Totals() : before).with(price.f1);
    state.update(totals);
    return new Tuple2<>(price.f0, totals);
  }
}
