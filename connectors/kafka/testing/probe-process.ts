// One running Java probe (scripts/broker/*.java), spoken to in NDJSON over stdin and stdout.
// A probe ends by itself when its stdin closes, so it cannot outlive this process.
import { type ChildProcessWithoutNullStreams, spawn } from 'node:child_process'
import { BrokerKitError } from './errors.ts'
import { type ProbeCommand, prepareProbes } from './probe-launcher.ts'

const stderrBytesMax = 8192

/** A parsed line of a probe. */
export type ProbeLine = Readonly<Record<string, unknown>>

/** What the Java side threw; `javaClass` is its simple class name, such as `UnknownTopicOrPartitionException`. */
export class JavaProbeError extends BrokerKitError {
  readonly javaClass: string

  constructor(message: string, javaClass: string) {
    super('PROBE_FAILED', `${javaClass}: ${message}`)
    this.name = 'JavaProbeError'
    this.javaClass = javaClass
  }
}

/** Command line flags for client properties. */
export function configFlags(config: Readonly<Record<string, string>> | undefined): string[] {
  return Object.entries(config ?? {}).flatMap(([key, value]) => ['--config', `${key}=${value}`])
}

/** Lines out, lines in. Whoever starts one must {@link ProbeProcess.close} or {@link ProbeProcess.kill} it. */
export class ProbeProcess implements AsyncDisposable {
  readonly #child: ChildProcessWithoutNullStreams
  readonly #kill: ProbeCommand['kill']
  readonly #ended: Promise<void>
  readonly #waiting: PromiseWithResolvers<ProbeLine>[] = []
  #onLine: ((line: ProbeLine) => void) | undefined
  #failure: BrokerKitError | undefined
  /** It has ended, well or not: it answers nobody. */
  #over: BrokerKitError | undefined
  #stderr = ''
  /** Pieces of a line whose end has not come yet. */
  readonly #partial: string[] = []

  private constructor(
    child: ChildProcessWithoutNullStreams,
    kill: ProbeCommand['kill'],
    onLine: ((line: ProbeLine) => void) | undefined,
  ) {
    this.#child = child
    this.#kill = kill
    this.#onLine = onLine
    child.stdin.on('error', () => undefined) // It ended early; #ended tells with what error.
    child.stderr.setEncoding('utf8').on('data', (text: string) => {
      this.#stderr = (this.#stderr + text).slice(-stderrBytesMax)
    })
    child.stdout.setEncoding('utf8').on('data', (text: string) => this.#receive(text))
    const { promise, resolve } = Promise.withResolvers<void>()
    child.once('error', (error) =>
      this.#fail(new BrokerKitError('PROBE_FAILED', 'java did not start', { cause: error })),
    )
    child.once('close', (status, signal) => {
      if (status !== 0) this.#fail(this.#endedEarly(`ended with ${signal ?? `status ${status}`}`))
      this.#over = this.#failure ?? this.#endedEarly('ended')
      for (const each of this.#waiting.splice(0)) each.reject(this.#over)
      resolve()
    })
    this.#ended = promise
  }

  /**
   * Starts `JavaProbe <verb> <args>`. `onLine` takes each line that is not the answer to a {@link request}; it must not
   * throw.
   */
  static async start(verb: string, args: readonly string[], onLine?: (line: ProbeLine) => void): Promise<ProbeProcess> {
    const launcher = await prepareProbes()
    const command = launcher.command([verb, ...args])
    return new ProbeProcess(spawn(command.file, command.args, { stdio: 'pipe' }), command.kill, onLine)
  }

  /** Sends a line and waits for the one line that answers it. Answers come in the order of the requests. */
  async request(line: ProbeLine): Promise<ProbeLine> {
    this.#assertAlive()
    const answer = Promise.withResolvers<ProbeLine>()
    this.#waiting.push(answer)
    this.#child.stdin.write(`${JSON.stringify(line)}\n`)
    return answer.promise
  }

  /** Sends a line that is not answered; resolves when the pipe takes more. */
  async send(line: ProbeLine): Promise<void> {
    this.#assertAlive()
    if (this.#child.stdin.write(`${JSON.stringify(line)}\n`)) return
    const drained = Promise.withResolvers<void>()
    this.#child.stdin.once('drain', drained.resolve)
    await Promise.race([drained.promise, this.#ended])
    this.#child.stdin.removeListener('drain', drained.resolve)
    if (this.#failure !== undefined) throw this.#failure
  }

  #assertAlive(): void {
    const error = this.#failure ?? this.#over
    if (error !== undefined) throw error
  }

  /** Resolves when the probe has ended by itself. @throws what ended it, if that was a failure */
  async finished(): Promise<void> {
    await this.#ended
    if (this.#failure !== undefined) throw this.#failure
  }

  /** Closes stdin, upon which every verb ends, and waits for that. @throws what ended the probe, if a failure */
  async close(): Promise<void> {
    this.#child.stdin.end()
    await this.finished()
  }

  /** SIGKILL, for tests that want a client to vanish; resolves when it is gone. Never throws. */
  async kill(): Promise<void> {
    await this.#kill?.()
    this.#child.kill('SIGKILL')
    await this.#ended
  }

  /** Ends it without caring how. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.close().catch(() => undefined)
  }

  /** Splits at line feeds only: readline also splits at U+2028 and U+2029, which JSON strings may hold as they are. */
  #receive(text: string): void {
    const lines = text.split('\n')
    const last = lines.pop() ?? ''
    for (const line of lines) {
      const whole = this.#partial.join('') + line
      this.#partial.length = 0
      this.#take(JSON.parse(whole) as ProbeLine)
    }
    if (last !== '') this.#partial.push(last)
  }

  #take(line: ProbeLine): void {
    const waiting = this.#waiting.shift()
    if (waiting !== undefined) {
      if (typeof line.error === 'string') waiting.reject(probeError(line))
      else waiting.resolve(line)
    } else if (typeof line.error === 'string' && line.class !== undefined) {
      this.#fail(probeError(line))
    } else {
      this.#onLine?.(line)
    }
  }

  #fail(error: BrokerKitError): void {
    this.#failure ??= error
  }

  #endedEarly(how: string): BrokerKitError {
    const said = this.#stderr.trim() === '' ? '' : `; stderr: ${this.#stderr.trim()}`
    return new BrokerKitError('PROBE_FAILED', `the Java probe ${how} before it answered${said}`)
  }
}

function probeError(line: ProbeLine): JavaProbeError {
  const cause = line.cause === undefined ? '' : ` (${String(line.cause)})`
  return new JavaProbeError(`${String(line.error)}${cause}`, String(line.class))
}
