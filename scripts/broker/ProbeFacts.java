import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.node.ArrayNode;
import com.fasterxml.jackson.databind.node.ObjectNode;
import java.io.IOException;
import java.nio.ByteBuffer;
import java.util.List;
import org.apache.kafka.clients.consumer.ConsumerPartitionAssignor.Assignment;
import org.apache.kafka.clients.consumer.ConsumerPartitionAssignor.Subscription;
import org.apache.kafka.clients.consumer.internals.ConsumerProtocol;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.errors.RetriableException;
import org.apache.kafka.common.protocol.Errors;
import org.apache.kafka.common.utils.Utils;

/** facts: what Kafka's own classes say about a hash, an error code, and the messages embedded in the group protocol. */
final class ProbeFacts {
  private ProbeFacts() {}

  /**
   * {"murmur2":base64} to {"hash"}; {"errors":true} to {"errors":[{"code","name","retriable"}]}; {"subscription":base64}
   * to {"topics","userData"}; {"assignment":base64} to {"partitions":[[topic,partition]],"userData"};
   * {"subscribe":[topic],"userData":base64} and {"assign":[[topic,partition]],"userData":base64} to {"b":base64}.
   */
  static void run(JavaProbe.Lines lines) throws IOException {
    for (JsonNode line = lines.read(); line != null; line = lines.read()) {
      lines.write(answer(line));
      lines.flush();
    }
  }

  private static ObjectNode answer(JsonNode request) {
    ObjectNode node = JavaProbe.JSON.createObjectNode();
    try {
      if (request.has("murmur2")) return node.put("hash", Utils.murmur2(JavaProbe.bytes(request.get("murmur2"))));
      if (request.has("errors")) return errors(node);
      if (request.has("subscription")) return subscription(node, buffer(request.get("subscription")));
      if (request.has("assignment")) return assignment(node, buffer(request.get("assignment")));
      ByteBuffer userData = buffer(request.get("userData"));
      if (request.has("subscribe")) {
        List<String> topics = request.get("subscribe").valueStream().map(JsonNode::textValue).toList();
        return bytes(node, ConsumerProtocol.serializeSubscription(new Subscription(topics, userData), (short) 0));
      }
      List<TopicPartition> partitions = request.get("assign").valueStream()
          .map(each -> new TopicPartition(each.get(0).textValue(), each.get(1).intValue())).toList();
      return bytes(node, ConsumerProtocol.serializeAssignment(new Assignment(partitions, userData), (short) 0));
    } catch (Exception error) {
      return JavaProbe.errorLine(error);
    }
  }

  private static ByteBuffer buffer(JsonNode base64) {
    byte[] bytes = JavaProbe.bytes(base64);
    return bytes == null ? null : ByteBuffer.wrap(bytes);
  }

  private static ObjectNode bytes(ObjectNode node, ByteBuffer buffer) {
    return node.put("b", JavaProbe.encode(Utils.toNullableArray(buffer)));
  }

  private static ObjectNode errors(ObjectNode node) {
    ArrayNode errors = node.putArray("errors");
    for (Errors error : Errors.values()) {
      boolean retriable = error.exception() instanceof RetriableException;
      errors.addObject().put("code", error.code()).put("name", error.name()).put("retriable", retriable);
    }
    return node;
  }

  private static ObjectNode subscription(ObjectNode node, ByteBuffer bytes) {
    Subscription subscription = ConsumerProtocol.deserializeSubscription(bytes);
    ArrayNode topics = node.putArray("topics");
    subscription.topics().forEach(topics::add);
    return node.put("userData", JavaProbe.encode(Utils.toNullableArray(subscription.userData())));
  }

  private static ObjectNode assignment(ObjectNode node, ByteBuffer bytes) {
    Assignment assignment = ConsumerProtocol.deserializeAssignment(bytes);
    ArrayNode partitions = node.putArray("partitions");
    for (TopicPartition each : assignment.partitions()) partitions.addArray().add(each.topic()).add(each.partition());
    return node.put("userData", JavaProbe.encode(Utils.toNullableArray(assignment.userData())));
  }
}
