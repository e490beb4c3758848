import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.node.ArrayNode;
import com.fasterxml.jackson.databind.node.ObjectNode;
import java.io.IOException;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.HashSet;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.Set;
import java.util.concurrent.ExecutionException;
import org.apache.kafka.clients.admin.AbortTransactionSpec;
import org.apache.kafka.clients.admin.Admin;
import org.apache.kafka.clients.admin.AlterConfigOp;
import org.apache.kafka.clients.admin.ConfigEntry;
import org.apache.kafka.clients.admin.ListConsumerGroupOffsetsOptions;
import org.apache.kafka.clients.admin.ListOffsetsOptions;
import org.apache.kafka.clients.admin.ListOffsetsResult;
import org.apache.kafka.clients.admin.MemberDescription;
import org.apache.kafka.clients.admin.NewPartitions;
import org.apache.kafka.clients.admin.NewTopic;
import org.apache.kafka.clients.admin.OffsetSpec;
import org.apache.kafka.clients.admin.ProducerState;
import org.apache.kafka.clients.admin.RecordsToDelete;
import org.apache.kafka.clients.admin.TopicDescription;
import org.apache.kafka.clients.admin.TransactionDescription;
import org.apache.kafka.clients.admin.TransactionListing;
import org.apache.kafka.clients.consumer.OffsetAndMetadata;
import org.apache.kafka.common.IsolationLevel;
import org.apache.kafka.common.Node;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.TopicPartitionInfo;
import org.apache.kafka.common.acl.AccessControlEntry;
import org.apache.kafka.common.acl.AclBinding;
import org.apache.kafka.common.acl.AclOperation;
import org.apache.kafka.common.acl.AclPermissionType;
import org.apache.kafka.common.config.ConfigResource;
import org.apache.kafka.common.errors.UnknownTopicOrPartitionException;
import org.apache.kafka.common.resource.PatternType;
import org.apache.kafka.common.resource.ResourcePattern;
import org.apache.kafka.common.resource.ResourceType;

/**
 * admin --bootstrap B [--config k=v]…: commands {"verb":…,…} one by one, each answered by {"ok":…} or {"error","class"}.
 * A failed command leaves the probe usable.
 */
final class ProbeAdmin {
  private final Admin admin;
  /** What this probe has created, and not every broker may have heard of yet. */
  private final Set<String> created = new HashSet<>();

  private ProbeAdmin(Admin admin) {
    this.admin = admin;
  }

  static void run(JavaProbe.Arguments arguments, JavaProbe.Lines lines) throws IOException {
    try (Admin admin = Admin.create(arguments.client("default.api.timeout.ms", "30000", "request.timeout.ms", "10000"))) {
      ProbeAdmin probe = new ProbeAdmin(admin);
      for (JsonNode command = lines.read(); command != null; command = lines.read()) {
        lines.write(probe.answer(command));
        lines.flush();
      }
    }
  }

  private ObjectNode answer(JsonNode command) {
    try {
      ObjectNode answer = JavaProbe.JSON.createObjectNode();
      answer.set("ok", perform(command));
      return answer;
    } catch (Exception error) {
      return JavaProbe.errorLine(error);
    }
  }

  private JsonNode perform(JsonNode command) throws Exception {
    String verb = command.get("verb").textValue();
    return switch (verb) {
      case "create-topic" -> createTopic(command);
      case "describe-topic" -> describeTopic(text(command, "name"));
      case "delete-topic" -> deleteTopic(text(command, "name"));
      case "create-partitions" -> createPartitions(command);
      case "delete-records" -> deleteRecords(command);
      case "list-offsets" -> listOffsets(command);
      case "alter-configs" -> alterConfigs(command);
      case "describe-configs" -> describeConfigs(command);
      case "create-acls" -> done(admin.createAcls(acls(command)).all().get());
      case "delete-acls" -> done(admin.deleteAcls(acls(command).stream().map(AclBinding::toFilter).toList()).all().get());
      case "list-transactions" -> listTransactions();
      case "describe-transactions" -> describeTransactions(command);
      case "describe-producers" -> describeProducers(command);
      case "abort-transaction" -> abortTransaction(command);
      case "fence-producer" -> done(admin.fenceProducers(texts(command.get("transactionalIds"))).all().get());
      case "terminate-transaction" ->
          done(admin.forceTerminateTransaction(text(command, "transactionalId")).result().get());
      case "list-groups" -> listGroups();
      case "describe-group" -> describeGroup(text(command, "group"));
      case "list-group-offsets" -> listGroupOffsets(command);
      case "alter-group-offsets" -> alterGroupOffsets(command);
      case "delete-group" -> done(admin.deleteConsumerGroups(List.of(text(command, "group"))).all().get());
      case "delete-group-offsets" -> deleteGroupOffsets(command);
      default -> throw new IllegalArgumentException("unknown admin verb: " + verb);
    };
  }

