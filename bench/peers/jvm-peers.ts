/**
 * Kafka Streams and Flink, each twice: with the defaults of its makers where these let it do the same work, and tuned for
 * throughput. Every setting is here, with its reason; the Java programs have none of their own.
 */
import type { Candidate, Setting } from '../candidates.ts'
import { javaProgram } from './java-project.ts'

const flag = (name: string, why: string): Setting => ({ name, value: '', why })

const everyJvm: readonly Setting[] = [
  flag('-Xmx2g', 'twice and more of what the workloads keep; the collector is never short of memory'),
  flag('-Dorg.slf4j.simpleLogger.defaultLogLevel=error', 'no log lines in the figures; errors are shown'),
]

/** What a JVM is started with. */
export const jvmFlags: readonly Setting[] = [
  ...everyJvm,
  flag('-XX:+UseG1GC', "the JVM's own choice where it sees two cores and 2 GB"),
]

/** The same of a tuned one. */
export const jvmFlagsTuned: readonly Setting[] = [
  ...everyJvm,
  flag('-Xms2g', 'the heap has its size from the start'),
  flag(
    '-XX:+UseParallelGC',
    'the collector for throughput: in pairs with G1 it took 9 to 23 % off a record (Flink W0 2.23 to 1.73 µs, W2 4.32 to 3.33; Kafka Streams W0 2.78 to 2.40, W2 6.11 to 5.57)',
  ),
]

const namesOf = (flags: readonly Setting[]): string[] => flags.map(({ name }) => name)
const kafkaStreamsProgram = (flags: readonly Setting[]) =>
  javaProgram('kafka-streams', 'KafkaStreamsPeer', namesOf(flags))
const flinkProgram = (flags: readonly Setting[]) => javaProgram('flink', 'FlinkPeer', namesOf(flags))

const kafkaStreamsStore = 'dsl.store.suppliers.class'
const storeSuppliers = (kind: 'InMemory' | 'RocksDB'): string =>
  `org.apache.kafka.streams.state.BuiltInDslStoreSuppliers$${kind}DslStoreSuppliers`

const kafkaStreamsSettings: readonly Setting[] = [
  { name: 'processing.guarantee', value: 'exactly_once_v2', why: 'the guarantee that is compared' },
  {
    name: 'commit.interval.ms',
    value: '1000',
    why: "as the others' checkpoints; its own default under exactly-once is 100, which costs more",
  },
  { name: 'num.stream.threads', value: '1', why: 'one thread of work, as one worker of ours' },
  {
    name: 'statestore.cache.max.bytes',
    value: '0',
    why: 'every input gives one output; the cache would leave most of them out',
  },
  {
    name: kafkaStreamsStore,
    value: storeSuppliers('InMemory'),
    why: 'state on the heap, as ours: the quickest there is',
  },
  { name: 'replication.factor', value: '1', why: 'there is one broker; for changelog and repartition topics' },
  {
    name: 'group.instance.id',
    value: 'peer',
    why: 'a static member, as one would run it: a restart moves no partition',
  },
]

const flinkSettings: readonly Setting[] = [
  { name: 'parallelism.default', value: '1', why: 'one slot of work, as one worker of ours' },
  { name: 'execution.checkpointing.interval', value: '1 s', why: 'as the others commit' },
  { name: 'execution.checkpointing.mode', value: 'EXACTLY_ONCE', why: 'the guarantee that is compared' },
  { name: 'execution.checkpointing.storage', value: 'filesystem', why: 'local files, as ours' },
  { name: 'state.backend.type', value: 'hashmap', why: 'state on the heap, as ours: the quickest there is' },
  { name: 'pipeline.object-reuse', value: 'true', why: 'no copies between operators; the workloads do not need them' },
  { name: 'restart-strategy.type', value: 'none', why: 'a failure must end a run, not prolong it unseen' },
  {
    name: 'consumer.isolation.level',
    value: 'read_committed',
    why: 'an exactly-once chain reads what is committed; the other systems do',
  },
  {
    name: 'producer.transaction.timeout.ms',
    value: '600000',
    why: "the sink's default, an hour, is more than the broker allows (15 minutes)",
  },
]

