// Goal: state that is read from checkpoint files is what the handles would give, for every kind of state and however its keys
// were spelled. Method: segments of real stores in a store in memory; committed offsets that point to them.
import { expect, test } from '@jest/globals'
import { kafkaSink, kafkaSource } from '../../connectors/kafka/index.ts'
import { checkpointId, taskId } from '../../src/base/ids.ts'
import {
  encodeFile,
  encodePointer,
  fileName,
  type Pointer,
  type SegmentRef,
  segmentRef,
} from '../../src/checkpoint/file.ts'
import { MemoryStore } from '../../src/checkpoint/store.ts'
import {
  aggregatingState,
  bytes,
  definePipeline,
  f64,
  int64,
  json,
  listState,
  mapState,
  nullable,
  reducingState,
  type Serde,
  valueState,
} from '../../src/index.ts'
import { makePlan } from '../../src/plan/plan.ts'
import { HeapStore } from '../../src/state/heap/store.ts'
import { TaskState } from '../../src/state/task-state.ts'
import { Inspection, type StateRow } from '../../src/worker/inspection.ts'

const states = {
  text: valueState(nullable(json<string>())),
  list: listState(int64),
  map: mapState(bytes, json<{ n: number }>()),
  sum: reducingState(f64, (a, b) => a + b),
  mean: aggregatingState(json<number[]>(), {
    create: () => [],
    add: (all, value: number) => [...all, value],
    result: (all) => all.length,
  }),
}
const numbers = { a: valueState(f64), b: valueState(f64) }
const key = json<string>()

const plan = makePlan(
  definePipeline('looked', (pipeline) => {
    const keyed = pipeline.from('in', kafkaSource({ topic: 'in', key, value: json<string>() })).keyByRecordKey()
    const sink = (topic: string) => kafkaSink({ topic, key, value: json<unknown>() })
    keyed
      .withState(states)
      .map('kinds', (value) => value)
      .to('one', sink('one'))
    keyed
      .withState(numbers)
      .map('numbers', (value) => value)
      .to('two', sink('two'))
  }),
)
const task = taskId(plan.stages[0]?.id ?? '', 0)

/** One task, checkpoint after checkpoint into a store in memory. */
class Written {
  readonly store = new MemoryStore()
  #stores = this.#open()
  #task = new TaskState(this.#stores)
  #chain: readonly SegmentRef[] = []
  #pointer: Pointer | null = null
  #id = 0

  #open(): [HeapStore, HeapStore] {
    return [
      new HeapStore('kinds', states, key as Serde<unknown>),
      new HeapStore('numbers', numbers, key as Serde<unknown>),
    ]
  }

  // biome-ignore lint/suspicious/noExplicitAny: handles of all kinds
  at(operator: 'kinds' | 'numbers', of: string): any {
    const store = this.#stores[operator === 'kinds' ? 0 : 1]
    store.setKey(of)
    return store.handles
  }

  /** As a record brings the key: in this spelling. */
  // biome-ignore lint/suspicious/noExplicitAny: as above
  spelled(spelling: string): any {
    const [, store] = this.#stores
    const text = Buffer.from(spelling)
    store.setKey(key.decode(text, 0, text.length))
    return store.handles
  }

  async checkpoint(): Promise<void> {
    this.#task.begin()
    for (const store of this.#stores) this.#task.freeze(store)
    while (!this.#task.encode(() => true));
    const { segment, mark } = this.#task.take()
    const id = checkpointId(++this.#id)
    const head = {
      pipeline: 'looked',
      checkpoint: id,
      instance: 'here-0',
      incarnation: 'a',
      mode: 'exactly-once',
      transaction: null,
      topics: {},
    } as const
    const name = fileName(id, 'here-0', 'a')
    const file = encodeFile(name, head, [
      {
        task,
        parent: this.#pointer,
        positions: [],
        handles: [],
        segment,
        chain: (file, position, parts) => [...this.#chain, ...(parts ? [segmentRef(file, position, parts, mark)] : [])],
      },
    ])
    await this.store.create(name, file.parts)
    this.#pointer = file.pointer
    this.#chain = file.manifest.tasks[0]?.chain ?? []
  }

  /** From here on keys are written as their serde does it. */
  async restart(): Promise<void> {
    this.#stores = this.#open()
    this.#task = new TaskState(this.#stores)
    for (const { file, position, length, mark } of this.#chain)
      this.#task.replay((await this.store.readRange(file, position, length)) as Buffer, mark)
  }

  get inspection(): Inspection {
    const pointer = this.#pointer
    const row = {
      topic: 'in',
      partition: 0,
      offset: 5n,
      leaderEpoch: -1,
      metadata: pointer ? encodePointer(pointer) : '',
    }
    const cluster = { committedOffsets: () => Promise.resolve([row]) }
    return new Inspection({ cluster, plan, store: this.store, retained: 2 })
  }

  async scan(operator: string, state: string): Promise<[unknown, unknown][]> {
    const rows: StateRow[] = []
    for await (const row of this.inspection.state(operator, state)) rows.push(row)
    return rows.map((row): [unknown, unknown] => [row.key, row.value]).sort()
  }
}

test('every kind of state, over several checkpoints', async () => {
  const written = new Written()
  const fill = (of: string, n: number): void => {
    const state = written.at('kinds', of)
    state.text.set(n === 2 ? null : `text ${n}`)
    state.list.add(BigInt(n))
    state.map.set(Buffer.from([n]), { n })
    state.sum.add(n)
    state.mean.add(n)
  }
  fill('k', 1)
  fill('gone', 1)
  await written.checkpoint()
  fill('k', 2)
  const gone = written.at('kinds', 'gone')
  for (const name of Object.keys(states)) gone[name].clear()
  await written.checkpoint()
  written.at('kinds', 'k').map.delete(Buffer.from([1]))
  written.at('kinds', 'l').list.addAll([7n, 8n])
  await written.checkpoint()
  expect(await written.scan('kinds', 'text')).toEqual([['k', null]])
  expect(await written.scan('kinds', 'list')).toEqual([
    ['k', [1n, 2n]],
    ['l', [7n, 8n]],
  ])
  expect(await written.scan('kinds', 'map')).toEqual([['k', [[Buffer.from([2]), { n: 2 }]]]])
  expect(await written.scan('kinds', 'sum')).toEqual([['k', 3]])
  expect(await written.scan('kinds', 'mean')).toEqual([['k', [1, 2]]])
})

test('a key is one key, however its rows spell it', async () => {
  const written = new Written()
  // The bytes are known from the second time on.
  for (const value of [0, 1]) {
    const state = written.spelled('"\\u006b"')
    state.a.set(value)
    state.b.set(value)
  }
  await written.checkpoint()
  await written.restart()
  written.at('numbers', 'k').a.set(2)
  await written.checkpoint()
  expect(await written.scan('numbers', 'a')).toEqual([['k', 2]])
  expect(await written.scan('numbers', 'b')).toEqual([['k', 1]])
})

test('damage in a chain and a file that is gone are told by task and file', async () => {
  const written = new Written()
  written.at('kinds', 'k').sum.add(1)
  await written.checkpoint()
  written.at('kinds', 'k').sum.add(1)
  await written.checkpoint()
  expect(await written.inspection.verify()).toMatchObject({ tasks: 1, damage: [] })
  const [oldest = ''] = await written.store.list()
  await written.store.delete(oldest)
  const { damage } = await written.inspection.verify()
  expect(damage).toEqual([{ task, file: oldest, what: 'it is not there' }])
  await expect(written.scan('kinds', 'sum')).rejects.toMatchObject({ code: 'CHECKPOINT_MISSING' })
})
