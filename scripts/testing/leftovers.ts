// What the tests started and did not end. Every process of a run inherits a variable with the run's own value, so that
// nothing of another run on this machine is mistaken for ours.
import { readdirSync, readFileSync } from 'node:fs'
import { setTimeout as pause } from 'node:timers/promises'
import { failure, nothing, type Tally } from './tally.ts'

export const runVariable = 'MILLRACE_TEST_RUN'
const graceMs = 15_000

interface Leftover {
  readonly pid: number
  readonly command: string
}

function leftovers(run: string): Leftover[] {
  return readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name) && Number(name) !== process.pid)
    .flatMap((name) => {
      try {
        if (!readFileSync(`/proc/${name}/environ`, 'utf8').split('\0').includes(`${runVariable}=${run}`)) return []
        const command = readFileSync(`/proc/${name}/cmdline`, 'utf8').replaceAll('\0', ' ').trim()
        // Without a command line it has ended and waits for its parent.
        return command === '' ? [] : [{ pid: Number(name), command: command.slice(0, 160) }]
      } catch {
        return [] // It ended meanwhile, or is not ours to read.
      }
    })
}

/** A failure if something of the run is alive after a moment; it is ended then. */
export async function noProcessLeft(run: string): Promise<Tally> {
  if (process.platform !== 'linux')
    return {
      ...nothing,
      skipped: 1,
      notRun: ['the look for processes left behind: it reads /proc, which only Linux has'],
    }
  const untilMs = performance.now() + graceMs
  while (leftovers(run).length > 0 && performance.now() < untilMs) await pause(200)
  const left = leftovers(run)
  for (const { pid } of left) {
    try {
      process.kill(pid, 'SIGKILL')
    } catch {
      // It ended by itself.
    }
  }
  if (left.length === 0) return nothing
  return failure(`processes left behind: ${left.map(({ pid, command }) => `${pid} ${command}`).join(' | ')}`)
}
