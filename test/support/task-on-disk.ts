// One task's state in a real LevelDB and its chain of segments, with the moves that a worker makes: freeze, encode in pieces,
// commit, die, restore.
import { mkdtempSync } from 'node:fs'
import { rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setImmediate as turn } from 'node:timers/promises'
import { taskId } from '../../src/base/ids.ts'
import { silentLogger } from '../../src/base/log.ts'
import type { StateDescriptors } from '../../src/state/descriptors.ts'
import { HeapStore } from '../../src/state/heap/store.ts'
import { LevelBackend } from '../../src/state/leveldb/backend.ts'
import type { Serde } from '../../src/state/serde.ts'
import { nextChain, TaskState } from '../../src/state/task-state.ts'
import type { StateBackend } from '../contract/state-subject.ts'
import { type ChainSegment, setKeyByTurns, TaskOnHeap } from './task-on-heap.ts'

export interface DiskSizes {
  readonly cacheBytesMax: number
  readonly baseSliceBytes?: number
  readonly rowsPerLook?: number
  readonly rowsPerTurn?: number
  readonly writesPerBatch?: number
  readonly pageBytes?: number
}

export interface NamedSegment extends ChainSegment {
  readonly ref: string
}

interface Place {
  readonly folder: string
  /** Removed when it is not needed any more. */
  own: boolean
}

/** How a worker comes back: to the disk that it left, or to an empty one. */
export type Comeback = 'same disk' | 'empty disk'

const task = taskId('stage', 0)
let segments = 0

export class TaskOnDisk implements Omit<StateBackend, 'crash' | 'restored'> {
  readonly store: HeapStore
  readonly disk: Awaited<ReturnType<LevelBackend['open']>>
  /** Segments that the last restore had to read. */
  readonly read: string[] = []
  /** What was told of the disk. */
  readonly failures: string[] = []
  readonly #states: StateDescriptors
  readonly #key: Serde<unknown>
  readonly #sizes: DiskSizes
  readonly #place: Place
  readonly #backend: LevelBackend
  readonly #state: TaskState
  #chain: readonly NamedSegment[]
  #turn = 0

  private constructor(
    states: StateDescriptors,
    key: Serde<unknown>,
    sizes: DiskSizes,
    place: Place,
    backend: LevelBackend,
    disk: Awaited<ReturnType<LevelBackend['open']>>,
    chain: readonly NamedSegment[],
  ) {
    this.#states = states
    this.#key = key
    this.#sizes = sizes
    this.#place = place
    this.#backend = backend
    this.#chain = chain
    this.disk = disk
    this.store = new HeapStore('operator', states, key, sizes.rowsPerLook, disk)
    this.#state = new TaskState([this.store], {
      ...sizes,
      disk,
      onFailure: ({ message }) => this.failures.push(message),
    })
  }

  /** In this folder; in one of its own, which goes with it, if none is given. */
  static open(
    states: StateDescriptors,
    key: Serde<unknown>,
    sizes: DiskSizes,
    folder?: string,
    chain: readonly NamedSegment[] = [],
  ): Promise<TaskOnDisk> {
    const own = folder === undefined
    const place = { folder: folder ?? mkdtempSync(join(tmpdir(), 'millrace-disk-')), own }
    return TaskOnDisk.#open(states, key, sizes, place, chain)
  }

  static async #open(
    states: StateDescriptors,
    key: Serde<unknown>,
    sizes: DiskSizes,
    place: Place,
    chain: readonly NamedSegment[],
  ): Promise<TaskOnDisk> {
    const { cacheBytesMax, rowsPerTurn = 1_000, writesPerBatch = 5_000, pageBytes = 4_096 } = sizes
    const backend = await LevelBackend.open({
      ...{ folder: place.folder, pipeline: 'tested', instance: 'worker', cacheBytesMax, log: silentLogger },
      sizes: { rowsPerTurn, writesPerBatch, pageBytes },
    })
    const opened = new TaskOnDisk(states, key, sizes, place, backend, await backend.open(task), chain)
    try {
      await opened.#restore()
    } catch (error) {
      await opened.leave()
      throw error
    }
    return opened
  }

  #restore(): Promise<void> {
    const parts = this.#chain.map(({ ref, mark, bytes }) => ({
      ref,
      mark,
      bytes: bytes.length,
      read: async () => {
        this.read.push(ref)
        return bytes
      },
    }))
    return this.#state.restore(parts)
  }

  get handles(): Readonly<Record<string, unknown>> {
    return this.store.handles
  }

  get keyCount(): number {
    return this.#state.keyCount
  }

  get segments(): readonly ChainSegment[] {
    return this.#chain
  }

  /** The same with their names. */
  get chain(): readonly NamedSegment[] {
    return this.#chain
  }

  setKey(key: unknown): void {
    setKeyByTurns(this.store, this.#key, key, this.#turn++)
  }

  freeze(): void {
    this.#state.begin()
    this.#state.freeze(this.store)
  }

  encodeSome(): boolean {
    return this.#state.encode(() => true)
  }

  /** The checkpoint is committed; the disk follows. */
  async commit(): Promise<void> {
    while (!this.encodeSome()) await turn()
    const { segment, mark } = this.#state.take()
    const ref = `segment-${segments++}`
    this.#chain = nextChain(this.#chain, segment && { mark, ref, bytes: Buffer.concat(segment) })
    await this.#state.committed(segment && ref)
  }

  async complete(): Promise<void> {
    await this.commit()
    await this.settled()
  }

  settled(): Promise<void> {
    return this.#state.settled()
  }

  /** The task ends, and its process goes on. */
  close(): Promise<void> {
    return this.#state.close()
  }

  get overBudget(): boolean {
    return this.#state.overBudget
  }

  get mustWait(): boolean {
    return this.#state.mustWait
  }

  /** The process ends, in the middle of whatever is being written. */
  async leave(): Promise<void> {
    this.#state.dispose()
    await this.#backend.close()
  }

  /** It ends, and another one takes over from the last committed checkpoint. */
  async crash(comeback: Comeback = 'same disk', states: StateDescriptors = this.#states): Promise<TaskOnDisk> {
    await this.leave()
    if (comeback === 'empty disk') {
      await this.#remove()
      return this.comeTo(undefined, states)
    }
    const place = { ...this.#place }
    this.#place.own = false
    return TaskOnDisk.#open(states, this.#key, this.#sizes, place, this.#chain)
  }

  /** The last committed checkpoint, on the disk in this folder. */
  comeTo(folder: string | undefined, states: StateDescriptors = this.#states): Promise<TaskOnDisk> {
    return TaskOnDisk.open(states, this.#key, this.#sizes, folder, this.#chain)
  }

  async moveTo(folder: string): Promise<TaskOnDisk> {
    await this.leave()
    await this.#remove()
    return this.comeTo(folder)
  }

  restored(): Promise<TaskOnDisk> {
    return this.comeTo(undefined)
  }

  /** The same chain, with the other backend. */
  onHeap(): TaskOnHeap {
    return new TaskOnHeap(this.#states, this.#key, this.#chain)
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#backend.close()
    await this.#remove()
  }

  async #remove(): Promise<void> {
    if (this.#place.own) await rm(this.#place.folder, { recursive: true, force: true })
  }
}
