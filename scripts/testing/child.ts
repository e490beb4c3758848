// Child processes of the scripts: by the pinned Node, without stdin, in a process group of their own, so that a time-out
// ends all of them and nothing else.
import { type ChildProcess, type StdioOptions, spawn } from 'node:child_process'
import { join, resolve } from 'node:path'

export const root: string = resolve(import.meta.dirname, '..', '..')
export const tool = (path: string): string => join(root, 'node_modules', path)

const running = new Set<ChildProcess>()

export interface ChildResult {
  /** null: ended by a signal, or never started. */
  readonly status: number | null
  readonly output: string
}

export interface ChildOptions {
  /** `errors`: stderr is shown and captured, stdout is dropped. */
  readonly output: 'capture' | 'errors'
  readonly env?: Readonly<Record<string, string>>
  /** Ends the child early; it is asked every quarter of a second. */
  readonly giveUp?: () => boolean
}

/** Runs `args` by this Node. Never rejects. */
export function runNode(args: readonly string[], options: ChildOptions): Promise<ChildResult> {
  const stdio: StdioOptions = options.output === 'capture' ? ['ignore', 'pipe', 'pipe'] : ['ignore', 'ignore', 'pipe']
  const child = spawn(process.execPath, [...args], {
    cwd: root,
    detached: process.platform !== 'win32',
    stdio,
    env: { ...process.env, ...options.env },
  })
  running.add(child)
  const chunks: string[] = []
  for (const stream of [child.stdout, child.stderr]) {
    stream?.setEncoding('utf8').on('data', (chunk: string) => {
      chunks.push(chunk)
      if (options.output === 'errors') process.stderr.write(chunk)
    })
  }
  const watch = setInterval(() => {
    if (options.giveUp?.()) endGroup(child)
  }, 250)
  return new Promise((done) => {
    const settle = (status: number | null): void => {
      clearInterval(watch)
      running.delete(child)
      done({ status, output: chunks.join('') })
    }
    child.once('error', (error) => {
      chunks.push(`${error.message}\n`)
      settle(null)
    })
    child.once('close', (status) => settle(status))
  })
}

function endGroup(child: ChildProcess): void {
  if (child.pid === undefined || child.exitCode !== null || child.signalCode !== null) return
  try {
    if (process.platform === 'win32') child.kill('SIGKILL')
    else process.kill(-child.pid, 'SIGKILL')
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ESRCH') throw error
  }
}

/** Everything that was started here and still runs. */
export function endChildren(): void {
  for (const child of running) endGroup(child)
}
