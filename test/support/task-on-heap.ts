// One task's state on the heap and its chain of segments, with the moves that a worker makes: freeze, encode in pieces,
// note the segment, die, restore.
import { ByteWriter } from '../../src/base/byte-writer.ts'
import type { SegmentMark } from '../../src/base/messages.ts'
import type { StateDescriptors } from '../../src/state/descriptors.ts'
import { hashOf } from '../../src/state/heap/key-index.ts'
import { HeapStore } from '../../src/state/heap/store.ts'
import type { Serde } from '../../src/state/serde.ts'
import { nextChain, TaskState } from '../../src/state/task-state.ts'
import type { StateBackend } from '../contract/state-subject.ts'

export interface ChainSegment {
  readonly mark: SegmentMark
  readonly bytes: Buffer
}

export interface HeapSizes {
  /** Slots of one slice of a base; small, so that small tests have bases in slices. */
  readonly baseSliceSlots?: number
  readonly rowsPerLook?: number
}

/** By turns as the keyed operator does it, by the bytes of the record, and by value. */
export function setKeyByTurns(store: HeapStore, serde: Serde<unknown>, key: unknown, turn: number): void {
  if (key === null || turn % 3 === 0) return store.setKey(key)
  const out = new ByteWriter(64)
  serde.encode(key, out)
  const bytes = out.copy()
  const hash = hashOf(bytes, 0, bytes.length)
  if (store.findKey(bytes, 0, bytes.length, hash)) return
  store.setKey(serde.decode(bytes, 0, bytes.length))
}

export class TaskOnHeap implements StateBackend {
  readonly store: HeapStore
  readonly #task: TaskState
  readonly #states: StateDescriptors
  readonly #key: Serde<unknown>
  readonly #sizes: HeapSizes
  #chain: readonly ChainSegment[]
  #turn = 0

  constructor(
    states: StateDescriptors,
    key: Serde<unknown>,
    chain: readonly ChainSegment[] = [],
    sizes: HeapSizes = {},
  ) {
    this.#states = states
    this.#key = key
    this.#sizes = sizes
    this.#chain = chain
    this.store = new HeapStore('operator', states, key, sizes.rowsPerLook)
    this.#task = new TaskState([this.store], sizes)
    for (const { bytes, mark } of chain) this.#task.replay(bytes, mark)
  }

  get handles(): Readonly<Record<string, unknown>> {
    return this.store.handles
  }

  get keyCount(): number {
    return this.#task.keyCount
  }

  get segments(): readonly ChainSegment[] {
    return this.#chain
  }

  setKey(key: unknown): void {
    setKeyByTurns(this.store, this.#key, key, this.#turn++)
  }

  freeze(): void {
    this.#task.begin()
    this.#task.freeze(this.store)
  }

  /** One look's worth of rows; true when nothing is left. */
  encodeSome(): boolean {
    return this.#task.encode(() => true)
  }

  complete(): void {
    while (!this.encodeSome());
    const { segment, mark } = this.#task.take()
    this.#chain = nextChain(this.#chain, segment && { mark, bytes: Buffer.concat(segment) })
  }

  crash(states: StateDescriptors = this.#states): TaskOnHeap {
    return new TaskOnHeap(states, this.#key, this.#chain, this.#sizes)
  }

  restored(): TaskOnHeap {
    return this.crash()
  }
}
