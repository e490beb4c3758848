/**
 * Goal: the sink in memory, the model for all others, and the one for files keep the contract of two-phase commit sinks. Method: the
 * suite; what it forbids is also tried on the ledger itself, and on a folder.
 */
import { mkdtemp, readdir, readFile, rm, stat, truncate, utimes, writeFile } from 'node:fs/promises'
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
      memorySink(ledger).open({ pipeline: 'orders', operator, partition, log: silentLogger, wake: () => {} }),
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

const hidden = async (folder: string): Promise<string[]> =>
  (await readdir(folder)).filter((name) => name.startsWith('.'))

/** As if it had been left two hours ago. */
async function age(folder: string): Promise<void> {
  const then = new Date(Date.now() - 7_200_000)
  for (const name of await hidden(folder)) await utimes(join(folder, name), then, then)
}

async function createFolder() {
  const folder = await newFolder()
  const places = new Map<string, () => TwoPhaseCommitSink>()
  return {
    open: (operator: string, partition: number) => {
      const open = () =>
        fileSink({ folder, value: json<unknown>() }).open({
          ...{ pipeline: 'orders', operator, partition, log: silentLogger, wake: () => {} },
        }) as TwoPhaseCommitSink
      places.set(`${operator} ${partition}`, open)
      return open()
    },
    visible: () => linesIn(folder),
    remove: async () => {
      await age(folder)
      for (const open of places.values()) await open().recover([])
      expect(await hidden(folder)).toEqual([])
      await rm(folder, { recursive: true })
    },
  }
}

describe('files keep the contract, and leave nothing pending', () => {
  test.each(twoPhaseSinkContract({ create: createFolder }))('$name', ({ run }) => run())
})

const record = { topic: 'in', partition: 2, offset: 7n } as RecordContext
const opened = (folder: string, value = json<string>(), wake = () => {}) =>
  fileSink({ folder, value }).open({ pipeline: 'p', operator: 'o', partition: 0, log: silentLogger, wake })

describe('a folder', () => {
  test('gets many megabytes in pieces, in order, under one name', async () => {
    const folder = await newFolder()
    const sink = opened(folder)
    await sink.recover([])
    await sink.begin()
    const lines = Array.from({ length: 30_000 }, (_, index) => `${index} ${'x'.repeat(100)}`)
    for (const line of lines) sink.write(line, record)
    await sink.commit(await sink.prepare(checkpointId(1)))
    expect((await readdir(folder)).filter((name) => !name.startsWith('.'))).toEqual([
      expect.stringMatching(/^p\.o\.0\.0{19}1-[0-9a-f]+\.jsonl$/),
    ])
    expect(await linesIn(folder)).toEqual(lines)
    await rm(folder, { recursive: true })
  })

  test('a disk that is slower than records: full while much waits for it, and it says when it is no more', async () => {
    const folder = await newFolder()
    const empty = Promise.withResolvers<void>()
    const sink = opened(folder, json<string>(), empty.resolve)
    await sink.begin()
    const line = 'x'.repeat(2 ** 20)
    let lines = 0
    // In one turn: nothing gets to the disk meanwhile.
    for (; !sink.full; lines++) sink.write(line, record)
    expect(lines).toBe(16)
    await empty.promise
    expect(sink.full).toBe(false)
    await sink.commit(await sink.prepare(checkpointId(1)))
    expect(await linesIn(folder)).toEqual(Array(lines).fill(line))
    await rm(folder, { recursive: true })
  })

  test('a disk that takes nothing: full no more when what waited is lost, and the next barrier tells', async () => {
    const folder = await newFolder()
    const empty = Promise.withResolvers<void>()
    const sink = opened(folder, json<string>(), empty.resolve)
    await sink.begin()
    await rm(folder, { recursive: true })
    while (!sink.full) sink.write('x'.repeat(2 ** 20), record)
    await empty.promise
    await expect(sink.prepare(checkpointId(1))).rejects.toThrow(/SINK_UNWRITABLE: folder .* could not be written/)
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
    await expect(sink.commit({ name: 'p.o.0.1-a.jsonl', bytes: 4 })).rejects.toThrow(
      /SINK_TRANSACTION_LOST: file .* is gone, .* create .*\.p\.o\.0\.1-a\.jsonl\.done, empty/,
    )
    const file = join(folder, 'file')
    await writeFile(file, '')
    await expect(opened(file).begin()).rejects.toThrow(
      /SINK_UNWRITABLE: folder .*file of a file sink could not be opened/,
    )
    await rm(folder, { recursive: true })
    expect(() => fileSink({ folder, value: json(), extension: '../x' })).toThrow(/OPTION_INVALID/)
  })
})

describe('a folder that others use, too', () => {
  test('a committed file may be taken away at once: recovery neither misses it nor brings it back', async () => {
    const folder = await newFolder()
    const sink = opened(folder)
    await sink.begin()
    sink.write('a', record)
    const first = await sink.prepare(checkpointId(1))
    await sink.commit(first)
    await rm(join(folder, String(first.name)))
    await age(folder)
    const next = opened(folder)
    await next.recover([first])
    expect(await linesIn(folder)).toEqual([])
    next.write('b', record)
    await next.commit(await next.prepare(checkpointId(2)))
    expect(await linesIn(folder)).toEqual(['b'])
    expect(await hidden(folder)).toEqual([expect.stringMatching(/^\.p\.o\.0\.0{19}2-.*\.done$/)])
    await rm(folder, { recursive: true })
  })

  test('a worker that was paused in its start deletes nothing of the present owner', async () => {
    const folder = await newFolder()
    const owner = opened(folder)
    await owner.begin()
    owner.write('a', record)
    const handle = await owner.prepare(checkpointId(1))
    await opened(folder).recover([])
    await owner.commit(handle)
    expect(await linesIn(folder)).toEqual(['a'])
    await rm(folder, { recursive: true })
  })

  test('nothing written leaves nothing to commit; a serde that wants memory of its own writes whole lines', async () => {
    const folder = await newFolder()
    const own = {
      ...json<string>(),
      appends: false,
      encode: (value: string, out: { reset(): void; utf8(text: string): void }) => {
        out.reset()
        out.utf8(JSON.stringify(value))
      },
    }
    const sink = opened(folder, own as never)
    await sink.begin()
    expect(await sink.prepare(checkpointId(1))).toEqual({})
    for (const line of ['a', 'b']) sink.write(line, record)
    await sink.commit(await sink.prepare(checkpointId(2)))
    expect(await linesIn(folder)).toEqual(['a', 'b'])
    await rm(folder, { recursive: true })
  })
})