  private JsonNode createTopic(JsonNode command) throws Exception {
    Optional<Integer> partitions = Optional.of(command.path("partitions").asInt(1));
    Optional<Short> replicas = Optional.ofNullable(command.hasNonNull("rf") ? command.get("rf").shortValue() : null);
    NewTopic topic = new NewTopic(text(command, "name"), partitions, replicas);
    Map<String, String> configs = new HashMap<>();
    command.path("configs").properties().forEach(each -> configs.put(each.getKey(), each.getValue().asText()));
    admin.createTopics(List.of(topic.configs(configs))).all().get();
    created.add(topic.name());
    return done(description(topic.name()));
  }

  private JsonNode deleteTopic(String name) throws Exception {
    created.remove(name);
    return done(admin.deleteTopics(List.of(name)).all().get());
  }

  /** Any broker may answer, also one that is behind the controller: a topic of our own is asked for until it is known. */
  private TopicDescription description(String name) throws Exception {
    long deadline = System.nanoTime() + 30_000_000_000L;
    while (true) {
      try {
        return admin.describeTopics(List.of(name)).allTopicNames().get().get(name);
      } catch (ExecutionException error) {
        boolean behind = error.getCause() instanceof UnknownTopicOrPartitionException && created.contains(name);
        if (!behind || System.nanoTime() > deadline) throw error;
        Thread.sleep(20);
      }
    }
  }

  private JsonNode describeTopic(String name) throws Exception {
    TopicDescription topic = description(name);
    ObjectNode node = object().put("name", name).put("topicId", topic.topicId().toString());
    ArrayNode partitions = node.putArray("partitions");
    for (TopicPartitionInfo each : topic.partitions()) {
      ObjectNode partition = partitions.addObject().put("partition", each.partition());
      partition.put("leader", each.leader() == null ? -1 : each.leader().id());
      partition.set("replicas", nodeIds(each.replicas()));
      partition.set("isr", nodeIds(each.isr()));
    }
    return node;
  }

  private JsonNode createPartitions(JsonNode command) throws Exception {
    NewPartitions total = NewPartitions.increaseTo(command.get("total").intValue());
    return done(admin.createPartitions(Map.of(text(command, "topic"), total)).all().get());
  }

  private JsonNode deleteRecords(JsonNode command) throws Exception {
    RecordsToDelete before = RecordsToDelete.beforeOffset(command.get("before").longValue());
    return done(admin.deleteRecords(Map.of(partition(command), before)).all().get());
  }

  /** Earliest and latest of every partition; latest is the last stable offset for read_committed. */
  private JsonNode listOffsets(JsonNode command) throws Exception {
    String topic = text(command, "topic");
    boolean committed = command.path("isolation").asText("read_committed").equals("read_committed");
    ListOffsetsOptions options =
        new ListOffsetsOptions(committed ? IsolationLevel.READ_COMMITTED : IsolationLevel.READ_UNCOMMITTED);
    Map<TopicPartition, OffsetSpec> earliest = new HashMap<>();
    Map<TopicPartition, OffsetSpec> latest = new HashMap<>();
    for (TopicPartitionInfo each : description(topic).partitions()) {
      earliest.put(new TopicPartition(topic, each.partition()), OffsetSpec.earliest());
      latest.put(new TopicPartition(topic, each.partition()), OffsetSpec.latest());
    }
    ListOffsetsResult first = admin.listOffsets(earliest, options);
    ListOffsetsResult last = admin.listOffsets(latest, options);
    ArrayNode list = array();
    for (int partition = 0; partition < earliest.size(); partition++) {
      TopicPartition each = new TopicPartition(topic, partition);
      ObjectNode node = list.addObject().put("partition", partition);
      node.put("earliest", first.partitionResult(each).get().offset());
      node.put("latest", last.partitionResult(each).get().offset());
    }
    return list;
  }

