// Waiting in the broker kit: polled conditions, and the one place here that touches a timer.
import { setTimeout as timer } from 'node:timers/promises'

/** Resolves after `ms` milliseconds. Prefer {@link waitUntil}: poll a condition, do not guess a time. */
export function delay(ms: number): Promise<void> {
  return timer(ms)
}

/**
 * Polls `condition` until it returns true.
 *
 * @returns true once it held, false when `timeoutMs` passed first. What `condition` throws goes to the caller.
 */
export async function waitUntil(
  condition: () => boolean | Promise<boolean>,
  options: { readonly timeoutMs: number; readonly everyMs?: number },
): Promise<boolean> {
  const deadline = performance.now() + options.timeoutMs
  for (;;) {
    if (await condition()) return true
    if (performance.now() >= deadline) return false
    await delay(options.everyMs ?? 100)
  }
}
