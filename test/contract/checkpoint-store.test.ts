/**
 * Goal: every checkpoint store keeps the contract: files are created once, durable, and never replaced. Method: the suite
 * against both stores; what only a folder can suffer (strangers' files, other processes, crashes) against a real folder.
 */
import { spawn } from 'node:child_process'
import { mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, test } from '@jest/globals'
import { DirectoryStore, MEMORY_STORE_BYTES_MAX, MemoryStore } from '../../src/checkpoint/store.ts'
import { checkpointStoreContract } from './checkpoint-store.ts'

const name = '00000000000000000007-worker-0-abc123.ckpt'

describe('a folder keeps the contract', () => {
  const create = async () => {
    const folder = await mkdtemp(join(tmpdir(), 'millrace-store-'))
    return {
      open: () => new DirectoryStore(join(folder, 'deep', 'store')),
      remove: () => rm(folder, { recursive: true, force: true }),
    }
  }
  test.each(checkpointStoreContract({ create }))('$name', ({ run }) => run())
})

describe('memory keeps the contract', () => {
  const create = async () => {
    const store = new MemoryStore()
    return { open: () => store, remove: async () => undefined }
  }
  test.each(checkpointStoreContract({ create }))('$name', ({ run }) => run())

  test('it holds 5 MiB in all and says what to use instead', async () => {
    const store = new MemoryStore()
    await store.open('orders')
    await store.create('a.ckpt', [Buffer.alloc(MEMORY_STORE_BYTES_MAX - 10)])
    const refused = { code: 'CHECKPOINT_TOO_LARGE', message: expect.stringContaining('directory') }
    await expect(store.create('b.ckpt', [Buffer.alloc(11)])).rejects.toMatchObject(refused)
    expect(await store.list()).toEqual(['a.ckpt'])
    await store.create('c.ckpt', [Buffer.alloc(10)])
    await store.delete('a.ckpt')
    await store.create('d.ckpt', [Buffer.alloc(11)])
  })
})

describe('a folder among other things', () => {
  let folder: string
  beforeEach(async () => {
    folder = await mkdtemp(join(tmpdir(), 'millrace-store-'))
  })
  afterEach(() => rm(folder, { recursive: true, force: true }))

  test('strangers’ files are named and refused', async () => {
    await writeFile(join(folder, 'holiday.jpg'), '')
    const refused = { code: 'STORE_FOREIGN_FILE', message: expect.stringContaining('holiday.jpg') }
    await expect(new DirectoryStore(folder).open('orders')).rejects.toMatchObject(refused)
  })

  test.each(['', 'not JSON', '[]', 'null', '{"pipeline": 5}'])(
    'an identity file that is not ours (%j) is refused',
    async (text) => {
      await writeFile(join(folder, 'STORE'), text)
      await expect(new DirectoryStore(folder).open('orders')).rejects.toMatchObject({ code: 'STORE_FOREIGN_FILE' })
    },
  )

  test('what a crash left half-written is no file, and in nobody’s way', async () => {
    const store = new DirectoryStore(folder)
    await store.open('orders')
    await writeFile(join(folder, `.${name}.f00.tmp`), 'half')
    await store.open('orders')
    expect(await store.list()).toEqual([])
    await store.create(name, [Buffer.from('whole')])
    expect(await store.list()).toEqual([name])
    expect(await readFile(join(folder, name), 'utf8')).toBe('whole')
  })

  test('no temporary file is left, whether create succeeds or not', async () => {
    const store = new DirectoryStore(folder)
    await store.open('orders')
    await store.create(name, [Buffer.from('whole')])
    await expect(store.create(name, [Buffer.from('again')])).rejects.toMatchObject({ code: 'STORE_UNWRITABLE' })
    expect((await readdir(folder)).sort()).toEqual([name, 'STORE'])
  })

  test('a place that cannot be written says so', async () => {
    await writeFile(join(folder, 'file'), '')
    const refused = { code: 'STORE_UNWRITABLE', message: expect.stringContaining(folder) }
    await expect(new DirectoryStore(join(folder, 'file', 'store')).open('orders')).rejects.toMatchObject(refused)
  })

  test('a folder that vanished is unwritable, and is not made again behind the operator’s back', async () => {
    const store = new DirectoryStore(join(folder, 'store'))
    await store.open('orders')
    await rm(join(folder, 'store'), { recursive: true })
    await expect(store.create(name, [Buffer.from('x')])).rejects.toMatchObject({ code: 'STORE_UNWRITABLE' })
    expect(await readdir(folder)).toEqual([])
  })

  test('of processes that create one name at once exactly one wins', async () => {
    await new DirectoryStore(folder).open('orders')
    const url = new URL('../../src/checkpoint/store.ts', import.meta.url).href
    const program = `
      const { DirectoryStore } = await import(${JSON.stringify(url)})
      const store = new DirectoryStore(${JSON.stringify(folder)})
      await store.open('orders')
      process.stdout.write('ready')
      await new Promise((resolve) => process.stdin.once('data', resolve))
      const outcome = await store.create('${name}', [Buffer.from(String(process.pid))]).then(() => 'won', (error) => error.code)
      process.stdout.write(' ' + outcome)
      process.exit(0)`
    const children = Array.from({ length: 4 }, () =>
      spawn(process.execPath, ['--disable-warning=ExperimentalWarning', '--input-type=module', '-e', program], {
        stdio: ['pipe', 'pipe', 'inherit'],
      }),
    )
    const outputs = children.map(() => '')
    const reached = (count: number) => outputs.every((output) => output.split(' ').length === count && output !== '')
    await new Promise<void>((resolve) => {
      for (const [index, child] of children.entries()) {
        child.stdout.setEncoding('utf8').on('data', (text: string) => {
          outputs[index] += text
          if (reached(1)) for (const each of children) each.stdin.write('go\n')
          if (reached(2)) resolve()
        })
      }
    })
    const winners = children.filter((_, index) => outputs[index] === 'ready won')
    expect(winners).toHaveLength(1)
    expect(outputs.filter((output) => output === 'ready STORE_UNWRITABLE')).toHaveLength(3)
    expect(await readFile(join(folder, name), 'utf8')).toBe(String(winners[0]?.pid))
  })
})