  private JsonNode alterConfigs(JsonNode command) throws Exception {
    List<AlterConfigOp> changes = new ArrayList<>();
    command.get("configs").properties().forEach(each -> {
      boolean delete = each.getValue().isNull();
      ConfigEntry entry = new ConfigEntry(each.getKey(), delete ? "" : each.getValue().asText());
      changes.add(new AlterConfigOp(entry, delete ? AlterConfigOp.OpType.DELETE : AlterConfigOp.OpType.SET));
    });
    return done(admin.incrementalAlterConfigs(Map.of(resource(command), changes)).all().get());
  }

  private JsonNode describeConfigs(JsonNode command) throws Exception {
    ConfigResource resource = resource(command);
    ObjectNode node = object();
    for (ConfigEntry each : admin.describeConfigs(List.of(resource)).all().get().get(resource).entries()) {
      node.put(each.name(), each.value());
    }
    return node;
  }

  private JsonNode listTransactions() throws Exception {
    ArrayNode list = array();
    for (TransactionListing each : admin.listTransactions().all().get()) {
      ObjectNode node = list.addObject().put("transactionalId", each.transactionalId());
      node.put("producerId", each.producerId()).put("state", each.state().toString());
    }
    return list;
  }

  private JsonNode describeTransactions(JsonNode command) throws Exception {
    ArrayNode list = array();
    for (String id : texts(command.get("transactionalIds"))) {
      TransactionDescription each = admin.describeTransactions(List.of(id)).description(id).get();
      ObjectNode node = list.addObject().put("transactionalId", id).put("coordinator", each.coordinatorId());
      node.put("state", each.state().toString()).put("timeoutMs", each.transactionTimeoutMs());
      node.put("producerId", each.producerId()).put("producerEpoch", each.producerEpoch());
      node.put("startMs", each.transactionStartTimeMs().isPresent() ? each.transactionStartTimeMs().getAsLong() : null);
      ArrayNode partitions = node.putArray("partitions");
      for (TopicPartition one : each.topicPartitions()) put(partitions.addObject(), one);
    }
    return list;
  }

  private JsonNode describeProducers(JsonNode command) throws Exception {
    ArrayNode list = array();
    TopicPartition partition = partition(command);
    for (ProducerState each : admin.describeProducers(List.of(partition)).partitionResult(partition).get().activeProducers()) {
      ObjectNode node = list.addObject().put("producerId", each.producerId()).put("producerEpoch", each.producerEpoch());
      node.put("lastSequence", each.lastSequence()).put("lastTimestamp", each.lastTimestamp());
      node.put("coordinatorEpoch", each.coordinatorEpoch().orElse(-1));
      boolean open = each.currentTransactionStartOffset().isPresent();
      node.put("transactionStart", open ? each.currentTransactionStartOffset().getAsLong() : null);
    }
    return list;
  }

  private JsonNode abortTransaction(JsonNode command) throws Exception {
    long producerId = command.get("producerId").longValue();
    short epoch = command.get("producerEpoch").shortValue();
    int coordinatorEpoch = command.path("coordinatorEpoch").asInt(0);
    AbortTransactionSpec spec = new AbortTransactionSpec(partition(command), producerId, epoch, coordinatorEpoch);
    return done(admin.abortTransaction(spec).all().get());
  }

  private JsonNode listGroups() throws Exception {
    ArrayNode list = array();
    for (var each : admin.listGroups().all().get()) {
      ObjectNode node = list.addObject().put("group", each.groupId()).put("protocol", each.protocol());
      node.put("type", each.type().map(Object::toString).orElse(null));
      node.put("state", each.groupState().map(Object::toString).orElse(null));
    }
    return list;
  }

