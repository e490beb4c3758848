/**
 * Goal: what expires is there as long as plain arrays with times say, whatever is written, read and cleaned up in between, on both backends
 * and through crashes. Method: random sequences against a model; a failing run prints its seed and the shortest sequence.
 */
import { expect, test } from '@jest/globals'
import fc from 'fast-check'
import { withWallClock } from '../../src/base/clock.ts'
import {
  json,
  type ListState,
  listState,
  type MapState,
  mapState,
  type StateDescriptors,
  utf8,
  type ValueState,
  valueState,
  withTtl,
} from '../../src/index.ts'
import { TaskOnDisk } from '../support/task-on-disk.ts'
import { TaskOnHeap } from '../support/task-on-heap.ts'

const TTL_MS = 100
const KEYS = 4

const plain = {
  value: valueState(json<number[]>()),
  list: listState(json<number[]>()),
  map: mapState(utf8, json<number[]>()),
}
const states: StateDescriptors = {
  value: withTtl(plain.value, { ttlMs: TTL_MS }),
  list: withTtl(plain.list, { ttlMs: TTL_MS }),
  map: withTtl(plain.map, { ttlMs: TTL_MS }),
}

interface Handles {
  readonly value: ValueState<number[], undefined>
  readonly list: ListState<number[]>
  readonly map: MapState<string, number[]>
}

/** `at`: when it was written. */
interface Entry {
  readonly n: number
  readonly at: number
}

interface Cell {
  value: Entry | undefined
  list: Entry[]
  map: Map<string, Entry>
}

interface Tested {
  readonly handles: Readonly<Record<string, unknown>>
  setKey(key: unknown): void
  freeze(): void
  encodeSome(): boolean
  complete(): void | Promise<void>
  clean?: () => void
  crash(): Promise<Tested>
}

type Move =
  | { readonly do: 'value' | 'list' | 'map' | 'read'; readonly key: number; readonly n: number }
  | { readonly do: 'advance'; readonly ms: number }
  | { readonly do: 'checkpoint' | 'encode' | 'clean' | 'crash' }

const move: fc.Arbitrary<Move> = fc.oneof(
  fc.record({
    do: fc.constantFrom('value' as const, 'list' as const, 'map' as const, 'read' as const),
    key: fc.nat(KEYS - 1),
    n: fc.nat(9),
  }),
  fc.record({ do: fc.constant('advance' as const), ms: fc.constantFrom(1, 40, 60, 100) }),
  fc.record({ do: fc.constantFrom('checkpoint' as const, 'encode' as const, 'clean' as const, 'crash' as const) }),
)

const newCells = (): Cell[] => Array.from({ length: KEYS }, () => ({ value: undefined, list: [], map: new Map() }))

/** Backend and model side by side; `frozen` is what a crash comes back to. */
class Side {
  tested: Tested
  now = 1_000
  cells = newCells()
  #durable = newCells()
  #frozen: Cell[] | undefined

  constructor(tested: Tested) {
    this.tested = tested
  }

