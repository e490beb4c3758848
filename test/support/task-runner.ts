// One task of a pipeline without a broker: it reads logs in memory, and what it writes to topics is noted. Its batches are as
// Kafka's reader makes them: in the record format, in memory that is overwritten when the task releases them.

import { type BatchHeader, decodeBatch, readBatches } from '../../connectors/kafka/wire/record-batch.ts'
import { MemoryLog, MemoryReader } from '../../connectors/memory/index.ts'
import { ByteReader } from '../../src/base/byte-reader.ts'
import { ByteWriter } from '../../src/base/byte-writer.ts'
import { type CheckpointId, checkpointId, taskId } from '../../src/base/ids.ts'
import { silentLogger } from '../../src/base/log.ts'
import type { TaskSnapshot } from '../../src/base/messages.ts'
import { type BatchOwner, ColumnarBatch } from '../../src/dataflow/batch.ts'
import type { PartitionReader, PartitionWriter, ReaderElement, TransactionHandle } from '../../src/dataflow/ports.ts'
import { type StepResult, Task } from '../../src/dataflow/task.ts'
import { definePipeline, type PipelineBuilder } from '../../src/index.ts'
import { makePlan } from '../../src/plan/plan.ts'
import type { TaskDisk } from '../../src/state/disk.ts'
import { buildBatch, plainRecords } from './batches.ts'

export interface Written {
  readonly topic: string
  readonly partition: number
  readonly key: string | null
  readonly value: string | null
}

export interface RunnerOptions {
  /** Which stage of the plan, by its number. Default the first. */
  readonly stage?: number
  readonly mode?: 'exactly-once' | 'at-least-once'
  readonly partitions?: number
  /** Where keyed state is; default: on the heap. */
  readonly disk?: TaskDisk
  /** Default: what is written is noted. */
  readonly writer?: (topic: string) => PartitionWriter
}

/** Of the task of partition 0: its logs by topic, its output and its messages. */
export class TaskRunner {
  readonly logs: ReadonlyMap<string, MemoryLog>
  /** Records, and `|topic n|` where a writer got a barrier. */
  readonly written: (Written | string)[] = []
  readonly acks: TaskSnapshot[] = []
  readonly delivered: CheckpointId[] = []
  readonly failures: Error[] = []
  readonly task: Task
  /** Batches whose memory the task has given back. */
  released = 0
  readonly #reader: MemoryReader
  readonly #inputs: readonly { readonly topic: string; readonly partition: number }[]

  constructor(build: (pipeline: PipelineBuilder) => void, options: RunnerOptions = {}, logs?: readonly MemoryLog[]) {
    const plan = makePlan(definePipeline('tested', build))
    const stage = plan.stages[options.stage ?? 0]
    if (!stage) throw new Error(`the plan has ${plan.stages.length} stages`)
    const topics = stage.sources.flatMap((source) => source.topics)
    const own = logs ?? topics.map((topic) => new MemoryLog(topic, 1))
    this.logs = new Map(own.map((log) => [log.topic, log]))
    this.#reader = new MemoryReader(
      own,
      () => {},
      (error) => this.failures.push(error),
    )
    const inputs = stage.sources.flatMap(({ operator, connector }) =>
      connector.topics.map((topic) => ({
        operator,
        topic,
        partition: 0,
        key: connector.key,
        value: connector.value,
        onDecodeError: connector.onDecodeError,
      })),
    )
    this.#inputs = inputs
    this.task = new Task({
      id: taskId(stage.id, 0),
      nodes: stage.nodes,
      inputs,
      broadcasts: [],
      reader: this.#formatting(this.#reader),
      timers: true,
      environment: {
        mode: options.mode ?? 'exactly-once',
        channelCapacityRecords: 100,
        hops: plan.hopTargets,
        disk: options.disk ?? null,
        writer: options.writer ?? ((topic) => this.#writer(topic, options.partitions ?? 1)),
        openTwoPhase: (operator, connector) =>
          connector.open({ pipeline: 'tested', operator, partition: 0, log: silentLogger, wake: () => {} }),
        wake: () => {},
      },
      onAck: (snapshot) => this.acks.push(snapshot),
      onDelivered: (_, checkpoint) => this.delivered.push(checkpoint),
      onFailure: (error) => this.failures.push(error),
    })
  }

