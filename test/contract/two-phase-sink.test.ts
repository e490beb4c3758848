/**
 * Goal: the sink in memory, the model for all others, and the one for files keep the contract of two-phase commit sinks. Method: the
 * suite; what it forbids is also tried on the ledger itself, and on a folder.
 */
import { mkdtemp, readdir, readFile, rm, stat, truncate, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { describe, expect, test } from '@jest/globals'
import { fileSink } from '../../connectors/file/index.ts'
import { MemoryLedger, memorySink } from '../../connectors/memory/index.ts'
import { silentLogger } from '../../src/base/log.ts'
import { checkpointId, type RecordContext, type TwoPhaseCommitSink } from '../../src/connector.ts'
import { json, utf8 } from '../../src/index.ts'
import { twoPhaseSinkContract } from './two-phase-sink.ts'

async function create() {
  const ledger = new MemoryLedger()
  return {
    open: (operator: string, partition: number) =>
      memorySink(ledger).open({ pipeline: 'orders', operator, partition, log: silentLogger }),
    visible: async () => ledger.visible,
    remove: async () => expect(ledger.pending).toEqual([]),
  }
}

describe('a sink in memory keeps the contract, and leaves nothing pending', () => {
  test.each(twoPhaseSinkContract({ create }))('$name', ({ run }) => run())
})

describe('the ledger', () => {
  test('refuses what loses or doubles records', () => {
    const ledger = new MemoryLedger()
    const name = ledger.begin('owner')
    expect(() => ledger.commit(name)).toThrow('is open, not prepared')
    ledger.prepare(name)
    expect(() => ledger.write(name, 'late')).toThrow('is prepared, not open')
    ledger.commit(name)
    expect(() => ledger.abort(name)).toThrow('cannot be aborted')
    expect(() => ledger.commit('owner#99')).toThrow('is unknown')
  })
})

/** Lines of the visible files, in the order in which they became visible. */
async function linesIn(folder: string): Promise<unknown[]> {
  const names = (await readdir(folder)).filter((name) => !name.startsWith('.'))
  const files = await Promise.all(
    names.map(async (name) => ({ name, at: (await stat(join(folder, name), { bigint: true })).ctimeNs })),
  )
  const sorted = files.sort((a, b) => Number(a.at - b.at))
  const texts = await Promise.all(sorted.map(({ name }) => readFile(join(folder, name), 'utf8')))
  return texts.flatMap((text) =>
    text
      .split('\n')
      .filter((line) => line !== '')
      .map((line) => JSON.parse(line) as unknown),
  )
}

const newFolder = (): Promise<string> => mkdtemp(join(tmpdir(), 'millrace-files-'))

async function createFolder() {
  const folder = await newFolder()
  return {
    open: (operator: string, partition: number) =>
      fileSink({ folder, value: json<unknown>() }).open({
        ...{ pipeline: 'orders', operator, partition, log: silentLogger },
      }) as TwoPhaseCommitSink,
    visible: () => linesIn(folder),
    remove: async () => {
      const left = (await readdir(folder)).filter((name) => name.startsWith('.'))
      await rm(folder, { recursive: true })
      expect(left).toEqual([])
    },
  }
}

describe('files keep the contract, and leave nothing pending', () => {
  test.each(twoPhaseSinkContract({ create: createFolder }))('$name', ({ run }) => run())
})

describe('a folder', () => {
  const record = { topic: 'in', partition: 2, offset: 7n } as RecordContext
  const opened = (folder: string, value = json<string>()) =>
    fileSink({ folder, value }).open({ pipeline: 'p', operator: 'o', partition: 0, log: silentLogger })

  test('gets many megabytes in pieces, in order, under one name', async () => {
    const folder = await newFolder()
    const sink = opened(folder)
    await sink.recover([])
    await sink.begin()
    const lines = Array.from({ length: 30_000 }, (_, index) => `${index} ${'x'.repeat(100)}`)
    for (const line of lines) sink.write(line, record)
    await sink.commit(await sink.prepare(checkpointId(1)))
    expect(await readdir(folder)).toEqual([expect.stringMatching(/^p\.o\.0\.0{20}-[0-9a-f]+\.jsonl$/)])
    expect(await linesIn(folder)).toEqual(lines)
    await rm(folder, { recursive: true })
  })

  test('a line feed inside a value is refused, and leaves nothing behind', async () => {
    const folder = await newFolder()
    const sink = opened(folder, utf8 as never)
    await sink.begin()
    expect(() => sink.write('two\nlines', record)).toThrow(/SERIALIZE_FAILED: a value made from in-2@7 has a line feed/)
    sink.write('"one"', record)
    await sink.commit(await sink.prepare(checkpointId(1)))
    expect(await linesIn(folder)).toEqual(['one'])
    await rm(folder, { recursive: true })
  })

  test('what is gone, or was cut, is loud; a folder that cannot be written is told', async () => {
    const folder = await newFolder()
    const sink = opened(folder)
    await sink.begin()
    sink.write('a', record)
    const handle = await sink.prepare(checkpointId(1))
    const [pending = ''] = await readdir(folder)
    await truncate(join(folder, pending), 1)
    await expect(sink.commit(handle)).rejects.toThrow(/SINK_TRANSACTION_LOST: file .* has 1 bytes, not 4/)
    await expect(sink.commit({ name: 'p.o.0.1-a', bytes: 4 })).rejects.toThrow(/SINK_TRANSACTION_LOST: file .* is gone/)
    const file = join(folder, 'file')
    await writeFile(file, '')
    await expect(opened(file).begin()).rejects.toThrow(
      /SINK_UNWRITABLE: folder .*file of a file sink could not be opened/,
    )
    await rm(folder, { recursive: true })
    expect(() => fileSink({ folder, value: json(), extension: '../x' })).toThrow(/OPTION_INVALID/)
  })
})
