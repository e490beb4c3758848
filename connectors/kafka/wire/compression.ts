// The four codecs of Kafka's record batches. gzip and zstd are Node's own zlib; snappy and lz4 come prebuilt through npm
// and are imported here only. What a batch may expand to is bounded: hostile bytes must not take the memory.
import { createRequire } from 'node:module'
import { constants, gunzipSync, gzipSync, zstdCompressSync, zstdDecompressSync } from 'node:zlib'
import type * as Lz4 from 'lz4-napi'
import type * as Snappy from 'snappy'
import { MillraceError, messageOf } from '../../../src/base/errors.ts'

export type Compression = 'none' | 'gzip' | 'snappy' | 'lz4' | 'zstd'

const NAMES: readonly Compression[] = ['none', 'gzip', 'snappy', 'lz4', 'zstd']
const UNPACKED_BYTES_MAX = 256 * 1024 * 1024

/** Loaded when they are needed: together they take 10 MB. @throws CODEC_UNKNOWN */
export function prebuilt<Module>(name: string): () => Module {
  const require = createRequire(import.meta.url)
  let loaded: Module | undefined
  return () => {
    try {
      loaded ??= require(name) as Module
      return loaded
    } catch (error) {
      const text = `the codec in '${name}' cannot be loaded here: ${messageOf(error)}; is there a build of it for ${process.platform} ${process.arch}?`
      throw new MillraceError('CODEC_UNKNOWN', text, { cause: error })
    }
  }
}

const lz4 = prebuilt<typeof Lz4>('lz4-napi')
const snappy = prebuilt<typeof Snappy>('snappy')

/** Before the first record needs it. @throws CODEC_UNKNOWN */
export function loadCodec(compression: Compression): void {
  if (compression === 'lz4') lz4()
  if (compression === 'snappy') snappy()
}

export function compressionOf(attributes: number): Compression | undefined {
  return NAMES[attributes & 7]
}

export function compressionBits(compression: Compression): number {
  return NAMES.indexOf(compression)
}

export function compress(compression: Compression, bytes: Buffer): Buffer {
  switch (compression) {
    case 'none':
      return bytes
    case 'gzip':
      return gzipSync(bytes, { level: 1 })
    case 'snappy':
      return snappy().compressSync(bytes)
    case 'lz4':
      return lz4().compressFrameSync(bytes)
    case 'zstd':
      return zstdCompressSync(bytes, { params: { [constants.ZSTD_c_compressionLevel]: 1 } })
  }
}

/** @throws BATCH_CORRUPT */
export function decompress(compression: Compression, bytes: Buffer): Buffer {
  try {
    switch (compression) {
      case 'none':
        return bytes
      case 'gzip':
        return gunzipSync(bytes, { maxOutputLength: UNPACKED_BYTES_MAX })
      case 'snappy':
        return unsnappy(bytes)
      case 'lz4':
        checkLz4Size(bytes)
        return lz4().decompressFrameSync(bytes)
      case 'zstd':
        return zstdDecompressSync(bytes, { maxOutputLength: UNPACKED_BYTES_MAX })
    }
  } catch (error) {
    if (error instanceof MillraceError) throw error
    throw new MillraceError('BATCH_CORRUPT', `${compression} data cannot be unpacked: ${messageOf(error)}`, {
      cause: error,
    })
  }
}

/** Java frames snappy in the xerial way: a 16-byte header, then blocks with a length each. */
const XERIAL = Buffer.from([0x82, 0x53, 0x4e, 0x41, 0x50, 0x50, 0x59, 0])

function unsnappy(bytes: Buffer): Buffer {
  if (bytes.length < 16 || !bytes.subarray(0, 8).equals(XERIAL)) return snappyBlock(bytes, UNPACKED_BYTES_MAX)
  const blocks: Buffer[] = []
  let at = 16
  let total = 0
  while (at < bytes.length) {
    const length = at + 4 <= bytes.length ? bytes.readUInt32BE(at) : -1
    if (length < 0 || at + 4 + length > bytes.length) {
      throw new MillraceError('BATCH_CORRUPT', `a snappy block of ${length} bytes at byte ${at} leaves the batch`)
    }
    const block = snappyBlock(bytes.subarray(at + 4, at + 4 + length), UNPACKED_BYTES_MAX - total)
    total += block.length
    blocks.push(block)
    at += 4 + length
  }
  return Buffer.concat(blocks)
}