  #writer(topic: string, partitions: number): PartitionWriter {
    const text = (bytes: Buffer, at: number, length: number): string | null =>
      length < 0 ? null : bytes.toString('utf8', at, at + length)
    const value = new ByteWriter()
    let begun: { readonly partition: number; readonly key: string | null } | undefined
    return {
      partitions,
      begin: (partition, _timestamp, key, keyAt, keyLength) => {
        if (begun) throw new Error('a record was begun inside another')
        begun = { partition, key: text(key, keyAt, keyLength) }
        value.reset()
        return value
      },
      end: (how) => {
        if (!begun) throw new Error('no record was begun')
        this.written.push({ topic, ...begun, value: how === 'null' ? null : text(value.buffer, 0, value.position) })
        begun = undefined
      },
      undo: () => {
        begun = undefined
      },
      copy: (partition, _timestamp, source, start, end) => {
        const reader = new ByteReader(source, start, end)
        const part = (): string | null => {
          const length = reader.varint()
          return length < 0 ? null : reader.utf8(length)
        }
        this.written.push({ topic, partition, key: part(), value: part() })
      },
      barrier: (checkpoint) => this.written.push(`|${topic} ${checkpoint}|`),
    }
  }

  #formatting(reader: PartitionReader): PartitionReader {
    const release = (batch: ColumnarBatch): void => {
      this.released++
      batch.bytes.fill(0xee)
      batch.fields.fill(3)
      batch.timestamps.fill(Number.NaN)
    }
    const poll = (topic: string, partition: number): ReaderElement | undefined => {
      const element = reader.poll(topic, partition)
      return element?.kind === 'batch' ? { kind: 'batch', batch: formatted(element.batch, { release }) } : element
    }
    return Object.assign(Object.create(reader) as PartitionReader, { poll })
  }

  /** The values written, barriers between them. */
  get values(): readonly (string | null)[] {
    return this.written.map((each) => (typeof each === 'string' ? each : each.value))
  }

  log(topic: string): MemoryLog {
    const log = this.logs.get(topic)
    if (!log) throw new Error(`the stage does not read ${topic}`)
    return log
  }

  /** Appends one batch of texts as they are. */
  feed(topic: string, ...values: readonly (string | null)[]): void {
    this.log(topic).append(
      0,
      values.map((value) => ({ key: Buffer.from('key'), value: value === null ? null : Buffer.from(value) })),
    )
  }

  /** From `positions`, or the beginning. */
  async start(
    restored: Partial<TaskSnapshot> = {},
    segments: readonly Buffer[] = [],
    handles: ReadonlyMap<string, readonly TransactionHandle[]> = new Map(),
  ): Promise<void> {
    const beginning = this.#inputs.map(({ topic, partition }) => ({ topic, partition, offset: 0n, leaderEpoch: -1 }))
    const positions = restored.positions ?? beginning
    const chain = segments.map((bytes, index) => ({
      ref: `segment-${index}`,
      mark: 'delta' as const,
      bytes: bytes.length,
      read: async () => bytes,
    }))
    await this.task.restore(positions, chain)
    await this.task.open(handles)
    this.#reader.assign(positions)
  }

  /** Works until there is nothing to do. */
  run(): void {
    let result: StepResult
    do result = this.task.step(Number.POSITIVE_INFINITY, 'all')
    while (result === 'more')
  }

  /** A whole checkpoint; gives the task's part. */
  checkpoint(id: number): TaskSnapshot {
    this.task.inject(checkpointId(id))
    while (this.task.encode(Number.POSITIVE_INFINITY));
    const ack = this.acks.at(-1)
    if (ack?.checkpoint !== BigInt(id)) throw new Error(`checkpoint ${id} was not acknowledged`)
    return ack
  }
}

/** The same batch in Kafka's record format and in memory of `owner`. */
function formatted(batch: ColumnarBatch, owner: BatchOwner): ColumnarBatch {
  const seal = { producerId: 1n, epoch: 0, baseSequence: 0, transactional: false, compression: 'none' } as const
  const bytes = buildBatch(plainRecords(batch), seal)
  bytes.writeBigInt64BE(batch.baseOffset, 0)
  const [header] = [...readBatches(bytes, batch.topic)] as [BatchHeader]
  const decoded = decodeBatch(bytes, header, batch.topic, batch.partition)
  const { topic, partition, baseOffset, nextOffset, leaderEpoch, count, fields, timestamps } = decoded
  return new ColumnarBatch({
    ...{ topic, partition, baseOffset, nextOffset, leaderEpoch, count },
    ...{ bytes: decoded.bytes, fields, timestamps, owner },
  })
}
