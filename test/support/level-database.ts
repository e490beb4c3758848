// A LevelDB of its own for a test file, in a folder that goes with it.
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll } from '@jest/globals'
import { silentLogger } from '../../src/base/log.ts'
import { LevelDatabase } from '../../src/state/leveldb/database.ts'
import type { Puts } from '../../src/state/leveldb/puts.ts'

/** To be called once, where tests are declared; gives the database to those that run. */
export function levelDatabase(): () => LevelDatabase {
  const folder = mkdtempSync(join(tmpdir(), 'millrace-level-'))
  let db: LevelDatabase
  beforeAll(async () => {
    db = await LevelDatabase.open(folder, silentLogger, 2 ** 20)
  })
  afterAll(async () => {
    await db.close()
    rmSync(folder, { recursive: true, force: true })
  })
  return () => db
}

/** Writes what is sorted, some at a time. */
export async function written(db: LevelDatabase, source: Pick<Puts, 'emit'>): Promise<void> {
  const batch = db.batch()
  while (!source.emit(batch, 2));
  await batch.write()
}
