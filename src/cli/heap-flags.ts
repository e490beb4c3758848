// V8's heap for a worker. State and buffers are memory outside V8's heap that counts against its limits: with a heap that
// begins small, the garbage collector runs more often than there is garbage.
import { totalmem } from 'node:os'

const OLD_MAX_MB = 256
const YOUNG_MAX_MB = 16

/** Node flags for a process that has `shareMb` of memory; none where the user has chosen some, or memory is short. */
export function heapFlags(shareMb: number, given: readonly string[]): string[] {
  if (given.some((flag) => /(old|semi)[-_]space/.test(flag))) return []
  const oldMb = Math.min(OLD_MAX_MB, Math.floor(shareMb / 8))
  const youngMb = Math.min(YOUNG_MAX_MB, Math.floor(shareMb / 64))
  return oldMb < 32 ? [] : [`--initial-old-space-size=${oldMb}`, `--min-semi-space-size=${youngMb}`]
}

/** Of this machine's memory, or the container's, for each of `processes`. */
export function workerHeapFlags(processes: number): string[] {
  // 0, or more than there is: no limit.
  const limit = process.constrainedMemory()
  const bytes = limit > 0 ? Math.min(limit, totalmem()) : totalmem()
  return heapFlags(bytes / 2 ** 20 / processes, [...process.execArgv, process.env.NODE_OPTIONS ?? ''])
}
