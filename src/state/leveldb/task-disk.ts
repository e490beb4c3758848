// The state of one task in its worker's LevelDB, as of the newest committed checkpoint; nothing newer is ever in it.
//
// It follows the task's chain segment by segment, or begins with one that has all up to there, and a marker says how far: `applied`,
// and `applying` while rows of the next one may be there in part. What is found at a start is kept only if the chain has the one, directly followed by the other:
// rows may be replayed again (segment.ts), but those of another history never mix in. Else it is read again from the chain.
//
//   key    u32 prefix of the task · u16 length of the key · key · u16 number of the state, or of a pack of them (· u32 of a list's chunk or a map's page)
//   value  as the state's serde writes it; lists: lists.ts; maps: maps.ts; numbers: packs.ts
import { assert } from '../../base/assert.ts'
import { monotonicMs, yieldToLoop } from '../../base/clock.ts'
import { isCode, MillraceError } from '../../base/errors.ts'
import type { TaskId } from '../../base/ids.ts'
import { type StepListener, traced } from '../../base/messages.ts'
import { copyBytes } from '../../base/words.ts'
import { type MapHead, type MapPage, readMapHead } from '../collections.ts'
import type { BaseSlice, CacheBudget, ChainPart, FoundOnDisk, ReadState, SegmentStates, TaskDisk } from '../disk.ts'
import { NUMBER_BYTES, Row, type SegmentRows, type StateIdentity } from '../segment.ts'
import { converting, type NumbersTarget, type RowTarget, SegmentReader } from '../segment-reader.ts'
import { f64 } from '../serde.ts'
import type { LevelBatch, LevelDatabase } from './database.ts'
import {
  behind,
  itemsIn,
  keyIn,
  listRow,
  mapRows,
  PREFIX_BYTES,
  pairsIn,
  partIn,
  STATE_BYTES,
  stateIn,
} from './entries.ts'
import { readList } from './lists.ts'
import { PAGE_BYTES, readMapPage } from './maps.ts'
import {
  empty,
  FIRST_PACK,
  type Marker,
  markerKey,
  newMarker,
  type Place,
  placeOf,
  type ReadPlan,
  readMarker,
  readPlanOf,
  stateIdOf,
} from './marker.ts'
import { isPacked, readPack } from './packs.ts'
import { Writes } from './writes.ts'

export interface ReplaySizes {
  /** Rows replayed between two looks at what else is to be done. */
  readonly rowsPerTurn: number
  /** Writes that LevelDB gets at once. */
  readonly writesPerBatch: number
  /** Of maps. */
  readonly pageBytes: number
}

export const replaySizes: ReplaySizes = { rowsPerTurn: 500, writesPerBatch: 20_000, pageBytes: PAGE_BYTES }
const KEY_BYTES_MAX = 0xffff
/** Of a turn in a hurry; else a turn is some rows. */
const HURRY_MS = 2

/** How rows of a segment are taken over. */
interface Replaying {
  readonly which: 'all' | 'changes'
  readonly hurry: boolean
  readonly read: ReadState
}

/** Up to here a value is read as text in less time than as bytes. */
const TEXT_BYTES_MAX = 512
/** Until a state's value is read as text again, to see whether it is, and a short one. */
const BINARY_READS = 64

/** Checkpoints over which the tasks of a worker spread the beginnings of their bases. */
const STAGGER_MAX = 8

function prefixBytes(prefix: number): Buffer {
  const bytes = Buffer.alloc(PREFIX_BYTES)
  bytes.writeUInt32BE(prefix)
  return bytes
}

/** What a worker's tasks share. */
interface DiskOwner {
  readonly db: LevelDatabase
  readonly budget: CacheBudget
  readonly prefix: number
  readonly sizes: ReplaySizes
  readonly onStep: StepListener
}

export class LevelTaskDisk implements TaskDisk {
  readonly budget: CacheBudget
  readonly #task: TaskId
  readonly #db: LevelDatabase
  readonly #marker: Marker
  readonly #from: Buffer
  readonly #to: Buffer
  #name: Buffer = Buffer.alloc(0)
  /** One, as `f64` writes it. */
  readonly #number = Buffer.alloc(NUMBER_BYTES)
  /** By state: so many values are still read as bytes, since one was no text, or a long one. */
  readonly #binary: number[] = []
  readonly #plans = new Map<readonly number[], ReadPlan>()
  /** Of the base that is being written: the key after the last one, and the bytes so far. */
  #cursor: Buffer
  #baseBytes = 0
  #closed = false
  /** The replay under way. */
  #running: Promise<void> = Promise.resolve()