  private JsonNode describeGroup(String group) throws Exception {
    var description = admin.describeConsumerGroups(List.of(group)).describedGroups().get(group).get();
    ObjectNode node = object().put("group", group).put("state", description.groupState().toString());
    node.put("type", description.type().toString()).put("assignor", description.partitionAssignor());
    node.put("coordinator", description.coordinator() == null ? -1 : description.coordinator().id());
    ArrayNode members = node.putArray("members");
    for (MemberDescription each : description.members()) {
      ObjectNode member = members.addObject().put("memberId", each.consumerId());
      member.put("instanceId", each.groupInstanceId().orElse(null));
      member.put("clientId", each.clientId()).put("host", each.host());
      ArrayNode assignment = member.putArray("assignment");
      for (TopicPartition one : each.assignment().topicPartitions()) put(assignment.addObject(), one);
    }
    return node;
  }

  private JsonNode listGroupOffsets(JsonNode command) throws Exception {
    String group = text(command, "group");
    ListConsumerGroupOffsetsOptions options =
        new ListConsumerGroupOffsetsOptions().requireStable(command.path("requireStable").asBoolean(false));
    ArrayNode list = array();
    admin.listConsumerGroupOffsets(group, options).partitionsToOffsetAndMetadata().get().forEach((partition, offset) -> {
      if (offset == null) return;
      ObjectNode node = put(list.addObject(), partition).put("offset", offset.offset());
      node.put("metadata", offset.metadata()).put("leaderEpoch", offset.leaderEpoch().orElse(-1));
    });
    return list;
  }

  private JsonNode alterGroupOffsets(JsonNode command) throws Exception {
    Map<TopicPartition, OffsetAndMetadata> offsets = new HashMap<>();
    for (JsonNode each : command.get("offsets")) {
      String metadata = each.path("metadata").asText("");
      offsets.put(partition(each), new OffsetAndMetadata(each.get("offset").longValue(), metadata));
    }
    return done(admin.alterConsumerGroupOffsets(text(command, "group"), offsets).all().get());
  }

  private JsonNode deleteGroupOffsets(JsonNode command) throws Exception {
    Set<TopicPartition> partitions = new HashSet<>();
    for (JsonNode each : command.get("partitions")) partitions.add(partition(each));
    return done(admin.deleteConsumerGroupOffsets(text(command, "group"), partitions).all().get());
  }

  private static List<AclBinding> acls(JsonNode command) {
    List<AclBinding> list = new ArrayList<>();
    for (JsonNode each : command.get("acls")) {
      ResourceType type = ResourceType.fromString(text(each, "resourceType").replace('-', '_'));
      PatternType pattern = PatternType.fromString(each.path("patternType").asText("LITERAL"));
      AclOperation operation = AclOperation.fromString(text(each, "operation").replace('-', '_'));
      AclPermissionType permission = AclPermissionType.fromString(each.path("permission").asText("ALLOW"));
      AccessControlEntry entry =
          new AccessControlEntry(text(each, "principal"), each.path("host").asText("*"), operation, permission);
      list.add(new AclBinding(new ResourcePattern(type, text(each, "name"), pattern), entry));
    }
    return list;
  }

  private static ConfigResource resource(JsonNode command) {
    String type = command.path("resourceType").asText("topic").toUpperCase();
    return new ConfigResource(ConfigResource.Type.valueOf(type), text(command, "name"));
  }

  private static TopicPartition partition(JsonNode node) {
    return new TopicPartition(text(node, "topic"), node.get("partition").intValue());
  }

  private static ObjectNode put(ObjectNode node, TopicPartition partition) {
    return node.put("topic", partition.topic()).put("partition", partition.partition());
  }

  private static ArrayNode nodeIds(List<Node> nodes) {
    ArrayNode list = array();
    for (Node each : nodes) list.add(each.id());
    return list;
  }

  private static String text(JsonNode node, String name) {
    JsonNode value = node.get(name);
    if (value == null || !value.isTextual()) throw new IllegalArgumentException("'" + name + "' is missing in " + node);
    return value.textValue();
  }

  private static List<String> texts(JsonNode node) {
    List<String> list = new ArrayList<>();
    for (JsonNode each : node) list.add(each.textValue());
    return list;
  }

  private static JsonNode done(Object ignored) {
    return JavaProbe.JSON.getNodeFactory().booleanNode(true);
  }

  private static ObjectNode object() {
    return JavaProbe.JSON.createObjectNode();
  }

  private static ArrayNode array() {
    return JavaProbe.JSON.createArrayNode();
  }
}
