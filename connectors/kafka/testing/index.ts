// A pipeline in memory, the broker kit and the Java probes; the package's entry point `millrace/testing`.

export { PipelineTester, type TesterOptions, type TestOutput, type TestRecord } from '../../memory/index.ts'
export { type BrokerKindReport, findBrokerKinds } from './broker-kinds.ts'
export { BrokerKitError, type BrokerKitErrorCode, brokerKitErrorCodes } from './errors.ts'
export {
  type JavaAcl,
  JavaAdmin,
  type JavaGroupDescription,
  type JavaGroupOffset,
  type JavaPartition,
  type JavaPartitionRange,
  type JavaProducerState,
  type JavaTopicDescription,
  type JavaTransactionDescription,
  type JavaTransactionListing,
} from './java-admin.ts'
export {
  JavaCodec,
  type JavaCompression,
  type JavaControlBatch,
  type JavaDataBatch,
  type JavaDecoded,
  type JavaDecodedBatch,
  type JavaDecodedRecord,
} from './java-codec.ts'
export {
  type JavaClientOptions,
  type JavaConsumed,
  type JavaConsumeOptions,
  type JavaFollower,
  type JavaHeader,
  type JavaOffset,
  type JavaOutgoing,
  type JavaProduceOptions,
  JavaProducer,
  type JavaRecord,
  javaClientConfig,
  javaConsume,
  javaFollow,
  javaProduce,
} from './java-probe.ts'
export { prepareProbes } from './probe-launcher.ts'
export { JavaProbeError } from './probe-process.ts'
export { startBroker } from './start-broker.ts'
export type { BrokerKind, BrokerNode, BrokerOptions, BrokerSecurity, TestBroker } from './test-broker.ts'
