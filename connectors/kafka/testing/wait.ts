// Waiting in the broker kit: poll a condition, do not guess a time.
import { delay, monotonicMs } from '../../../src/base/clock.ts'

/**
 * Polls `condition` until it returns true.
 *
 * @param options `everyMs`: default 100
 * @returns true once it held, false when `timeoutMs` passed first. What `condition` throws goes to the caller.
 */
export async function waitUntil(
  condition: () => boolean | Promise<boolean>,
  options: { readonly timeoutMs: number; readonly everyMs?: number },
): Promise<boolean> {
  const deadline = monotonicMs() + options.timeoutMs
  for (;;) {
    if (await condition()) return true
    if (monotonicMs() >= deadline) return false
    await delay(options.everyMs ?? 100)
  }
}
