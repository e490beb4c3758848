import java.io.Serializable;
import java.util.Properties;
import org.apache.flink.api.common.typeinfo.TypeInformation;
import org.apache.flink.connector.base.DeliveryGuarantee;
import org.apache.flink.connector.kafka.sink.KafkaRecordSerializationSchema;
import org.apache.flink.connector.kafka.sink.KafkaSink;
import org.apache.flink.connector.kafka.source.KafkaSource;
import org.apache.flink.connector.kafka.source.enumerator.initializer.OffsetsInitializer;
import org.apache.flink.connector.kafka.source.reader.deserializer.KafkaRecordDeserializationSchema;
import org.apache.flink.util.Collector;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.producer.ProducerRecord;

/** The input as a source and the output as an exactly-once sink, given how a record becomes a value and back. */
final class Topics {
  private final Arguments given;
  private final Properties consumer;
  private final Properties producer;

  Topics(Arguments given, Properties consumer, Properties producer) {
    this.given = given;
    this.consumer = consumer;
    this.producer = producer;
  }

  interface Decode<T> extends Serializable {
    T decode(byte[] key, byte[] value);
  }

  interface Encode<T> extends Serializable {
    byte[] encode(T value);
  }

  <T> KafkaSource<T> source(TypeInformation<T> type, Decode<T> decode) {
    return KafkaSource.<T>builder()
        .setProperties(consumer)
        .setBootstrapServers(given.bootstrapServers())
        .setGroupId(given.pipeline)
        .setTopics(given.input)
        .setStartingOffsets(OffsetsInitializer.earliest())
        .setDeserializer(new Reading<>(type, decode))
        .build();
  }

  <T> KafkaSink<T> sink(Encode<T> key, Encode<T> value) {
    String topic = given.output;
    KafkaRecordSerializationSchema<T> writing =
        (each, context, timestamp) ->
            new ProducerRecord<>(topic, null, timestamp, key.encode(each), value.encode(each));
    return KafkaSink.<T>builder()
        .setKafkaProducerConfig(producer)
        .setBootstrapServers(given.bootstrapServers())
        .setDeliveryGuarantee(DeliveryGuarantee.EXACTLY_ONCE)
        .setTransactionalIdPrefix(given.pipeline)
        .setRecordSerializer(writing)
        .build();
  }

  private static final class Reading<T> implements KafkaRecordDeserializationSchema<T> {
    private final TypeInformation<T> type;
    private final Decode<T> decode;

    Reading(TypeInformation<T> type, Decode<T> decode) {
      this.type = type;
      this.decode = decode;
    }

    @Override
    public void deserialize(ConsumerRecord<byte[], byte[]> record, Collector<T> out) {
      out.collect(decode.decode(record.key(), record.value()));
    }

    @Override
    public TypeInformation<T> getProducedType() {
      return type;
    }
  }
}
