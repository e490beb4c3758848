// Where all states of an operator are numbers, what a snapshot has to write of a slot is written in one go, from its row alone, and
// read in one go: a short key's bytes stand there, too, and nothing else in memory is touched.
import { numberBehind, type SegmentWriter } from '../segment.ts'
import type { Serde } from '../serde.ts'
import { KEY_BYTES_INLINE, type Rows } from './rows.ts'

/** Their presence is in one word. */
const STATES_MAX = 31

export class NumberPack {
  readonly #rows: Rows
  readonly #states: number
  /** A bit for each. */
  readonly #present: number
  #writer: SegmentWriter | null = null
  #firstIndex = 0
  #epoch = 0

  private constructor(rows: Rows, states: number) {
    this.#rows = rows
    this.#states = states
    this.#present = 2 ** states - 1
  }

  /** null: rows are written state by state. `numbers` of the `states` are numbers. */
  static of(rows: Rows, keySerde: Serde<unknown>, states: number, numbers: number): NumberPack | null {
    // State marks what may be null; the bytes of a record do not.
    return numbers === states && states <= STATES_MAX && !keySerde.nullable ? new NumberPack(rows, states) : null
  }

  /** A snapshot begins. `firstIndex`: of the first state in the segment, the others follow; `epoch`: the new one of all of them. */
  begin(writer: SegmentWriter, firstIndex: number, epoch: number): void {
    this.#writer = writer
    this.#firstIndex = firstIndex
    this.#epoch = epoch
  }

  /** It is complete. */
  end(): void {
    this.#writer = null
  }

  /** False: nothing was written, each state is to be asked. `awaitsBase`: the slot is of the base and not come to yet. */
  encode(slot: number, awaitsBase: boolean): boolean {
    const { words, bytes, numbers, stride, flagsAt, epochsAt, keyAt } = this.#rows
    const states = this.#states
    const row = slot * stride
    const keyLength = (words[row + keyAt] as number) - 1
    if (!this.#writer || keyLength < 0 || keyLength > KEY_BYTES_INLINE) return false
    if (words[row + flagsAt] !== this.#present) return false
    const current = this.#epoch
    for (let state = 0; state < states; state++) {
      const epoch = words[row + epochsAt + state] as number
      // As `StateTable` has it, for a value that is there.
      const owed = epoch > 0 ? epoch !== current : awaitsBase && epoch !== -current
      if (!owed) return false
    }
    const keyBytesAt = (row + keyAt + 1) * 4
    if (!this.#writer.numbers(this.#firstIndex, numbers, row >> 1, states, bytes, keyBytesAt, keyLength)) return false
    for (let state = 0; state < states; state++) words[row + epochsAt + state] = -current
    return true
  }

  /** What `SegmentRows.numbers` wrote of the slot's key. `at`: behind the key. */
  restore(slot: number, view: DataView, at: number): void {
    const { words, numbers, stride, flagsAt } = this.#rows
    const row = slot * stride
    words[row + flagsAt] = this.#present
    for (let state = 0; state < this.#states; state++) numbers[(row >> 1) + state] = numberBehind(view, at, state)
  }
}
