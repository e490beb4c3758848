/** What one sees while it runs: a few lines drawn over in a terminal, one plain line every two seconds elsewhere. */
import { stdout } from 'node:process'
import type { WorkerView } from './pipeline-process.ts'

export interface Progress {
  readonly elapsedMs: number
  readonly in: number
  readonly total: number
  readonly out: number
  readonly kills: number
  readonly killsPlanned: number
  readonly lastRecoveryMs: number | null
  readonly workers: readonly WorkerView[]
}

const redrawEveryMs = 200
const plainEveryMs = 2_000
const barWidth = 30

export class ProgressView {
  readonly #read: () => Progress
  readonly #terminal: boolean
  #timer: NodeJS.Timeout | null = null
  #drawn = 0

  constructor(read: () => Progress) {
    this.#read = read
    this.#terminal = stdout.isTTY === true
  }

  start(): void {
    this.#timer = setInterval(() => this.#show(), this.#terminal ? redrawEveryMs : plainEveryMs)
  }

  /** Shows the last state once more and leaves it standing. Idempotent. */
  stop(): void {
    if (this.#timer === null) return
    clearInterval(this.#timer)
    this.#timer = null
    this.#show()
    this.#drawn = 0
  }

  /** A line of its own, above the moving ones. */
  say(line: string): void {
    this.#erase()
    stdout.write(`${line}\n`)
    if (this.#terminal && this.#timer !== null) this.#show()
  }

  #show(): void {
    const progress = this.#read()
    if (!this.#terminal) {
      stdout.write(`${plainLine(progress)}\n`)
      return
    }
    this.#erase()
    const lines = drawnLines(progress).map((line) => line.slice(0, stdout.columns ?? 120))
    stdout.write(`${lines.join('\n')}\n`)
    this.#drawn = lines.length
  }

  #erase(): void {
    if (this.#drawn > 0) stdout.write(`\x1b[${this.#drawn}A\x1b[J`)
    this.#drawn = 0
  }
}

function plainLine(progress: Progress): string {
  const workers = progress.workers.map((worker) => `${worker.slot}:${worker.state}`).join(' ')
  return [
    `${seconds(progress.elapsedMs)}  in ${number(progress.in)} of ${number(progress.total)}`,
    `out ${number(progress.out)}`,
    `lag ${number(lag(progress))}`,
    `kills ${progress.kills} of ${progress.killsPlanned}`,
    `last recovery ${recovery(progress)}`,
    `workers ${workers}`,
  ].join('  ')
}

function drawnLines(progress: Progress): string[] {
  const filled = Math.round((barWidth * progress.out) / Math.max(1, progress.total))
  const bar = '█'.repeat(Math.min(filled, barWidth)).padEnd(barWidth, '·')
  const perSecond = progress.elapsedMs > 0 ? (progress.out * 1_000) / progress.elapsedMs : 0
  return [
    `  ${bar}  ${seconds(progress.elapsedMs)}`,
    `  in     ${number(progress.in).padStart(12)}  of ${number(progress.total)}`,
    `  out    ${number(progress.out).padStart(12)}  ${number(Math.round(perSecond))} a second, lag ${number(lag(progress))}`,
    `  kills  ${String(progress.kills).padStart(12)}  of ${progress.killsPlanned}, last recovery ${recovery(progress)}`,
    ...progress.workers.map((worker) => {
      const life = worker.starts > 1 ? `, life ${worker.starts}` : ''
      return `  worker ${worker.slot}  ${worker.state.padEnd(9)} ${worker.instance} (pid ${worker.pid}${life})`
    }),
  ]
}

function lag(progress: Progress): number {
  return Math.max(0, progress.in - progress.out)
}

function recovery(progress: Progress): string {
  return progress.lastRecoveryMs === null ? '-' : `${progress.lastRecoveryMs} ms`
}

function seconds(ms: number): string {
  return `${(ms / 1_000).toFixed(1).padStart(5)} s`
}

export function number(value: number): string {
  return value.toLocaleString('en-US')
}
