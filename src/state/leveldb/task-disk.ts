// The state of one task in its worker's LevelDB, as of the newest committed checkpoint; nothing newer is ever in it.
//
// It follows the task's chain segment by segment, and a marker says how far: `applied`, and `applying` while rows of the next
// one may be there in part. What is found at a start is kept only if the chain has the one, directly followed by the other:
// rows may be replayed again (segment.ts), but those of another history never mix in. Else it is read again from the chain.
//
//   key    u32 prefix of the task · u16 length of the key · key · u16 number of the state
//   value  as the state's serde writes it; lists and maps: collections.ts
import { yieldToLoop } from '../../base/clock.ts'
import { MillraceError } from '../../base/errors.ts'
import type { TaskId } from '../../base/ids.ts'
import { appendAt, type DiskMap, readMap, writeMap } from '../collections.ts'
import type { CacheBudget, ChainPart, SegmentStates, TaskDisk } from '../disk.ts'
import { indexOf, Row, SegmentReader, type SegmentRows, type StateIdentity } from '../segment.ts'
import type { LevelBatch, LevelDatabase } from './database.ts'

export interface ReplaySizes {
  /** Rows replayed between two looks at what else is to be done. */
  readonly rowsPerTurn: number
  /** Writes that LevelDB gets at once. */
  readonly writesPerBatch: number
}

export const replaySizes: ReplaySizes = { rowsPerTurn: 1_000, writesPerBatch: 5_000 }
const PREFIX_BYTES = 4
const STATE_BYTES = 2
const KEY_BYTES_MAX = 0xffff
/** In `applying`: rows of anything may be there. */
const UNKNOWN = '?'

interface Marker {
  readonly prefix: number
  applied: string | null
  applying: string | null
  bytes: number
  /** By their number. */
  states: StateIdentity[]
}

export const markerKey = (task: TaskId): Buffer => Buffer.concat([Buffer.alloc(PREFIX_BYTES), Buffer.from(task)])

export function readMarker(bytes: Buffer | undefined): Marker | undefined {
  return bytes && (JSON.parse(bytes.toString('utf8')) as Marker)
}

function prefixBytes(prefix: number): Buffer {
  const bytes = Buffer.alloc(PREFIX_BYTES)
  bytes.writeUInt32BE(prefix)
  return bytes
}

export class LevelTaskDisk implements TaskDisk {
  readonly budget: CacheBudget
  readonly #task: TaskId
  readonly #db: LevelDatabase
  readonly #marker: Marker
  readonly #from: Buffer
  readonly #to: Buffer
  #scratch: Buffer = Buffer.alloc(256)
  /** Of the base that is being written: the key after the last one, and the bytes so far. */
  #cursor: Buffer
  #baseBytes = 0
  #closed = false
  /** The replay under way. */
  #running: Promise<void> = Promise.resolve()

  readonly #sizes: ReplaySizes

  /** `prefix`: of a task that is not known yet. */
  constructor(task: TaskId, db: LevelDatabase, budget: CacheBudget, prefix: number, sizes: ReplaySizes) {
    this.#sizes = sizes
    this.#task = task
    this.#db = db
    this.budget = budget
    const fresh: Marker = { prefix, applied: null, applying: null, bytes: 0, states: [] }
    this.#marker = readMarker(db.get(markerKey(task))) ?? fresh
    this.#from = prefixBytes(this.#marker.prefix)
    this.#to = prefixBytes(this.#marker.prefix + 1)
    this.#cursor = this.#from
  }

  get bytes(): number {
    return this.#marker.bytes
  }

  stateId(identity: StateIdentity): number {
    const { states } = this.#marker
    const known = states.findIndex((each) => each.operator === identity.operator && each.name === identity.name)
    return known >= 0 ? known : states.push(identity) - 1
  }

  read(state: number, key: Buffer): Buffer | undefined {
    return this.#db.get(this.#keyOf(state, key))
  }

