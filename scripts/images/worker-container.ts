// A worker's container, whoever started it: signals, health, readiness, what it wrote last.
import { setTimeout as pause } from 'node:timers/promises'
import { docker } from './docker.ts'

/** Longer than the pipeline's own grace period of 30 s. */
const stopLimitS = 40

/** What /readyz says. */
export interface Readiness {
  readonly ready: boolean
  readonly tasks: number
}

export class WorkerContainer {
  readonly name: string

  constructor(name: string) {
    this.name = name
  }

  /** SIGKILL to all of it: supervisor, worker and spare. */
  async kill(): Promise<void> {
    await docker(['kill', '--signal', 'KILL', this.name])
    await docker(['wait', this.name])
  }

  /** The same container again: host name, volume. */
  async start(): Promise<void> {
    await docker(['start', this.name])
  }

  /** The image's stop signal and its grace period. Gives the exit code. */
  async stop(): Promise<number> {
    await docker(['stop', '--time', String(stopLimitS), this.name], 60_000)
    return Number(await this.inspect('{{.State.ExitCode}}'))
  }

  inspect(format: string): Promise<string> {
    return docker(['inspect', '--format', format, this.name])
  }

  exec(args: readonly string[]): Promise<string> {
    return docker(['exec', this.name, ...args])
  }

  /** Asked from inside, where the port is known. Not ready while nobody answers. */
  async readiness(): Promise<Readiness> {
    const program = `const page = await fetch('http://127.0.0.1:9464/readyz'); console.log(JSON.stringify({ ready: page.ok, tasks: (await page.json()).tasks }))`
    try {
      return JSON.parse(await this.exec(['node', '--input-type=module', '-e', program])) as Readiness
    } catch {
      return { ready: false, tasks: 0 }
    }
  }

  /** @throws Error naming what was waited for */
  async until(what: string, met: () => Promise<boolean>, limitMs = 90_000): Promise<void> {
    const untilMs = performance.now() + limitMs
    while (!(await met())) {
      if (performance.now() > untilMs) throw new Error(`${this.name}: not ${what} after ${limitMs} ms`)
      await pause(250)
    }
  }

  logs(): Promise<string> {
    return docker(['logs', '--tail', '40', this.name]).catch(String)
  }
}