/** Snappy's densest element: three bytes that stand for 64. */
const SNAPPY_RATIO_MAX = 22

/** A raw snappy block begins with its unpacked length, which the codec allocates: checked before. */
function snappyBlock(bytes: Buffer, unpackedMax: number): Buffer {
  let length = 0
  for (let i = 0; i < 5; i++) {
    const byte = bytes[i]
    if (byte === undefined) throw new MillraceError('BATCH_CORRUPT', 'a snappy block ends inside its length')
    length += (byte & 127) * 2 ** (7 * i)
    if (byte < 128) break
  }
  if (length > unpackedMax) throw tooLarge('snappy')
  if (length > bytes.length * SNAPPY_RATIO_MAX) {
    throw new MillraceError('BATCH_CORRUPT', `a snappy block of ${bytes.length} bytes claims ${length} unpacked`)
  }
  return snappy().uncompressSync(bytes, { asBuffer: true }) as Buffer
}

const LZ4_MAGIC = 0x184d2204
/** No lz4 block unpacks to more than so many times its size: a byte of a match length stands for at most 255. */
const LZ4_RATIO_MAX = 255
const LZ4_STORED = 0x80000000

/**
 * The lz4 codec has no limit of its own: what a frame can unpack to is bounded from its block lengths. Only if that
 * bound is too large (a bomb, or many small blocks in a frame of large ones) are the blocks measured exactly.
 */
function checkLz4Size(frame: Buffer): void {
  if (lz4Size(frame, lz4BlockBound) > UNPACKED_BYTES_MAX && lz4Size(frame, lz4BlockSize) > UNPACKED_BYTES_MAX) {
    throw tooLarge('lz4')
  }
}

/** Adds up `measure` over the compressed blocks of a frame, and the stored ones as they are. */
function lz4Size(frame: Buffer, measure: (frame: Buffer, at: number, end: number) => number): number {
  const flags = frame[4] ?? 0
  const blockMax = 2 ** (8 + 2 * (((frame[5] ?? 0) >> 4) & 7))
  // Magic, flags, block size, header checksum; then, where the flags say so, the content's size and a dictionary's id.
  let at = 7 + (flags & 8) + ((flags & 1) << 2)
  if (frame.length < at || frame.readUInt32LE(0) !== LZ4_MAGIC) {
    throw new MillraceError('BATCH_CORRUPT', 'lz4 data does not begin with a frame header')
  }
  let total = 0
  while (total <= UNPACKED_BYTES_MAX) {
    const word = at + 4 <= frame.length ? frame.readUInt32LE(at) : -1
    if (word === 0) break
    const length = word % LZ4_STORED
    const end = at + 4 + length
    if (word < 0 || end > frame.length) {
      throw new MillraceError('BATCH_CORRUPT', `the lz4 block at byte ${at} leaves the batch`)
    }
    total += word >= LZ4_STORED ? length : Math.min(blockMax, measure(frame, at + 4, end))
    at = end + ((flags & 16) >> 2)
  }
  return total
}

function lz4BlockBound(_frame: Buffer, at: number, end: number): number {
  return (end - at) * LZ4_RATIO_MAX
}

/** What a block unpacks to, by walking its sequences (literals, then a match) without unpacking them. */
function lz4BlockSize(frame: Buffer, at: number, end: number): number {
  let total = 0
  const lengthOf = (nibble: number): number => {
    let length = nibble
    let more = nibble === 15
    while (more && at < end) {
      const byte = frame[at++] ?? 0
      length += byte
      more = byte === 255
    }
    return length
  }
  while (at < end) {
    const token = frame[at++] ?? 0
    const literals = lengthOf(token >> 4)
    total += literals
    at += literals
    if (at >= end) break
    at += 2
    total += 4 + lengthOf(token & 15)
  }
  return total
}

function tooLarge(codec: Compression): MillraceError {
  return new MillraceError('BATCH_CORRUPT', `${codec} data would unpack to more than ${UNPACKED_BYTES_MAX} bytes`)
}
