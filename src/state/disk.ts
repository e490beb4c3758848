// What keyed state asks of a backend that keeps it on disk. Without one, all of it is on the heap.
import type { TaskId } from '../base/ids.ts'
import type { SegmentMark } from '../base/messages.ts'
import type { MapHead, MapPage } from './collections.ts'
import type { ReadableState, SegmentRows, StateIdentity } from './segment.ts'

/** A segment of a task's chain: `ref` names it, and no other segment ever has the same name. */
export interface ChainPart {
  readonly ref: string
  readonly mark: SegmentMark
  readonly bytes: number
  read(): Promise<Buffer>
}

/** The segments in their order; while one is used, the next one is read. */
export async function* segmentsOf(chain: readonly ChainPart[]): AsyncGenerator<readonly [ChainPart, Buffer]> {
  let reading = chain[0]?.read()
  for (const [index, part] of chain.entries()) {
    const segment = (await reading) as Buffer
    reading = chain[index + 1]?.read()
    // Told when it is its turn.
    reading?.catch(() => {})
    yield [part, segment]
  }
}

/** How a state that a checkpoint has is read. @throws STATE_INCOMPATIBLE */
export type ReadState = (identity: StateIdentity) => ReadableState

/** Memory for state that is on disk, shared by all stores of a worker. */
export interface CacheBudget {
  join(store: CachedStore): void
  leave(store: CachedStore): void
  /** A store's cache has grown by so many bytes. */
  charge(bytes: number): void
  /** So much more is within the limit. */
  hasRoom(bytes: number): boolean
  /** Over the limit: what can go goes. */
  relieve(): void
  /** More can go than before: it is on disk now. */
  applied(): void
  /** Bytes wait for a disk that is being filled, … */
  wait(bytes: number): void
  /** … and do not any more. */
  waited(bytes: number): void
  /** All was looked at, and nothing more can go. */
  readonly held: boolean
  /** More than the limit is held, and a checkpoint must come before any of it can go: one that need not wait for a disk being filled. */
  readonly over: boolean
  /** Twice the limit: no more records until some of it can go. */
  readonly full: boolean
}

export interface CachedStore {
  readonly cacheBytes: number
  /** Forgets what is on disk as it is here, until `bytes` are free or many slots were looked at; gives how many bytes. */
  evict(bytes: number): number
  /** All of it was looked at, and nothing can go. */
  readonly held: boolean
}

/** What is registered in a segment of the states of a disk: by their number there. */
export type SegmentStates = ReadonlyMap<number, { readonly index: number; readonly identity: StateIdentity }>

/** Gets what a disk has of a key; `place`: the state's among those that were asked for. */
export interface FoundOnDisk {
  /** As its serde writes it; lists and maps: collections.ts. */
  value(place: number, bytes: Buffer): void
  /** Of an `f64`. */
  number(place: number, value: number): void
}

/** Part of a base: about `bytes`, from where the last one ended, or all that is left. The first one begins anew. */
export interface BaseSlice {
  readonly index: number
  /** How many are meant to be. */
  readonly of: number
  readonly bytes: number
}

/** The state of one task as of its newest committed checkpoint, on disk. */
export interface TaskDisk {
  readonly budget: CacheBudget
  /** Estimated bytes of all entries. */
  readonly bytes: number
  /** Differs from task to task: so that not all begin a base at the same time. */
  readonly stagger: number
  /** The number of a state, given at its first use. */
  stateId(identity: StateIdentity): number
  /** @throws KEY_INVALID: it cannot keep a key of so many bytes */
  checkKey(bytes: number): void
  /** Gives what it has of a key, for those of `states` (an array that stays the same) of which it has something. */
  read(states: readonly number[], key: Buffer, found: FoundOnDisk): void
  /** The first `count` items of a key's list. */
  readList(state: number, key: Buffer, count: number): Buffer[]
  /** What its entry says now of a key's map, one that is there. */
  mapHead(state: number, key: Buffer): MapHead
  /** The pairs of a page of it, if these are its bounds still, or within them; undefined: they changed, the head knows. */
  readMapPage(state: number, key: Buffer, page: MapPage): Buffer | undefined
  /** Goes through all entries of a state, lists and maps in parts: the whole task is read. */
  each(state: number, found: (key: Buffer, bytes: Buffer) => void): Promise<void>
  /** Goes through some entries behind `after` (null: from the first one); gives where it stopped, null at the end. Numbers of packs are left out. */
  page(after: Buffer | null, found: (state: number, key: Buffer, bytes: Buffer) => void): Promise<Buffer | null>
  /** Gives how many segments of the chain it has. What is of another history, or has another format by what `read` says, is removed. @throws STATE_DISK */
  prepare(chain: readonly ChainPart[], read: ReadState): Promise<number>
  /** Removes all that there may be. */
  clear(): Promise<void>
  /** Takes over the next segment of the chain. @throws CHECKPOINT_CORRUPT, STATE_INCOMPATIBLE, STATE_DISK */
  follow(ref: string, segment: Buffer, read: ReadState): Promise<void>
  /** Takes over what a committed checkpoint changed, or all that it had if there is nothing here. Resolves when it can be read. `hurry`: in longer steps. @throws STATE_DISK */
  apply(ref: string, segment: readonly Buffer[], hurry: boolean): Promise<void>
  /** `ended`: nothing is left for a slice behind it. @throws STATE_DISK, STATE_DAMAGED */
  writeBase(rows: SegmentRows, states: SegmentStates, slice: BaseSlice): Promise<'ended' | 'more'>
  /** What is under way ends with STATE_DISK; nothing is written any more when it resolves. */
  close(): Promise<void>
}

/** Where a worker's tasks keep their state. */
export interface StateBackend {
  /** null: on the heap. What another one opened for the task is of no use from here on. */
  open(task: TaskId): Promise<TaskDisk | null>
  close(): Promise<void>
}

export const heapBackend: StateBackend = {
  open: async () => null,
  close: async () => {},
}
