/**
 * The baseline: exactly-once with kafkajs alone, the way its documentation shows it. Each fetched batch is one transaction:
 * the work on its records, one send, the offset, commit. State, where there is any, is a Map that a crash loses.
 */
import kafkajs from 'kafkajs'
import { plainWorkOf } from '../scenarios/all.ts'
import { type SystemArguments, type ToSystem, tell } from './messages.ts'

/**
 * kafkajs makes one record batch of what a send has for a partition, and a fetched batch written again may exceed the
 * broker's limit (1 MiB). Its grouping by partition is quadratic, so that smaller sends are also the quicker ones: of
 * 250, 500, 1,000 and 2,000 records a send this took least CPU.
 */
const SEND_RECORDS = 1_000

const given = JSON.parse(process.argv[2] ?? '{}') as SystemArguments
const { scenario, brokers, pipeline, input, output } = given
const work = plainWorkOf(scenario)

const { Kafka, logLevel, Partitioners } = kafkajs
const kafka = new Kafka({ clientId: pipeline, brokers: [...brokers], logLevel: logLevel.NOTHING })
const consumer = kafka.consumer({ groupId: pipeline })
const producer = kafka.producer({
  transactionalId: `${pipeline}.0`,
  idempotent: true,
  maxInFlightRequests: 1,
  createPartitioner: Partitioners.DefaultPartitioner,
})

consumer.on(consumer.events.CRASH, ({ payload }) => {
  process.stderr.write(`kafkajs loop: ${payload.error.message}\n`)
  process.exit(1)
})

await producer.connect()
await consumer.connect()
await consumer.subscribe({ topic: input, fromBeginning: true })
await consumer.run({
  autoCommit: false,
  eachBatch: async ({ batch }) => {
    const transaction = await producer.transaction()
    try {
      const messages = batch.messages.map(({ key, value, timestamp }) => ({
        key,
        value: work(key ?? Buffer.alloc(0), value ?? Buffer.alloc(0)),
        timestamp,
      }))
      for (let at = 0; at < messages.length; at += SEND_RECORDS) {
        await transaction.send({ topic: output, messages: messages.slice(at, at + SEND_RECORDS), acks: -1 })
      }
      const next = (BigInt(batch.lastOffset()) + 1n).toString()
      await transaction.sendOffsets({
        consumerGroupId: pipeline,
        topics: [{ topic: input, partitions: [{ partition: batch.partition, offset: next }] }],
      })
      await transaction.commit()
    } catch (error) {
      await transaction.abort()
      throw error
    }
  },
})
tell({ kind: 'running' })

process.on('message', async (_message: ToSystem) => {
  await consumer.disconnect()
  await producer.disconnect()
  tell({ kind: 'summary', checkpoints: [], rollBacks: 0 })
  process.exit(0)
})
process.on('disconnect', () => process.exit(1))
