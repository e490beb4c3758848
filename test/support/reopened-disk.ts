/**
 * A process whose two tasks share a LevelDB, one of which meets a full disk; then a third one opens the folder anew. Tells what became of
 * what each was to keep, as JSON. Argument: the folder. A process of its own: libraries of the test runner end it at that signal.
 */
import { isCode } from '../../src/base/errors.ts'
import { taskId } from '../../src/base/ids.ts'
import { silentLogger } from '../../src/base/log.ts'
import { LevelBackend } from '../../src/state/leveldb/backend.ts'
import type { LevelTaskDisk } from '../../src/state/leveldb/task-disk.ts'
import { Row, SegmentWriter } from '../../src/state/segment.ts'
import { limitFiles } from './file-limit.ts'

function segment(bytes: number): readonly Buffer[] {
  const writer = new SegmentWriter()
  const state = writer.register({
    ...{ operator: 'operator', name: 'note', kind: 'value', key: 'utf8', serde: 'utf8', mapKey: '' },
  })
  writer.raw(state, Row.PUT, Buffer.from('key'), null, Buffer.alloc(bytes, 'x'))
  return writer.finish('keep-empty') ?? []
}

async function main(folder: string): Promise<void> {
  const place = { folder, pipeline: 'tested', instance: 'worker', cacheBytesMax: 2 ** 20, log: silentLogger }
  const backend = await LevelBackend.open(place)
  let segments = 0
  const keeps = (disk: LevelTaskDisk, bytes = 10): Promise<string> =>
    disk.apply(`segment-${segments++}`, segment(bytes), false).then(
      () => 'kept',
      (error: unknown) => (isCode(error, 'STATE_DISK') ? 'STATE_DISK' : String(error)),
    )
  const stays = await backend.open(taskId('stage', 0))
  const fails = await backend.open(taskId('stage', 1))
  await keeps(stays)
  await limitFiles(process.pid, 4_096)
  const told: Record<string, string> = { fails: await keeps(fails, 10_000) }
  await limitFiles(process.pid, 'unlimited')
  told['fails, with space again'] = await keeps(fails)
  told['another one'] = await keeps(await backend.open(taskId('stage', 2)))
  told.stays = await keeps(stays)
  told['stays, opened anew'] = await keeps(await backend.open(taskId('stage', 0)))
  await backend.close()
  process.stdout.write(JSON.stringify(told))
}

await main(process.argv[2] ?? '')
