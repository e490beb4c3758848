/**
 * What LevelDB takes by itself for entries like those of the state bench, in a process of its own: puts in the order of their names,
 * 20,000 at a time, and gets of keys here and there. Prints a line of JSON.
 */
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Random } from '../../pipelines/nexmark/generator.ts'
import { silentLogger } from '../../src/base/log.ts'
import { LevelDatabase, STORED_BESIDE } from '../../src/state/leveldb/database.ts'
import { cacheBytesMax } from './state-bench.ts'

export interface LevelFloor {
  readonly putNs: number
  readonly getNs: number
}

const keys = Number(process.argv[2])
const gets = 400_000
const perBatch = 20_000
/** As three numbers stand there. */
const value = Buffer.alloc(35, 7)

const nameAt = (index: number): Buffer => {
  const key = Buffer.from(`auction-${index}`)
  const head = Buffer.from([0, 0, 0, 1, 0, key.length])
  return Buffer.concat([head, key, Buffer.from([0x80, 0])])
}

const beside = Buffer.concat([value, Buffer.alloc(STORED_BESIDE)])
const entryOf = (name: Buffer): Buffer => Buffer.concat([name, beside])

async function cpuNs(calls: number, work: () => Promise<void>): Promise<number> {
  const before = process.cpuUsage()
  await work()
  const { user, system } = process.cpuUsage(before)
  return ((user + system) * 1_000) / calls
}

const folder = mkdtempSync(join(tmpdir(), 'millrace-level-floor-'))
const db = await LevelDatabase.open(folder, silentLogger, cacheBytesMax)
const batches = Array.from({ length: Math.ceil(keys / perBatch) }, (_, batch) =>
  Array.from({ length: Math.min(perBatch, keys - batch * perBatch) }, (_, index) =>
    entryOf(nameAt(batch * perBatch + index)),
  ).sort(Buffer.compare),
)
const putNs = await cpuNs(keys, async () => {
  for (const entries of batches) {
    const batch = db.batch()
    for (const entry of entries) batch.putIn(entry, 0, entry.length - beside.length, value.length)
    await batch.write()
  }
})
const random = new Random(7)
const asked = Array.from({ length: gets }, () => nameAt(Math.floor(random.next() * keys)))
const getNs = await cpuNs(gets, async () => {
  for (const name of asked) if (!db.getAscii(name)) throw new Error(`${name.toString('hex')} is not there`)
})
await db.close()
rmSync(folder, { recursive: true })
process.stdout.write(JSON.stringify({ putNs, getNs } satisfies LevelFloor))