  /** A view that is good until the next one is asked for. */
  #keyOf(state: number, key: Buffer): Buffer {
    const length = PREFIX_BYTES + 2 + key.length + STATE_BYTES
    if (key.length > KEY_BYTES_MAX) {
      const text = `a key of ${key.length} bytes; with state on disk ${KEY_BYTES_MAX} are the limit: use a shorter key, or its hash`
      throw new MillraceError('KEY_INVALID', text)
    }
    if (this.#scratch.length < length) this.#scratch = Buffer.alloc(length * 2)
    const out = this.#scratch
    out.writeUInt32BE(this.#marker.prefix, 0)
    out.writeUInt16BE(key.length, PREFIX_BYTES)
    key.copy(out, PREFIX_BYTES + 2)
    out.writeUInt16BE(state, length - STATE_BYTES)
    return out.subarray(0, length)
  }

  async restore(chain: readonly ChainPart[], check: (identity: StateIdentity) => void): Promise<void> {
    const marker = this.#marker
    const from = marker.applied === null ? 0 : chain.findIndex(({ ref }) => ref === marker.applied) + 1
    const known = marker.applied === null || from > 0
    const follows = marker.applying === null || marker.applying === chain[from]?.ref
    if (!known || !follows) await this.#wipe()
    for (const identity of marker.states) check(identity)
    for (const part of chain.slice(known && follows ? from : 0)) {
      await this.#replay(part.ref, [await part.read()], 'all', check)
    }
  }

  /** Begins anew; a crash on the way leaves nothing that could be taken for something. */
  async #wipe(): Promise<void> {
    const marker = this.#marker
    Object.assign(marker, { applied: null, applying: UNKNOWN, bytes: 0, states: [] })
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

  apply(ref: string, segment: readonly Buffer[]): Promise<void> {
    const running = this.#replay(ref, segment, 'changes', () => {})
    this.#running = running.catch(() => {})
    return running
  }

  async #replay(
    ref: string,
    segment: readonly Buffer[],
    which: 'all' | 'changes',
    check: (identity: StateIdentity) => void,
  ): Promise<void> {
    const marker = this.#marker
    marker.applying = ref
    let writes = new Writes(this.#db)
    const reader = new SegmentReader(segment, (identity) => {
      check(identity)
      const state = this.stateId(identity)
      return {
        apply: (op, key, at, value) => {
          if (op === Row.PUT && value) marker.bytes += key.length + value.length
          writes.row(this.#keyOf(state, key), identity, op, at, value)
        },
      }
    })
    for (let done = false; !done; ) {
      done = reader.replay(this.#sizes.rowsPerTurn, which)
      // The task is somewhere else, or rolled back: who opens it next goes on from the marker.
      if (this.#closed) return await writes.discard()
      if (done) Object.assign(marker, { applied: ref, applying: null })
      if (done || writes.length >= this.#sizes.writesPerBatch) {
        await this.#write(writes.finish())
        writes = new Writes(this.#db)
      } else await yieldToLoop()
    }
  }

  async writeBase(
    rows: SegmentRows,
    states: SegmentStates,
    { first, last, bytes }: { first: boolean; last: boolean; bytes: number },
  ): Promise<void> {
    if (first) {
      this.#cursor = this.#from
      this.#baseBytes = 0
    }
    let read = 0
    for await (const entries of this.#db.entries(this.#cursor, this.#to)) {
      for (const [name, value] of entries) {
        writeBaseRow(rows, states, name, value)
        read += name.length + value.length
      }
      const end = entries.at(-1)?.[0]
      if (last || read < bytes || !end) continue
      this.#cursor = Buffer.concat([end, Buffer.from([0])])
      this.#baseBytes += read
      return
    }
    this.#cursor = this.#to
    this.#baseBytes += read
    if (last) this.#marker.bytes = this.#baseBytes
  }

  /** Nothing is written any more when it resolves. */
  close(): Promise<void> {
    this.#closed = true
    return this.#running
  }
}

function writeBaseRow(rows: SegmentRows, states: SegmentStates, name: Buffer, value: Buffer): void {
  const state = states.get(name.readUInt16BE(name.length - STATE_BYTES))
  // Of a state that is declared no more: a restore has refused it.
  if (!state) return
  const { index, identity } = state
  const key = name.subarray(PREFIX_BYTES + 2, -STATE_BYTES)
  if (identity.kind !== 'map') return rows.raw(index, Row.PUT, key, null, value)
  rows.raw(index, Row.DELETE, key, null, null)
  for (const [entry, each] of readMap(value)) rows.raw(index, Row.MAP_PUT, key, Buffer.from(entry, 'latin1'), each)
}

/** Writes of one batch. Lists and maps that it changes several times are put together before they are written. */
class Writes {
  readonly #db: LevelDatabase
  readonly #batch: LevelBatch
  readonly #collections = new Map<string, Buffer | DiskMap | null>()

  constructor(db: LevelDatabase) {
    this.#db = db
    this.#batch = db.batch()
  }

  get length(): number {
    return this.#batch.length + this.#collections.size
  }

  /** `name` is only good for this call. */
  row(name: Buffer, identity: StateIdentity, op: number, at: Buffer | null, value: Buffer | null): void {
    if (identity.kind === 'list') return this.#listRow(name, op, at, value)
    if (identity.kind === 'map') return this.#mapRow(name, op, at, value)
    if (op === Row.PUT && value) this.#batch.put(name, value)
    else this.#batch.delete(name)
  }

  #listRow(name: Buffer, op: number, at: Buffer | null, value: Buffer | null): void {
    const id = name.toString('latin1')
    if (op === Row.DELETE || !value) this.#collections.set(id, null)
    else if (op === Row.PUT) this.#collections.set(id, Buffer.from(value))
    else {
      const held = this.#collections.get(id)
      const before = held === undefined ? this.#db.get(name) : (held as Buffer | null)
      this.#collections.set(id, appendAt(before ?? Buffer.alloc(0), indexOf(at), value))
    }
  }

  #mapRow(name: Buffer, op: number, at: Buffer | null, value: Buffer | null): void {
    const id = name.toString('latin1')
    if (op === Row.DELETE || !at) {
      this.#collections.set(id, null)
      return
    }
    const held = this.#collections.get(id)
    const map = held === undefined ? readMap(this.#db.get(name)) : ((held as DiskMap | null) ?? new Map())
    if (op === Row.MAP_PUT && value) map.set(at.toString('latin1'), Buffer.from(value))
    else map.delete(at.toString('latin1'))
    this.#collections.set(id, map)
  }

  finish(): LevelBatch {
    for (const [id, held] of this.#collections) {
      const name = Buffer.from(id, 'latin1')
      const value = held instanceof Map ? writeMap(held) : held
      if (value === null || value.length === 0) this.#batch.delete(name)
      else this.#batch.put(name, value)
    }
    return this.#batch
  }

  discard(): Promise<void> {
    return this.#batch.discard()
  }
}
