/**
 * A second loop, on another client: exactly-once with @platformatic/kafka alone. Its consumer hands over single messages;
 * a transaction takes so many of them, or those of so long: the work on them, sends, the offsets, commit. State, where there
 * is any, is a Map that a crash loses.
 */
import { Consumer, compatibilityPartitioner, type Message, Producer } from '@platformatic/kafka'
import { plainWorkOf } from '../scenarios/all.ts'
import { type SystemArguments, type ToSystem, tell } from './messages.ts'

/** A send makes one record batch for a partition, and all of a transaction's messages may be of one: the broker takes 1 MiB. */
const SEND_RECORDS = 1_000

const given = JSON.parse(process.argv[2] ?? '{}') as SystemArguments
const { scenario, brokers, pipeline, input, output, settings } = given
const transactionRecords = Number(settings.transactionRecords)
const transactionMs = Number(settings.transactionMs)
const work = plainWorkOf(scenario)

const connection = {
  clientId: pipeline,
  bootstrapBrokers: [...brokers],
  retries: Number(settings.retries),
  retryDelay: Number(settings.retryDelay),
}
const consumer = new Consumer({ ...connection, groupId: pipeline })
// -1: an id and an epoch are asked for; the client's own default is a request that a second start of the id would be refused.
const identity = { producerId: -1n, producerEpoch: -1 }
const producer = new Producer({
  ...connection,
  ...identity,
  transactionalId: `${pipeline}.0`,
  idempotent: true,
  partitioner: compatibilityPartitioner,
})

let waiting: Message[] = []
let timer: NodeJS.Timeout | undefined
let last: Promise<void> = Promise.resolve()

/** Transactions follow each other; whoever waits for one waits for all before it. */
function flush(): Promise<void> {
  clearTimeout(timer)
  const messages = waiting
  waiting = []
  if (messages.length > 0) last = last.then(() => transact(messages))
  return last
}

async function transact(messages: readonly Message[]): Promise<void> {
  const transaction = await producer.beginTransaction(identity)
  try {
    await transaction.addConsumer(consumer)
    const made = messages.map(({ key, value, timestamp }) => {
      const result = work(key, value)
      return { topic: output, key, value: typeof result === 'string' ? Buffer.from(result) : result, timestamp }
    })
    for (let at = 0; at < made.length; at += SEND_RECORDS) {
      await transaction.send({ messages: made.slice(at, at + SEND_RECORDS), acks: -1 })
    }
    // One after the other: the client makes one request of calls that are under way at the same time, and drops the others.
    for (const message of lastOfEachPartition(messages)) await transaction.addOffset(message)
    await transaction.commit()
  } catch (error) {
    await transaction.abort()
    throw error
  }
}

function lastOfEachPartition(messages: readonly Message[]): Message[] {
  return [...new Map(messages.map((message) => [message.partition, message])).values()]
}

function fail(error: unknown): never {
  process.stderr.write(`platformatic loop: ${error instanceof Error ? error.message : error}\n`)
  process.exit(1)
}

const stream = await consumer.consume({
  topics: [input],
  mode: 'committed',
  fallbackMode: 'earliest',
  autocommit: false,
  maxWaitTime: transactionMs,
})
process.on('message', async (_message: ToSystem) => {
  await stream.close()
  await last
  await consumer.close()
  await producer.close()
  tell({ kind: 'summary', checkpoints: [], rollBacks: 0 })
  process.exit(0)
})
process.on('disconnect', () => process.exit(1))
tell({ kind: 'running' })

try {
  for await (const message of stream) {
    if (waiting.push(message) === 1) timer = setTimeout(() => flush().catch(fail), transactionMs)
    if (waiting.length >= transactionRecords) await flush()
  }
} catch (error) {
  fail(error)
}