  readonly #sizes: ReplaySizes
  readonly #onStep: StepListener

  /** `prefix`: of a task that is not known yet. */
  constructor(task: TaskId, { db, budget, prefix, sizes, onStep }: DiskOwner) {
    this.#sizes = sizes
    this.#onStep = onStep
    this.#task = task
    this.#db = db
    this.budget = budget
    this.#marker = readMarker(db.get(markerKey(task))) ?? newMarker(prefix)
    this.#from = prefixBytes(this.#marker.prefix)
    this.#to = prefixBytes(this.#marker.prefix + 1)
    this.#cursor = this.#from
  }

  get bytes(): number {
    return this.#marker.bytes
  }

  get stagger(): number {
    return this.#marker.prefix % STAGGER_MAX
  }

  stateId(identity: StateIdentity): number {
    return stateIdOf(this.#marker, identity)
  }

  read(states: readonly number[], key: Buffer, found: FoundOnDisk): void {
    for (const { entry, places, at } of this.#readPlan(states)) {
      const name = this.#keyOf(entry, key)
      if (!places) {
        const bytes = this.#valueOf(entry, name)
        if (bytes) found.value(at, bytes)
        continue
      }
      const pack = this.#db.getAscii(name)
      if (!pack) continue
      readPack(pack, (place, value) => {
        const where = places[place]
        if (where !== undefined && where >= 0) found.number(where, value)
      })
    }
  }

  /** Of a value: as text, unless one of its state was none of late. Good until the next one. */
  #valueOf(entry: number, name: Buffer): Buffer | undefined {
    const kind = this.#marker.states[entry]?.kind
    if (kind === 'list' || kind === 'map') return this.#db.get(name)
    const left = this.#binary[entry] ?? 0
    if (left > 0) this.#binary[entry] = left - 1
    else {
      const text = this.#db.getIfAscii(name)
      if (text === null || (text?.length ?? 0) > TEXT_BYTES_MAX) this.#binary[entry] = BINARY_READS
      if (text !== null) return text
    }
    return this.#db.get(name)
  }

  async each(state: number, found: (key: Buffer, bytes: Buffer) => void): Promise<void> {
    for await (const entries of this.#db.entries(this.#from, this.#to)) {
      for (const [name, bytes] of entries)
        if (stateIn(name) === state) this.#look(name, bytes, (_, ...of) => found(...of))
    }
  }

  async page(after: Buffer | null, found: (state: number, key: Buffer, bytes: Buffer) => void): Promise<Buffer | null> {
    for await (const entries of this.#db.entries(after ?? this.#from, this.#to)) {
      for (const [name, bytes] of entries) this.#look(name, bytes, found)
      return behind(entries.at(-1)?.[0] ?? this.#to)
    }
    return null
  }

  /** Shows a list as items, a map as pairs, in as many parts as it has. */
  #look(name: Buffer, bytes: Buffer, found: (state: number, key: Buffer, bytes: Buffer) => void): void {
    const state = stateIn(name)
    const kind = this.#marker.states[state]?.kind
    const shown = kind === 'list' ? itemsIn(name, bytes) : kind === 'map' ? pairsIn(name, bytes) : bytes
    if (shown) found(state, keyIn(name), shown)
  }

