/** CPU and memory as Linux counts them, read from /proc: the same way for every system and for the broker. */
import { execFileSync } from 'node:child_process'
import { readdirSync, readFileSync } from 'node:fs'

const ticksPerSecond = Number(execFileSync('getconf', ['CLK_TCK'], { encoding: 'utf8' }))
const usPerTick = 1_000_000 / ticksPerSecond
const relistMs = 1_000

/** User and system time of a process and of its children that ended, in µs; steps of a clock tick (10 ms). */
export function processCpuUs(pid: number): number {
  const text = readFileSync(`/proc/${pid}/stat`, 'utf8')
  // The command's name, in parentheses, may hold anything: fields are counted from behind it.
  const fields = text.slice(text.lastIndexOf(')') + 2).split(' ')
  return fields.slice(11, 15).reduce((sum, ticks) => sum + Number(ticks), 0) * usPerTick
}

/** The largest resident set that a process has had, in bytes. */
function peakRssBytes(pid: number): number {
  const status = readFileSync(`/proc/${pid}/status`, 'utf8')
  return Number(/^VmHWM:\s+(\d+) kB/m.exec(status)?.[1] ?? 0) * 1024
}

/** What is resident now. */
function rssBytes(pid: number): number {
  const status = readFileSync(`/proc/${pid}/status`, 'utf8')
  return Number(/^VmRSS:\s+(\d+) kB/m.exec(status)?.[1] ?? 0) * 1024
}

/** A process and all that it started. Children are looked for now and then only: a JVM has many threads to ask. */
export class ProcessTree {
  readonly #root: number
  #pids: readonly number[]
  #listedAtMs = performance.now()

  constructor(root: number) {
    this.#root = root
    this.#pids = [root]
  }

  get cpuUs(): number {
    return this.#sum(processCpuUs)
  }

  /** The sum of the processes' peaks: at least the peak of the sum. */
  get peakRssBytes(): number {
    return this.#sum(peakRssBytes)
  }

  /** Its processes, the first one first. */
  each(): { readonly pid: number; readonly cpuUs: number; readonly rssBytes: number }[] {
    return descendants(this.#root).flatMap((pid) =>
      ifAlive(() => [{ pid, cpuUs: processCpuUs(pid), rssBytes: rssBytes(pid) }], []),
    )
  }

  kill(): void {
    for (const pid of descendants(this.#root)) ifAlive(() => process.kill(pid, 'SIGKILL'), false)
  }

  #sum(of: (pid: number) => number): number {
    if (performance.now() - this.#listedAtMs > relistMs) {
      this.#listedAtMs = performance.now()
      this.#pids = descendants(this.#root)
    }
    return this.#pids.reduce((sum, pid) => sum + (pid === this.#root ? of(pid) : ifAlive(() => of(pid), 0)), 0)
  }
}

function descendants(pid: number): number[] {
  const threads = ifAlive(() => readdirSync(`/proc/${pid}/task`), [])
  const children = threads.flatMap((thread) =>
    ifAlive(() => readFileSync(`/proc/${pid}/task/${thread}/children`, 'utf8').match(/\d+/g) ?? [], []),
  )
  return [pid, ...children.flatMap((child) => descendants(Number(child)))]
}

/** A process or thread may end between two looks. */
function ifAlive<T>(look: () => T, otherwise: T): T {
  try {
    return look()
  } catch {
    return otherwise
  }
}

export interface MachineCpu {
  /** Time in which a core did something, all cores together. */
  readonly busyUs: number
  /** Time that the hypervisor gave to others. */
  readonly stolenUs: number
}

export function machineCpu(): MachineCpu {
  const line = readFileSync('/proc/stat', 'utf8').split('\n', 1)[0] ?? ''
  const [user = 0, nice = 0, system = 0, , , irq = 0, softirq = 0, steal = 0] = line
    .trim()
    .split(/\s+/)
    .slice(1)
    .map(Number)
  return { busyUs: (user + nice + system + irq + softirq) * usPerTick, stolenUs: steal * usPerTick }
}
