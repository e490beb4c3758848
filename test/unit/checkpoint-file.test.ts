/**
 * Goal: what is read back from a checkpoint file is what was written, or the damage is noticed (I13; F19, F20). Method: round
 * trips; a small file cut at every byte and with every single bit turned over; strangers' bytes and pointers.
 */
import { describe, expect, test } from '@jest/globals'
import fc from 'fast-check'
import { crc32c, crcHex } from '../../src/base/crc32c.ts'
import { MillraceError } from '../../src/base/errors.ts'
import { checkpointId, taskId } from '../../src/base/ids.ts'
import {
  decodeFile,
  decodePointer,
  encodePointer,
  fileName,
  type Manifest,
  type Pointer,
  parseFileName,
  verifyFile,
} from '../../src/checkpoint/file.ts'
import { fileOf } from '../support/checkpoint-files.ts'

const parent: Pointer = { checkpoint: checkpointId(6), file: 'parent.ckpt', length: 10, checksum: '00000001' }
const segment = Buffer.from('a segment of state')
const old = { file: 'old.ckpt', position: 12, length: 3, checksum: 'abcdef01', mark: 'base-whole' as const }
const small = () =>
  fileOf(7, 'worker-0', [
    { task: taskId('stage', 0), offset: 2n ** 60n, parent, chain: [old], segment },
    { task: taskId('stage', 1), offset: 0n, parent: null, chain: [], segment: null },
    { task: taskId('a+b', 2), offset: 5n, parent, chain: [], segment: Buffer.alloc(0) },
  ])

/** What a recovery does with the bytes of a file; gives the name of the check that refused them. */
function refusal(bytes: Buffer, pointer: Pointer): string | undefined {
  try {
    verifyFile(pointer, bytes)
    decodeFile(pointer.file, bytes)
    return undefined
  } catch (error) {
    if (error instanceof MillraceError) return error.code
    throw error
  }
}

/** undefined: refused with a code. */
function manifestOf(file: string, bytes: Buffer): Manifest | undefined {
  try {
    return decodeFile(file, bytes)
  } catch (error) {
    if (error instanceof MillraceError) return undefined
    throw error
  }
}

const textOf = (manifest: Manifest): string =>
  JSON.stringify(manifest, (_, value: unknown) => (typeof value === 'bigint' ? String(value) : value))

/** The bits whose damage `test` says yes to. */
function everyBit(bytes: Buffer, test: (damaged: Buffer) => boolean): number[] {
  const found: number[] = []
  for (let bit = 0; bit < bytes.length * 8; bit++) {
    const damaged = Buffer.from(bytes)
    damaged[bit >> 3] = (damaged[bit >> 3] ?? 0) ^ (1 << (bit & 7))
    if (test(damaged)) found.push(bit)
  }
  return found
}

describe('a file', () => {
  test('comes back as it was', () => {
    const { bytes, pointer, manifest } = small()
    expect(refusal(bytes, pointer)).toBeUndefined()
    expect(decodeFile(pointer.file, bytes)).toEqual(manifest)
    expect(pointer).toEqual({
      checkpoint: 7n,
      file: '00000000000000000007-worker-0-abc123.ckpt',
      length: bytes.length,
      checksum: crcHex(crc32c(bytes)),
    })
    expect(manifest.tasks.map((task) => task.positions[0]?.offset)).toEqual([2n ** 60n, 0n, 5n])
    expect(manifest.tasks[0]?.parent).toEqual(parent)
  })

  test('has its segments where the chains say', () => {
    const { bytes, manifest, pointer } = small()
    const chains = manifest.tasks.map((task) => task.chain)
    expect(chains.map((chain) => chain.map((ref) => ref.file))).toEqual([
      ['old.ckpt', pointer.file],
      [],
      [pointer.file],
    ])
    const ref = chains[0]?.at(-1)
    expect(bytes.subarray(ref?.position, (ref?.position ?? 0) + (ref?.length ?? 0))).toEqual(segment)
    expect(ref?.checksum).toBe(crcHex(crc32c(segment)))
    expect(chains[2]?.[0]).toMatchObject({ position: 12 + segment.length, length: 0 })
  })

  test('cut at any byte is refused, whole or only its manifest', () => {
    const { bytes, pointer } = small()
    const accepted: number[] = []
    for (let length = 0; length < bytes.length; length++) {
      const cut = bytes.subarray(0, length)
      if (refusal(cut, pointer) !== 'CHECKPOINT_CORRUPT' || manifestOf(pointer.file, cut)) accepted.push(length)
    }
    expect(accepted).toEqual([])
    expect(refusal(Buffer.concat([bytes, Buffer.alloc(1)]), pointer)).toBe('CHECKPOINT_CORRUPT')
  })

  test('with any single bit turned over is refused against its pointer', () => {
    const { bytes, pointer } = small()
    const accepted = everyBit(bytes, (damaged) => refusal(damaged, pointer) !== 'CHECKPOINT_CORRUPT')
    expect(accepted).toEqual([])
  })

  test('with any single bit turned over, without its pointer: manifest or segments show it', () => {
    const { bytes, pointer, manifest } = small()
    const wanted = textOf(manifest)
    const own = manifest.tasks.flatMap((task) => task.chain).filter((ref) => ref.file === pointer.file)
    const healthy = (damaged: Buffer): boolean => {
      const found = manifestOf(pointer.file, damaged)
      if (!found || textOf(found) !== wanted) return false
      return own.every(({ position, length, checksum }) => {
        return crcHex(crc32c(damaged.subarray(position, position + length))) === checksum
      })
    }
    expect(healthy(bytes)).toBe(true)
    expect(everyBit(bytes, healthy)).toEqual([])
  })
})

