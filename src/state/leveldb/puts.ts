// What goes into one batch, gathered and put into about the order of names: LevelDB takes neighbours one after the other in a third of the
// time, since what it looks through for the place of each is in the processor's cache then. Changes of one name stay in their order.
import { copyBytes } from '../../base/words.ts'
import { type LevelBatch, STORED_BESIDE } from './database.ts'

/** Of a change: where its name begins, then the value; a length of −1: it is deleted. */
const AT = 0
const NAME_LENGTH = 1
const VALUE_LENGTH = 2
const STRIDE = 3
/** Behind these, names differ seldom. */
const POSITIONS_MAX = 48
/** A sample is enough: about the order will do. */
const SAMPLES = 1_024
/** What a double counts exactly: a place in the order, then the change's number. */
const PLACES = 2 ** 53

export class Puts {
  length = 0
  #bytes: Buffer = Buffer.allocUnsafeSlow(64 * 1024)
  #end = 0
  #changes = new Int32Array(STRIDE * 1_024)
  #order: Float64Array | null = null
  #emitted = 0

  /** Memory that is in use. */
  get bytes(): number {
    return this.#end
  }

  put(name: Buffer, value: Buffer): void {
    this.#add(name, value, value.length)
  }

  delete(name: Buffer): void {
    this.#add(name, name, -1)
  }

  #add(name: Buffer, value: Buffer, valueLength: number): void {
    const at = this.#end
    const valueAt = at + name.length
    const end = valueAt + Math.max(0, valueLength) + STORED_BESIDE
    if (end > this.#bytes.length) this.#grow(end)
    const bytes = this.#bytes
    copyBytes(bytes, at, name, 0, name.length)
    if (valueLength > 0) copyBytes(bytes, valueAt, value, 0, valueLength)
    this.#end = end
    const change = this.length * STRIDE
    if (change === this.#changes.length) {
      const grown = new Int32Array(change * 2)
      grown.set(this.#changes)
      this.#changes = grown
    }
    this.#changes[change + AT] = at
    this.#changes[change + NAME_LENGTH] = name.length
    this.#changes[change + VALUE_LENGTH] = valueLength
    this.length++
  }

  #grow(wanted: number): void {
    const grown = Buffer.allocUnsafeSlow(Math.max(this.#bytes.length * 2, wanted))
    this.#bytes.copy(grown, 0, 0, this.#end)
    this.#bytes = grown
  }

  /** What the newest change of `name` among the first `newest + 1` puts there: nothing where it deletes it. undefined: there is none. A view. */
  find(name: Buffer, newest: number): Buffer | undefined {
    for (let change = newest; change >= 0; change--) {
      const place = change * STRIDE
      const at = this.#changes[place + AT] as number
      const valueAt = at + (this.#changes[place + NAME_LENGTH] as number)
      if (name.compare(this.#bytes, at, valueAt) !== 0) continue
      return this.#bytes.subarray(valueAt, valueAt + Math.max(0, this.#changes[place + VALUE_LENGTH] as number))
    }
    return undefined
  }

  /** Nothing is added any more. */
  sort(): void {
    const order = new Float64Array(this.length)
    const [positions, lowest, radices] = this.#differences()
    for (let i = 0; i < this.length; i++) {
      let place = 0
      for (let p = 0; p < positions.length; p++) {
        const radix = radices[p] as number
        const digit = this.#byteOf(i, positions[p] as number) - (lowest[p] as number)
        place = place * radix + Math.max(0, Math.min(digit, radix - 1))
      }
      order[i] = place * this.length + i
    }
    this.#order = order.sort()
  }

  /** At which positions names differ, from where on, and in how many ways: as many of the first ones as a place has room for. */
  #differences(): [positions: number[], lowest: number[], radices: number[]] {
    const positions: number[] = []
    const lowest: number[] = []
    const radices: number[] = []
    const step = Math.max(1, Math.floor(this.length / SAMPLES))
    for (let position = 0, room = PLACES / Math.max(1, this.length); position < POSITIONS_MAX; position++) {
      let low = 255
      let high = 0
      for (let i = 0; i < this.length; i += step) {
        const byte = this.#byteOf(i, position)
        if (byte < low) low = byte
        if (byte > high) high = byte
      }
      if (high <= low) continue
      const radix = high - low + 1
      if (radix > room) break
      room /= radix
      positions.push(position)
      lowest.push(low)
      radices.push(radix)
    }
    return [positions, lowest, radices]
  }

  #byteOf(change: number, position: number): number {
    const at = change * STRIDE
    return position < (this.#changes[at + NAME_LENGTH] as number)
      ? (this.#bytes[(this.#changes[at + AT] as number) + position] as number)
      : 0
  }

  /** Hands on up to `count` of what is sorted; true when none is left. */
  emit(batch: LevelBatch, count: number): boolean {
    const order = this.#order ?? new Float64Array(0)
    const end = Math.min(this.#emitted + count, order.length)
    for (; this.#emitted < end; this.#emitted++) {
      const change = ((order[this.#emitted] as number) % this.length) * STRIDE
      const at = this.#changes[change + AT] as number
      const nameLength = this.#changes[change + NAME_LENGTH] as number
      const valueLength = this.#changes[change + VALUE_LENGTH] as number
      if (valueLength < 0) batch.delete(this.#bytes.subarray(at, at + nameLength))
      else batch.putIn(this.#bytes, at, nameLength, valueLength)
    }
    return end === order.length
  }
}
