// Numbers in ASCII characters: LevelDB's binding hands out a short text at half of the price of a buffer.

/** For 32 bits: seven in each, lowest first. */
export const WORD_CHARS = 5

export function writeWord(bytes: Uint8Array, at: number, word: number): void {
  bytes[at] = word & 127
  bytes[at + 1] = (word >>> 7) & 127
  bytes[at + 2] = (word >>> 14) & 127
  bytes[at + 3] = (word >>> 21) & 127
  bytes[at + 4] = word >>> 28
}

/** As a signed number. */
export function wordAt(bytes: Uint8Array, at: number): number {
  return (
    (bytes[at] as number) |
    ((bytes[at + 1] as number) << 7) |
    ((bytes[at + 2] as number) << 14) |
    ((bytes[at + 3] as number) << 21) |
    ((bytes[at + 4] as number) << 28)
  )
}

const double = new Float64Array(1)
const halves = new Int32Array(double.buffer)

/** For a double: its halves, as they lie in memory. */
export const DOUBLE_CHARS: number = 2 * WORD_CHARS

export function writeDouble(bytes: Uint8Array, at: number, value: number): void {
  double[0] = value
  writeWord(bytes, at, halves[0] as number)
  writeWord(bytes, at + WORD_CHARS, halves[1] as number)
}

export function doubleAt(bytes: Uint8Array, at: number): number {
  halves[0] = wordAt(bytes, at)
  halves[1] = wordAt(bytes, at + WORD_CHARS)
  return double[0] as number
}