describe('a file that we did not write', () => {
  test('of a later format is told apart from damage', () => {
    const { bytes, pointer } = small()
    const later = Buffer.from(bytes)
    later.writeUInt32BE(3, 8)
    expect(() => decodeFile(pointer.file, later)).toThrow(/CHECKPOINT_MISMATCH.*format 3; this release reads 2/)
  })

  test('of strangers is refused with a code, never with another error', () => {
    const property = fc.property(fc.uint8Array({ maxLength: 200 }), fc.boolean(), (noise, dressed) => {
      const head = Buffer.concat([Buffer.from('MILLRACE'), Buffer.from([0, 0, 0, 1])])
      const bytes = dressed ? Buffer.concat([head, noise]) : Buffer.from(noise)
      expect(() => decodeFile('x.ckpt', bytes)).toThrow(MillraceError)
    })
    fc.assert(property, { numRuns: 2_000 })
  })

  test.each([
    'null',
    '[]',
    '{}',
    '{"tasks":5}',
    '{"tasks":[{}]}',
    '{"checkpoint":"x","tasks":[]}',
    '{"checkpoint":"-1","tasks":[]}',
  ])('whose manifest is sound JSON and no manifest is refused with a code: %s', (text) => {
    const json = Buffer.from(text)
    const footer = Buffer.alloc(8)
    footer.writeUInt32BE(json.length, 0)
    footer.writeUInt32BE(crc32c(json), 4)
    const bytes = Buffer.concat([Buffer.from('MILLRACE\0\0\0\x01', 'latin1'), json, footer])
    expect(() => decodeFile('x.ckpt', bytes)).toThrow(MillraceError)
  })
})

describe('a file’s name', () => {
  test('holds checkpoint, instance and incarnation, and sorts by checkpoint', () => {
    const name = fileName(checkpointId(123), 'host-1-0', 'f00d')
    expect(name).toBe('00000000000000000123-host-1-0-f00d.ckpt')
    expect(parseFileName(name)).toEqual({ checkpoint: 123n, instance: 'host-1-0' })
    expect(fileName(checkpointId(9), 'z', 'f') < fileName(checkpointId(10), 'a', '0')).toBe(true)
  })

  test.each(['STORE', '7-a-f.ckpt', '00000000000000000007-a-f.ckpt.tmp', '00000000000000000007-A-f.ckpt', ''])(
    '%j is none',
    (name) => {
      expect(parseFileName(name)).toBeUndefined()
    },
  )
})

describe('a pointer', () => {
  const pointer: Pointer = {
    checkpoint: checkpointId(2n ** 62n),
    file: 'f.ckpt',
    length: 2 ** 40,
    checksum: '00ff00ff',
  }

  test('comes back as it was, as short ASCII', () => {
    const text = encodePointer(pointer)
    expect(decodePointer(text)).toEqual(pointer)
    expect(text).toMatch(/^[\x20-\x7e]+$/)
    expect(encodePointer(decodePointer(text) ?? pointer)).toBe(text)
  })

  test('has at most 4096 characters, else the instance name is at fault', () => {
    const withName = (length: number): string => encodePointer({ ...pointer, file: 'f'.repeat(length) })
    const room = 4096 - withName(0).length
    expect(withName(room)).toHaveLength(4096)
    expect(() => withName(room + 1)).toThrow(/OPTION_INVALID.*4097 characters.*shorter instance name/)
  })

  test.each(['', 'x', 'null', '5', '[]', '{}', '{"f":"1"}', '{"f":1}', '{"f":1,"id":7,"file":"a","len":1,"crc":"a"}'])(
    '%j is not ours',
    (text) => {
      expect(decodePointer(text)).toBeUndefined()
    },
  )

  test('of a later format is an error, not a stranger’s', () => {
    expect(() => decodePointer('{"f":2}')).toThrow(/CHECKPOINT_MISMATCH.*format 2/)
  })

  test('of strangers never ends in another error', () => {
    const property = fc.property(fc.oneof(fc.json(), fc.string()), (text) => {
      try {
        decodePointer(text)
      } catch (error) {
        expect(error).toBeInstanceOf(MillraceError)
      }
    })
    fc.assert(property, { numRuns: 2_000 })
  })

  test.each(['{"f":1,"id":"x","file":"a","len":1,"crc":"a"}', '{"f":1,"id":"-7","file":"a","len":1,"crc":"a"}'])(
    'with an id that is none is not ours: %s',
    (text) => {
      expect(decodePointer(text)).toBeUndefined()
    },
  )
})
