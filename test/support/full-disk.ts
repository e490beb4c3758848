/**
 * A process that writes numbered values into a LevelDB, each with its number as the newest one, meets a full disk on the way, goes on
 * as far as it may, and dies. Argument: the folder. A process of its own: libraries of the test runner end it at that signal.
 */
import { silentLogger } from '../../src/base/log.ts'
import { LevelDatabase } from '../../src/state/leveldb/database.ts'
import { limitFiles } from './file-limit.ts'

/** Written before the disk is full. */
export const BEFORE = 50
const ALL = 20_000

export const NEWEST: Buffer = Buffer.from('newest')
export const valueKey = (number: number): Buffer => Buffer.from(`value-${number}`)

async function main(folder: string): Promise<void> {
  const db = await LevelDatabase.open(folder, silentLogger, 2 ** 28)
  // Of many lengths, so that some write begins where a block of LevelDB's log does.
  const put = async (number: number): Promise<'written' | 'refused'> => {
    const batch = db.batch()
    batch.put(valueKey(number), Buffer.alloc(20 + ((number * 7_919) % 401)))
    batch.put(NEWEST, Buffer.from(String(number)))
    return batch.write().then(
      () => 'written',
      () => 'refused',
    )
  }
  for (let number = 0; number < BEFORE; number++) await put(number)
  await limitFiles(process.pid, 4_096)
  process.stdout.write(`${await put(BEFORE)}\n`)
  await limitFiles(process.pid, 'unlimited')
  for (let number = BEFORE; number < ALL; number++) if ((await put(number)) === 'refused') break
  process.kill(process.pid, 'SIGKILL')
}

const [, self = '', folder] = process.argv
if (self.endsWith('full-disk.ts') && folder !== undefined) await main(folder)
