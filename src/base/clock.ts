// The only file of the engine that touches wall time, timers and randomness. No rule of the protocol may depend on
// wall time (a clock jump must be harmless): deadlines use `monotonicMs`.
import { randomBytes } from 'node:crypto'

export interface Timer {
  cancel(): void
}

/** Wall time in milliseconds since 1970: for log lines, metrics and record timestamps, never for a deadline. */
export function wallMs(): number {
  return wall()
}

let wall: () => number = () => Date.now()

/** For tests of pipelines: while `run` runs, wall time is what `now` says. */
export function withWallClock<T>(now: () => number, run: () => T): T {
  const before = wall
  wall = now
  try {
    return run()
  } finally {
    wall = before
  }
}

/** Milliseconds on a clock that never jumps. */
export function monotonicMs(): number {
  return performance.now()
}

/** Calls `run` once, after `ms`. */
export function startTimer(ms: number, run: () => void): Timer {
  const handle = setTimeout(run, ms)
  return { cancel: () => clearTimeout(handle) }
}

/** Calls `run` every `ms` until cancelled. */
export function startInterval(ms: number, run: () => void): Timer {
  const handle = setInterval(run, ms)
  return { cancel: () => clearInterval(handle) }
}

/** Resolves after `ms`, or at once when `signal` aborts (it never rejects: the caller looks at the signal). */
export function delay(ms: number, signal?: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    if (signal?.aborted) return resolve()
    const done = (): void => {
      clearTimeout(handle)
      signal?.removeEventListener('abort', done)
      resolve()
    }
    const handle = setTimeout(done, ms)
    signal?.addEventListener('abort', done, { once: true })
  })
}

/** Gives other callbacks of the event loop a turn. */
export function yieldToLoop(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve))
}

/** A value in [0, 1) for jitter; nothing of the protocol depends on it. */
export function jitter(): number {
  return Math.random()
}

/** `bytes` random bytes in hex: incarnations and store ids. */
export function nonce(bytes = 6): string {
  return randomBytes(bytes).toString('hex')
}
