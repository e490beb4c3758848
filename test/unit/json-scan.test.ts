/**
 * Goal: the scan's positions are right whatever its memory held before, and its module was made from the sources that are here. Method:
 * names and texts of every length around its words and its memory, several scans by turns; a process that cannot run the module.
 */
import { execFile } from 'node:child_process'
import { createHash } from 'node:crypto'
import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { expect, test } from '@jest/globals'
import { sourcesSha256 } from '../../src/state/json-module.ts'
import { JsonProjection } from '../../src/state/json-projection.ts'
import { JsonScan } from '../../src/state/json-scan.ts'

const root = join(import.meta.dirname, '..', '..')

/** The values' texts as the scan finds them; undefined: it leaves the text to JSON.parse. */
function found(scan: JsonScan, text: string): (string | null)[] | undefined {
  const before = Buffer.from('"}')
  const all = Buffer.concat([before, Buffer.from(text)])
  if (!scan.scan(all, before.length, all.length)) return undefined
  return [...scan.starts].map((start, i) => (start < 0 ? null : all.toString('utf8', start, scan.ends[i])))
}

test('the module was made from the sources that are here; else: npm run wasm', () => {
  const hash = createHash('sha256')
  const sources = readdirSync(join(root, 'wasm')).sort()
  for (const path of [...sources.map((name) => `wasm/${name}`), 'scripts/wasm.ts'])
    hash.update(readFileSync(join(root, path)))
  expect(hash.digest('hex')).toBe(sourcesSha256)
})

test('names of any length are told apart by each of their bytes', () => {
  for (let length = 0; length < 40; length++) {
    const name = 'n'.repeat(length)
    const alike = Array.from({ length }, (_, at) => `${name.slice(0, at)}m${name.slice(at + 1)}`)
    const others = [`${name}n`, ...alike, ...(length > 0 ? [name.slice(1)] : [])]
    const text = (names: readonly string[]): string => `{${names.map((each, i) => `"${each}":${i}`).join(',')}}`
    const scan = new JsonScan([name])
    expect(found(scan, text([name, ...others]))).toEqual(['0'])
    expect(found(scan, text([...others, name]))).toEqual([String(others.length)])
    expect(found(scan, text(others))).toEqual([null])
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

test('what is nested 64 deep is passed over, deeper or endless nesting left to JSON.parse', () => {
  const scan = new JsonScan(['a'])
  const nested = (depth: number): string => `{"b":${'['.repeat(depth)}${']'.repeat(depth)},"a":7}`
  expect(found(scan, nested(64))).toEqual(['7'])
  expect(found(scan, nested(65))).toBeUndefined()
  expect(found(scan, `{"b":${'['.repeat(100_000)}`)).toBeUndefined()
  const deep = Buffer.from(nested(65))
  expect(new JsonProjection(['a'], scan).decode(deep, 0, deep.length)).toEqual({ a: 7 })
})

test('texts are scanned as far as its memory has room, longer ones left to JSON.parse', () => {
  const scan = new JsonScan(['a'])
  const text = (bytes: number): string => `{"b":"${'x'.repeat(bytes - 14)}","a":7}`
  // A field, a name with its room, the room behind the text.
  const longest = 64 * 65_536 - 16 - 9 - 32
  for (const bytes of [65_536, longest]) expect(found(scan, text(bytes))).toEqual(['7'])
  expect(found(scan, text(longest + 1))).toBeUndefined()
  const long = Buffer.from(text(longest + 1))
  expect(new JsonProjection(['a'], scan).decode(long, 0, long.length)).toEqual({ a: 7 })
  expect(found(scan, text(20))).toEqual(['7'])
})

test('where WebAssembly does not run, JSON.parse decides', async () => {
  const program = `
    const { json } = await import('millrace')
    delete globalThis.WebAssembly
    const bytes = Buffer.from('{"b":1,"a":[2]}')
    console.log(JSON.stringify(json().only('a').decode(bytes, 0, bytes.length)))`
  const flags = ['--conditions=source', '--disable-warning=ExperimentalWarning', '--input-type=module']
  const { stdout } = await promisify(execFile)(process.execPath, [...flags, '-e', program], { cwd: root })
  expect(stdout).toBe('{"a":[2]}\n')
})
