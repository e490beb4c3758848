// An idle worker gives memory back: what starting up and the last records left behind would stay until the next collection,
// which an idle process does not come to.
import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'
import { startInterval, type Timer } from '../base/clock.ts'

const LOOK_EVERY_MS = 5_000
/** Collecting more would take long enough to delay the record that comes next (35 ms at 17 MB). */
const HEAP_BYTES_MAX = 64 * 2 ** 20

type Collect = (options: { type: 'major'; execution: 'sync'; flavor: 'last-resort' }) => void

/** V8's collector, in the way that also returns pages to the system. */
export function collectAll(): void {
  setFlagsFromString('--expose-gc')
  const collect = runInNewContext('gc') as Collect
  collect({ type: 'major', execution: 'sync', flavor: 'last-resort' })
}

/** Once per idle time: when a whole interval went by without a record. */
export function shrinkWhenIdle(
  status: { readonly recordsIn: number },
  collect: () => void = collectAll,
  heapBytes: () => number = () => process.memoryUsage().heapUsed,
): Timer {
  let seen = Number.NaN
  let shrunk = false
  return startInterval(LOOK_EVERY_MS, () => {
    const idle = status.recordsIn === seen
    seen = status.recordsIn
    if (!idle) shrunk = false
    else if (!shrunk && heapBytes() < HEAP_BYTES_MAX) {
      shrunk = true
      collect()
    }
  })
}