  readList(state: number, key: Buffer, count: number): Buffer[] {
    return readList(this.#db, this.#keyOf(state, key), count)
  }

  mapHead(state: number, key: Buffer): MapHead {
    const bytes = this.#db.get(this.#keyOf(state, key))
    assert(bytes, 'a map on disk has gone')
    return readMapHead(bytes)
  }

  readMapPage(state: number, key: Buffer, page: MapPage): Buffer | undefined {
    return readMapPage(this.#db, this.#keyOf(state, key), page)
  }

  #readPlan(states: readonly number[]): ReadPlan {
    const known = this.#plans.get(states)
    if (known) return known
    const plan = readPlanOf(this.#marker, states)
    this.#plans.set(states, plan)
    return plan
  }

  checkKey(bytes: number): void {
    if (bytes <= KEY_BYTES_MAX) return
    const text = `a key of ${bytes} bytes; with state on disk ${KEY_BYTES_MAX} are the limit: use a shorter key, or its hash`
    throw new MillraceError('KEY_INVALID', text)
  }

  /** Good until the next one is asked for. */
  #keyOf(state: number, key: Buffer, start = 0, end: number = key.length): Buffer {
    const length = PREFIX_BYTES + 2 + end - start + STATE_BYTES
    this.checkKey(end - start)
    // Keys are mostly as long as the one before: a view would cost more than the rest.
    if (this.#name.length !== length) this.#name = Buffer.alloc(length)
    const out = this.#name
    out.writeUInt32BE(this.#marker.prefix, 0)
    out.writeUInt16BE(end - start, PREFIX_BYTES)
    copyBytes(out, PREFIX_BYTES + 2, key, start, end)
    out.writeUInt16BE(state, length - STATE_BYTES)
    return out
  }

  async prepare(chain: readonly ChainPart[], read: ReadState): Promise<number> {
    const marker = this.#marker
    const from = marker.applied === null ? 0 : chain.findIndex(({ ref }) => ref === marker.applied) + 1
    const known = marker.applied === null || from > 0
    const follows = marker.applying === null || marker.applying === chain[from]?.ref
    if (known && follows && marker.states.every((identity) => isAsItIs(identity, read))) return from
    await this.#wipe()
    return 0
  }

  async clear(): Promise<void> {
    if (this.#marker.applied !== null || this.#marker.applying !== null) await this.#wipe()
  }

  follow(ref: string, segment: Buffer, read: ReadState): Promise<void> {
    return this.#replay(ref, [segment], { which: 'all', hurry: false, read })
  }

  /** Begins anew; a crash on the way leaves nothing that could be taken for something. */
  async #wipe(): Promise<void> {
    const marker = this.#marker
    empty(marker)
    await this.#write(this.#db.batch())
    await this.#db.clear(this.#from, this.#to)
    marker.applying = null
    await this.#write(this.#db.batch())
  }

  /** With the marker as it is then. */
  async #write(batch: LevelBatch): Promise<void> {
    batch.put(markerKey(this.#task), Buffer.from(JSON.stringify(this.#marker)))
    await batch.write()
  }

  apply(ref: string, segment: readonly Buffer[], hurry: boolean): Promise<void> {
    const asItIs: ReadState = (identity) => ({ identity, convert: null })
    const running = this.#replay(ref, segment, { which: 'changes', hurry, read: asItIs })
    this.#running = running.catch(() => {})
    return running
  }

  async #replay(ref: string, segment: readonly Buffer[], { which, hurry, read }: Replaying): Promise<void> {
    const marker = this.#marker
    const turnMs = hurry ? HURRY_MS : 0
    marker.applying = ref
    const begin = (): Writes =>
      new Writes(
        this.#db,
        (entry, key, start, end) => this.#keyOf(entry, key, start, end),
        which === 'changes' ? 'once' : 'again',
        this.#sizes.pageBytes,
      )
    let writes = begin()
    // Rows of lists and maps look at what the disk has. Known from here on: the reader asks for all states of the segment at once.
    let looks = false
    const takers: NumbersTarget[] = []
    const reader = new SegmentReader(segment, (saved) => {
      const found = read(saved)
      const { kind } = found.identity
      if (kind === 'list' || kind === 'map') looks = true
      return converting(
        this.#target(found.identity, () => writes, takers),
        found,
      )
    })
    // A batch is being written while the next one is gathered, where nothing looks: never two.
    let writing: Promise<void> = Promise.resolve()
    try {
      for (let done = false; !done; ) {
        const untilMs = monotonicMs() + turnMs
        const isFull = (): boolean => writes.full || writes.length >= this.#sizes.writesPerBatch
        do done = reader.replay(this.#sizes.rowsPerTurn, which)
        while (!done && !isFull() && monotonicMs() < untilMs)
        this.#checkOpen()
        if (done || isFull()) {
          if (writes.end()) await writing
          const batch = await this.#gather(writes, turnMs)
          await writing
          this.#checkOpen()
          if (done) Object.assign(marker, { applied: ref, applying: null })
          writing = traced(this.#onStep, done ? 'apply' : 'apply-part', () => this.#write(batch))
          // One that fails while rows are gathered is told at the next `await`.
          writing.catch(() => {})
          if (looks) await writing
          writes = begin()
        } else await yieldToLoop()
      }
      await writing
    } finally {
      await writing.catch(() => {})
    }
  }

  async #gather(writes: Writes, turnMs: number): Promise<LevelBatch> {
    writes.finish()
    const batch = this.#db.batch()
    let untilMs = monotonicMs() + turnMs
    while (!writes.emit(batch, this.#sizes.rowsPerTurn)) {
      if (monotonicMs() < untilMs) continue
      await yieldToLoop()
      untilMs = monotonicMs() + turnMs
      if (!this.#closed) continue
      await batch.discard()
      break
    }
    this.#checkOpen()
    return batch
  }

  /** The task is somewhere else, or rolled back, or must be: who opens it next goes on from the marker. */
  #checkOpen(): void {
    if (this.#closed)
      throw new MillraceError('STATE_DISK', `the local state of task ${this.#task} was opened anew meanwhile`)
  }

  #target(identity: StateIdentity, writes: () => Writes, takers: NumbersTarget[]): RowTarget {
    const marker = this.#marker
    const state = this.stateId(identity)
    const packed = placeOf(marker, state)
    if (packed) return this.#packedTarget(packed, writes, takers)
    return {
      apply: (op, { view: key }, at, value) => {
        if (value) marker.bytes += key.length + value.length + (at?.length ?? 0)
        if (identity.kind === 'list') writes().list(state, key, op, at, value)
        else if (identity.kind === 'map') writes().map(state, key, op, at, value)
        else writes().value(state, key, op, value)
      },
    }
  }

  /** `takers`: by pack, who takes all of its numbers together. */
  #packedTarget({ pack, place }: Place, writes: () => Writes, takers: NumbersTarget[]): RowTarget {
    const marker = this.#marker
    const entry = FIRST_PACK + pack
    const { states } = marker.packs[pack] as Marker['packs'][number]
    const number = (key: Buffer, value: number): void => {
      marker.bytes += key.length + NUMBER_BYTES
      writes().number(entry, key, place, states.length, value)
    }
    takers[pack] ??= {
      // Read when all states of the segment have their places.
      get states() {
        return states.length
      },
      take: (rows) => {
        for (let i = 0; i < rows.count; i++)
          marker.bytes += ((rows.keyLength[i] as number) + NUMBER_BYTES) * states.length
        writes().numbers(entry, rows, states.length)
      },
    }
    return {
      number: (key, value) => number(key.view, value),
      numbers: { of: takers[pack], place },
      apply: (op, { view: key }, _at, value) => {
        if (op === Row.PUT && value) number(key, f64.decode(value, 0, value.length))
        else writes().number(entry, key, place, states.length, undefined)
      },
    }
  }

  writeBase(rows: SegmentRows, states: SegmentStates, slice: BaseSlice): Promise<'ended' | 'more'> {
    return traced(this.#onStep, 'base', () => this.#writeBase(rows, states, slice))
  }

  async #writeBase(
    rows: SegmentRows,
    states: SegmentStates,
    { index, of, bytes }: BaseSlice,
  ): Promise<'ended' | 'more'> {
    const last = index === of - 1
    if (index === 0) {
      this.#cursor = this.#from
      this.#baseBytes = 0
    }
    let read = 0
    const areNumbers = this.#marker.states.every(isPacked)
    for await (const entries of this.#db.entries(this.#cursor, this.#to, areNumbers)) {
      for (const [name, value] of entries) {
        // Never inside a list or a map: what a slice has of a key is all of it.
        if (!last && read >= bytes && partIn(name) < 0) {
          this.#cursor = Buffer.from(name)
          this.#baseBytes += read
          return 'more'
        }
        this.#baseRow(rows, states, name, value)
        read += name.length + value.length
      }
    }
    this.#marker.bytes = this.#baseBytes + read
    return 'ended'
  }

  #baseRow(rows: SegmentRows, states: SegmentStates, name: Buffer, value: Buffer): void {
    const entry = stateIn(name)
    const key = keyIn(name)
    if (entry >= FIRST_PACK) {
      const packed = this.#marker.packs[entry - FIRST_PACK]?.states ?? []
      readPack(value, (place, found) => {
        const state = states.get(packed[place] as number)
        if (!state) return
        this.#number.writeDoubleBE(found)
        rows.raw(state.index, Row.PUT, key, null, this.#number)
      })
      return
    }
    const state = states.get(entry)
    // Of a state that is declared no more: a restore has refused it.
    if (!state) return
    const { index, identity } = state
    if (identity.kind === 'list') return listRow(rows, index, name, value)
    if (identity.kind === 'map') return mapRows(rows, index, name, value)
    rows.raw(index, Row.PUT, key, null, value)
  }

  /** Nothing is written any more when it resolves. */
  close(): Promise<void> {
    this.#closed = true
    return this.#running
  }
}

/** What the disk has of it can stay. What cannot be read at all is refused by the chain, if it is there still. */
function isAsItIs(identity: StateIdentity, read: ReadState): boolean {
  try {
    return read(identity).convert === null
  } catch (error) {
    if (isCode(error, 'STATE_INCOMPATIBLE')) return false
    throw error
  }
}
