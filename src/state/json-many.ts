// Several JSON objects parsed as one array: a quarter less time than each by itself, because V8 expects the next element to
// have the shape of the last one.
//
//   [{…},⏎{…},⏎{…}]
//
// Text that is no object must not become one by its neighbours' text (`{"a":{}` and `"b":{}}`). So: every text begins with `{`, no other
// `[` stands in any of them, and a newline follows our commas. Then, if all of it is JSON: no comma of ours is in a string (no string
// holds a raw newline), none is in an object (a `{` cannot follow there), so all divide the elements of the only array there is; and if
// there are as many elements as texts, each text is one of them. What is compared here are bytes, all of them ASCII, which stays
// what it is in any UTF-8, valid or not.
import { ByteWriter, utf8Slice } from '../base/byte-writer.ts'

const OPEN_ARRAY = 0x5b
const CLOSE_ARRAY = 0x5d
const OPEN_OBJECT = 0x7b
const COMMA = 0x2c
const NEWLINE = 0x0a
/** Of all texts; a few large ones gain nothing. */
const BYTES_MAX = 256 * 1024

const joined = new ByteWriter(64 * 1024)

/** `places`: start and end of each text. @returns undefined: parse each by itself, with all errors where they belong */
export function parseMany(bytes: Buffer, places: Int32Array, count: number): unknown[] | undefined {
  joined.reset()
  joined.uint8(OPEN_ARRAY)
  for (let i = 0; i < count; i++) {
    const start = places[2 * i] as number
    const end = places[2 * i + 1] as number
    if (bytes[start] !== OPEN_OBJECT || start >= end || joined.position + end - start > BYTES_MAX) return undefined
    if (i > 0) {
      joined.uint8(COMMA)
      joined.uint8(NEWLINE)
    }
    joined.bytes(bytes, start, end)
  }
  if (joined.view().indexOf(OPEN_ARRAY, 1) >= 0) return undefined
  joined.uint8(CLOSE_ARRAY)
  try {
    const values = JSON.parse(utf8Slice(joined.buffer, 0, joined.position)) as unknown[]
    return values.length === count ? values : undefined
  } catch {
    return undefined
  }
}
