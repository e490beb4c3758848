/**
 * Goal: an index that is read anew is whole for all who look meanwhile: a purge decides by what it does not find. Method: a topic in
 * memory that gives a few batches at a time; a look between any two of its answers.
 */
import { expect, test } from '@jest/globals'
import { keys, values } from '../../connectors/kafka/store-index.ts'
import { INDEX, LiveIndex } from '../../connectors/kafka/store-live-index.ts'
import { StoreLog } from '../../connectors/kafka/store-log.ts'
import { FakeTopic } from '../support/fake-topic.ts'

const FILES = 20

test('whoever looks while it is read anew sees every file; so do those who read anew at once', async () => {
  const topic = new FakeTopic('checkpoints', 2)
  const log = new StoreLog(topic.client('a-0').cluster, topic.name)
  const index = new LiveIndex(log, () => undefined)
  for (let file = 0; file < FILES; file++) {
    await index.note([{ key: keys.file(`${file}/a`), value: values.file(empty) }])
  }
  await index.catchUp()
  let looks = 0
  topic.turns = () => {
    looks++
    expect(index.now.names()).toHaveLength(FILES)
    return 2
  }
  await Promise.all([
    index.catchUp('anew'),
    index.catchUp().then(() => expect(index.now.names()).toHaveLength(FILES)),
    index.catchUp('anew'),
  ])
  expect(looks).toBeGreaterThan(10)
})

test('several fetches are read on from where each ended', async () => {
  const topic = new FakeTopic('checkpoints', 2)
  const log = new StoreLog(topic.client('a-0').cluster, topic.name)
  const names = Array.from({ length: 10 }, (_, index) => `p${index}`)
  for (const name of names)
    await log.append(INDEX, [{ key: keys.file(`${name}/a`), value: [Buffer.from(values.file(empty))] }])
  const index = new LiveIndex(log, () => undefined)
  await index.catchUp()
  expect(index.now.names()).toEqual(names)
})

const empty = { partition: 1, bytes: 0, chunkBytes: 10, checksum: '00000000', chunks: [] }
