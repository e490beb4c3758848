/**
 * Kafka's Java consumer, run as a child from the one file ReadCommitted.java, which is compiled once per version of itself
 * into the cache folder. The child ends by itself when its stdin closes, so it never outlives us.
 */
import { type ChildProcessByStdio, spawn } from 'node:child_process'
import { createHash } from 'node:crypto'
import { existsSync } from 'node:fs'
import { cp, mkdir, mkdtemp, readFile, rename, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { delimiter, join } from 'node:path'
import type { Readable, Writable } from 'node:stream'
import { fileURLToPath } from 'node:url'
import { CheckerError, messageOf } from './errors.ts'
import type { KafkaConnection } from './kafka.ts'
import type { Follower, OnChunk, Reader, ReadStart } from './reader.ts'
import { type RecordChunk, RecordChunkBuilder } from './record-log.ts'

const source = fileURLToPath(new URL('./ReadCommitted.java', import.meta.url))
const cache = process.env.MILLRACE_CACHE ?? fileURLToPath(new URL('../.cache', import.meta.url))
const jvmFlags = ['-Xmx512m', '-XX:+UseSerialGC', '-XX:TieredStopAtLevel=1']
const stderrKeptBytes = 4_000

type Child = ChildProcessByStdio<Writable, Readable, Readable>

/** One line of the child: the records of one partition in one poll. Lengths of −1 are null. */
interface ChunkLine {
  readonly topic: string
  readonly partition: number
  readonly at: number
  readonly offsets: readonly number[]
  readonly timestamps: readonly number[]
  readonly keys: readonly number[]
  readonly values: readonly number[]
  readonly headers: Readonly<Record<string, readonly (readonly [string, string | null])[]>>
  readonly bytes: string
}

type Line = ChunkLine | { readonly ready: true } | { readonly done: true }

export class JavaReader implements Reader {
  readonly kind = 'java' as const
  readonly #connection: KafkaConnection
  readonly #classPath: string

  private constructor(connection: KafkaConnection, classPath: string) {
    this.#connection = connection
    this.#classPath = classPath
  }

  /** Compiles the reader if it was not yet. @throws CheckerError READER_FAILED */
  static async open(connection: KafkaConnection, kafkaLibs: string | undefined): Promise<JavaReader> {
    if (kafkaLibs === undefined || !existsSync(kafkaLibs)) {
      throw new CheckerError(
        'READER_FAILED',
        `Kafka's jars are needed for the Java reader (${kafkaLibs ?? 'no folder given'})`,
      )
    }
    const version = spawn(java('java'), ['-version'], { stdio: ['pipe', 'pipe', 'pipe'] })
    version.stdout.resume()
    const said = await exitOf(version)
    if (version.exitCode !== 0) throw new CheckerError('READER_FAILED', `java does not run: ${said}`)
    const jars = join(kafkaLibs, '*')
    return new JavaReader(connection, [await compiled(jars), jars].join(delimiter))
  }

  async readToEnd(topics: readonly string[], onChunk: OnChunk, start?: ReadStart): Promise<void> {
    const child = this.#spawn('until-end', topics, start)
    let done = false
    const ended = exitOf(child)
    for await (const line of linesOf(child.stdout)) {
      if ('done' in line) done = true
      else if ('offsets' in line) onChunk(toChunk(line))
    }
    const how = await ended
    if (!done) throw new CheckerError('READER_FAILED', `the Java reader of ${topics.join(', ')} did not finish: ${how}`)
  }

  async follow(topics: readonly string[], onChunk: OnChunk): Promise<Follower> {
    const child = this.#spawn('follow', topics)
    const ended = exitOf(child)
    const state: { failure: Error | null; stopped: boolean } = { failure: null, stopped: false }
    const ready = Promise.withResolvers<void>()
    const pump = async () => {
      for await (const line of linesOf(child.stdout)) {
        if ('ready' in line) ready.resolve()
        else if ('offsets' in line) onChunk(toChunk(line))
      }
    }
    const finished = pump()
      .catch((error: unknown) => messageOf(error))
      .then(async (said) => {
        const how = `${said ?? ''} ${await ended}`.trim()
        if (!state.stopped) state.failure = new CheckerError('READER_FAILED', `the Java follower ended: ${how}`)
        ready.reject(state.failure ?? new CheckerError('READER_FAILED', 'stopped'))
      })
    await ready.promise
    return {
      get failure() {
        return state.failure
      },
      stop: async () => {
        state.stopped = true
        child.stdin.end()
        const slow = setTimeout(() => child.kill('SIGKILL'), 5_000)
        await finished
        clearTimeout(slow)
      },
    }
  }

  #spawn(mode: 'until-end' | 'follow', topics: readonly string[], start?: ReadStart): Child {
    const args = [mode, this.#connection.brokers.join(',')]
    for (const topic of topics) args.push('--topic', topic)
    for (const [topic, partitions] of start ?? []) {
      for (const [partition, offset] of partitions) args.push('--start', topic, String(partition), String(offset))
    }
    for (const [name, value] of Object.entries(this.#connection.clientProperties ?? {}))
      args.push('--property', name, value)
    const command = [...jvmFlags, '-cp', this.#classPath, 'ReadCommitted', ...args]
    return spawn(java('java'), command, { stdio: ['pipe', 'pipe', 'pipe'] })
  }
}

function java(tool: 'java' | 'javac'): string {
  const home = process.env.JAVA_HOME
  return home ? join(home, 'bin', tool) : tool
}

/** The folder with the compiled class; made under a name of its own and renamed, so that many may start at once. */
async function compiled(jars: string): Promise<string> {
  const hash = createHash('sha256')
    .update(await readFile(source))
    .digest('hex')
    .slice(0, 16)
  const folder = join(cache, `checker-${hash}`)
  if (existsSync(join(folder, 'ReadCommitted.class'))) return folder
  const fresh = await mkdtemp(join(tmpdir(), 'millrace-checker-'))
  try {
    await mkdir(cache, { recursive: true })
    const child = spawn(java('javac'), ['-cp', jars, '-d', fresh, source], { stdio: ['pipe', 'pipe', 'pipe'] })
    const how = exitOf(child)
    child.stdout.resume()
    const said = await how
    if (!existsSync(join(fresh, 'ReadCommitted.class'))) {
      throw new CheckerError('READER_FAILED', `ReadCommitted.java could not be compiled: ${said}`)
    }
    const near = `${folder}.${process.pid}`
    // The cache may be on another file system than the temporary folder, where a rename cannot reach.
    await cp(fresh, near, { recursive: true })
    await rename(near, folder).catch(async (error: unknown) => {
      await rm(near, { recursive: true, force: true })
      if (!existsSync(join(folder, 'ReadCommitted.class'))) throw error
    })
    return folder
  } finally {
    await rm(fresh, { recursive: true, force: true })
  }
}

/** How the child ended, in words, with the end of its stderr. Never rejects. */
function exitOf(child: Child): Promise<string> {
  let said = ''
  child.stderr.on('data', (part: Buffer) => {
    said = (said + part.toString()).slice(-stderrKeptBytes)
  })
  child.stdin.on('error', () => {})
  return new Promise((resolve) => {
    child.on('error', (error) => resolve(error.message))
    child.on('close', (code, signal) => resolve(`${signal ?? `exit ${code}`} ${said.trim()}`))
  })
}

async function* linesOf(stream: Readable): AsyncGenerator<Line> {
  let parts: Buffer[] = []
  for await (const data of stream) {
    let rest: Buffer = data
    for (let end = rest.indexOf(10); end >= 0; end = rest.indexOf(10)) {
      parts.push(rest.subarray(0, end))
      const line: Line = JSON.parse(Buffer.concat(parts).toString('latin1'))
      yield line
      parts = []
      rest = rest.subarray(end + 1)
    }
    if (rest.length > 0) parts.push(rest)
  }
}

function toChunk(line: ChunkLine): RecordChunk {
  const builder = new RecordChunkBuilder(line.topic, line.partition, Buffer.from(line.bytes, 'base64'))
  let at = 0
  const span = (length: number): readonly [number, number] => {
    if (length < 0) return [-1, -1]
    at += length
    return [at - length, at]
  }
  line.offsets.forEach((offset, i) => {
    builder.add(offset, line.timestamps[i] ?? -1, span(line.keys[i] ?? -1), span(line.values[i] ?? -1))
  })
  for (const [index, headers] of Object.entries(line.headers)) {
    const decoded = headers.map(([name, value]) => ({
      name,
      value: value === null ? null : Buffer.from(value, 'base64'),
    }))
    builder.headers.set(Number(index), decoded)
  }
  return builder.build(line.at)
}