  #alive(entry: Entry): boolean {
    return this.now < entry.at + TTL_MS
  }

  #at(key: number): Handles {
    this.tested.setKey(`key-${key}`)
    return this.tested.handles as unknown as Handles
  }

  read(key: number): void {
    const cell = this.cells[key] as Cell
    const { value, list, map } = this.#at(key)
    cell.list = cell.list.filter((entry) => this.#alive(entry))
    for (const [name, entry] of cell.map) if (!this.#alive(entry)) cell.map.delete(name)
    if (cell.value && !this.#alive(cell.value)) cell.value = undefined
    expect(value.get()).toEqual(cell.value && [cell.value.n])
    expect(map.size).toBe(cell.map.size)
    expect(list.get()).toEqual(cell.list.map(({ n }) => [n]))
    expect(new Map(map.entries())).toEqual(new Map([...cell.map].map(([name, { n }]) => [name, [n]])))
  }

  write(kind: 'value' | 'list' | 'map', key: number, n: number): void {
    const cell = this.cells[key] as Cell
    const handles = this.#at(key)
    const entry = { n, at: this.now }
    if (kind === 'value') {
      handles.value.set([n])
      cell.value = entry
    } else if (kind === 'list') {
      handles.list.add([n])
      cell.list.push(entry)
    } else {
      handles.map.set(`m${n % 3}`, [n])
      cell.map.set(`m${n % 3}`, entry)
    }
  }

  async checkpoint(): Promise<void> {
    await this.#complete()
    this.tested.freeze()
    this.#frozen = structuredClone(this.cells)
  }

  async #complete(): Promise<void> {
    if (!this.#frozen) return
    await this.tested.complete()
    this.#durable = this.#frozen
    this.#frozen = undefined
  }

  async crash(): Promise<void> {
    this.tested = await this.tested.crash()
    this.#frozen = undefined
    this.cells = structuredClone(this.#durable)
  }

  async move(each: Move): Promise<void> {
    if (each.do === 'checkpoint') return await this.checkpoint()
    if (each.do === 'crash') return await this.crash()
    withWallClock(
      () => this.now,
      () => {
        if ('ms' in each) this.now += each.ms
        else if ('key' in each && each.do !== 'read') this.write(each.do, each.key, each.n)
        else if ('key' in each) this.read(each.key)
        else if (each.do === 'clean') this.tested.clean?.()
        else if (this.#frozen) this.tested.encodeSome()
      },
    )
  }

  /** All of it, at the end, and after one more crash. */
  async finish(): Promise<void> {
    const all: Move[] = Array.from({ length: KEYS }, (_, key) => ({ do: 'read', key, n: 0 }))
    for (const each of all) await this.move(each)
    await this.crash()
    for (const each of all) await this.move(each)
  }
}

function onHeap(task: TaskOnHeap): Tested {
  return {
    handles: task.handles,
    setKey: (key) => task.setKey(key),
    freeze: () => task.freeze(),
    encodeSome: () => task.encodeSome(),
    complete: () => task.complete(),
    clean: () => task.store.cleanSlots(0, task.store.slotCount),
    crash: async () => onHeap(task.restored()),
  }
}

function onDisk(task: TaskOnDisk): Tested & AsyncDisposable {
  return {
    handles: task.handles,
    setKey: (key) => task.setKey(key),
    freeze: () => task.freeze(),
    encodeSome: () => task.encodeSome(),
    complete: () => task.complete(),
    crash: async () => onDisk(await task.crash('same disk')),
    [Symbol.asyncDispose]: () => task[Symbol.asyncDispose](),
  }
}

const sequences = fc.array(move, { minLength: 5, maxLength: 60 })

test('on the heap, what expires is what arrays with times say', async () => {
  const property = fc.asyncProperty(sequences, fc.constantFrom(1, 2, 100), async (sequence, baseSliceSlots) => {
    const side = new Side(onHeap(new TaskOnHeap(states, utf8 as never, [], { baseSliceSlots, rowsPerLook: 2 })))
    // A freeze that is still to be encoded belongs to the sequence.
    for (const each of sequence) await side.move(each)
    await side.finish()
  })
  await fc.assert(property, { numRuns: 2_000 })
})

test('on disk, what expires is what arrays with times say', async () => {
  const sizes = fc.record({ cacheBytesMax: fc.constantFrom(1, 2 ** 20), baseSliceBytes: fc.constantFrom(30, 100_000) })
  const property = fc.asyncProperty(sequences, sizes, async (sequence, size) => {
    const side = new Side(onDisk(await TaskOnDisk.open(states, utf8 as never, size)))
    try {
      for (const each of sequence) await side.move(each)
      await side.finish()
    } finally {
      await (side.tested as ReturnType<typeof onDisk>)[Symbol.asyncDispose]()
    }
  })
  await fc.assert(property, { numRuns: 300 })
})