/** The same settings with state on disk. */
function onDisk(settings: readonly Setting[]): readonly Setting[] {
  const changed: readonly Setting[] = [
    {
      name: kafkaStreamsStore,
      value: storeSuppliers('RocksDB'),
      why: 'state on disk; its block cache holds all of it',
    },
    { name: 'state.backend.type', value: 'rocksdb', why: 'state on disk; its block cache holds all of it' },
  ]
  const replaced = settings.map((setting) => changed.find(({ name }) => name === setting.name) ?? setting)
  return settings.some(({ name }) => name === 'state.backend.type') ? [...replaced, ...flinkDisk] : replaced
}

const flinkDisk: readonly Setting[] = [
  {
    name: 'execution.checkpointing.incremental',
    value: 'true',
    why: 'only new files are uploaded, which is what one would do with much state',
  },
  { name: 'taskmanager.memory.managed.size', value: '256m', why: "RocksDB's memory: as much as our cache" },
]

/** Of the Kafka clients; `producer` and `consumer` are the prefixes under which a system takes their settings. */
function tunedClients(producer: string, consumer: string): readonly Setting[] {
  return [
    {
      name: `${producer}.batch.size`,
      value: String(256 * 1024),
      why: 'default 16 KiB; sixteen times fewer batches and requests',
    },
    { name: `${producer}.linger.ms`, value: '20', why: 'lets these batches fill' },
    {
      name: `${consumer}.max.partition.fetch.bytes`,
      value: String(4 * 1024 * 1024),
      why: 'default 1 MiB; fewer and larger fetches',
    },
    { name: `${consumer}.max.poll.records`, value: '10000', why: 'default 500 (Kafka Streams: 1,000); fewer polls' },
    {
      name: `${consumer}.receive.buffer.bytes`,
      value: String(1024 * 1024),
      why: 'default 64 KiB; fewer reads a fetch',
    },
  ]
}

const jvmPeer = { mode: 'exactly-once', intervalMs: 1_000, inputShare: 1 } as const

export const kafkaStreams: Candidate = {
  ...jvmPeer,
  id: 'kafka-streams',
  title: 'Kafka Streams',
  program: kafkaStreamsProgram(jvmFlags),
  settings: kafkaStreamsSettings,
  onDisk: onDisk(kafkaStreamsSettings),
}

/** On the heap its restarted process would have new transactional ids, and the killed one's transaction would wait for its time-out. */
export const kafkaStreamsOnDisk: Candidate = {
  ...kafkaStreams,
  id: 'kafka-streams-disk',
  title: 'Kafka Streams, RocksDB',
  settings: kafkaStreamsSettings.map((setting) =>
    setting.name === kafkaStreamsStore ? { ...setting, value: storeSuppliers('RocksDB') } : setting,
  ),
}

const kafkaStreamsTunedSettings: readonly Setting[] = [
  ...kafkaStreamsSettings,
  ...tunedClients('producer', 'main.consumer'),
  {
    name: 'buffered.records.per.partition',
    value: '10000',
    why: 'default 1,000; a poll of 10,000 would pause its partition each time',
  },
]

export const kafkaStreamsTuned: Candidate = {
  ...kafkaStreams,
  id: 'kafka-streams-tuned',
  title: 'Kafka Streams tuned',
  program: kafkaStreamsProgram(jvmFlagsTuned),
  settings: kafkaStreamsTunedSettings,
  onDisk: onDisk(kafkaStreamsTunedSettings),
}

export const flink: Candidate = {
  ...jvmPeer,
  id: 'flink',
  title: 'Flink',
  program: flinkProgram(jvmFlags),
  settings: flinkSettings,
  onDisk: onDisk(flinkSettings),
}

const flinkTunedSettings: readonly Setting[] = [...flinkSettings, ...tunedClients('producer', 'consumer')]

export const flinkTuned: Candidate = {
  ...flink,
  id: 'flink-tuned',
  title: 'Flink tuned',
  program: flinkProgram(jvmFlagsTuned),
  settings: flinkTunedSettings,
  onDisk: onDisk(flinkTunedSettings),
}

const intervalSettings: readonly string[] = ['commit.interval.ms', 'execution.checkpointing.interval']

/** The same system, committing or checkpointing at another interval. */
export function atInterval(candidate: Candidate, intervalMs: number): Candidate {
  const settings = candidate.settings.map((setting) =>
    intervalSettings.includes(setting.name) ? { ...setting, value: String(intervalMs) } : setting,
  )
  const { id, title } = candidate
  return { ...candidate, id: `${id}-${intervalMs}`, title: `${title}, ${intervalMs} ms`, intervalMs, settings }
}

export const jvmPeers: readonly Candidate[] = [kafkaStreams, kafkaStreamsTuned, flink, flinkTuned]
