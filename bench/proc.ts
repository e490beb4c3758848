/** CPU and memory as Linux counts them, read from /proc: the same way for every system and for the broker. */
import { execFileSync } from 'node:child_process'
import { readFileSync } from 'node:fs'

const ticksPerSecond = Number(execFileSync('getconf', ['CLK_TCK'], { encoding: 'utf8' }))
const usPerTick = 1_000_000 / ticksPerSecond

/** User and system time of all threads of a process since its start, in µs; steps of a clock tick (10 ms). */
export function processCpuUs(pid: number): number {
  const text = readFileSync(`/proc/${pid}/stat`, 'utf8')
  // The command's name, in parentheses, may hold anything: fields are counted from behind it.
  const fields = text.slice(text.lastIndexOf(')') + 2).split(' ')
  return (Number(fields[11]) + Number(fields[12])) * usPerTick
}

/** The largest resident set that the process has had, in bytes. */
export function peakRssBytes(pid: number): number {
  const status = readFileSync(`/proc/${pid}/status`, 'utf8')
  return Number(/^VmHWM:\s+(\d+) kB/m.exec(status)?.[1] ?? 0) * 1024
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
