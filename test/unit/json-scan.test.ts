/**
 * Goal: the scan's positions are right whatever its memory held before, and its module is what its source says. Method: names and texts
 * of every length around its words and pages, several scans by turns.
 */
import { createHash } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { expect, test } from '@jest/globals'
import { JsonProjection } from '../../src/state/json-projection.ts'
import { JsonScan } from '../../src/state/json-scan.ts'
import { sourceSha256 } from '../../src/state/json-scan-module.ts'

const root = join(import.meta.dirname, '..', '..')

/** The values' texts as the scan finds them; undefined: it leaves the text to JSON.parse. */
function found(scan: JsonScan, text: string): (string | null)[] | undefined {
  const before = Buffer.from('"}')
  const all = Buffer.concat([before, Buffer.from(text)])
  if (!scan.scan(all, before.length, all.length)) return undefined
  return [...scan.starts].map((start, i) => (start < 0 ? null : all.toString('utf8', start, scan.ends[i])))
}

test('the module was made from the source that is here; else: npm run wasm', () => {
  const source = readFileSync(join(root, 'wasm', 'json-scan.ts'))
  expect(createHash('sha256').update(source).digest('hex')).toBe(sourceSha256)
})

test('names of any length are told apart by their first and last byte', () => {
  for (let length = 0; length < 40; length++) {
    const name = 'n'.repeat(length)
    const others = [`${name}n`, ...(length > 0 ? [`${name.slice(0, -1)}m`, `m${name.slice(1)}`, name.slice(1)] : [])]
    const members = [...others, name].map((each, i) => `"${each}":${i}`)
    expect(found(new JsonScan([name]), `{${members.join(',')}}`)).toEqual([String(others.length)])
  }
})

test('a value of any length ends where it ends, at the end of the text, too', () => {
  const scan = new JsonScan(['a', 'b'])
  for (let length = 0; length < 100; length++) {
    const text = `"${'x'.repeat(length)}"`
    expect(found(scan, `{"a":${text},"b":-0.5e+7}`)).toEqual([text, '-0.5e+7'])
    expect(found(scan, `{"b":${text}}`)).toEqual([null, text])
    for (const end of [2, 1]) expect(found(scan, `{"b":${text}}`.slice(0, -end))).toBeUndefined()
  }
})

test('nothing of a longer text before it is read behind a shorter one', () => {
  const scan = new JsonScan(['a'])
  expect(found(scan, '{"a":12345678,"b":"0123456789012345678901234567890123456789"}')).toEqual(['12345678'])
  for (const cut of ['{"a":1', '{"a":"', '{"a"', '{"a":1,', '{', '']) expect(found(scan, cut)).toBeUndefined()
  expect(found(scan, '{"a":1}')).toEqual(['1'])
})

test('scans take turns: each has its own names and positions', () => {
  const [one, other] = [new JsonScan(['a']), new JsonScan(['longer name', 'b'])]
  for (let i = 0; i < 3; i++) {
    expect(found(one, `{"a":${i},"b":2}`)).toEqual([String(i)])
    const { starts } = one
    expect(found(other, `{"b":${i},"a":2,"longer name":[1]}`)).toEqual(['[1]', String(i)])
    expect([...starts]).toEqual([7])
  }
})

test('texts larger than its memory are scanned, much larger ones left to JSON.parse', () => {
  const scan = new JsonScan(['a'])
  const text = (bytes: number): string => `{"b":"${'x'.repeat(bytes)}","a":7}`
  for (const bytes of [65_000, 65_536, 200_000, 4_000_000]) expect(found(scan, text(bytes))).toEqual(['7'])
  expect(found(scan, text(5_000_000))).toBeUndefined()
  const large = Buffer.from(text(5_000_000))
  expect(new JsonProjection(['a'], scan).decode(large, 0, large.length)).toEqual({ a: 7 })
  expect(found(scan, text(10))).toEqual(['7'])
})
