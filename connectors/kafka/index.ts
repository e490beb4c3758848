export { type KafkaSinkOptions, kafkaSink } from './sink.ts'
export { type KafkaSourceOptions, kafkaSource } from './source.ts'
